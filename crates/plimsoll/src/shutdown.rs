//! How a pool ends, and what it says of it.

use std::time::Duration;

/// What happens to requests that have not begun when a pool is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// They are run.
    Drain,
    /// They are run for this long; then those left are dropped, and requests
    /// that still run are left behind.
    DrainFor(Duration),
    /// They are dropped; their replies get
    /// [`ReplyError::Shutdown`](crate::ReplyError::Shutdown).
    DropQueue,
}

/// What a shutdown left undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Requests that were dropped before they began.
    pub not_run: usize,
    /// Requests that were running when the time was up.
    pub still_running: usize,
}
