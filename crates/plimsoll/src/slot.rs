//! A value handed over once, from one side to the other, to a thread or a task.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

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

/// Empty, then full, then taken.
///
/// The lock is held for moves of the state alone: no waker is cloned, woken or
/// dropped, and no value dropped, while it is.
pub(crate) struct Slot<V> {
    state: Mutex<State<V>>,
}

impl<V> Slot<V> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::Empty(None)) }
    }

    /// Fills the slot and wakes who waits. Only the first value counts; a
    /// later one is dropped.
    pub(crate) fn put(&self, value: V) {
        let mut state = lock(&self.state);
        if !matches!(*state, State::Empty(_)) {
            drop(state);
            return;
        }
        let before = std::mem::replace(&mut *state, State::Full(value));
        drop(state);
        if let State::Empty(Some(waiter)) = before {
            waiter.wake();
        }
    }

    /// The value, if it is here and has not been taken.
    pub(crate) fn take(&self) -> Option<V> {
        let mut state = lock(&self.state);
        match &*state {
            State::Full(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Full(value) => Some(value),
                State::Empty(_) | State::Taken => None,
            },
            State::Empty(_) | State::Taken => None,
        }
    }

    /// Whether `put` has been called, taken or not.
    pub(crate) fn is_filled(&self) -> bool {
        !matches!(*lock(&self.state), State::Empty(_))
    }

    /// The value, or the promise to wake the task when it is here. The last
    /// waker counts.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<V> {
        if let Some(value) = self.take() {
            return Poll::Ready(value);
        }
        if !self.wakes(cx.waker()) {
            self.wait_as(Waiter::Task(cx.waker().clone()));
        }
        // It may have been filled before the waker was in place.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Blocks until the value is here, or until `until`.
    ///
    /// Once taken, a slot is never filled again: waiting for it again without
    /// a limit is a bug of the caller's.
    pub(crate) fn wait(&self, until: Option<Instant>) -> Option<V> {
        if let Some(value) = self.take() {
            return Some(value);
        }
        self.wait_as(Waiter::Thread(thread::current()));
        loop {
            if let Some(value) = self.take() {
                return Some(value);
            }
            match until {
                None => thread::park(),
                Some(until) => {
                    let left = until.checked_duration_since(Instant::now())?;
                    park_timeout(left);
                }
            }
        }
    }

    fn wakes(&self, waker: &Waker) -> bool {
        matches!(&*lock(&self.state), State::Empty(Some(Waiter::Task(stored))) if stored.will_wake(waker))
    }

    fn wait_as(&self, waiter: Waiter) {
        let mut state = lock(&self.state);
        let replaced = match &mut *state {
            State::Empty(stored) => stored.replace(waiter),
            State::Full(_) | State::Taken => Some(waiter),
        };
        drop(state);
        drop(replaced);
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
        slot.put(1);
        slot.put(2);
        assert_eq!(slot.take(), Some(1));
        assert!(slot.take().is_none() && slot.is_filled());
    }

    #[test]
    fn a_thread_waits_for_the_value() {
        let slot = Arc::new(Slot::new());
        let other = Arc::clone(&slot);
        let thread = std::thread::spawn(move || other.wait(None));
        slot.put("value");
        assert_eq!(thread.join().unwrap(), Some("value"));
    }

    #[test]
    fn a_limit_ends_the_wait() {
        let slot = Slot::<()>::new();
        assert_eq!(slot.wait(Some(Instant::now() + Duration::from_millis(1))), None);
    }
}
