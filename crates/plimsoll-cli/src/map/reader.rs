//! Reads the input on a thread of its own: a read of it may block at any time,
//! and making an inherited descriptor non-blocking would change it for others.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::wake::Waker;

/// Bytes a read asks for.
const CHUNK: usize = 128 * 1024;

/// Chunks read ahead of the event loop.
const AHEAD: usize = 2;

/// What the input had next.
#[derive(Debug)]
pub(crate) enum Input {
    /// More of it; to be [recycled](Reader::recycle).
    Chunk(Vec<u8>),
    /// Its end, or why it cannot be read further.
    End(io::Result<()>),
    /// Nothing yet.
    Nothing,
}

/// The event loop's side.
#[derive(Debug)]
pub(crate) struct Reader {
    chunks: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
}

impl Reader {
    /// Reads stdin from now on; wakes after each chunk. The thread is never
    /// joined: it may be within a read for as long as the process lives.
    pub(crate) fn start(waker: Waker) -> io::Result<Self> {
        let (to_loop, chunks) = sync_channel(AHEAD);
        let (used, recycled) = channel();
        thread::Builder::new()
            .name("reader".into())
            .spawn(move || read_all(to_loop, &recycled, &waker))?;
        Ok(Self { chunks, used })
    }

    pub(crate) fn next(&self) -> Input {
        match self.chunks.try_recv() {
            Ok(Ok(chunk)) => Input::Chunk(chunk),
            Ok(Err(error)) => Input::End(Err(error)),
            Err(TryRecvError::Disconnected) => Input::End(Ok(())),
            Err(TryRecvError::Empty) => Input::Nothing,
        }
    }

    /// Gives a chunk's memory back.
    pub(crate) fn recycle(&self, mut chunk: Vec<u8>) {
        chunk.clear();
        // After its last chunk the thread is gone, and needs no more.
        let _ = self.used.send(chunk);
    }
}

/// Sends chunks until the end, which is told by hanging up.
fn read_all(to_loop: SyncSender<io::Result<Vec<u8>>>, used: &Receiver<Vec<u8>>, waker: &Waker) {
    let stdin = rustix::stdio::stdin();
    loop {
        let mut chunk = used.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK));
        let message = match rustix::io::read(stdin, spare_capacity(&mut chunk)) {
            Ok(0) => break,
            Ok(_) => Ok(chunk),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {
                // Someone else made it non-blocking.
                let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
                continue;
            }
            Err(error) => Err(error.into()),
        };
        let last = message.is_err();
        if to_loop.send(message).is_err() || last {
            break;
        }
        waker.wake();
    }
    // The hang-up must be there when the loop wakes for it.
    drop(to_loop);
    waker.wake();
}
