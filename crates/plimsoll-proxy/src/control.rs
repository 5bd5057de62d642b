//! What a running proxy is told: other settings, and to stop, first gently, then at once.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::config::{BackendConfig, Config};
use crate::proxy::Proxy;
use crate::restart::{Place, Rest};

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// No new connections; what runs is finished.
    Draining,
    /// The same, while another process serves in this one's place.
    HandedOver,
    /// What still runs is cut off.
    Stopped,
}

/// The handle on a running proxy.
///
/// ```
/// let control = plimsoll_proxy::Control::new();
/// control.drain();
/// assert!(control.is_draining());
/// ```
#[derive(Clone, Debug)]
pub struct Control(Arc<State>);

/// What is to be different. What is told again stays as it is, with all that is known of it.
#[derive(Debug)]
pub struct Change {
    /// The settings; of threads there are as many as at first.
    pub config: Config,
    /// Where clients come besides.
    pub opens: Vec<Listener>,
    /// Where no more come, as it was told when it was opened.
    pub closes: Vec<SocketAddr>,
}

/// A socket that waits for clients.
#[derive(Debug)]
pub struct Listener {
    /// What it is known by: the address that it was opened at, whatever port it has.
    pub at: SocketAddr,
    /// The socket.
    pub socket: TcpListener,
    /// Whether clients speak TLS.
    pub tls: bool,
}

impl Listener {
    /// Another handle on the same socket.
    ///
    /// # Errors
    ///
    /// When there are no descriptors.
    pub(crate) fn twin(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, ..*self })
    }
}

struct State {
    /// A [`Phase`]: every response asks for it, so it is read without a lock.
    phase: AtomicU8,
    advanced: Notify,
    /// Held when another takes the place of what is served by, and while none may.
    held: Mutex<()>,
    /// What runs.
    proxy: Mutex<Weak<Proxy>>,
}

impl Control {
    /// For a proxy that runs.
    pub fn new() -> Self {
        let phase = AtomicU8::new(Phase::Serving as u8);
        let (advanced, held, proxy) = (Notify::new(), Mutex::default(), Mutex::default());
        Self(Arc::new(State { phase, advanced, held, proxy }))
    }

    pub(crate) fn is_of(&self, proxy: &Arc<Proxy>) {
        *self.0.proxy() = Arc::downgrade(proxy);
    }

    /// Serves by other settings from now on: requests that come then, on connections that are
    /// there already, too. Those that are under way go on as they began.
    ///
    /// # Errors
    ///
    /// A sentence, when nothing runs, or what is told cannot be; then nothing has changed.
    pub fn change(&self, change: Change) -> Result<(), String> {
        self.proxy().ok_or("nothing is served")?.change(change)
    }

    /// The sockets that wait for clients.
    ///
    /// # Errors
    ///
    /// When nothing runs, or there are no descriptors.
    pub fn listeners(&self) -> io::Result<Vec<Listener>> {
        let proxy = self.proxy().ok_or_else(|| io::Error::other("nothing is served"))?;
        proxy.sockets().iter().map(Listener::twin).collect()
    }

    /// Has it serve by what it does until what is returned is dropped: who changes that waits, and
    /// it does not wait for a change that is about to be, such as one whose disk is gone.
    ///
    /// ```
    /// let control = plimsoll_proxy::Control::new();
    /// drop(control.hold());
    /// ```
    #[must_use = "dropped, it holds nothing"]
    pub fn hold(&self) -> impl Drop + '_ {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves serving to another process, which has the same sockets and is ready: accepts no more,
    /// as [`drain`](Self::drain), and has from now on no more of the backends that the other
    /// uses as well, which are told, than what is pending there.
    ///
    /// # Errors
    ///
    /// A sentence, when nothing runs, or it stops already; then nothing has changed.
    pub fn hand_over(&self, used: &[Place]) -> Result<Rest, String> {
        self.proxy().ok_or("nothing is served")?.hand_over(used)
    }

    /// Reads certificates again whose files have changed, and serves by them from now on: new
    /// connections, that is. Tells whether there was anything to read. Cheap enough to be called
    /// every now and then.
    ///
    /// # Errors
    ///
    /// A sentence, once for each change of files that are of no use; then those before are served.
    pub fn renew_certificates(&self) -> Result<bool, String> {
        self.proxy().map_or(Ok(false), |proxy| proxy.renew_certificates())
    }

    /// Serves by other backends of these pools, by their names, and by all else as before. What
    /// is told again is kept with all that is known of it; a pool that is not told is left alone.
    ///
    /// # Errors
    ///
    /// A sentence, when nothing runs.
    pub fn change_backends(&self, told: HashMap<String, Vec<BackendConfig>>) -> Result<(), String> {
        self.proxy().ok_or("nothing is served")?.change_backends(told)
    }

    /// What runs, without its lock: it may take its time.
    fn proxy(&self) -> Option<Arc<Proxy>> {
        self.0.proxy().upgrade()
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

    /// Whether it has been told to drain by [`hand_over`](Self::hand_over).
    pub(crate) fn has_handed_over(&self) -> bool {
        self.0.has_reached(Phase::HandedOver)
    }

    pub(crate) fn leave_to_another(&self) {
        self.advance(Phase::HandedOver);
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
    fn proxy(&self) -> MutexGuard<'_, Weak<Proxy>> {
        self.proxy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_reached(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Default for Control {
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
