//! The pool: workers, their order, the line, and what is due.
//!
//! Its methods come in kinds, a file each:
//!
//! | file | kind | methods |
//! |---|---|---|
//! | `control.rs` | changes to the workers | `add`, `remove`, `set_*`, `start_ramp` |
//! | `data.rs` | the life of a request | `dispatch`, `try_dispatch`, `dispatch_to`, `adopt`, `completed`, `take_back`, `reassign`, `cancel`, `clear_line` |
//! | `outgoing.rs` | what the shell is told | `poll_outcome`, `poll_timeout`, `handle_timeout` |
//! | `look.rs` | reading | `worker`, `workers`, `pending`, `waiting`, … |
//! | `audit.rs` | checks that do not trust the order | `regret`, `idle_while_waiting`, `check_invariants` |
//!
//! Data flows one way: control and data calls change the pool, and leave
//! outcomes for requests that waited; the shell drains them before it lets go
//! of the pool.

mod audit;
mod control;
mod data;
mod look;
mod outgoing;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

pub use self::audit::{Audit, Violation};
use self::outgoing::Due;
use crate::line::Line;
use crate::order::Order;
use crate::rng::Rng;
use crate::worker::Worker;
use crate::{Outcome, Policy, Time, UnknownWorker, WorkerId};

/// How a pool behaves; see each field.
///
/// ```
/// use plimsoll_core::{Config, Policy, Pool};
///
/// let config = Config { line: 100, seed: 7, ..Config::default() };
/// let pool: Pool<()> = Pool::new(config);
/// assert_eq!(pool.policy(), Policy::LeastLoaded);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How `dispatch` chooses.
    pub policy: Policy,
    /// The most requests in line; 0 refuses what would have to wait.
    pub line: usize,
    /// Shuffles the first order of the workers and feeds the drawing policies.
    pub seed: u64,
    /// Every so many dispatches, [`Audit`] checks one by a plain scan of all
    /// workers; 0 is never.
    pub audit_every: u64,
    /// What a failure costs its worker.
    pub penalty: Penalty,
}

impl Default for Config {
    /// Least-loaded, a line of 1,024, seed 0, no audits, the default penalty.
    fn default() -> Self {
        Self {
            policy: Policy::LeastLoaded,
            line: 1024,
            seed: 0,
            audit_every: 0,
            penalty: Penalty::default(),
        }
    }
}

/// Load that a failure leaves on its worker, so that failing fast attracts
/// nothing.
///
/// Each failure adds [`step`](Self::step); every
/// [`half_life`](Self::half_life) half of it is gone.
///
/// ```
/// use plimsoll_core::{Completion, Config, Penalty, Pool, Request, Time, WorkerSpec};
/// use core::{num::NonZeroU32, time::Duration};
///
/// let second = Duration::from_secs(1);
/// let penalty = Penalty { step: 8, most: 100, half_life: second };
/// let mut pool: Pool<()> = Pool::new(Config { penalty, ..Config::default() });
/// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// let lease = pool.try_dispatch(&Request::default(), Time::ZERO).unwrap();
/// pool.completed(lease, Completion::Failed, Time::ZERO).unwrap();
/// assert_eq!(pool.worker(id).unwrap().penalty, 8);
/// pool.handle_timeout(Time::ZERO + second);
/// assert_eq!(pool.worker(id).unwrap().penalty, 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// Requests per unit of weight that one failure counts as; 0 turns
    /// penalties off.
    pub step: u16,
    /// The most that failures add up to, in the same unit.
    pub most: u16,
    /// The time in which a penalty halves; at least 1 ms is taken.
    pub half_life: Duration,
}

impl Default for Penalty {
    /// Four requests a failure, at most 1,024, halved every second.
    fn default() -> Self {
        Self { step: 4, most: 1024, half_life: Duration::from_secs(1) }
    }
}

/// A worker's slow start.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    started: Time,
    over: Duration,
    /// When its next step is due.
    next: Time,
}

/// Workers ordered by load, and the line of requests that wait for them.
///
/// `T` is the *tag* of a waiting request: what the shell wants back when the
/// request gets its worker or is refused (a waker, a job, a number).
///
/// # Rules
///
/// - A request goes to the worker that the [`Policy`] chooses among those
///   eligible for it: up, not draining, not excluded, with room for its cost.
/// - When none is eligible it joins the line. The line stops at the first
///   request for which no worker has room; a new request never overtakes a
///   stopped line. A request that could run only on workers it excludes is
///   passed over and keeps its place.
/// - A request that no worker could ever take is refused, also later, when a
///   control call makes it so.
/// - After every control or data call, and after
///   [`handle_timeout`](Self::handle_timeout), drain
///   [`poll_outcome`](Self::poll_outcome).
///
/// # Cost of the calls
///
/// With n workers and L distinct loads: `dispatch` and `completed` of cost-1
/// requests that exclude nothing take constant time when a worker's new load
/// is within a few levels of its old one, and about log L steps when it is
/// not (measured, not proven: L at the very worst), also when requests wait. A request that costs more, or excludes
/// workers, passes the less loaded workers that cannot take it: at worst n.
/// While the line is not stopped, every call looks at the requests that are
/// passed over. Control calls that may leave waiting requests without any
/// worker look at the whole line.
///
/// ```
/// use plimsoll_core::{Completion, Config, Dispatch, Outcome, Pool, Request, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool = Pool::new(Config::default());
/// pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// let request = Request::default();
/// let Dispatch::Assigned(lease, "first") = pool.dispatch(&request, "first", Time::ZERO) else {
///     panic!("the worker has room")
/// };
/// assert!(matches!(pool.dispatch(&request, "second", Time::ZERO), Dispatch::InLine(_)));
/// pool.completed(lease, Completion::Succeeded, Time::ZERO).unwrap();
/// let outcome = pool.poll_outcome();
/// assert!(matches!(outcome, Some(Outcome::Assigned { tag: "second", .. })));
/// ```
#[derive(Debug)]
pub struct Pool<T> {
    /// Tells its own leases from those of other pools; nothing else depends on it.
    number: u32,
    config: Config,
    workers: Vec<Worker>,
    /// Slots of `workers` that are free.
    vacant: Vec<u32>,
    /// Exactly the eligible workers.
    order: Order,
    /// How many live workers there are of each capacity, as configured.
    live: BTreeMap<NonZeroU32, u32>,
    ramps: BTreeMap<WorkerId, Ramp>,
    line: Line<T>,
    outcomes: VecDeque<Outcome<T>>,
    due: BTreeSet<(Time, Due)>,
    /// The next request's place in the order of arrival.
    sequence: u64,
    /// The sum of the workers' pending cost.
    pending: u64,
    rng: Rng,
    audit: Audit,
    /// Dispatches since the last audit.
    since_audit: u64,
    /// Whether a dispatch was audited and the line was not at rest since.
    line_unaudited: bool,
}

impl<T> Pool<T> {
    /// A pool without workers.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool};
    ///
    /// let pool: Pool<&str> = Pool::new(Config::default());
    /// assert_eq!(pool.workers().count(), 0);
    /// ```
    pub fn new(config: Config) -> Self {
        static POOLS: AtomicU32 = AtomicU32::new(0);
        Self {
            number: POOLS.fetch_add(1, Ordering::Relaxed),
            config,
            workers: Vec::new(),
            vacant: Vec::new(),
            order: Order::new(config.policy),
            live: BTreeMap::new(),
            ramps: BTreeMap::new(),
            line: Line::new(),
            outcomes: VecDeque::new(),
            due: BTreeSet::new(),
            sequence: 0,
            pending: 0,
            rng: Rng::new(config.seed),
            audit: Audit::default(),
            since_audit: 0,
            line_unaudited: false,
        }
    }

    /// The slot of a worker that is in the pool and not removed.
    fn slot_of(&self, id: WorkerId) -> Result<u32, UnknownWorker> {
        match self.present(id) {
            Some(worker) if !worker.removed => Ok(id.index),
            _ => Err(UnknownWorker(id)),
        }
    }

    /// The worker of this id; removed ones until their last lease is back.
    fn present(&self, id: WorkerId) -> Option<&Worker> {
        let worker = self.workers.get(id.index as usize)?;
        (worker.present && worker.generation == id.generation).then_some(worker)
    }

    fn id_of(&self, slot: u32) -> WorkerId {
        WorkerId { index: slot, generation: self.workers[slot as usize].generation }
    }
}
