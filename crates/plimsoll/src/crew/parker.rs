//! How a worker sleeps until it is given something.
//!
//! The crew's lock decides who sleeps: a worker that finds nothing is marked
//! asleep, and whoever gives it work clears the mark and then, outside the
//! lock, calls [`Parker::notify`]. So there is one notify a sleep, and what is
//! left here is that it may come before the worker lies down.
//!
//! A task that sleeps is handed its request here ([`Parker::hand`]), so that
//! it need not take the crew's lock only to fetch it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use plimsoll_core::Lease;

use super::Job;
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, lock};
use crate::timer::Timed;

const AWAKE: u8 = 0;
const PARKED: u8 = 1;
const NOTIFIED: u8 = 2;

/// Where one worker sleeps.
pub(crate) enum Parker<J: ?Sized> {
    /// A thread that parks.
    Thread {
        state: AtomicU8,
        /// Set by the thread itself when it starts.
        thread: Mutex<Option<Thread>>,
    },
    /// A task that is woken.
    Task {
        /// Set under the bed's lock.
        notified: AtomicBool,
        bed: Mutex<Bed<J>>,
    },
}

/// A charged request, for its worker.
pub(crate) type Charged<J> = (Lease, Arc<J>);

/// A task's. Its lock is taken alone or under the crew's, and held for moves.
pub(crate) struct Bed<J: ?Sized> {
    waker: Option<Waker>,
    handed: Option<Charged<J>>,
}

impl<J: ?Sized> Parker<J> {
    pub(crate) fn thread() -> Self {
        Self::Thread { state: AtomicU8::new(AWAKE), thread: Mutex::new(None) }
    }

    pub(crate) fn task() -> Self {
        let bed = Mutex::new(Bed { waker: None, handed: None });
        Self::Task { notified: AtomicBool::new(false), bed }
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
            Self::Task { notified, bed } => {
                let mut bed = lock(bed);
                notified.store(true, Ordering::Release);
                let waker = bed.waker.take();
                drop(bed);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    /// Gives a request to a task that sleeps or is about to. It is notified by
    /// this; whoever calls wakes it, outside the crew's lock, if it has lain
    /// down.
    pub(crate) fn hand(&self, charged: Charged<J>) -> Option<Waker> {
        let Self::Task { notified, bed } = self else { unreachable!("threads are notified") };
        let mut bed = lock(bed);
        debug_assert!(bed.handed.is_none(), "one that was handed a request does not sleep");
        bed.handed = Some(charged);
        notified.store(true, Ordering::Release);
        bed.waker.take()
    }

    /// Takes back what was handed over, if the worker has not come for it yet.
    pub(crate) fn recall(&self) -> Option<Charged<J>> {
        let Self::Task { bed, .. } = self else { return None };
        lock(bed).handed.take()
    }

    /// The cost of what was handed over and not come for.
    pub(crate) fn handed_cost(&self) -> u32 {
        let Self::Task { bed, .. } = self else { return 0 };
        lock(bed).handed.as_ref().map_or(0, |(lease, _)| lease.cost().get())
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

    /// Ready when notified, which it forgets, with what it was handed; for a
    /// task's own parker.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Option<Charged<J>>> {
        let Self::Task { notified, bed } = self else { return Poll::Ready(None) };
        // Cloned and dropped outside the lock.
        let own = (!notified.load(Ordering::Relaxed)).then(|| cx.waker().clone());
        let mut bed = lock(bed);
        if notified.swap(false, Ordering::Acquire) {
            let handed = bed.handed.take();
            drop(bed);
            return Poll::Ready(handed);
        }
        let old = std::mem::replace(&mut bed.waker, own);
        drop(bed);
        drop(old);
        Poll::Pending
    }
}

/// An alarm clock: a rest that the timer ends.
impl<J: Job + ?Sized> Timed for Parker<J> {
    fn handle_timeout(&self) {
        self.notify();
    }
}
