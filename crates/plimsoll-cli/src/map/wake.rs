//! Wakes the event loop from another thread, through a pipe that it polls.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};

/// The event loop's side.
#[derive(Debug)]
pub(crate) struct Wakes {
    pipe: OwnedFd,
    waker: Waker,
}

/// A thread's side.
#[derive(Clone, Debug)]
pub(crate) struct Waker {
    pipe: Arc<OwnedFd>,
    /// A byte is on its way: one wake stands for any number.
    rung: Arc<AtomicBool>,
}

impl Wakes {
    /// # Errors
    ///
    /// What the system says when it has no pipe.
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&read, OFlags::NONBLOCK)?;
        let waker = Waker { pipe: Arc::new(write), rung: Arc::new(AtomicBool::new(false)) };
        Ok(Self { pipe: read, waker })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Becomes readable after a wake.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Call when readable, before looking at what the threads sent.
    pub(crate) fn clear(&self) {
        let mut byte = [0; 16];
        // It is readable or the wake was spurious; both end here.
        let _ = rustix::io::read(&self.pipe, &mut byte);
        self.waker.rung.store(false, Ordering::SeqCst);
    }
}

impl Waker {
    pub(crate) fn wake(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It fails only when the event loop is gone.
            let _ = rustix::io::write(&*self.pipe, &[1]);
        }
    }
}
