//! Signals as bytes in pipes that the event loop polls.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::status;

/// See the module.
#[derive(Debug)]
pub(crate) struct Signals {
    stops: UnixStream,
    children: UnixStream,
    /// While set, a signal that asks to stop ends the process at once.
    at_once: Arc<AtomicBool>,
}

impl Signals {
    /// Catches the signals that ask to stop, and the one that tells of
    /// children.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot.
    pub(crate) fn catch() -> io::Result<Self> {
        let (stops, stop) = UnixStream::pair()?;
        let (children, child) = UnixStream::pair()?;
        stops.set_nonblocking(true)?;
        children.set_nonblocking(true)?;
        let at_once = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // nohup means it.
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            flag::register_conditional_shutdown(
                signal,
                i32::from(status::INTERRUPTED),
                Arc::clone(&at_once),
            )?;
            low_level::pipe::register(signal, stop.try_clone()?)?;
        }
        low_level::pipe::register(SIGCHLD, child)?;
        Ok(Self { stops, children, at_once })
    }

    /// Becomes readable when asked to stop.
    pub(crate) fn stop_fd(&self) -> BorrowedFd<'_> {
        self.stops.as_fd()
    }

    /// Becomes readable when a child ended.
    pub(crate) fn child_fd(&self) -> BorrowedFd<'_> {
        self.children.as_fd()
    }

    /// How often it was asked to stop since the last call.
    pub(crate) fn stops(&self) -> usize {
        drain(&self.stops)
    }

    /// Whether children ended since the last call.
    pub(crate) fn children(&self) -> bool {
        drain(&self.children) > 0
    }

    /// From now on nothing is left to finish or to kill.
    pub(crate) fn end_at_once(&self) {
        self.at_once.store(true, Ordering::SeqCst);
    }
}

fn drain(mut pipe: &UnixStream) -> usize {
    let mut bytes = [0; 64];
    let mut count = 0;
    while let Ok(read @ 1..) = pipe.read(&mut bytes) {
        count += read;
    }
    count
}

/// Whether this process was started with the signal ignored, as by nohup.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
