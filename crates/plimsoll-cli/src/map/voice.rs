//! Everything that goes to stderr: the program's own notes, the copies' lines,
//! the progress bar. A thread of its own, so that a stderr that nobody reads
//! holds up nothing.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::progress::{Progress, Snapshot};
use super::wake::Waker;

/// Bytes that may wait to be written before the copies' stderr waits too.
const AHEAD: usize = 256 * 1024;

enum Say {
    Bytes(Vec<u8>),
    Progress(Snapshot),
}

/// The event loop's side.
#[derive(Debug)]
pub(crate) struct Voice {
    to_thread: Sender<Say>,
    ahead: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Voice {
    /// # Errors
    ///
    /// What the system says when it has no thread.
    pub(crate) fn start(progress: Option<Progress>, waker: Waker) -> io::Result<Self> {
        let (to_thread, says) = channel();
        let ahead = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ahead);
        let thread = thread::Builder::new()
            .name("voice".into())
            .spawn(move || speak(&says, progress, &counted, &waker))?;
        Ok(Self { to_thread, ahead, thread })
    }

    /// Says something of the program's own.
    pub(crate) fn note(&self, text: impl Display) {
        self.pass(format!("plimsoll map: {text}\n").into_bytes());
    }

    /// Passes whole lines on.
    pub(crate) fn pass(&self, bytes: Vec<u8>) {
        self.ahead.fetch_add(bytes.len(), Ordering::SeqCst);
        // The thread lives as long as this does.
        let _ = self.to_thread.send(Say::Bytes(bytes));
    }

    /// Shows how far the run is.
    pub(crate) fn progress(&self, snapshot: Snapshot) {
        let _ = self.to_thread.send(Say::Progress(snapshot));
    }

    /// Whether what the copies say has to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.ahead.load(Ordering::SeqCst) >= AHEAD
    }

    /// Waits until all was said.
    pub(crate) fn finish(self) {
        drop(self.to_thread);
        // A panic of the thread has said itself what was wrong.
        let _ = self.thread.join();
    }
}

fn speak(says: &Receiver<Say>, mut progress: Option<Progress>, ahead: &AtomicUsize, waker: &Waker) {
    while let Ok(say) = says.recv() {
        match say {
            Say::Bytes(bytes) => {
                let write = || {
                    // There is nowhere to say that stderr cannot be written.
                    let _ = io::stderr().write_all(&bytes);
                };
                match &progress {
                    Some(progress) => progress.aside(write),
                    None => write(),
                }
                let before = ahead.fetch_sub(bytes.len(), Ordering::SeqCst);
                if before >= AHEAD && before - bytes.len() < AHEAD {
                    waker.wake();
                }
            }
            Say::Progress(snapshot) => {
                if let Some(progress) = &mut progress {
                    progress.show(&snapshot);
                }
            }
        }
    }
    if let Some(progress) = progress {
        progress.clear();
    }
}
