//! Stopping: first gently, then at once.

use tokio::sync::watch;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    #[default]
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
pub struct Shutdown(watch::Sender<Phase>);

impl Shutdown {
    /// For a proxy that runs.
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Serving))
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
        *self.0.borrow() >= Phase::Draining
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let on = to > *phase;
            *phase = (*phase).max(to);
            on
        });
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) struct Watch(watch::Receiver<Phase>);

impl Watch {
    /// Ready when stopping has come this far.
    pub(crate) async fn reached(&self, phase: Phase) {
        if self.0.clone().wait_for(|&at| at >= phase).await.is_err() {
            // Its sender is in the proxy, which outlives its connections.
            std::future::pending::<()>().await;
        }
    }
}
