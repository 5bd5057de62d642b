//! A value handed over once, from one side to the other, to a thread or a task.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, lock};

/// Who waits for the value.
enum Waiter {
    Task(Waker),
    Thread(Thread),
}

impl Waiter {
    fn wake(self) {
        match self {
            Self::Task(waker) => waker.wake(),
            Self::Thread(thread) => thread.unpark(),
        }
    }
}

enum State<V> {
    Empty(Option<Waiter>),
    Full(V),
    Taken,
}

impl<V> State<V> {
    fn into_value(self) -> Option<V> {
        match self {
            Self::Full(value) => Some(value),
            Self::Empty(_) | Self::Taken => None,
        }
    }
}

/// Empty, then full, then taken; or closed, which is taken before it is full.
///
/// The lock is held for moves of the state alone: no waker is cloned, woken or
/// dropped, and no value dropped, while it is.
pub(crate) struct Slot<V> {
    state: Mutex<State<V>>,
    /// No longer empty: set under the lock, for looking without it.
    filled: AtomicBool,
}

impl<V> Slot<V> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Empty(None)), filled: AtomicBool::new(false) }
    }

    /// Fills the slot and wakes who waits. Only the first value counts: a
    /// later one, or one that nobody will take, comes back.
    pub(crate) fn put(&self, value: V) -> Option<V> {
        let mut state = lock(&self.state);
        if !matches!(*state, State::Empty(_)) {
            drop(state);
            return Some(value);
        }
        let before = std::mem::replace(&mut *state, State::Full(value));
        self.filled.store(true, Ordering::Release);
        drop(state);
        if let State::Empty(Some(waiter)) = before {
            waiter.wake();
        }
        None
    }

    /// The value if it is here; if not, whoever puts it gets it back.
    pub(crate) fn close(&self) -> Option<V> {
        let mut state = lock(&self.state);
        let before = std::mem::replace(&mut *state, State::Taken);
        self.filled.store(true, Ordering::Release);
        drop(state);
        before.into_value()
    }

    /// The value, if it is here and has not been taken.
    pub(crate) fn take(&self) -> Option<V> {
        if !self.is_filled() {
            return None;
        }
        let mut state = lock(&self.state);
        match &*state {
            State::Full(_) => std::mem::replace(&mut *state, State::Taken).into_value(),
            State::Empty(_) | State::Taken => None,
        }
    }

    /// Whether `put` has been called, taken or not.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// The value, or the promise to wake the task when it is here. The last
    /// waker counts.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<V> {
        let taken = self.take().or_else(|| self.take_or_wait(Waiter::Task(cx.waker().clone())));
        taken.map_or(Poll::Pending, Poll::Ready)
    }

    /// Blocks until the value is here, or until `until`.
    ///
    /// Once taken, a slot is never filled again: waiting for it again without
    /// a limit is a bug of the caller's.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Option<V> {
        let mut taken =
            self.take().or_else(|| self.take_or_wait(Waiter::Thread(thread::current())));
        while taken.is_none() {
            match until {
                None => thread::park(),
                Some(until) => park_timeout(until.checked_duration_since(Instant::now())?),
            }
            taken = self.take();
        }
        taken
    }

    /// The value if it is here, else `waiter` is woken when it is.
    fn take_or_wait(&self, waiter: Waiter) -> Option<V> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Empty(stored) => {
                let replaced = stored.replace(waiter);
                drop(state);
                drop(replaced);
                None
            }
            State::Full(_) => {
                let before = std::mem::replace(&mut *state, State::Taken);
                drop(state);
                drop(waiter);
                before.into_value()
            }
            State::Taken => {
                drop(state);
                None
            }
        }
    }
}

#[cfg(not(loom))]
fn park_timeout(left: std::time::Duration) {
    thread::park_timeout(left);
}

/// The model checker has no time: a limit there is one more look.
#[cfg(loom)]
fn park_timeout(_: std::time::Duration) {
    thread::yield_now();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn only_the_first_value_counts_and_is_taken_once() {
        let slot = Slot::new();
        assert!(slot.take().is_none() && !slot.is_filled());
        assert_eq!(slot.put(1), None);
        assert_eq!(slot.put(2), Some(2));
        assert_eq!(slot.take(), Some(1));
        assert!(slot.take().is_none() && slot.is_filled());
    }

    #[test]
    fn what_is_put_after_the_end_comes_back() {
        let slot = Slot::new();
        assert_eq!(slot.close(), None);
        assert_eq!(slot.put("late"), Some("late"));
        let slot = Slot::new();
        assert_eq!(slot.put("in time"), None);
        assert_eq!(slot.close(), Some("in time"));
    }

    #[test]
    fn a_thread_waits_for_the_value() {
        let slot = Arc::new(Slot::new());
        let other = Arc::clone(&slot);
        let thread = std::thread::spawn(move || other.wait(None));
        assert_eq!(slot.put("value"), None);
        assert_eq!(thread.join().unwrap(), Some("value"));
    }

    #[test]
    fn a_limit_ends_the_wait() {
        let slot = Slot::<()>::new();
        assert_eq!(slot.wait(Some(Instant::now() + Duration::from_millis(1))), None);
    }
}
