//! The lease: a worker, and the charge that dropping it gives back.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use plimsoll_core::{Completion, WorkerId};

use super::{Grant, Shared};
use crate::stats::nanos;

/// The right to have one request at one worker.
///
/// Dropping it says that the request is completed, whatever way led there;
/// dropped while its thread unwinds, or by [`fail`](Self::fail), it says that
/// the worker failed, which makes the worker look busier for a while.
///
/// ```
/// use plimsoll::{Balancer, WorkerSpec};
/// use std::num::NonZeroU32;
///
/// let balancer = Balancer::new();
/// let id = balancer.add("10.0.0.1:80", WorkerSpec::new(NonZeroU32::MIN));
/// let lease = balancer.try_acquire()?;
/// assert_eq!((*lease.worker(), lease.id(), lease.cost().get()), ("10.0.0.1:80", id, 1));
/// drop(lease);
/// assert_eq!(balancer.snapshot().pending(), 0);
/// # Ok::<(), plimsoll::Reason>(())
/// ```
#[must_use = "dropping a lease gives its charge back"]
pub struct Lease<W: Send + Sync + 'static> {
    shared: Arc<Shared<W>>,
    /// `None` only while it is dropped.
    grant: Option<Grant<W>>,
    /// When it was asked for; nothing where that was no request.
    since: Option<Instant>,
    began: Instant,
    failed: bool,
}

impl<W: Send + Sync + 'static> Lease<W> {
    /// Asked for at `since`, and given now.
    pub(super) fn new(
        shared: Arc<Shared<W>>,
        grant: Grant<W>,
        since: Option<Instant>,
        began: Instant,
    ) -> Self {
        Self { shared, grant: Some(grant), since, began, failed: false }
    }

    /// The worker.
    pub fn worker(&self) -> &W {
        &self.grant().worker
    }

    /// The worker's id in its balancer, as for
    /// [`exclude`](super::AcquireRequest::exclude).
    pub fn id(&self) -> WorkerId {
        self.grant().charge.worker()
    }

    /// How much it is charged.
    pub fn cost(&self) -> NonZeroU32 {
        self.grant().charge.cost()
    }

    /// What the worker had pending when this lease was given, its own cost
    /// included.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::new(2).unwrap()));
    /// let (first, second) = (balancer.try_acquire()?, balancer.try_acquire()?);
    /// assert_eq!((first.pending(), second.pending()), (1, 2));
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn pending(&self) -> u32 {
        self.grant().pending
    }

    /// Gives the charge back and says that the worker failed.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// balancer.try_acquire()?.fail();
    /// assert_eq!(balancer.snapshot().workers[0].failed, 1);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn fail(mut self) {
        self.mark_failed();
    }

    /// Says that the worker failed; the charge is still given back when the
    /// lease is dropped.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let mut lease = balancer.try_acquire()?;
    /// lease.mark_failed();
    /// assert_eq!(balancer.snapshot().pending(), 1);
    /// drop(lease);
    /// assert_eq!(balancer.snapshot().workers[0].failed, 1);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn mark_failed(&mut self) {
        self.failed = true;
    }

    fn grant(&self) -> &Grant<W> {
        self.grant.as_ref().expect("the grant is here until the lease is dropped")
    }
}

impl<W: Send + Sync + 'static> Drop for Lease<W> {
    fn drop(&mut self) {
        let Some(grant) = self.grant.take() else { return };
        let now = Instant::now();
        let failed = self.failed || std::thread::panicking();
        let how = if failed { Completion::Failed } else { Completion::Succeeded };
        self.shared.give_back(grant, how, now);
        if let Some(since) = self.since {
            let run = now.saturating_duration_since(self.began);
            let wait = self.began.saturating_duration_since(since);
            self.shared.recorder.record(nanos(wait), nanos(run));
        }
    }
}

impl<W: Send + Sync + fmt::Debug + 'static> fmt::Debug for Lease<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("worker", self.worker()).finish_non_exhaustive()
    }
}
