//! `Balancer`: leases on workers of any type.
//!
//! Plain state inside, one thin lock outside. [`Shared::with`] is the only way
//! in: lock, one call of the core, note what has come of it, unlock; then wake
//! and drop. No waker is touched and no user value runs or drops while the
//! lock is held.

mod acquire;
mod control;
mod lease;
mod removal;

use std::fmt;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use plimsoll_core::{
    Completion, Config, DispatchToError, Lease as Charge, Outcome, Policy, Pool, Refusal, Time,
    WorkerId, WorkerStats,
};
use smallvec::SmallVec;

pub use self::acquire::{Acquire, AcquireRequest};
pub use self::lease::Lease;
pub use self::removal::Removal;
use crate::clock::Clock;
use crate::error::Reason;
use crate::slot::Slot;
use crate::stats::{Recorder, Snapshot};
use crate::sync::{Mutex, lock};
use crate::timer::{self, Timed};

/// Workers of any type `W`, behind a least-loaded pool: who wants one takes a
/// lease.
///
/// Cheap to clone, `Send` and `Sync`; the calling thread does the dispatch
/// itself, so there is no thread behind it. It knows nothing of any runtime.
///
/// ```
/// use plimsoll::{Balancer, WorkerSpec};
/// use std::num::NonZeroU32;
///
/// let balancer = Balancer::new();
/// let two_at_once = WorkerSpec::new(NonZeroU32::new(2).unwrap());
/// for address in ["10.0.0.1:80", "10.0.0.2:80"] {
///     balancer.add(address, two_at_once);
/// }
/// let first = balancer.try_acquire()?;
/// let second = balancer.try_acquire()?;
/// assert_ne!(first.worker(), second.worker());
/// drop((first, second)); // dropping a lease gives its charge back
/// assert_eq!(balancer.snapshot().pending(), 0);
/// # Ok::<(), plimsoll::Reason>(())
/// ```
pub struct Balancer<W: Send + Sync + 'static> {
    shared: Arc<Shared<W>>,
}

/// What a [`Balancer`] is built with.
///
/// ```
/// use plimsoll::{Balancer, Policy};
///
/// let balancer: Balancer<()> =
///     Balancer::builder().policy(Policy::PowerOfTwo).line(100).seed(7).build();
/// assert_eq!(balancer.snapshot().workers.len(), 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct BalancerBuilder {
    config: Config,
}

/// A worker and the charge on it.
struct Grant<W> {
    charge: Charge,
    /// The worker's, this one included.
    pending: u32,
    worker: Arc<W>,
}

/// What a waiting acquire is told, once.
type Waiter<W> = Slot<Result<Grant<W>, Refusal>>;

struct State<W> {
    pool: Pool<Arc<Waiter<W>>>,
    /// By the core's worker slots.
    posts: Vec<Option<Post<W>>>,
    /// What the timer has been told last.
    timer: Option<Time>,
}

struct Post<W> {
    worker: Arc<W>,
    /// Set when it is removed: filled when its last lease is back.
    removal: Option<Arc<Slot<W>>>,
}

struct Shared<W> {
    me: Weak<Self>,
    state: Mutex<State<W>>,
    clock: Clock,
    recorder: Recorder,
}

/// Something that wakes or drops what is not ours.
enum Deed<W> {
    Grant(Arc<Waiter<W>>, Grant<W>),
    Refuse(Arc<Waiter<W>>, Refusal),
    Removed(Post<W>),
}

impl<W: Send + Sync + 'static> Shared<W> {
    /// Locks, changes, notes what has come of it, unlocks; then tells it.
    fn with<R>(&self, at: Instant, change: impl FnOnce(&mut State<W>, Time) -> R) -> R {
        let now = self.clock.time(at);
        let mut state = lock(&self.state);
        let result = change(&mut state, now);
        let deeds = state.settle();
        let due = state.pool.poll_timeout();
        let due = due.filter(|&due| state.timer.is_none_or(|told| due < told));
        state.timer = due.or(state.timer);
        drop(state);
        for deed in deeds {
            // A panic of somebody's waker or worker is its own affair, and must
            // not keep the others from what they are due.
            let _ = catch_unwind(AssertUnwindSafe(|| self.carry_out(deed)));
        }
        if let Some(due) = due {
            timer::schedule(self.clock.instant(due), self.me.clone());
        }
        result
    }

    fn carry_out(&self, deed: Deed<W>) {
        match deed {
            Deed::Grant(waiter, grant) => {
                if let Some(Ok(grant)) = waiter.put(Ok(grant)) {
                    // Who waited went away meanwhile: the next in line gets it.
                    self.give_back(grant, Completion::Succeeded, Instant::now());
                }
            }
            Deed::Refuse(waiter, refusal) => drop(waiter.put(Err(refusal))),
            Deed::Removed(Post { worker, removal }) => {
                // A lease lets go of its worker before it gives its charge
                // back, so this is the last one.
                if let (Some(worker), Some(slot)) = (Arc::into_inner(worker), removal) {
                    drop(slot.put(worker));
                }
            }
        }
    }
}

impl<W> State<W> {
    fn settle(&mut self) -> SmallVec<[Deed<W>; 1]> {
        let mut deeds = SmallVec::new();
        while let Some(outcome) = self.pool.poll_outcome() {
            match outcome {
                Outcome::Assigned { lease, tag, .. } => {
                    deeds.push(Deed::Grant(tag, self.grant(lease)));
                }
                Outcome::Refused { reason, tag, .. } => deeds.push(Deed::Refuse(tag, reason)),
                Outcome::Removed(id) => {
                    deeds.extend(self.posts[id.index()].take().map(Deed::Removed));
                }
            }
        }
        deeds
    }

    fn grant(&self, charge: Charge) -> Grant<W> {
        let post = self.posts[charge.worker().index()].as_ref();
        let worker = Arc::clone(&post.expect("a charged worker has its post").worker);
        let pending = self.pool.worker(charge.worker()).map_or(0, |worker| worker.pending);
        Grant { charge, pending, worker }
    }
}

impl<W: Send + Sync + 'static> Timed for Shared<W> {
    fn handle_timeout(&self) {
        self.with(Instant::now(), |state, now| {
            state.timer = state.timer.filter(|&at| at > now);
            state.pool.handle_timeout(now);
        });
    }
}

impl BalancerBuilder {
    /// The most acquires that wait while every worker is at capacity (1,024 by
    /// default).
    ///
    /// ```
    /// use plimsoll::{Balancer, Reason, WorkerSpec};
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    ///
    /// let balancer = Balancer::builder().line(0).build();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let _lease = balancer.try_acquire()?;
    /// assert!(matches!(balancer.acquire_blocking(Duration::MAX), Err(Reason::Full)));
    /// # Ok::<(), Reason>(())
    /// ```
    #[must_use]
    pub fn line(mut self, requests: usize) -> Self {
        self.config.line = requests;
        self
    }

    /// How workers are chosen (least-loaded by default).
    ///
    /// ```
    /// use plimsoll::{Balancer, Policy, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::builder().policy(Policy::RoundRobin).build();
    /// for name in ["a", "b"] {
    ///     balancer.add(name, WorkerSpec::new(NonZeroU32::MIN));
    /// }
    /// let turns = [(); 2].map(|()| *balancer.try_acquire().unwrap().worker());
    /// assert_ne!(turns[0], turns[1]);
    /// ```
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.config.policy = policy;
        self
    }

    /// Shuffles the first order of the workers: give each of many balancers
    /// over the same workers a seed of its own.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let first = |seed| {
    ///     let balancer = Balancer::builder().seed(seed).build();
    ///     for number in 0..100 {
    ///         balancer.add(number, WorkerSpec::new(NonZeroU32::MIN));
    ///     }
    ///     balancer.try_acquire().map(|lease| *lease.worker())
    /// };
    /// assert_eq!(first(7)?, first(7)?);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Checks every so many dispatches by a plain scan of all workers;
    /// [`Snapshot::audit`] shows what it found. 0, the default, is never.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::builder().audit_every(1).build();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let _lease = balancer.try_acquire()?;
    /// assert_eq!(balancer.snapshot().audit.audits, 1);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    #[must_use]
    pub fn audit_every(mut self, dispatches: u64) -> Self {
        self.config.audit_every = dispatches;
        self
    }

    /// What a failed lease costs its worker.
    ///
    /// ```
    /// use plimsoll::{Balancer, Penalty, WorkerSpec};
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    ///
    /// let penalty = Penalty { step: 8, half_life: Duration::from_secs(60), ..Penalty::default() };
    /// let balancer = Balancer::builder().penalty(penalty).build();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// balancer.try_acquire()?.fail();
    /// assert_eq!(balancer.snapshot().workers[0].penalty, 8);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    #[must_use]
    pub fn penalty(mut self, penalty: plimsoll_core::Penalty) -> Self {
        self.config.penalty = penalty;
        self
    }

    /// The balancer, without workers.
    ///
    /// ```
    /// use plimsoll::{Balancer, Reason};
    ///
    /// let balancer: Balancer<String> = Balancer::builder().build();
    /// assert!(matches!(balancer.try_acquire(), Err(Reason::NoWorker)));
    /// ```
    pub fn build<W: Send + Sync + 'static>(self) -> Balancer<W> {
        let state = State { pool: Pool::new(self.config), posts: Vec::new(), timer: None };
        let shared = Arc::new_cyclic(|me| Shared {
            me: me.clone(),
            state: Mutex::new(state),
            clock: Clock::start(),
            recorder: Recorder::new(),
        });
        Balancer { shared }
    }
}

impl Balancer<()> {
    /// A builder: least-loaded, a line of 1,024.
    ///
    /// ```
    /// use plimsoll::{Balancer, Policy};
    ///
    /// let balancer: Balancer<String> = Balancer::builder().policy(Policy::Random).build();
    /// assert!(balancer.snapshot().workers.is_empty());
    /// ```
    pub fn builder() -> BalancerBuilder {
        BalancerBuilder::default()
    }
}

impl<W: Send + Sync + 'static> Balancer<W> {
    /// A balancer without workers: least-loaded, a line of 1,024.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add("10.0.0.1:80", WorkerSpec::new(NonZeroU32::MIN));
    /// assert_eq!(*balancer.try_acquire()?.worker(), "10.0.0.1:80");
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn new() -> Self {
        BalancerBuilder::default().build()
    }

    /// A lease on the least-loaded worker, if one has room now.
    ///
    /// ```
    /// use plimsoll::{Balancer, Reason, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let lease = balancer.try_acquire()?;
    /// assert!(matches!(balancer.try_acquire(), Err(Reason::Full)));
    /// drop(lease);
    /// assert!(balancer.try_acquire().is_ok());
    /// # Ok::<(), Reason>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::Full`] when it would have to wait; another [`Reason`] when
    /// waiting would not help.
    pub fn try_acquire(&self) -> Result<Lease<W>, Reason> {
        self.request().try_acquire()
    }

    /// A lease on this worker, if it has room now, past policy and line: for what
    /// concerns one worker alone, such as a look at how it is. It costs 1, and is not among
    /// the times of waiting and running, which are requests'.
    ///
    /// ```
    /// use plimsoll::{Balancer, DispatchToError, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let [_, second] = ["a", "b"].map(|name| balancer.add(name, WorkerSpec::new(NonZeroU32::MIN)));
    /// let lease = balancer.try_acquire_from(second)?;
    /// assert_eq!(*lease.worker(), "b");
    /// assert_eq!(balancer.try_acquire_from(second).err(), Some(DispatchToError::NoRoom));
    /// drop(lease);
    /// assert_eq!(balancer.snapshot().run.count(), 0);
    /// # Ok::<(), DispatchToError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DispatchToError`] when there is no such worker, or it is not up, or has
    /// no room.
    pub fn try_acquire_from(&self, worker: WorkerId) -> Result<Lease<W>, DispatchToError> {
        let now = Instant::now();
        let grant = self.shared.with(now, |state, _| {
            let charge = state.pool.dispatch_to(worker, NonZeroU32::MIN)?;
            Ok(state.grant(charge))
        })?;
        Ok(Lease::new(Arc::clone(&self.shared), grant, None, now))
    }

    /// A lease on this worker for a request that it has already, whatever its health and its
    /// capacity: for a balancer that takes over from another. It costs 1, and is not among the
    /// times of waiting and running.
    ///
    /// ```
    /// use plimsoll::{Balancer, Reason, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add("a", WorkerSpec::new(NonZeroU32::MIN));
    /// let [first, second] = [(); 2].map(|()| balancer.adopt(id).unwrap());
    /// drop(first);
    /// // It is at its capacity still.
    /// assert!(matches!(balancer.try_acquire(), Err(Reason::Full)));
    /// drop(second);
    /// assert!(balancer.try_acquire().is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// [`DispatchToError::Unknown`] when there is no such worker,
    /// [`DispatchToError::NoRoom`] when its pending would not fit 32 bits.
    pub fn adopt(&self, worker: WorkerId) -> Result<Lease<W>, DispatchToError> {
        let now = Instant::now();
        let grant = self.shared.with(now, |state, _| {
            let charge = state.pool.adopt(worker, NonZeroU32::MIN)?;
            Ok(state.grant(charge))
        })?;
        Ok(Lease::new(Arc::clone(&self.shared), grant, None, now))
    }

    /// A lease on the least-loaded worker, when there is one.
    ///
    /// It takes its place in line at the first poll. Dropped, it leaves the
    /// line, or passes on the worker that it was just assigned. Held and not
    /// polled, it keeps its place, and a worker once it is assigned.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add("the only one", WorkerSpec::new(NonZeroU32::MIN));
    /// let lease = balancer.acquire().await?;
    /// assert_eq!(*lease.worker(), "the only one");
    /// # Ok::<(), plimsoll::Reason>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The future's error is a [`Reason`]: the line is full, or waiting would
    /// not help.
    pub fn acquire(&self) -> Acquire<W> {
        self.request().acquire()
    }

    /// A lease on the least-loaded worker, blocking the thread for it at most
    /// this long.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    /// use std::{thread, time::Duration};
    ///
    /// let balancer = Balancer::new();
    /// balancer.add("the only one", WorkerSpec::new(NonZeroU32::MIN));
    /// let lease = balancer.try_acquire()?;
    /// thread::spawn(move || drop(lease));
    /// let next = balancer.acquire_blocking(Duration::from_secs(60))?;
    /// assert_eq!(*next.worker(), "the only one");
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::DeadlinePassed`] when there was none in time, or another
    /// [`Reason`].
    pub fn acquire_blocking(&self, timeout: Duration) -> Result<Lease<W>, Reason> {
        self.request().acquire_blocking(timeout)
    }

    /// A request for a lease with a cost, a deadline or excluded workers.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let four = NonZeroU32::new(4).unwrap();
    /// balancer.add((), WorkerSpec::new(four));
    /// let lease = balancer.request().cost(four).try_acquire()?;
    /// assert_eq!(lease.cost(), four);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn request(&self) -> AcquireRequest<'_, W> {
        AcquireRequest::new(self)
    }

    /// Workers, line and times at this moment; one consistent reading.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let lease = balancer.try_acquire()?;
    /// assert_eq!(balancer.snapshot().pending(), 1);
    /// drop(lease);
    /// assert_eq!(balancer.snapshot().workers[0].completed, 1);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        let now = self.shared.clock.time(Instant::now());
        let state = lock(&self.shared.state);
        let snapshot = Snapshot::of(&state.pool, now);
        drop(state);
        snapshot.with_times(&self.shared.recorder)
    }

    /// One worker at this moment, without what [`snapshot`](Self::snapshot) costs; `None` when
    /// there is none of this id.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let _lease = balancer.try_acquire()?;
    /// assert_eq!(balancer.worker(id).unwrap().pending, 1);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn worker(&self, id: WorkerId) -> Option<WorkerStats> {
        lock(&self.shared.state).pool.worker(id)
    }

    /// How many requests are in line.
    ///
    /// ```
    /// use plimsoll::Balancer;
    ///
    /// let balancer: Balancer<()> = Balancer::new();
    /// assert_eq!(balancer.waiting(), 0);
    /// ```
    pub fn waiting(&self) -> usize {
        lock(&self.shared.state).pool.waiting()
    }

    /// Checks what must always hold, by plain scans: for tests.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let _lease = balancer.try_acquire()?;
    /// assert_eq!(balancer.check_invariants(), Ok(()));
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What does not hold: a bug in this crate.
    pub fn check_invariants(&self) -> Result<(), String> {
        let state = lock(&self.shared.state);
        state.pool.check_invariants().map_err(|violation| violation.to_string())
    }
}

impl<W: Send + Sync + 'static> Default for Balancer<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Send + Sync + 'static> Clone for Balancer<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<W: Send + Sync + 'static> fmt::Debug for Balancer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.shared.state);
        f.debug_struct("Balancer")
            .field("pending", &state.pool.pending())
            .field("waiting", &state.pool.waiting())
            .finish_non_exhaustive()
    }
}
