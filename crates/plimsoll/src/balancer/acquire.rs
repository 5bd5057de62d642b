//! Acquiring: at once, in a task, in a thread.

use std::fmt;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use plimsoll_core::{Blocked, Completion, Dispatch, Request, Ticket, WorkerId};

use super::{Balancer, Grant, Lease, Shared, Waiter};
use crate::error::Reason;
use crate::slot::Slot;

/// A request for a lease with its terms; made by [`Balancer::request`].
///
/// ```
/// use plimsoll::{Balancer, Reason, WorkerSpec};
/// use std::num::NonZeroU32;
///
/// let balancer = Balancer::new();
/// let spec = WorkerSpec::new(NonZeroU32::new(4).unwrap());
/// let first = balancer.add("first", spec);
/// balancer.add("second", spec);
///
/// // A retry goes elsewhere.
/// let elsewhere = balancer.request().exclude(first).try_acquire()?;
/// assert_eq!(*elsewhere.worker(), "second");
///
/// let cost = NonZeroU32::new(5).unwrap();
/// assert!(matches!(balancer.request().cost(cost).try_acquire(), Err(Reason::CostTooLarge)));
/// # Ok::<(), Reason>(())
/// ```
#[must_use = "a request does nothing until it acquires"]
pub struct AcquireRequest<'a, W: Send + Sync + 'static> {
    balancer: &'a Balancer<W>,
    terms: Terms,
}

#[derive(Clone, Debug)]
struct Terms {
    cost: NonZeroU32,
    excluded: Vec<WorkerId>,
    deadline: Option<Instant>,
}

impl<'a, W: Send + Sync + 'static> AcquireRequest<'a, W> {
    pub(super) fn new(balancer: &'a Balancer<W>) -> Self {
        let terms = Terms { cost: NonZeroU32::MIN, excluded: Vec::new(), deadline: None };
        Self { balancer, terms }
    }

    /// How much it adds to its worker's pending; 1 by default.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::new(4).unwrap()));
    /// let _lease = balancer.request().cost(NonZeroU32::new(3).unwrap()).try_acquire()?;
    /// assert_eq!(balancer.snapshot().pending(), 3);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn cost(mut self, cost: NonZeroU32) -> Self {
        self.terms.cost = cost;
        self
    }

    /// A worker that must not be chosen; may be called for several.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// for name in ["a", "b"] {
    ///     balancer.add(name, WorkerSpec::new(NonZeroU32::MIN));
    /// }
    /// let tried = balancer.try_acquire()?.id();
    /// let retry = balancer.request().exclude(tried).try_acquire()?;
    /// assert_ne!(retry.id(), tried);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn exclude(mut self, worker: WorkerId) -> Self {
        self.terms.excluded.push(worker);
        self
    }

    /// From this moment on it is refused.
    ///
    /// ```
    /// use plimsoll::{Balancer, Reason, WorkerSpec};
    /// use std::num::NonZeroU32;
    /// use std::time::Instant;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let late = balancer.request().deadline(Instant::now()).try_acquire();
    /// assert!(matches!(late, Err(Reason::DeadlinePassed)));
    /// ```
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.terms.deadline = Some(deadline);
        self
    }

    /// As [`Balancer::try_acquire`].
    ///
    /// ```
    /// use plimsoll::{Balancer, Reason, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let nowhere = balancer.request().exclude(id).try_acquire();
    /// assert!(matches!(nowhere, Err(Reason::EveryWorkerExcluded)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::Full`] when it would have to wait; another [`Reason`] when
    /// waiting would not help.
    pub fn try_acquire(self) -> Result<Lease<W>, Reason> {
        let shared = &self.balancer.shared;
        let now = Instant::now();
        match shared.dispatch_now(&self.terms, now) {
            Ok(grant) => Ok(Lease::new(Arc::clone(shared), grant, Some(now), now)),
            Err(Blocked::WouldWait) => Err(Reason::Full),
            Err(Blocked::Refused(refusal)) => Err(refusal.into()),
        }
    }

    /// As [`Balancer::acquire`].
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let two = NonZeroU32::new(2).unwrap();
    /// balancer.add((), WorkerSpec::new(two));
    /// let lease = balancer.request().cost(two).acquire().await?;
    /// assert_eq!(lease.cost(), two);
    /// # Ok::<(), plimsoll::Reason>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire(self) -> Acquire<W> {
        let shared = Arc::clone(&self.balancer.shared);
        Acquire { shared, since: None, stage: Stage::New(self.terms) }
    }

    /// As [`Balancer::acquire_blocking`].
    ///
    /// ```
    /// use plimsoll::{Balancer, Reason, WorkerSpec};
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    ///
    /// let balancer = Balancer::new();
    /// let two = NonZeroU32::new(2).unwrap();
    /// balancer.add((), WorkerSpec::new(two));
    /// let _lease = balancer.request().cost(two).acquire_blocking(Duration::from_secs(60))?;
    /// let second = balancer.acquire_blocking(Duration::ZERO);
    /// assert!(matches!(second, Err(Reason::DeadlinePassed)));
    /// # Ok::<(), Reason>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::DeadlinePassed`] when there was none in time, or another
    /// [`Reason`].
    pub fn acquire_blocking(self, timeout: Duration) -> Result<Lease<W>, Reason> {
        let shared = &self.balancer.shared;
        let since = Instant::now();
        let place = shared.take_place(&self.terms, since)?;
        let (ticket, waiter) = match place {
            Place::Granted(grant) => {
                return Ok(Lease::new(Arc::clone(shared), grant, Some(since), since));
            }
            Place::InLine(ticket, waiter) => (ticket, waiter),
        };
        let answer = waiter.wait(since.checked_add(timeout)).or_else(|| {
            // Out of time: out of line, unless it was answered just now.
            shared.leave_line(ticket);
            waiter.close()
        });
        match answer {
            Some(Ok(grant)) => {
                Ok(Lease::new(Arc::clone(shared), grant, Some(since), Instant::now()))
            }
            Some(Err(refusal)) => Err(refusal.into()),
            None => Err(Reason::DeadlinePassed),
        }
    }
}

/// Where an acquire stands.
enum Place<W> {
    Granted(Grant<W>),
    InLine(Ticket, Arc<Waiter<W>>),
}

impl<W: Send + Sync + 'static> Shared<W> {
    fn request<'a>(&self, terms: &'a Terms) -> Request<'a> {
        let deadline = terms.deadline.map(|at| self.clock.time(at));
        Request { cost: terms.cost, excluded: &terms.excluded, deadline }
    }

    fn dispatch_now(&self, terms: &Terms, at: Instant) -> Result<Grant<W>, Blocked> {
        let request = self.request(terms);
        self.with(at, |state, now| {
            state.pool.try_dispatch(&request, now).map(|charge| state.grant(charge))
        })
    }

    /// A worker, or a place in line. What waits is allocated outside the lock,
    /// and only when there is no worker at once.
    fn take_place(&self, terms: &Terms, since: Instant) -> Result<Place<W>, Reason> {
        match self.dispatch_now(terms, since) {
            Ok(grant) => return Ok(Place::Granted(grant)),
            Err(Blocked::Refused(refusal)) => return Err(refusal.into()),
            Err(Blocked::WouldWait) => {}
        }
        let request = self.request(terms);
        let waiter = Arc::new(Slot::new());
        let tag = Arc::clone(&waiter);
        self.with(since, |state, now| match state.pool.dispatch(&request, tag, now) {
            Dispatch::Assigned(charge, _) => Ok(Place::Granted(state.grant(charge))),
            Dispatch::InLine(ticket) => Ok(Place::InLine(ticket, waiter)),
            Dispatch::Refused(refusal, _) => Err(refusal.into()),
        })
    }

    fn leave_line(&self, ticket: Ticket) {
        let left = self.with(Instant::now(), |state, now| state.pool.cancel(ticket, now));
        drop(left);
    }

    /// Gives a charge back.
    pub(super) fn give_back(&self, grant: Grant<W>, how: Completion, at: Instant) {
        let Grant { charge, worker, .. } = grant;
        // First, so that whoever removed the worker gets it whole.
        drop(worker);
        let given = self.with(at, |state, now| state.pool.completed(charge, how, now));
        debug_assert_eq!(given, Ok(()), "a balancer completes only its own leases");
    }
}

/// A lease to come; made by [`Balancer::acquire`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use plimsoll::{Balancer, WorkerSpec};
/// use std::num::NonZeroU32;
///
/// let balancer = Balancer::new();
/// balancer.add("the only one", WorkerSpec::new(NonZeroU32::MIN));
/// let lease = balancer.try_acquire()?;
/// let (next, ()) = tokio::join!(balancer.acquire(), async { drop(lease) });
/// assert_eq!(*next?.worker(), "the only one");
/// # Ok::<(), plimsoll::Reason>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a future does nothing until it is polled"]
pub struct Acquire<W: Send + Sync + 'static> {
    shared: Arc<Shared<W>>,
    /// When it was first polled.
    since: Option<Instant>,
    stage: Stage<W>,
}

enum Stage<W> {
    New(Terms),
    InLine(Ticket, Arc<Waiter<W>>),
    Done,
}

impl<W: Send + Sync + 'static> Future for Acquire<W> {
    type Output = Result<Lease<W>, Reason>;

    /// # Panics
    ///
    /// When it is polled after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if let Stage::New(terms) = &self.stage {
            self.stage = match self.shared.take_place(terms, since) {
                Err(reason) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Err(reason));
                }
                Ok(Place::Granted(grant)) => {
                    self.stage = Stage::Done;
                    let shared = Arc::clone(&self.shared);
                    return Poll::Ready(Ok(Lease::new(shared, grant, Some(since), since)));
                }
                Ok(Place::InLine(ticket, waiter)) => Stage::InLine(ticket, waiter),
            };
        }
        let Stage::InLine(_, waiter) = &self.stage else { panic!("polled after it was ready") };
        let answer = std::task::ready!(waiter.poll(cx));
        self.stage = Stage::Done;
        Poll::Ready(match answer {
            Ok(grant) => {
                Ok(Lease::new(Arc::clone(&self.shared), grant, Some(since), Instant::now()))
            }
            Err(refusal) => Err(refusal.into()),
        })
    }
}

impl<W: Send + Sync + 'static> Drop for Acquire<W> {
    fn drop(&mut self) {
        if let Stage::InLine(ticket, waiter) = std::mem::replace(&mut self.stage, Stage::Done) {
            self.shared.leave_line(ticket);
            if let Some(Ok(grant)) = waiter.close() {
                // Assigned and never seen: the next in line gets it.
                self.shared.give_back(grant, Completion::Succeeded, Instant::now());
            }
        }
    }
}

impl<W: Send + Sync + 'static> fmt::Debug for Acquire<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::New(_) => "new",
            Stage::InLine(..) => "in line",
            Stage::Done => "done",
        };
        f.debug_struct("Acquire").field("stage", &stage).finish_non_exhaustive()
    }
}

impl<W: Send + Sync + 'static> fmt::Debug for AcquireRequest<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireRequest").field("terms", &self.terms).finish_non_exhaustive()
    }
}
