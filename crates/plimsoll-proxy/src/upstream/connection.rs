//! One connection to a backend.
//!
//! Nobody drives it but who holds it: a request polls it beside what it waits
//! for, in its own task. So a request needs no second task and no channel to
//! wake it, dropping the connection closes its socket there and then, and an
//! idle one costs nothing.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::net::RecvFlags;
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;

use super::ToBackend;
use super::connections::Opened;
use crate::stream::SharedStream;

/// Idle for less than this, and without an event since, it is taken to be as
/// it was.
const TRUSTED: Duration = Duration::from_millis(500);

/// The most that a backend says before its response's head has come to its end,
/// in bytes: interim answers, which hyper reads for ever. It is more than hyper
/// reads at a time, and than it takes for one head.
const MOST_HEADS: usize = 1 << 20;

type Driver = http1::Connection<TokioIo<SharedStream>, ToBackend>;

/// A connection that has no request, or one request's for as long as that has
/// its lease. Dropped, it is closed. In a box, as it goes from hand to hand.
pub(crate) struct Connection {
    sender: http1::SendRequest<ToBackend>,
    driven: Driven,
    stream: SharedStream,
    thread: usize,
    idle_since: Instant,
    /// Last, so that there is room for another when the socket is closed.
    opened: Opened,
}

pub(crate) type SendError = TrySendError<Request<ToBackend>>;

pin_project_lite::pin_project! {
    /// A request on its way, until the head of its response is here. An `async fn`
    /// would hold the request twice: as it is given, and pinned.
    struct Sent<'a, F> {
        #[pin]
        answer: F,
        driven: &'a mut Driven,
        stream: &'a SharedStream,
    }
}

impl<F: Future> Future for Sent<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        this.driven.drive(cx);
        let mut quiet = Context::from_waker(Waker::noop());
        let mut answered = this.answer.as_mut().poll(&mut quiet);
        if answered.is_pending() && this.driven.ended {
            // The backend had closed it, as is found now.
            this.driven.driver = None;
            answered = this.answer.poll(&mut quiet);
        }
        if answered.is_ready() {
            this.stream.limit_reading(None);
        }
        answered
    }
}

/// What reads and writes.
struct Driven {
    /// Dropped when a request is left in it at its end, which is then handed back.
    driver: Option<Driver>,
    /// It has come to its end, and must not be asked again.
    ended: bool,
    bell: Arc<Bell>,
    /// The bell's.
    waker: Waker,
}

/// A socket after a switch of protocols.
pub(crate) struct Switched {
    pub(crate) stream: SharedStream,
    /// What the backend has said in the new protocol already.
    pub(crate) early: Bytes,
    /// Its place among the open connections, to be dropped after the stream.
    pub(crate) place: Opened,
}

impl Connection {
    /// Begins to speak HTTP/1.1 on a stream of this thread's runtime.
    pub(super) async fn start(
        stream: TcpStream,
        thread: usize,
        opened: Opened,
    ) -> hyper::Result<Box<Self>> {
        let stream = SharedStream::new(stream);
        let io = TokioIo::new(stream.clone());
        let (sender, spoken) = http1::Builder::new().handshake(io).await?;
        let bell = Arc::<Bell>::default();
        let waker = Waker::from(Arc::clone(&bell));
        let driven = Driven { driver: Some(spoken), ended: false, bell, waker };
        let idle_since = Instant::now();
        Ok(Box::new(Self { sender, driven, stream, thread, idle_since, opened }))
    }

    /// The same, idle as it is, on this thread's runtime: another's would have
    /// to wake this one for every event. `None` when it serves no more.
    pub(super) async fn move_to(self: Box<Self>, thread: usize) -> Option<Box<Self>> {
        let Self { sender, driven, stream, opened, .. } = *self;
        drop((sender, stream));
        let parts = driven.driver?.into_parts();
        let stream = parts.io.into_inner().into_inner().filter(|_| parts.read_buf.is_empty())?;
        let stream = TcpStream::from_std(stream.into_std().ok()?).ok()?;
        Self::start(stream, thread, opened).await.ok()
    }

    /// Closes it, and yields its place among the open ones.
    pub(super) fn close(self: Box<Self>) -> Opened {
        let Self { sender, driven, stream, opened, .. } = *self;
        drop((sender, driven, stream));
        opened
    }

    /// Sends a request; its error hands it back when nothing of it was sent.
    pub(crate) fn send(
        &mut self,
        request: Request<ToBackend>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> {
        self.stream.limit_reading(Some(MOST_HEADS));
        // Ready by what the driver does, here and nowhere else: it need not wake
        // this task, and must not be put off by the runtime.
        let answer = unconstrained(self.sender.try_send_request(request));
        Sent { answer, driven: &mut self.driven, stream: &self.stream }
    }

    /// What comes next of a response's body.
    pub(crate) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut body = Pin::new(body);
        let mut quiet = Context::from_waker(Waker::noop());
        // Asked first, it tells the driver that there is room, which need not
        // wake this task either: the driver comes next.
        self.driven.bell.0.take();
        let frame = body.as_mut().poll_frame(&mut quiet);
        if frame.is_ready() {
            return frame;
        }
        self.driven.drive(cx);
        body.poll_frame(&mut quiet)
    }

    /// The socket, once the backend has switched protocols.
    pub(crate) async fn switched(mut self: Box<Self>) -> Switched {
        poll_fn(|cx| {
            self.driven.drive(cx);
            if self.driven.ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let Self { driven, stream, opened, .. } = *self;
        let early = driven.driver.map_or_else(Bytes::new, |driver| driver.into_parts().read_buf);
        Switched { stream, early, place: opened }
    }

    /// Whether it may carry a request, as far as can be seen: the backend may
    /// have closed it while nobody looked, or said what nobody asked for.
    pub(super) fn is_sound(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.idle_since);
        let trusted = idle < TRUSTED && !self.stream.has_news();
        !self.is_over() && (trusted || self.is_quiet())
    }

    /// Whether the backend has neither closed it nor said anything.
    pub(super) fn is_quiet(&self) -> bool {
        let peeked =
            rustix::net::recv(&self.stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether it is worth keeping any longer.
    pub(super) fn is_fresh(&self, oldest: Instant) -> bool {
        self.idle_since >= oldest && (!self.stream.has_news() || self.is_quiet())
    }

    /// Whether it is ready for another request, now that the last one's response
    /// has been read to its end.
    pub(crate) fn is_ready(&mut self) -> bool {
        if !self.sender.is_ready() {
            self.driven.drive(&Context::from_waker(Waker::noop()));
        }
        self.sender.is_ready() && !self.is_over()
    }

    /// Nobody waits for it any more.
    pub(super) fn rest(&mut self, now: Instant) {
        self.driven.bell.0.take();
        self.idle_since = now;
    }

    pub(super) fn thread(&self) -> usize {
        self.thread
    }

    fn is_over(&self) -> bool {
        self.driven.ended || self.sender.is_closed()
    }
}

impl Driven {
    /// Lets the connection read and write what it can, and has it wake who asks.
    /// What goes wrong is told to the request.
    fn drive(&mut self, cx: &Context<'_>) {
        if let Some(driver) = self.driver.as_mut().filter(|_| !self.ended) {
            self.bell.0.register(cx.waker());
            let mut cx = Context::from_waker(&self.waker);
            self.ended = driver.poll_without_shutdown(&mut cx).is_ready();
        }
    }
}

/// Wakes who drives the connection now, and nobody while it is idle: the driver
/// would remember the last one, and wake him for the next one's request.
#[derive(Default)]
struct Bell(AtomicWaker);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::connections::Connections;
    use super::*;

    fn get() -> Request<ToBackend> {
        let mut request = Request::new(ToBackend::Empty);
        request.headers_mut().insert("host", "test".parse().unwrap());
        request
    }

    /// The driver finds the end before it takes the request.
    #[test]
    fn a_request_that_meets_the_end_of_an_idle_connection_comes_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut backend, _) = listener.accept().await.unwrap();
            let connections = Arc::new(Connections::new(NonZeroU32::MIN, 1));
            let opened = connections.room().unwrap();
            let mut connection = Connection::start(stream, 0, opened).await.unwrap();
            let served = async {
                assert!(backend.read(&mut [0; 1000]).await.unwrap() > 0);
                backend.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            };
            let (answer, ()) = tokio::join!(connection.send(get()), served);
            assert!(answer.is_ok_and(|answer| answer.status() == 204));
            assert!(connection.is_ready());
            drop(backend);
            poll_fn(|cx| connection.stream.poll_readable(cx)).await.unwrap();
            let limit = Duration::from_secs(5);
            let answer = tokio::time::timeout(limit, connection.send(get())).await.unwrap();
            let message = answer.err().and_then(|mut error| error.take_message());
            assert!(message.is_some(), "nothing of it was sent");
            drop(connection);
            assert_eq!(connections.open(), 0);
        });
    }
}
