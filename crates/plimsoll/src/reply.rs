//! The requester's end of a request.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use plimsoll_core::Ticket;

use crate::crew::ReplyCell;
use crate::error::ReplyError;

/// The answer to come: to wait for in a thread, or to `.await` on any runtime.
///
/// Dropping it cancels the request if it has not begun: its place in line or
/// its charge is given back at once. [`detach`](Self::detach) lets it run.
///
/// ```
/// use plimsoll::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// let reply = pool.submit(|()| 6 * 7)?;
/// assert_eq!(reply.wait()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a reply cancels its request; detach() lets it run"]
pub struct Reply<R> {
    /// `None` once answered or detached.
    cell: Option<Arc<dyn ReplyCell<R>>>,
    ticket: Option<Ticket>,
}

impl<R> Reply<R> {
    pub(crate) fn new(cell: Arc<impl ReplyCell<R> + 'static>, ticket: Option<Ticket>) -> Self {
        Self { cell: Some(cell), ticket }
    }

    /// Blocks until the answer is here.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let (left, right) = (pool.submit(|()| 6)?, pool.submit(|()| 7)?);
    /// assert_eq!(left.wait()? * right.wait()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReplyError`]: the request panicked, was given up, or was dropped with
    /// its pool; or the caller is a worker of the same pool.
    pub fn wait(mut self) -> Result<R, ReplyError> {
        self.wait_until(None)
    }

    /// Blocks for the answer, at most this long. After
    /// [`ReplyError::TimedOut`] it may be called again.
    ///
    /// ```
    /// use plimsoll::{ReplyError, ThreadPool};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let pool = ThreadPool::new(1)?;
    /// let (go, wait) = mpsc::channel();
    /// let mut reply = pool.submit(move |()| wait.recv())?;
    /// assert!(matches!(reply.wait_timeout(Duration::ZERO), Err(ReplyError::TimedOut)));
    /// go.send("at last")?;
    /// assert_eq!(reply.wait_timeout(Duration::MAX)??, "at last");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and [`ReplyError::TimedOut`].
    ///
    /// # Panics
    ///
    /// When the answer has been given before.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<R, ReplyError> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&mut self, until: Option<Instant>) -> Result<R, ReplyError> {
        let cell = self.cell();
        let answer = match cell.slot().take() {
            None if cell.would_deadlock() => return Err(ReplyError::WouldDeadlock),
            None => cell.slot().wait(until),
            answer => answer,
        };
        match answer {
            Some(answer) => {
                self.cell = None;
                answer
            }
            None => Err(ReplyError::TimedOut),
        }
    }

    /// Whether the answer is here.
    ///
    /// ```
    /// use plimsoll::{Shutdown, ThreadPool};
    /// use std::sync::mpsc;
    ///
    /// let pool = ThreadPool::new(1)?;
    /// let (go, wait) = mpsc::channel();
    /// let reply = pool.submit(move |()| wait.recv())?;
    /// assert!(!reply.is_ready());
    /// go.send("done")?;
    /// pool.shutdown(Shutdown::Drain);
    /// assert!(reply.is_ready());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// When the answer has been given before.
    pub fn is_ready(&self) -> bool {
        self.cell().slot().is_filled()
    }

    /// Lets the request run although nobody waits for its answer.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    /// use std::sync::mpsc;
    ///
    /// let pool = ThreadPool::new(1)?;
    /// let (sender, receiver) = mpsc::channel();
    /// pool.submit(move |()| sender.send("it ran"))?.detach();
    /// assert_eq!(receiver.recv()?, "it ran");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach(mut self) {
        if let Some(cell) = self.cell.take() {
            drop(cell.slot().close());
        }
    }

    /// Detaches, and has the answer kept until its worker has given the charge
    /// back, since what drops with it tells that the request is over.
    pub(crate) fn let_go(mut self) {
        self.cell = None;
    }

    fn cell(&self) -> &Arc<dyn ReplyCell<R>> {
        self.cell.as_ref().expect("an answer is given once")
    }
}

impl<R> Future for Reply<R> {
    type Output = Result<R, ReplyError>;

    /// # Panics
    ///
    /// When the answer has been given before.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self.cell().slot().poll(cx);
        if answer.is_ready() {
            self.cell = None;
        }
        answer
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take() {
            cell.cancel(self.ticket);
        }
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = self.cell.as_ref().is_none_or(|cell| cell.slot().is_filled());
        f.debug_struct("Reply").field("ready", &ready).finish_non_exhaustive()
    }
}
