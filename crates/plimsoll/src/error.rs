//! What can go wrong, typed; a refused request comes back with its reason.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use plimsoll_core::Refusal;

/// The error of a state factory: anything.
///
/// ```
/// use plimsoll::{FactoryError, ThreadPool};
///
/// fn factory(_number: usize) -> Result<u16, FactoryError> {
///     Ok("8080".parse()?) // any error will do
/// }
/// let pool = ThreadPool::builder().workers(2).build(factory)?;
/// assert_eq!(pool.submit(|port| *port)?.wait()?, 8080);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type FactoryError = Box<dyn Error + Send + Sync>;

/// Why a pool or balancer did not take a request.
///
/// ```
/// use plimsoll::{Balancer, Reason};
///
/// let balancer: Balancer<()> = Balancer::new();
/// let reason = balancer.try_acquire().unwrap_err();
/// assert!(matches!(reason, Reason::NoWorker));
/// assert_eq!(reason.to_string(), "no worker is up");
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Reason {
    /// Every worker is at capacity, and the request was not to wait or as
    /// many wait as the line may hold.
    Full,
    /// No worker is up.
    NoWorker,
    /// The request excludes every worker that could take it.
    EveryWorkerExcluded,
    /// The request costs more than any worker's capacity.
    CostTooLarge,
    /// Its deadline passed before a worker had room.
    DeadlinePassed,
    /// Intake is closed.
    Closed,
    /// The caller is a worker of the same pool, and would wait for itself.
    WouldDeadlock,
    /// No worker could be built; this is the last factory's error.
    Factory(Arc<dyn Error + Send + Sync>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "every worker is at capacity and the line is full",
            Self::NoWorker => "no worker is up",
            Self::EveryWorkerExcluded => "the request excludes every worker that could take it",
            Self::CostTooLarge => "the request costs more than any worker's capacity",
            Self::DeadlinePassed => "the deadline passed before a worker had room",
            Self::Closed => "the pool is closed",
            Self::WouldDeadlock => "a worker of the same pool would wait for itself",
            Self::Factory(error) => return write!(f, "no worker could be built: {error}"),
        })
    }
}

impl Error for Reason {}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::LineFull => Self::Full,
            Refusal::EveryWorkerExcluded => Self::EveryWorkerExcluded,
            Refusal::CostTooLarge => Self::CostTooLarge,
            Refusal::DeadlinePassed => Self::DeadlinePassed,
            // `Refusal` may grow; what is new means that nobody could take it.
            _ => Self::NoWorker,
        }
    }
}

/// A request that was not taken: the reason, and the request itself back.
///
/// ```
/// use plimsoll::{Reason, Shutdown, ThreadPool};
///
/// let pool = ThreadPool::new(1)?;
/// pool.shutdown(Shutdown::Drain);
/// let refused = pool.submit(|()| "run here").unwrap_err();
/// assert!(matches!(refused.reason, Reason::Closed));
/// assert_eq!((refused.request)(&mut ()), "run here");
/// # Ok::<(), plimsoll::BuildError>(())
/// ```
pub struct Refused<F> {
    /// Why.
    pub reason: Reason,
    /// What was submitted.
    pub request: F,
}

impl<F> fmt::Debug for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<F> Error for Refused<F> {}

/// Why a request that was taken has no answer.
///
/// ```
/// use plimsoll::{ReplyError, ThreadPool};
///
/// let pool = ThreadPool::new(1)?;
/// let error = pool.submit(|()| panic!("no such page"))?.wait().unwrap_err();
/// assert!(matches!(&error, ReplyError::Panicked(message) if message == "no such page"));
/// assert_eq!(error.to_string(), "the request panicked: no such page");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum ReplyError {
    /// It panicked, with this message.
    Panicked(String),
    /// It was given up while it waited.
    Refused(Reason),
    /// The pool was shut down before it began.
    Shutdown,
    /// Its worker went away while it ran: the executor dropped it.
    WorkerLost,
    /// The caller is a worker of the same pool, and would wait for itself.
    WouldDeadlock,
    /// The answer did not come in the time given; it may still come.
    TimedOut,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "the request panicked: {message}"),
            Self::Refused(reason) => reason.fmt(f),
            Self::Shutdown => f.write_str("the pool was shut down before the request began"),
            Self::WorkerLost => f.write_str("the worker went away while the request ran"),
            Self::WouldDeadlock => Reason::WouldDeadlock.fmt(f),
            Self::TimedOut => f.write_str("no answer yet in the time given"),
        }
    }
}

impl Error for ReplyError {}

/// Why a pool was not built.
///
/// ```
/// use plimsoll::{BuildError, ThreadPool};
///
/// let error = ThreadPool::builder().capacity(0).build(|_| Ok(())).unwrap_err();
/// assert!(matches!(error, BuildError::ZeroCapacity));
/// ```
#[non_exhaustive]
#[derive(Debug)]
pub enum BuildError {
    /// A pool needs at least one worker.
    NoWorkers,
    /// A worker needs a capacity of at least 1.
    ZeroCapacity,
    /// The system refused to start a thread.
    Spawn(std::io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers => f.write_str("a pool needs at least one worker"),
            Self::ZeroCapacity => f.write_str("a worker needs a capacity of at least 1"),
            Self::Spawn(error) => write!(f, "a thread could not be started: {error}"),
        }
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Spawn(error) => Some(error),
            Self::NoWorkers | Self::ZeroCapacity => None,
        }
    }
}
