//! One request with its terms.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::guard::StateGuard;
use super::pool::TaskPool;
use super::worker::TaskJob;
use crate::crew::{Submission, Terms};
use crate::error::Refused;
use crate::reply::Reply;

/// A request to be submitted with a cost or a deadline; made by
/// [`TaskPool::request`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use plimsoll::TaskPool;
/// use std::num::NonZeroU32;
///
/// let spawn = |worker| drop(tokio::spawn(worker));
/// let pool = TaskPool::builder().capacity(4).build(spawn, |_| async { Ok(()) })?;
/// let cost = NonZeroU32::new(3).unwrap();
/// let heavy = pool.request().cost(cost).submit_async(|_| async { "done" }).await?;
/// assert_eq!(heavy.await?, "done");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a request does nothing until it is submitted"]
#[derive(Debug)]
pub struct TaskRequest<'a, S: Send + 'static> {
    pool: &'a TaskPool<S>,
    terms: Terms,
}

impl<'a, S: Send + 'static> TaskRequest<'a, S> {
    pub(super) fn new(pool: &'a TaskPool<S>) -> Self {
        Self { pool, terms: Terms::default() }
    }

    /// How much it adds to its worker's pending; 1 by default.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::{Reason, TaskPool};
    /// use std::num::NonZeroU32;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().capacity(4).build(spawn, |_| async { Ok(()) })?;
    /// let cost = NonZeroU32::new(5).unwrap();
    /// let refused = pool.request().cost(cost).submit(|_| async {}).unwrap_err();
    /// assert!(matches!(refused.reason, Reason::CostTooLarge));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cost(mut self, cost: NonZeroU32) -> Self {
        self.terms.cost = cost;
        self
    }

    /// From this moment on it does not begin any more.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::{Reason, TaskPool};
    /// use std::time::Instant;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().build(spawn, |_| async { Ok(()) })?;
    /// let late = pool.request().deadline(Instant::now()).submit(|_| async {});
    /// assert!(matches!(late.unwrap_err().reason, Reason::DeadlinePassed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.terms.deadline = Some(deadline);
        self
    }

    /// Submits it, blocking the thread while the line is full.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    /// use std::num::NonZeroU32;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().capacity(4).build(spawn, |_| async { Ok(()) })?;
    /// let heavy = pool.request().cost(NonZeroU32::new(4).unwrap());
    /// assert_eq!(heavy.submit(|_| async { "alone" })?.await?, "alone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`], with the request: the pool is closed, no worker could ever
    /// take it, its deadline passed, or the caller is one of its workers.
    pub fn submit<F, Fut>(self, request: F) -> Result<Reply<Fut::Output>, Refused<F>>
    where
        F: FnOnce(StateGuard<S>) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        self.submission(request).submit()
    }

    /// Submits it without ever waiting.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    /// use std::time::{Duration, Instant};
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().build(spawn, |_| async { Ok(()) })?;
    /// let soon = Instant::now() + Duration::from_secs(60);
    /// let reply = pool.request().deadline(soon).try_submit(|_| async { "in time" })?;
    /// assert_eq!(reply.await?, "in time");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), and [`Reason::Full`](crate::Reason::Full).
    pub fn try_submit<F, Fut>(self, request: F) -> Result<Reply<Fut::Output>, Refused<F>>
    where
        F: FnOnce(StateGuard<S>) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        self.submission(request).try_submit()
    }

    /// Submits it, waiting while the line is full. It takes its place at the
    /// first poll; dropped while it waits, the request is gone.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    /// use std::time::{Duration, Instant};
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().build(spawn, |_| async { Ok(()) })?;
    /// let soon = Instant::now() + Duration::from_secs(60);
    /// let reply = pool.request().deadline(soon).submit_async(|_| async { "in time" }).await?;
    /// assert_eq!(reply.await?, "in time");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), but a worker may call it.
    pub fn submit_async<F, Fut>(
        self,
        request: F,
    ) -> impl Future<Output = Result<Reply<Fut::Output>, Refused<F>>> + Send + use<S, F, Fut>
    where
        F: FnOnce(StateGuard<S>) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        self.submission(request).submit_async()
    }

    fn submission<F, Fut>(self, request: F) -> Submission<F, Fut::Output, dyn TaskJob<S>>
    where
        F: FnOnce(StateGuard<S>) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        let crew = Arc::clone(self.pool.crew());
        Submission { request, terms: self.terms, crew, as_job: |packet| packet }
    }
}
