//! A worker's state, lent to one request.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a worker finds its state again.
pub(super) struct Home<S>(Arc<Mutex<Option<S>>>);

/// A worker's state, owned by the request that runs on it.
///
/// It goes back to the worker when it is dropped, which must happen before the
/// request's future ends. A state that is not back by then (kept, or dropped
/// by a panic) is given up, and the worker builds another.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use plimsoll::{StateGuard, TaskPool};
///
/// let spawn = |worker| drop(tokio::spawn(worker));
/// let pool = TaskPool::builder().workers(1).build(spawn, |_| async { Ok(Vec::new()) })?;
/// let push = |mut list: StateGuard<Vec<u32>>| async move {
///     list.push(7);
///     list.len()
/// };
/// assert_eq!(pool.submit(push)?.await?, 1);
/// assert_eq!(pool.submit(push)?.await?, 2); // the state is back
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StateGuard<S> {
    /// `None` only while it is dropped.
    state: Option<S>,
    home: Arc<Mutex<Option<S>>>,
}

impl<S> Home<S> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    pub(super) fn lend(&self, state: S) -> StateGuard<S> {
        StateGuard { state: Some(state), home: Arc::clone(&self.0) }
    }

    /// `None` while the guard is not gone, or when it was dropped by a panic.
    pub(super) fn take_back(&mut self) -> Option<S> {
        let state = Arc::get_mut(&mut self.0)?.get_mut();
        state.unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S> Deref for StateGuard<S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.state.as_ref().expect("the state is here until the guard is dropped")
    }
}

impl<S> DerefMut for StateGuard<S> {
    fn deref_mut(&mut self) -> &mut S {
        self.state.as_mut().expect("the state is here until the guard is dropped")
    }
}

impl<S> Drop for StateGuard<S> {
    fn drop(&mut self) {
        // A request that panics may have left it half changed.
        if !std::thread::panicking() {
            *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.state.take();
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for StateGuard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateGuard").field(&**self).finish()
    }
}
