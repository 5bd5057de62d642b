//! A run at one moment, and what it came to: plain values for those who show
//! them.

use std::time::Duration;

use plimsoll::Policy;

use super::record::Recent;

/// A run at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) policy: Policy,
    /// Which of how many policies, when they are compared.
    pub(crate) nth: Option<(usize, usize)>,
    /// Pauses left out.
    pub(crate) elapsed: Duration,
    pub(crate) length: Option<Duration>,
    pub(crate) paused: bool,
    /// Nothing more is sent; what is left is answered.
    pub(crate) draining: bool,
    pub(crate) workers: Vec<WorkerReading>,
    /// Requests in line, and the most it holds.
    pub(crate) waiting: usize,
    pub(crate) line: usize,
    pub(crate) recent: Recent,
    /// The load chosen minus the smallest there was, mean of recent dispatches.
    pub(crate) regret: f64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
}

/// One worker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerReading {
    /// The pool's slot; shown counting from 1.
    pub(crate) slot: usize,
    pub(crate) pending: u32,
    pub(crate) capacity: u32,
    pub(crate) slow: bool,
    /// Removed; it finishes what it was given.
    pub(crate) leaving: bool,
}

impl Reading {
    /// Workers that have not been removed.
    pub(crate) fn staying(&self) -> usize {
        self.workers.iter().filter(|worker| !worker.leaving).count()
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// One for each leg.
    pub(crate) rows: Vec<Row>,
    pub(crate) share: Share,
}

/// A row of the closing table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) policy: Policy,
    /// Answered.
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    /// Dropped because the demo was ended.
    pub(crate) not_run: u64,
    pub(crate) per_second: f64,
    pub(crate) mean: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
    pub(crate) max: Duration,
    pub(crate) regret: f64,
    /// The most that a worker has pending minus the least, mean over time.
    pub(crate) imbalance: f64,
}

/// Requests completed by each worker that was there at the end: its slot, how
/// many, whether it is slow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share(pub(crate) Vec<(usize, u64, bool)>);
