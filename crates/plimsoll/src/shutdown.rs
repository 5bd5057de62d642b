//! How a pool ends, and what it says of it.

use std::time::Duration;

/// What happens to requests that have not begun when a pool is shut down.
///
/// ```
/// use plimsoll::{Shutdown, ThreadPool};
/// use std::time::Duration;
///
/// let ways = [Shutdown::Drain, Shutdown::DrainFor(Duration::from_secs(5)), Shutdown::DropQueue];
/// for how in ways {
///     let report = ThreadPool::new(1)?.shutdown(how);
///     assert_eq!(report.still_running, 0);
/// }
/// # Ok::<(), plimsoll::BuildError>(())
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
///
/// ```
/// use plimsoll::{Shutdown, ShutdownReport, ThreadPool};
/// use std::{sync::mpsc, time::Duration};
///
/// let pool = ThreadPool::new(1)?;
/// let (sender, receiver) = mpsc::sync_channel(0);
/// let running = pool.submit(move |()| (sender.send("begun"), sender.send("never received")))?;
/// assert_eq!(receiver.recv()?, "begun");
/// let waiting = pool.submit(|()| ())?;
/// let report = pool.shutdown(Shutdown::DrainFor(Duration::ZERO));
/// assert_eq!(report, ShutdownReport { not_run: 1, still_running: 1 });
/// # drop((receiver, running, waiting));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Requests that were dropped before they began.
    pub not_run: usize,
    /// Requests that were running when the time was up.
    pub still_running: usize,
}
