//! What `ThreadPool` and `TaskPool` share: workers with a queue each, around
//! one core pool.
//!
//! One lock guards the core pool and the queues. Every operation goes through
//! [`Crew::with`]: lock, change, settle what the core says has come of it,
//! unlock, and only then wake, fail and drop. So no waker is touched and no
//! user value runs or drops while the lock is held, and a busy worker needs one
//! lock a request: it gives the last lease back and takes the next request in
//! the same step.
//!
//! Three places hold requests that have not begun: a worker's queue (assigned
//! and charged), the core's line (every worker is at capacity), and the gate
//! (the line is full, and each submitter waits beside its own request). A task
//! that sleeps has its first request laid beside it, charged like those in its
//! queue.

mod packet;
mod parker;
mod settle;
mod submission;
mod submit;
mod work;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Instant;

use plimsoll_core::{Config, Pool, Time, WorkerId};

pub(crate) use self::packet::{Job, Packet, ReplyCell, given_up, panic_message};
pub(crate) use self::parker::{Charged, Parker};
use self::settle::After;
pub(crate) use self::submission::Submission;
use self::submit::Gated;
pub(crate) use self::submit::{IfFull, Submitted};
pub(crate) use self::work::{FAILURES_UNTIL_DOWN, Next};
use crate::clock::Clock;
use crate::slot::Slot;
use crate::stats::{Recorder, Snapshot};
use crate::sync::{Mutex, lock};
use crate::timer::Timed;

/// What a request asks, in this crate's terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) cost: NonZeroU32,
    pub(crate) deadline: Option<Instant>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { cost: NonZeroU32::MIN, deadline: None }
    }
}

/// One worker's side of the state.
struct Post<J: ?Sized> {
    id: WorkerId,
    /// Assigned, in order.
    queue: VecDeque<Charged<J>>,
    /// Uncharged requests for this worker alone; they run first.
    broadcasts: VecDeque<Arc<J>>,
    parker: Arc<Parker<J>>,
    /// It found nothing to do, and has not been notified since.
    asleep: bool,
    /// It stands in `drowsy`.
    drowsy: bool,
}

impl<J: ?Sized> Post<J> {
    /// Puts what the worker was handed, and has not come for, first in its
    /// queue. It was notified, and looks there.
    fn recall(&mut self) {
        if let Some(handed) = self.parker.recall() {
            self.queue.push_front(handed);
        }
    }

    /// All that the worker has been given and has not begun.
    fn take_queue(&mut self) -> VecDeque<Charged<J>> {
        self.recall();
        std::mem::take(&mut self.queue)
    }
}

/// On cache lines of its own: those who wait for the lock read its word.
#[repr(align(128))]
struct State<J: ?Sized> {
    pool: Pool<Arc<J>>,
    /// By the core's worker slots.
    posts: Vec<Option<Post<J>>>,
    gate: VecDeque<Gated<J>>,
    /// The thread that has been notified and has not come yet. Threads wake
    /// one another in a chain: each, when it has found its work.
    waking: Option<WorkerId>,
    /// Slots of sleeping workers that were given work while one was waking.
    drowsy: VecDeque<usize>,
    /// Worker loops that have not ended.
    present: usize,
    closed: bool,
    /// Closed, and nothing is left to do: workers leave.
    finished: bool,
    /// Filled when the last worker has left.
    farewells: Vec<Arc<Slot<()>>>,
    /// The last error of a factory that kept failing.
    factory_error: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// What the timer has been told last.
    timer: Option<Time>,
}

/// The shared part of a pool; `J` is the kind of job its workers run.
pub(crate) struct Crew<J: ?Sized> {
    me: Weak<Self>,
    state: Mutex<State<J>>,
    clock: Clock,
    recorder: Recorder,
    /// The capacity of a worker that is added.
    pub(crate) capacity: NonZeroU32,
}

#[cfg(not(any(loom, shuttle)))]
thread_local! {
    /// The crews whose worker this thread is at the moment, by address: a
    /// worker's request may poll another pool's worker.
    static SERVING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}
#[cfg(any(loom, shuttle))]
crate::sync::thread_local! {
    static SERVING: RefCell<Vec<usize>> = RefCell::new(Vec::new());
}

impl<J: Job + ?Sized + 'static> Crew<J> {
    pub(crate) fn new(config: Config, capacity: NonZeroU32) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            state: Mutex::new(State {
                pool: Pool::new(config),
                posts: Vec::new(),
                gate: VecDeque::new(),
                waking: None,
                drowsy: VecDeque::new(),
                present: 0,
                closed: false,
                finished: false,
                farewells: Vec::new(),
                factory_error: None,
                timer: None,
            }),
            clock: Clock::start(),
            recorder: Recorder::new(),
            capacity,
        })
    }

    /// Locks, changes, settles, unlocks; then does what must not be done under
    /// the lock.
    fn with<R>(
        &self,
        now: Time,
        change: impl FnOnce(&mut State<J>, Time, &mut After<J>) -> R,
    ) -> R {
        let mut after = After::new();
        let mut state = lock(&self.state);
        let result = change(&mut state, now, &mut after);
        state.settle(now, &mut after);
        drop(state);
        if let Some(due) = after.carry_out() {
            crate::timer::schedule(self.clock.instant(due), self.me.clone());
        }
        result
    }

    /// The moment, as the core is told of it.
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let state = lock(&self.state);
        let snapshot = Snapshot::of(&state.pool, now);
        drop(state);
        snapshot.with_times(&self.recorder)
    }

    /// Checks the core's invariants, and that every lease is where it must be.
    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        let state = lock(&self.state);
        state.pool.check_invariants().map_err(|violation| violation.to_string())?;
        let queued = |post: &Post<J>| -> u64 {
            let queued = post.queue.iter().map(|(lease, _)| lease.cost().get());
            queued.chain([post.parker.handed_cost()]).map(u64::from).sum()
        };
        for stats in state.pool.workers() {
            let queued = state.posts[stats.id.index()].as_ref().map_or(0, queued);
            if queued > u64::from(stats.pending) {
                return Err(format!("{} has {queued} queued, {} pending", stats.id, stats.pending));
            }
        }
        Ok(())
    }

    /// Whether this thread is, at the moment, a worker of this crew.
    pub(crate) fn serves_here(&self) -> bool {
        // A thread that ends may drop a pool after its own record is gone.
        SERVING.try_with(|serving| serving.borrow().contains(&self.address())).unwrap_or(false)
    }

    /// Marks this thread as a worker of this crew while `work` runs.
    pub(crate) fn serve<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Served;
        impl Drop for Served {
            fn drop(&mut self) {
                SERVING.with(|serving| serving.borrow_mut().pop());
            }
        }
        SERVING.with(|serving| serving.borrow_mut().push(self.address()));
        let _served = Served;
        work()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<J: Job + ?Sized + 'static> Timed for Crew<J> {
    fn handle_timeout(&self) {
        self.with(self.now(), |state, now, after| {
            state.timer = state.timer.filter(|&at| at > now);
            state.pool.handle_timeout(now);
            state.close_gate_to_late(now, after);
        });
    }
}
