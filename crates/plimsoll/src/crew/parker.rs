//! How a worker sleeps until it is given something.
//!
//! The crew's lock decides who sleeps: a worker that finds nothing is marked
//! asleep, and whoever gives it work clears the mark and then, outside the
//! lock, calls [`Parker::notify`]. So there is one notify a sleep, and what is
//! left here is that it may come before the worker lies down.

use std::task::{Context, Poll, Waker};

use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, lock};
use crate::timer::Timed;

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;

/// One worker's bed.
pub(crate) enum Parker {
    /// A thread that parks.
    Thread {
        state: AtomicU8,
        /// Set by the thread itself when it starts.
        thread: Mutex<Option<Thread>>,
    },
    /// A task that is woken.
    Task { notified: AtomicBool, waker: Mutex<Option<Waker>> },
}

impl Parker {
    pub(crate) fn thread() -> Self {
        Self::Thread { state: AtomicU8::new(AWAKE), thread: Mutex::new(None) }
    }

    pub(crate) fn task() -> Self {
        Self::Task { notified: AtomicBool::new(false), waker: Mutex::new(None) }
    }

    /// Whether waking is a matter for the system, and dear.
    pub(crate) fn is_thread(&self) -> bool {
        matches!(self, Self::Thread { .. })
    }

    /// Makes the calling thread the one that is woken.
    pub(crate) fn adopt_current_thread(&self) {
        if let Self::Thread { thread, .. } = self {
            *lock(thread) = Some(thread::current());
        }
    }

    /// Ends the sleep that has begun or is about to.
    pub(crate) fn notify(&self) {
        match self {
            Self::Thread { state, thread } => {
                if state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
                    let sleeper = lock(thread).clone();
                    if let Some(sleeper) = sleeper {
                        sleeper.unpark();
                    }
                }
            }
            Self::Task { notified, waker } => {
                notified.store(true, Ordering::Release);
                let waker = lock(waker).take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    /// Sleeps until notified; for a thread's own parker.
    ///
    /// At once: yielding before it parks made the classic program three times
    /// slower, since each yield of a thread with nothing to do is a switch.
    pub(crate) fn park(&self) {
        let Self::Thread { state, .. } = self else { return };
        let lain = state.compare_exchange(AWAKE, PARKED, Ordering::AcqRel, Ordering::Acquire);
        if lain.is_ok() {
            while state.load(Ordering::Acquire) != NOTIFIED {
                thread::park();
            }
        }
        state.store(AWAKE, Ordering::Release);
    }

    /// Ready when notified, which it forgets; for a task's own parker.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let Self::Task { notified, waker } = self else { return Poll::Ready(()) };
        if notified.swap(false, Ordering::Acquire) {
            return Poll::Ready(());
        }
        let own = cx.waker().clone();
        let old = lock(waker).replace(own);
        drop(old);
        // A notify before the waker was here has left only its mark.
        if notified.swap(false, Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// An alarm clock: a rest that the timer ends.
impl Timed for Parker {
    fn handle_timeout(&self) {
        self.notify();
    }
}
