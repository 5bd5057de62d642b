//! A function mapped over an iterator, in bounded memory.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::pool::ThreadPool;
use crate::crew::{given_up, panic_message};
use crate::error::{Reason, Refused, ReplyError};
use crate::reply::Reply;

/// Answers in the order of the items; made by [`ThreadPool::map`].
///
/// ```
/// use plimsoll::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// let mut lengths = pool.map(["a", "bcd"], |(), word: &str| word.len())?;
/// assert_eq!(lengths.next().unwrap()?, 1);
/// assert_eq!(lengths.next().unwrap()?, 3);
/// assert!(lengths.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Map<S: 'static, I: Iterator, R, F> {
    source: Source<S, I, F>,
    /// In the order of the items; refused ones keep their place.
    replies: VecDeque<Result<Reply<R>, Reason>>,
}

/// Answers as they come; made by [`ThreadPool::map_unordered`].
///
/// ```
/// use plimsoll::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// let mut longest = 0;
/// for length in pool.map_unordered(["a", "bcd"], |(), word: &str| word.len())? {
///     longest = longest.max(length?);
/// }
/// assert_eq!(longest, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MapUnordered<S: 'static, I: Iterator, R, F> {
    source: Source<S, I, F>,
    sender: Sender<Result<R, ReplyError>>,
    answers: Receiver<Result<R, ReplyError>>,
    going: usize,
    /// Gone with the iterator: what has not begun then does not run.
    wanted: Arc<()>,
    /// Why the pool took no more.
    refused: Option<Reason>,
}

/// The items to come.
struct Source<S: 'static, I: Iterator, F> {
    pool: ThreadPool<S>,
    items: std::iter::Fuse<I>,
    function: Arc<F>,
    window: usize,
}

impl<S: 'static, I: Iterator, F> Source<S, I, F> {
    fn new(pool: ThreadPool<S>, items: I, function: F) -> Result<Self, Reason> {
        let window = pool.crew().map_window()?;
        let (items, function) = (items.fuse(), Arc::new(function));
        Ok(Self { pool, items, function, window })
    }

    /// The next item while fewer than a window of them are going.
    fn next(&mut self, going: usize) -> Option<I::Item> {
        if going < self.window { self.items.next() } else { None }
    }
}

impl<S, I, R, F> Map<S, I, R, F>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(&mut S, I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    pub(super) fn new(pool: ThreadPool<S>, items: I, function: F) -> Result<Self, Reason> {
        Ok(Self { source: Source::new(pool, items, function)?, replies: VecDeque::new() })
    }
}

impl<S, I, R, F> Iterator for Map<S, I, R, F>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(&mut S, I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    type Item = Result<R, ReplyError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(item) = self.source.next(self.replies.len()) {
            let function = Arc::clone(&self.source.function);
            match self.source.pool.submit(move |state: &mut S| function(state, item)) {
                Ok(reply) => self.replies.push_back(Ok(reply)),
                Err(Refused { reason, .. }) => self.replies.push_back(Err(reason)),
            }
        }
        let reply = self.replies.pop_front()?;
        Some(reply.map_err(ReplyError::Refused).and_then(Reply::wait))
    }
}

/// An answer that is sent when it is dropped; with none, says so.
///
/// It leaves a request as its answer, or as its panic's payload, so it drops
/// when the lease is back.
struct Answer<R> {
    sender: Sender<Result<R, ReplyError>>,
    answer: Option<Result<R, ReplyError>>,
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        let answer = self.answer.take().unwrap_or_else(|| Err(given_up()));
        // Nobody listens when the iterator was dropped.
        let _ = self.sender.send(answer);
    }
}

impl<S, I, R, F> MapUnordered<S, I, R, F>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(&mut S, I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    pub(super) fn new(pool: ThreadPool<S>, items: I, function: F) -> Result<Self, Reason> {
        let (sender, answers) = channel();
        Ok(Self {
            source: Source::new(pool, items, function)?,
            sender,
            answers,
            going: 0,
            wanted: Arc::new(()),
            refused: None,
        })
    }
}

impl<S, I, R, F> Iterator for MapUnordered<S, I, R, F>
where
    I: Iterator<Item: Send + 'static>,
    F: Fn(&mut S, I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    type Item = Result<R, ReplyError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(item) = self.source.next(self.going) {
            let function = Arc::clone(&self.source.function);
            let mut answer = Answer { sender: self.sender.clone(), answer: None };
            let wanted = Arc::downgrade(&self.wanted);
            let request = move |state: &mut S| {
                if wanted.strong_count() == 0 {
                    return answer;
                }
                match catch_unwind(AssertUnwindSafe(|| function(state, item))) {
                    Ok(result) => answer.answer = Some(Ok(result)),
                    Err(panic) => {
                        let text = panic_message(&*panic);
                        answer.answer = Some(Err(ReplyError::Panicked(text)));
                        // The worker must see it too: its state may be broken.
                        resume_unwind(Box::new(answer));
                    }
                }
                answer
            };
            match self.source.pool.submit(request) {
                Ok(reply) => reply.let_go(),
                // Dropped, the request has sent an answer of its own.
                Err(Refused { reason, request }) => {
                    drop(request);
                    self.refused = Some(reason);
                }
            }
            self.going += 1;
        }
        if self.going == 0 {
            return None;
        }
        self.going -= 1;
        let answer = match self.answers.try_recv() {
            Ok(answer) => answer,
            // The answer may have to come from this very worker.
            Err(_) if self.source.pool.crew().serves_here() => Err(ReplyError::WouldDeadlock),
            Err(_) => self.answers.recv().ok()?,
        };
        match (answer, &self.refused) {
            (Err(ReplyError::Shutdown), Some(reason)) => {
                Some(Err(ReplyError::Refused(reason.clone())))
            }
            (answer, _) => Some(answer),
        }
    }
}

impl<S, I: Iterator, R, F> fmt::Debug for Map<S, I, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("going", &self.replies.len()).finish_non_exhaustive()
    }
}

impl<S, I: Iterator, R, F> fmt::Debug for MapUnordered<S, I, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUnordered").field("going", &self.going).finish_non_exhaustive()
    }
}
