//! An async function mapped over an iterator, in bounded memory.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::guard::StateGuard;
use super::pool::TaskPool;
use crate::error::{Reason, ReplyError};
use crate::reply::Reply;

type Submitting<R> = Pin<Box<dyn Future<Output = Result<Reply<R>, Reason>> + Send>>;

/// The answers of a map, one by one; made by [`TaskPool::map`] and
/// [`TaskPool::map_unordered`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use plimsoll::TaskPool;
///
/// let spawn = |worker| drop(tokio::spawn(worker));
/// let pool = TaskPool::builder().workers(2).build(spawn, |_| async { Ok(()) })?;
/// let mut doubled = pool.map(1..=2, |_, n| async move { 2 * n })?;
/// assert_eq!(doubled.next().await.unwrap()?, 2);
/// assert_eq!(doubled.next().await.unwrap()?, 4);
/// assert!(doubled.next().await.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TaskMap<S: Send + 'static, I: Iterator, R, F> {
    pool: TaskPool<S>,
    items: std::iter::Fuse<I>,
    function: Arc<F>,
    window: usize,
    ordered: bool,
    /// The item that waits for room, kept here so that [`next`](Self::next)
    /// may be dropped and called again.
    submitting: Option<Submitting<R>>,
    replies: VecDeque<Reply<R>>,
    /// Why the last item was refused, told after the replies before it.
    refused: Option<Reason>,
}

impl<S, I, R, F, Fut> TaskMap<S, I, R, F>
where
    S: Send + 'static,
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
    F: Fn(StateGuard<S>, I::Item) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    pub(super) fn new(
        pool: TaskPool<S>,
        items: I,
        function: F,
        ordered: bool,
    ) -> Result<Self, Reason> {
        let window = pool.crew().map_window()?;
        Ok(Self {
            pool,
            items: items.fuse(),
            function: Arc::new(function),
            window,
            ordered,
            submitting: None,
            replies: VecDeque::new(),
            refused: None,
        })
    }

    /// The next answer; `None` after the last. Dropped before it is ready, it
    /// loses nothing, and may be called again.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(2).build(spawn, |_| async { Ok(()) })?;
    /// let mut doubled = pool.map(1..=2, |_, n| async move { 2 * n })?;
    /// assert_eq!(doubled.next().await.unwrap()?, 2);
    /// assert_eq!(doubled.next().await.unwrap()?, 4);
    /// assert!(doubled.next().await.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn next(&mut self) -> Option<Result<R, ReplyError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R, ReplyError>>> {
        self.fill(cx);
        // The first in order, or the first that is ready.
        let looked_at = if self.ordered { 1 } else { self.replies.len() };
        for place in 0..looked_at.min(self.replies.len()) {
            if let Poll::Ready(answer) = Pin::new(&mut self.replies[place]).poll(cx) {
                self.replies.remove(place);
                return Poll::Ready(Some(answer));
            }
        }
        if !self.replies.is_empty() {
            return Poll::Pending;
        }
        match self.refused.take() {
            Some(reason) => Poll::Ready(Some(Err(ReplyError::Refused(reason)))),
            None if self.submitting.is_some() => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    /// Submits items until a window of them is going, one waits for room, or
    /// one is refused.
    fn fill(&mut self, cx: &mut Context<'_>) {
        while self.refused.is_none() && self.replies.len() < self.window {
            if self.submitting.is_none() {
                let Some(item) = self.items.next() else { return };
                let function = Arc::clone(&self.function);
                let submitted =
                    self.pool.submit_async(move |state: StateGuard<S>| function(state, item));
                self.submitting =
                    Some(Box::pin(async { submitted.await.map_err(|refused| refused.reason) }));
            }
            let Some(submitting) = &mut self.submitting else { return };
            let Poll::Ready(submitted) = submitting.as_mut().poll(cx) else { return };
            self.submitting = None;
            match submitted {
                Ok(reply) => self.replies.push_back(reply),
                Err(reason) => self.refused = Some(reason),
            }
        }
    }
}

impl<S: Send + 'static, I: Iterator, R, F> fmt::Debug for TaskMap<S, I, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskMap").field("going", &self.replies.len()).finish_non_exhaustive()
    }
}
