//! Who sent a request, as the exchange needs it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::screen::Fault;
use super::socket::Gate;
use super::stall::{Answers, Progress};
use crate::alarm::Alarm;
use crate::config::Config;
use crate::exchange::Tunnel;
use crate::stream::SharedStream;

/// Where a connection comes from.
pub(super) struct Origin {
    pub(super) peer: SocketAddr,
    pub(super) tls: bool,
    pub(super) certificate: Option<HeaderValue>,
}

/// One connection from a client.
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) http2: bool,
    /// Whether it is in TLS.
    pub(crate) tls: bool,
    /// Its certificate, as backends are told it.
    pub(crate) certificate: Option<HeaderValue>,
    /// Whether it is believed for whom it asks.
    pub(crate) is_trusted: bool,
    /// Its address, as backends are told it.
    pub(crate) forwarded_for: HeaderValue,
    gate: Arc<Gate>,
    stream: SharedStream,
    requests: AtomicU64,
    /// Requests that it may send on this connection.
    most: Option<u64>,
    had_last: Notify,
    /// Between requests; the one that is under way has it.
    alarm: Mutex<Alarm>,
    /// What its connection is to become.
    tunnel: Mutex<Option<Tunnel>>,
    answers: Answers,
}

impl Client {
    pub(super) fn new(
        Origin { peer, tls, certificate }: Origin,
        http2: bool,
        gate: Arc<Gate>,
        stream: SharedStream,
        config: &Config,
    ) -> Self {
        let most = config.limits.requests_per_connection;
        let address = peer.ip().to_canonical();
        let is_trusted = config.trust.iter().any(|network| network.contains(&address));
        let unknown = |_| HeaderValue::from_static("unknown");
        let forwarded_for = HeaderValue::from_str(&address.to_string()).unwrap_or_else(unknown);
        let (requests, had_last) = (AtomicU64::new(0), Notify::new());
        Self {
            peer,
            http2,
            tls,
            certificate,
            is_trusted,
            forwarded_for,
            gate,
            stream,
            requests,
            most,
            had_last,
            alarm: Mutex::default(),
            tunnel: Mutex::default(),
            answers: Answers::new(),
        }
    }

    /// A request begins; it ends when the value is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Asking {
        self.gate.begin();
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let last = self.most.is_some_and(|most| number + 1 >= most);
        if last {
            self.had_last.notify_one();
        }
        Asking { client: Arc::clone(self), number, last, alarm: take(&self.alarm) }
    }

    /// Has its connection become a tunnel when the request under way is
    /// answered.
    pub(crate) fn begin_tunnel(&self, tunnel: Tunnel) {
        *lock(&self.tunnel) = Some(tunnel);
    }

    /// What its connection is to become, if anything.
    pub(super) fn tunnel(&self) -> Option<Tunnel> {
        take(&self.tunnel)
    }

    /// Watches an answer where the socket does not tell that the client takes
    /// none of it.
    pub(crate) fn watch_answer(&self) -> Option<Arc<Progress>> {
        self.http2.then(|| self.answers.begin())
    }

    /// The answer under way ends where its connection does, as nothing in it says where. Until it
    /// is sent, however that comes about, its connection's end is a reset.
    pub(crate) fn ends_with_answer(&self) {
        self.gate.set_open_ended();
        self.stream.resets(true);
    }

    /// Whether an answer has not moved for this long.
    pub(super) fn stalls(&self, limit: Duration) -> bool {
        let stalls = self.answers.stall(limit);
        if stalls {
            self.gate.stall();
        }
        stalls
    }

    /// Whether its connection was ended since it did not read.
    pub(crate) fn has_stalled(&self) -> bool {
        self.gate.has_stalled()
    }

    /// Requests that have begun so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Ready when it has sent all the requests that it may.
    pub(super) async fn had_its_last(&self) {
        self.had_last.notified().await;
    }

    /// Whether a request is being answered.
    pub(super) fn is_active(&self) -> bool {
        self.gate.is_active()
    }

    /// Ready when its connection has been idle for a while, and may do without
    /// what it needs only for requests.
    pub(super) fn poll_rest(&self, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<()> {
        match self.gate.rests_from() {
            Some(from) => alarm.poll(cx, from),
            None => Poll::Pending,
        }
    }

    /// Whether the client has closed its side: as [`departed`](Self::departed),
    /// for one look.
    pub(crate) fn has_departed(&self) -> bool {
        !self.http2 && self.stream.has_hung_up()
    }

    /// Ready when the client has closed its side, whatever it sent before and
    /// nobody has read: HTTP/1 sees that only when it reads. A half-closed
    /// client counts as gone, as it does for hyper.
    pub(crate) async fn departed(&self) {
        // HTTP/2 drops the request by itself.
        if !self.http2 && self.hung_up().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }

    async fn hung_up(&self) -> Option<()> {
        // A descriptor of its own has readiness of its own: looking at it takes
        // nothing from who reads.
        let twin = rustix::io::fcntl_dupfd_cloexec(&self.stream, 0).ok()?;
        let twin = TcpStream::from_std(twin.into()).ok()?;
        loop {
            if twin.ready(Interest::READABLE).await.ok()?.is_read_closed() {
                return Some(());
            }
            // What is there to read is not for us: wait for what comes next.
            let _ = twin.try_io(Interest::READABLE, || -> io::Result<()> {
                Err(io::ErrorKind::WouldBlock.into())
            });
        }
    }
}

/// A request that is not answered to its end.
pub(crate) struct Asking {
    client: Arc<Client>,
    /// Which one on its connection, from 0.
    number: u64,
    /// No other follows on its connection.
    pub(crate) last: bool,
    pub(crate) alarm: Alarm,
}

impl Asking {
    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// What the screen has against its head.
    pub(crate) fn fault(&self) -> Option<Fault> {
        if self.client.http2 { None } else { self.client.gate.fault(self.number) }
    }

    /// Whether its connection would not tell by itself that the client leaves:
    /// there is something behind the request that is not read yet.
    pub(crate) fn hides_departure(&self) -> bool {
        !self.client.http2 && self.client.gate.has_more_than(self.number)
    }

    /// Whether it asks for an upgrade, by the screen's rule: then nothing behind it
    /// passes until it is decided.
    pub(crate) fn asks_upgrade(&self) -> bool {
        !self.client.http2 && self.client.gate.asks_upgrade(self.number)
    }

    /// What became of the upgrade that it asks for.
    pub(crate) fn decide(&self, upgraded: bool) {
        self.client.gate.decide(self.number, upgraded);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        *lock(&self.client.alarm) = std::mem::take(&mut self.alarm);
        self.client.gate.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take<T: Default>(mutex: &Mutex<T>) -> T {
    std::mem::take(&mut *lock(mutex))
}
