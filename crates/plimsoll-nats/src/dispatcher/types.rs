//! What goes into the dispatcher and comes out of it.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use plimsoll_core::Refusal;

use crate::wire::{Answer, LeaseId, WorkerName};

/// How a dispatcher works.
///
/// ```
/// use plimsoll_nats::Settings;
///
/// let settings = Settings { line: 100, ..Settings::default() };
/// assert!(settings.beat_every < settings.lost_after);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most requests in line.
    pub line: usize,
    /// The most time that a request waits in line; one may ask for less. `None` is no bound.
    pub line_time: Option<Duration>,
    /// The most bytes of requests that are held, in line and for another try.
    pub keep_bytes: usize,
    /// How often workers are to beat.
    pub beat_every: Duration,
    /// A worker whose beats stay away for so long is given up.
    pub lost_after: Duration,
    /// Every so many dispatches one is audited by a plain scan; 0 is never.
    pub audit_every: u64,
}

impl Settings {
    /// Looks whether workers can keep to them.
    ///
    /// # Errors
    ///
    /// What is out of bounds, and what would be right.
    ///
    /// ```
    /// use plimsoll_nats::Settings;
    /// use std::time::Duration;
    ///
    /// assert!(Settings::default().check().is_ok());
    /// let spins = Settings { beat_every: Duration::ZERO, ..Settings::default() };
    /// assert!(spins.check().unwrap_err().contains("beat"));
    /// ```
    pub fn check(&self) -> Result<(), String> {
        let Self { beat_every, lost_after, .. } = self;
        if *beat_every < Duration::from_millis(1) {
            return Err(format!("a beat every {beat_every:?}: it is at least 1 ms"));
        }
        let longest = Duration::from_millis(u32::MAX.into());
        if *lost_after > longest || *lost_after / 4 < *beat_every {
            return Err(format!(
                "workers given up after {lost_after:?}: it is at least four beats, which come every \
                 {beat_every:?}, and at most {longest:?}"
            ));
        }
        Ok(())
    }
}

impl Default for Settings {
    /// A line of 1,024 for at most 10 s, 64 MiB, beats every 250 ms and workers given up after
    /// 3 s, an audit every 1,024 dispatches.
    fn default() -> Self {
        Self {
            line: 1024,
            line_time: Some(Duration::from_secs(10)),
            keep_bytes: 64 << 20,
            beat_every: Duration::from_millis(250),
            lost_after: Duration::from_secs(3),
            audit_every: 1024,
        }
    }
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Parcel {
    /// Where its answer goes.
    pub inbox: Option<Subject>,
    /// Its headers.
    pub headers: Option<HeaderMap>,
    /// Its payload.
    pub payload: Bytes,
}

/// What holding a request takes besides its bytes.
const RECORD: usize = 256;

impl Parcel {
    /// About the memory that it takes.
    pub(crate) fn size(&self) -> usize {
        let of_headers = |headers: &HeaderMap| {
            let of_one = |(name, values): (&async_nats::HeaderName, &Vec<_>)| {
                AsRef::<str>::as_ref(name).len()
                    + values
                        .iter()
                        .map(|value: &async_nats::HeaderValue| value.as_str().len() + 64)
                        .sum::<usize>()
            };
            headers.iter().map(of_one).sum::<usize>()
        };
        let headers = self.headers.as_ref().map_or(0, of_headers);
        RECORD + headers + self.payload.len() + self.inbox.as_ref().map_or(0, |inbox| inbox.len())
    }
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How much it adds to its worker's pending.
    pub cost: NonZeroU32,
    /// It is not delivered later than this after it came.
    pub timeout: Option<Duration>,
    /// Whether it may run twice.
    pub is_repeatable: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { cost: NonZeroU32::MIN, timeout: None, is_repeatable: false }
    }
}

/// Why a request got no worker's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// Every worker is full, and so is the line.
    LineFull,
    /// No worker is up.
    NoWorker,
    /// It costs more than any worker's capacity.
    CostTooLarge,
    /// It waited in line for as long as it may.
    TooLate,
    /// Its worker was given up, and it may not run twice, or was not kept for it.
    WorkerLost,
    /// Workers did not begin it, time after time, or it was not kept for another.
    Unbegun,
    /// The balancer is closing.
    Closing,
}

impl Error {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LineFull,
        Self::NoWorker,
        Self::CostTooLarge,
        Self::TooLate,
        Self::WorkerLost,
        Self::Unbegun,
        Self::Closing,
    ];

    /// The code of the error reply, as HTTP has them.
    pub fn code(self) -> u16 {
        match self {
            Self::LineFull | Self::NoWorker | Self::Closing => 503,
            Self::CostTooLarge => 413,
            Self::TooLate => 504,
            Self::WorkerLost | Self::Unbegun => 502,
        }
    }

    /// Whether it may be asked for again.
    pub fn passes(self) -> bool {
        self.code() == 503
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::LineFull => "line_full",
            Self::NoWorker => "no_worker",
            Self::CostTooLarge => "cost_too_large",
            Self::TooLate => "too_late",
            Self::WorkerLost => "worker_lost",
            Self::Unbegun => "unbegun",
            Self::Closing => "closing",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineFull => "every worker is full, and so is the line",
            Self::NoWorker => "no worker is up",
            Self::CostTooLarge => "the request costs more than any worker's capacity",
            Self::TooLate => "the request waited in line for as long as it may",
            Self::WorkerLost => "the worker was lost, and the request may have run",
            Self::Unbegun => "no worker began the request",
            Self::Closing => "the balancer is closing",
        })
    }
}

impl std::error::Error for Error {}

impl From<Refusal> for Error {
    fn from(reason: Refusal) -> Self {
        match reason {
            Refusal::LineFull => Self::LineFull,
            Refusal::CostTooLarge => Self::CostTooLarge,
            Refusal::DeadlinePassed => Self::TooLate,
            // Those that it excludes did not begin it.
            Refusal::EveryWorkerExcluded => Self::Unbegun,
            _ => Self::NoWorker,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// A worker gets a request.
    Deliver {
        /// Which.
        worker: WorkerName,
        /// Where to: the subject of all that it gets in its generation and this epoch.
        to: Subject,
        /// What its report is about.
        lease: LeaseId,
        /// The request.
        parcel: Parcel,
    },
    /// A requester gets an error.
    Refuse {
        /// Where its answer would go.
        inbox: Option<Subject>,
        /// The error.
        error: Error,
    },
    /// A worker's beat is answered.
    Answer {
        /// Whose.
        worker: WorkerName,
        /// Its generation.
        generation: u64,
        /// The balancer's epoch.
        epoch: u64,
        /// With what.
        answer: Answer,
    },
    /// A worker is told that its generation is over.
    GiveUp {
        /// Which.
        worker: WorkerName,
        /// Which generation.
        generation: u64,
        /// The balancer's epoch, or the one that the worker knows if there is none after it.
        epoch: u64,
        /// The next one must be greater than this.
        above: u64,
    },
    /// Whether requests are wanted: not while no worker is up, so that the server tells
    /// requesters at once that nobody is there.
    Attend(bool),
}

/// What a dispatcher has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that came.
    pub requests: u64,
    /// Requests that a worker has answered, errors of its own included.
    pub answered: u64,
    /// Of those, with errors of its own.
    pub failed: u64,
    /// Requests that got an error instead, in the order of [`Error::ALL`].
    pub refused: [u64; Error::ALL.len()],
    /// Deliveries that found nobody.
    pub vanished: u64,
    /// Requests that were lost with a worker, or on the way to it or from it.
    pub lost: u64,
    /// Requests that were given to another worker.
    pub again: u64,
    /// Requests that workers had already as they joined.
    pub adopted: u64,
    /// Reports on leases that are not out: late ones, repeated ones, forged ones.
    pub unknown: u64,
    /// Beats of generations that are over.
    pub stale: u64,
    /// Workers that were given up.
    pub given_up: u64,
}
