//! How a pool ends, and what it says of it.

use std::time::Duration;

/// What happens to requests that have not begun when a pool is shut down.
///
/// ```
/// use plimsoll::{Shutdown, ThreadPool};
/// use std::time::Duration;
///
/// let pool = ThreadPool::new(2)?;
/// let report = pool.shutdown(Shutdown::DrainFor(Duration::from_secs(10)));
/// assert_eq!((report.not_run, report.still_running), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
