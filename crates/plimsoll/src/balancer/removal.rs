//! A removed worker on its way out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::slot::Slot;

/// Yields the worker when its last lease is back: to wait for in a thread, or
/// to `.await`. Made by [`Balancer::remove`](super::Balancer::remove); dropped,
/// the worker is dropped when its last lease is back.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use plimsoll::{Balancer, WorkerSpec};
/// use std::num::NonZeroU32;
///
/// let balancer = Balancer::new();
/// let id = balancer.add(String::from("connection"), WorkerSpec::new(NonZeroU32::MIN));
/// let lease = balancer.try_acquire()?;
/// let (worker, ()) = tokio::join!(balancer.remove(id)?, async { drop(lease) });
/// assert_eq!(worker, "connection");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it yields the worker; drop it to let the worker go"]
pub struct Removal<W> {
    slot: Arc<Slot<W>>,
}

impl<W> Removal<W> {
    pub(super) fn new(slot: Arc<Slot<W>>) -> Self {
        Self { slot }
    }

    /// Blocks until the last lease is back, at most this long.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add(String::from("connection"), WorkerSpec::new(NonZeroU32::MIN));
    /// let removal = balancer.remove(id)?;
    /// assert_eq!(removal.wait(Duration::from_secs(60)).unwrap(), "connection");
    /// # Ok::<(), plimsoll::UnknownWorker>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The removal itself, to wait on, when a lease is still out.
    pub fn wait(self, timeout: Duration) -> Result<W, Self> {
        self.slot.wait(Instant::now().checked_add(timeout)).ok_or(self)
    }
}

impl<W> Future for Removal<W> {
    type Output = W;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W> {
        self.slot.poll(cx)
    }
}

impl<W> fmt::Debug for Removal<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Removal").field("over", &self.slot.is_filled()).finish()
    }
}
