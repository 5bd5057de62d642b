//! One request with its terms.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::pool::ThreadPool;
use super::worker::ThreadJob;
use crate::crew::{Submission, Terms};
use crate::error::Refused;
use crate::reply::Reply;

/// A request to be submitted with a cost or a deadline; made by
/// [`ThreadPool::request`].
///
/// ```
/// use plimsoll::ThreadPool;
/// use std::num::NonZeroU32;
/// use std::time::{Duration, Instant};
///
/// let pool = ThreadPool::builder().capacity(4).build(|_| Ok(()))?;
/// let heavy = pool
///     .request()
///     .cost(NonZeroU32::new(3).unwrap())
///     .deadline(Instant::now() + Duration::from_secs(1))
///     .submit(|()| "done")?;
/// assert_eq!(heavy.wait()?, "done");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a request does nothing until it is submitted"]
#[derive(Debug)]
pub struct ThreadRequest<'a, S: 'static> {
    pool: &'a ThreadPool<S>,
    terms: Terms,
}

impl<'a, S: 'static> ThreadRequest<'a, S> {
    pub(super) fn new(pool: &'a ThreadPool<S>) -> Self {
        Self { pool, terms: Terms::default() }
    }

    /// How much it adds to its worker's pending; 1 by default.
    ///
    /// ```
    /// use plimsoll::{Reason, ThreadPool};
    /// use std::num::NonZeroU32;
    ///
    /// let pool = ThreadPool::builder().capacity(4).build(|_| Ok(()))?;
    /// let cost = NonZeroU32::new(5).unwrap();
    /// let refused = pool.request().cost(cost).submit(|()| ()).unwrap_err();
    /// assert!(matches!(refused.reason, Reason::CostTooLarge));
    /// # Ok::<(), plimsoll::BuildError>(())
    /// ```
    pub fn cost(mut self, cost: NonZeroU32) -> Self {
        self.terms.cost = cost;
        self
    }

    /// From this moment on it does not begin any more.
    ///
    /// ```
    /// use plimsoll::{Reason, ThreadPool};
    /// use std::time::Instant;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let late = pool.request().deadline(Instant::now()).submit(|()| ());
    /// assert!(matches!(late.unwrap_err().reason, Reason::DeadlinePassed));
    /// # Ok::<(), plimsoll::BuildError>(())
    /// ```
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.terms.deadline = Some(deadline);
        self
    }

    /// Submits it, blocking while the line is full.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    /// use std::num::NonZeroU32;
    ///
    /// let pool = ThreadPool::builder().capacity(4).build(|_| Ok(()))?;
    /// let heavy = pool.request().cost(NonZeroU32::new(4).unwrap());
    /// assert_eq!(heavy.submit(|()| "alone")?.wait()?, "alone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`], with the request: the pool is closed, no worker could ever
    /// take it, its deadline passed, or the caller is one of its workers.
    pub fn submit<R, F>(self, request: F) -> Result<Reply<R>, Refused<F>>
    where
        F: FnOnce(&mut S) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.submission(request).submit()
    }

    /// Submits it without ever waiting.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    /// use std::time::{Duration, Instant};
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let soon = Instant::now() + Duration::from_secs(60);
    /// let reply = pool.request().deadline(soon).try_submit(|()| "in time")?;
    /// assert_eq!(reply.wait()?, "in time");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), and [`Reason::Full`](crate::Reason::Full).
    pub fn try_submit<R, F>(self, request: F) -> Result<Reply<R>, Refused<F>>
    where
        F: FnOnce(&mut S) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.submission(request).try_submit()
    }

    /// Submits it, waiting while the line is full. It takes its place at the
    /// first poll; dropped while it waits, the request is gone.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::ThreadPool;
    /// use std::time::{Duration, Instant};
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let soon = Instant::now() + Duration::from_secs(60);
    /// let reply = pool.request().deadline(soon).submit_async(|()| "in time").await?;
    /// assert_eq!(reply.await?, "in time");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), but a worker may call it.
    pub fn submit_async<R, F>(
        self,
        request: F,
    ) -> impl Future<Output = Result<Reply<R>, Refused<F>>> + Send + use<S, R, F>
    where
        F: FnOnce(&mut S) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.submission(request).submit_async()
    }

    fn submission<R, F>(self, request: F) -> Submission<F, R, dyn ThreadJob<S>>
    where
        F: FnOnce(&mut S) -> R + Send + 'static,
        R: Send + 'static,
    {
        let crew = Arc::clone(self.pool.crew());
        Submission { request, terms: self.terms, crew, as_job: |packet| packet }
    }
}
