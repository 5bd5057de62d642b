//! Requests and what becomes of them: leases, tickets, refusals, outcomes.

use core::fmt;
use core::num::NonZeroU32;

use crate::{Time, UnknownWorker, WorkerId};

/// What a request asks of the pool.
///
/// ```
/// use plimsoll_core::Request;
///
/// let plain = Request::default();
/// assert_eq!(plain.cost.get(), 1);
/// assert!(plain.excluded.is_empty() && plain.deadline.is_none());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How much it adds to its worker's pending.
    pub cost: NonZeroU32,
    /// Workers that must not get it, as when it is tried again elsewhere.
    /// Unknown and stale ids exclude nothing.
    pub excluded: &'a [WorkerId],
    /// From this moment on it is refused instead of dispatched.
    pub deadline: Option<Time>,
}

impl Default for Request<'_> {
    /// Cost 1, nothing excluded, no deadline.
    fn default() -> Self {
        Self { cost: NonZeroU32::MIN, excluded: &[], deadline: None }
    }
}

/// One charge: the right to have one request at one worker.
///
/// It is neither `Clone` nor `Copy`, and [`Pool::completed`](crate::Pool::completed)
/// consumes it, so giving back twice does not compile:
///
/// ```compile_fail,E0382
/// use plimsoll_core::{Completion, Config, Dispatch, Pool, Request, Time};
/// # let mut pool = Pool::new(Config::default());
/// if let Dispatch::Assigned(lease, ()) = pool.dispatch(&Request::default(), (), Time::ZERO) {
///     pool.completed(lease, Completion::Succeeded, Time::ZERO);
///     pool.completed(lease, Completion::Succeeded, Time::ZERO); // error: use of moved value
/// }
/// ```
///
/// A lease belongs to the pool that made it. Dropping one without giving it
/// back leaves its charge standing; the shells' own lease types give back by
/// `Drop`.
///
/// ```
/// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let three = NonZeroU32::new(3).unwrap();
/// let id = pool.add(WorkerSpec::new(three), Time::ZERO);
/// let lease = pool.dispatch_to(id, three).unwrap();
/// assert_eq!((lease.worker(), lease.cost()), (id, three));
/// assert_eq!(pool.cancel(lease.ticket(), Time::ZERO), None); // it does not wait
/// ```
#[must_use = "a lease that is not given back leaves its worker charged for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    /// The number of the pool that made it.
    pub(crate) pool: u32,
    pub(crate) worker: WorkerId,
    pub(crate) cost: NonZeroU32,
    /// The request's place in the order of arrival, for `take_back`.
    pub(crate) sequence: u64,
}

impl Lease {
    /// The worker that is charged.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// How much it is charged.
    pub fn cost(&self) -> NonZeroU32 {
        self.cost
    }

    /// What its request is named should it wait in line, as it does after
    /// [`Pool::take_back`](crate::Pool::take_back).
    pub fn ticket(&self) -> Ticket {
        Ticket(self.sequence)
    }
}

/// Names one waiting request; never used for another one.
///
/// ```
/// use plimsoll_core::{Completion, Config, Dispatch, Outcome, Pool, Request, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool = Pool::new(Config::default());
/// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// let busy = pool.dispatch_to(id, NonZeroU32::MIN).unwrap();
/// let Dispatch::InLine(ticket) = pool.dispatch(&Request::default(), "tag", Time::ZERO) else {
///     panic!("its only worker is at capacity")
/// };
/// pool.completed(busy, Completion::Succeeded, Time::ZERO).unwrap();
/// let outcome = pool.poll_outcome();
/// assert!(matches!(outcome, Some(Outcome::Assigned { ticket: told, .. }) if told == ticket));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// What [`Pool::dispatch`](crate::Pool::dispatch) did with a request; the tag
/// comes back unless the request waits.
///
/// ```
/// use plimsoll_core::{Config, Dispatch, Pool, Refusal, Request, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool = Pool::new(Config { line: 1, ..Config::default() });
/// pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// let mut dispatch = |tag| pool.dispatch(&Request::default(), tag, Time::ZERO);
/// assert!(matches!(dispatch("a"), Dispatch::Assigned(_, "a")));
/// assert!(matches!(dispatch("b"), Dispatch::InLine(_)));
/// assert_eq!(dispatch("c"), Dispatch::Refused(Refusal::LineFull, "c"));
/// ```
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Dispatch<T> {
    /// A worker was chosen and charged.
    Assigned(Lease, T),
    /// It waits in line; an [`Outcome`] will name this ticket.
    InLine(Ticket),
    /// It was not taken.
    Refused(Refusal, T),
}

/// Why a request that may not wait was not dispatched.
///
/// ```
/// use plimsoll_core::{Blocked, Config, Pool, Refusal, Request, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let request = Request::default();
/// let blocked = pool.try_dispatch(&request, Time::ZERO);
/// assert_eq!(blocked, Err(Blocked::Refused(Refusal::NoWorker)));
/// pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// let _lease = pool.try_dispatch(&request, Time::ZERO).unwrap();
/// assert_eq!(pool.try_dispatch(&request, Time::ZERO), Err(Blocked::WouldWait));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// It would have to wait in line.
    WouldWait,
    /// It would be refused.
    Refused(Refusal),
}

/// Why the pool did not take a request, or gave one up that waited.
///
/// ```
/// use plimsoll_core::{Config, Dispatch, Pool, Refusal, Request, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool = Pool::new(Config::default());
/// pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// let request = Request { cost: NonZeroU32::new(2).unwrap(), ..Request::default() };
/// let refused = pool.dispatch(&request, "tag", Time::ZERO);
/// assert_eq!(refused, Dispatch::Refused(Refusal::CostTooLarge, "tag"));
/// assert_eq!(Refusal::LineFull.to_string(), "the line is full");
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// As many requests wait as the line may hold.
    LineFull,
    /// No worker is up or starting, or all of them are draining.
    NoWorker,
    /// Workers that could take it exist, and the request excludes each.
    EveryWorkerExcluded,
    /// The request costs more than the capacity of any worker.
    CostTooLarge,
    /// Its deadline passed before a worker had room.
    DeadlinePassed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineFull => "the line is full",
            Self::NoWorker => "no worker is up",
            Self::EveryWorkerExcluded => "the request excludes every worker that could take it",
            Self::CostTooLarge => "the request costs more than any worker's capacity",
            Self::DeadlinePassed => "the deadline passed before a worker had room",
        })
    }
}

impl core::error::Error for Refusal {}

/// What became of a waiting request or a removed worker, in the order it
/// happened.
///
/// ```
/// use plimsoll_core::{Config, Dispatch, Health, Outcome, Pool, Refusal, Request, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool = Pool::new(Config::default());
/// let spec = WorkerSpec::new(NonZeroU32::MIN);
/// let id = pool.add(WorkerSpec { health: Health::Starting, ..spec }, Time::ZERO);
/// let Dispatch::InLine(ticket) = pool.dispatch(&Request::default(), "tag", Time::ZERO) else {
///     panic!("no worker is up yet")
/// };
/// pool.remove(id, Time::ZERO).unwrap();
/// let refused = Outcome::Refused { ticket, reason: Refusal::NoWorker, tag: "tag" };
/// assert_eq!(pool.poll_outcome(), Some(refused));
/// assert_eq!(pool.poll_outcome(), Some(Outcome::Removed(id)));
/// ```
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// A waiting request got its worker.
    Assigned {
        /// The request's ticket, now void.
        ticket: Ticket,
        /// The charge.
        lease: Lease,
        /// What the shell gave with the request.
        tag: T,
    },
    /// A waiting request was given up.
    Refused {
        /// The request's ticket, now void.
        ticket: Ticket,
        /// Why.
        reason: Refusal,
        /// What the shell gave with the request.
        tag: T,
    },
    /// The last lease of a removed worker is back; its id is stale from now on.
    Removed(WorkerId),
}

/// How a request ended, told with its lease.
///
/// ```
/// use plimsoll_core::{Completion, Config, Pool, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// for how in [Completion::Succeeded, Completion::Failed] {
///     let lease = pool.dispatch_to(id, NonZeroU32::MIN).unwrap();
///     pool.completed(lease, how, Time::ZERO).unwrap();
/// }
/// let stats = pool.worker(id).unwrap();
/// assert_eq!((stats.completed, stats.failed, stats.penalty), (2, 1, 4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The worker did its part.
    Succeeded,
    /// The worker failed: it gets a [`Penalty`](crate::Penalty).
    Failed,
}

/// A lease that its pool has no charge for: it was made by another pool.
///
/// ```
/// use plimsoll_core::{Completion, Config, Pool, StaleLease, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let mut other: Pool<()> = Pool::new(Config::default());
/// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// let lease = pool.dispatch_to(id, NonZeroU32::MIN).unwrap();
/// let given_back = other.completed(lease, Completion::Succeeded, Time::ZERO);
/// // It comes back, for the pool that made it.
/// let Err(StaleLease(lease)) = given_back else { panic!("it is no lease of this pool") };
/// assert_eq!(pool.completed(lease, Completion::Succeeded, Time::ZERO), Ok(()));
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct StaleLease(
    /// As it was.
    pub Lease,
);

impl fmt::Display for StaleLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lease was not made by this pool")
    }
}

impl core::error::Error for StaleLease {}

/// Why [`Pool::dispatch_to`](crate::Pool::dispatch_to) did not charge the
/// named worker.
///
/// ```
/// use plimsoll_core::{Config, DispatchToError, Health, Pool, Time, UnknownWorker, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let (now, one) = (Time::ZERO, NonZeroU32::MIN);
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let id = pool.add(WorkerSpec::new(one), now);
/// let too_large = NonZeroU32::new(2).unwrap();
/// assert_eq!(pool.dispatch_to(id, too_large), Err(DispatchToError::NoRoom));
/// pool.set_health(id, Health::Down, now).unwrap();
/// assert_eq!(pool.dispatch_to(id, one), Err(DispatchToError::NotUp));
/// pool.remove(id, now).unwrap();
/// assert_eq!(pool.dispatch_to(id, one), Err(DispatchToError::Unknown(UnknownWorker(id))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchToError {
    /// There is no such worker.
    Unknown(UnknownWorker),
    /// It is not up, or it is draining.
    NotUp,
    /// It has no room for the cost.
    NoRoom,
}

impl fmt::Display for DispatchToError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(unknown) => unknown.fmt(f),
            Self::NotUp => f.write_str("the worker is not up"),
            Self::NoRoom => f.write_str("the worker has no room for the request's cost"),
        }
    }
}

impl core::error::Error for DispatchToError {}
