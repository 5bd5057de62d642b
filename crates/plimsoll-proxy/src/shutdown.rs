//! Stopping: first gently, then at once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// No new connections; what runs is finished.
    Draining,
    /// What still runs is cut off.
    Stopped,
}

/// The handle that stops a running proxy.
///
/// ```
/// let shutdown = plimsoll_proxy::Shutdown::new();
/// shutdown.drain();
/// assert!(shutdown.is_draining());
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<State>);

#[derive(Debug)]
struct State {
    /// A [`Phase`]: every response asks for it, so it is read without a lock.
    phase: AtomicU8,
    advanced: Notify,
}

impl Shutdown {
    /// For a proxy that runs.
    pub fn new() -> Self {
        let phase = AtomicU8::new(Phase::Serving as u8);
        Self(Arc::new(State { phase, advanced: Notify::new() }))
    }

    /// Accepts no more, finishes what runs, and stops when that is done or the
    /// drain's time is over.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Cuts off what runs.
    pub fn stop(&self) {
        self.advance(Phase::Stopped);
    }

    /// Whether it has been told to stop, gently or at once.
    pub fn is_draining(&self) -> bool {
        self.0.has_reached(Phase::Draining)
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.0))
    }

    fn advance(&self, to: Phase) {
        self.0.phase.fetch_max(to as u8, Ordering::Release);
        self.0.advanced.notify_waiters();
    }
}

impl State {
    fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) struct Watch(Arc<State>);

impl Watch {
    /// Ready when stopping has come this far.
    pub(crate) async fn reached(&self, phase: Phase) {
        loop {
            let mut advanced = pin!(self.0.advanced.notified());
            // Before the look: what comes after it is not missed.
            advanced.as_mut().enable();
            if self.0.has_reached(phase) {
                return;
            }
            advanced.await;
        }
    }
}
