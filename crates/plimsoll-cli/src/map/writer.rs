//! Writes the answers on a thread of its own: a write to stdout may block at
//! any time, and the copies, their time limits and the signals may not wait.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};
use rustix::io::Errno;

use super::wake::Waker;

/// Pieces handed over and not written yet: one is written while one is ready.
const AHEAD: usize = 2;

/// The event loop's side.
#[derive(Debug)]
pub(crate) struct Writer {
    to_write: SyncSender<Vec<u8>>,
    written: Receiver<Result<Vec<u8>, Errno>>,
    /// Pieces handed over and not known to be written.
    ahead: usize,
    /// Memory to use again.
    spare: Vec<Vec<u8>>,
}

impl Writer {
    /// Writes to stdout from now on; wakes after each piece. The thread is
    /// never joined: it may be within a write for as long as the process lives.
    pub(crate) fn start(waker: Waker) -> io::Result<Self> {
        let (to_write, pieces) = sync_channel::<Vec<u8>>(AHEAD);
        let (to_loop, written) = channel();
        thread::Builder::new().name("writer".into()).spawn(move || {
            while let Ok(mut piece) = pieces.recv() {
                let result = write_all(&piece);
                piece.clear();
                let failed = result.is_err();
                if to_loop.send(result.map(|()| piece)).is_err() || failed {
                    break;
                }
                waker.wake();
            }
            drop(to_loop);
            waker.wake();
        })?;
        Ok(Self { to_write, written, ahead: 0, spare: Vec::new() })
    }

    /// Whether stdout was closed when the program began: Rust's runtime opens
    /// /dev/null in its place, for reading too, which no shell does.
    pub(crate) fn is_closed() -> bool {
        let stdout = rustix::stdio::stdout();
        let is_null = || {
            let (here, null) = (fstat(stdout).ok()?, stat("/dev/null").ok()?);
            Some((here.st_dev, here.st_ino) == (null.st_dev, null.st_ino))
        };
        fcntl_getfl(stdout).map_or(true, |flags| flags.contains(OFlags::RDWR))
            && is_null().unwrap_or(true)
    }

    /// Looks at what was written.
    ///
    /// # Errors
    ///
    /// Why stdout cannot be written; nothing will be any more.
    pub(crate) fn check(&mut self) -> Result<(), Errno> {
        while let Ok(result) = self.written.try_recv() {
            self.ahead -= 1;
            self.spare.push(result?);
        }
        Ok(())
    }

    /// Whether everything handed over was written.
    pub(crate) fn is_idle(&self) -> bool {
        self.ahead == 0
    }

    /// Hands `output` over, and leaves it empty; does nothing when enough is
    /// ahead already.
    pub(crate) fn write(&mut self, output: &mut Vec<u8>) {
        if self.ahead == AHEAD || output.is_empty() {
            return;
        }
        let piece = std::mem::replace(output, self.spare.pop().unwrap_or_default());
        // The channel has room for all that may be ahead; it is closed only
        // after an error, which `check` is about to tell.
        if self.to_write.try_send(piece).is_ok() {
            self.ahead += 1;
        }
    }
}

fn write_all(mut bytes: &[u8]) -> Result<(), Errno> {
    let stdout = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(stdout, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // Someone else made it non-blocking.
                let _ = poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
