//! One connection to a backend.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use plimsoll::Lease;
use rustix::net::RecvFlags;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::connections::Opened;
use super::{Backend, ToBackend};
use crate::stream::SharedStream;

/// Idle for less than this, it is taken to be as it was.
const TRUSTED: Duration = Duration::from_millis(500);

/// A connection that has no request, or one request's for as long as that has
/// its lease. Dropped, it is closed.
pub(crate) struct Connection {
    sender: http1::SendRequest<ToBackend>,
    stream: SharedStream,
    thread: usize,
    idle_since: Instant,
    /// Held by who holds the socket.
    end: Weak<End>,
    driver: AbortHandle,
}

impl Connection {
    /// Begins to speak HTTP/1.1 on the stream, driven by this thread.
    pub(super) async fn start(
        stream: TcpStream,
        thread: usize,
        opened: Opened,
    ) -> hyper::Result<Self> {
        let stream = SharedStream::new(stream);
        let io = TokioIo::new(stream.clone());
        let (sender, driven) = http1::Builder::new().handshake(io).await?;
        let end = Arc::new(End { opened: Some(opened), lease: Mutex::new(None) });
        let seen = Arc::downgrade(&end);
        let task = tokio::spawn(async move {
            // Dropped after the socket.
            let _end = end;
            // What goes wrong is told to the request.
            let _ = driven.with_upgrades().await;
        });
        Ok(Self {
            sender,
            stream,
            thread,
            idle_since: Instant::now(),
            end: seen,
            driver: task.abort_handle(),
        })
    }

    /// Sends a request; its error hands it back when nothing of it was sent.
    pub(crate) fn send(
        &mut self,
        request: Request<ToBackend>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<ToBackend>>>> + use<>
    {
        self.sender.try_send_request(request)
    }

    /// Whether it may carry a request, as far as can be seen: the backend may
    /// have closed it while nobody looked, or said what nobody asked for.
    pub(super) fn is_sound(&self) -> bool {
        !self.is_closed() && (self.idle_since.elapsed() < TRUSTED || self.is_quiet())
    }

    /// Whether the backend has neither closed it nor said anything.
    pub(super) fn is_quiet(&self) -> bool {
        let peeked =
            rustix::net::recv(&self.stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Gives the lease back when the socket is closed, and closes it.
    pub(crate) fn end(self, lease: Lease<Arc<Backend>>) {
        if let Some(end) = self.end.upgrade() {
            end.give_back_with(lease);
        }
    }

    /// To be held by who takes the socket over, for as long as he has it.
    pub(crate) fn hold_open(&self) -> Option<Arc<End>> {
        self.end.upgrade()
    }

    /// Ready for another request, now or soon.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(crate) async fn ready(&mut self) -> hyper::Result<()> {
        self.sender.ready().await
    }

    pub(super) fn rest(&mut self) {
        self.idle_since = Instant::now();
    }

    pub(super) fn thread(&self) -> usize {
        self.thread
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What ends with the socket: there is room for another connection first, then
/// for another request.
pub(crate) struct End {
    opened: Option<Opened>,
    lease: Mutex<Option<Lease<Arc<Backend>>>>,
}

impl End {
    fn give_back_with(&self, lease: Lease<Arc<Backend>>) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.opened.take());
        let lease = self.lease.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(lease.take());
    }
}
