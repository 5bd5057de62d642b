//! A small HTTP server, for programs that ask at once.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::desk::Desk;

/// A client here is a program that asks at once.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// The longest that answers under way are waited for at the end.
const PARTING: Duration = Duration::from_secs(1);

/// How long nobody is accepted after the system would not.
const REST: Duration = Duration::from_millis(50);

/// How old a connection gets, and how long it may take to end then: one that takes nothing of its
/// answers does not end by itself.
const LIFE: Duration = Duration::from_secs(60);
const FAREWELL: Duration = Duration::from_secs(10);

/// Connections at a time; who comes beyond them waits to be accepted.
const CONNECTIONS: usize = 128;

/// What a connection is kept secret by: asked for each one, as certificates are renewed. Without it
/// connections are closed.
pub type Secure = Arc<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

/// Shows what there is at a desk, to whoever connects, until `end` is over, and has done what is
/// asked there; in TLS if there is something to secure it by. What is being answered then is
/// finished. It runs on a tokio runtime.
///
/// # Errors
///
/// When the listener cannot be used.
///
/// ```
/// use std::io::{Read, Write};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let at = listener.local_addr()?;
/// let ask = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
///     let mut stream = std::net::TcpStream::connect(at)?;
///     stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
///     let mut answer = String::new();
///     stream.read_to_string(&mut answer)?;
///     Ok(answer)
/// });
/// let balancer = plimsoll::Balancer::<()>::new();
/// let pool = move || plimsoll_admin::PoolView::new(balancer.snapshot(), Vec::new());
/// let desk = plimsoll_admin::Desk::new(move || plimsoll_admin::Overview::new("worker", vec![pool()]));
/// let asked = async { ask.await };
/// let mut asked = std::pin::pin!(asked);
/// let mut answer = None;
/// plimsoll_admin::serve(listener, desk, None, async { answer = Some(asked.as_mut().await) }).await?;
/// assert!(answer.unwrap()??.contains("plimsoll_line_length 0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn serve(
    listener: TcpListener,
    desk: Desk,
    secure: Option<Secure>,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let desk = Arc::new(desk);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut end = pin!(end);
    let (serving, over) = watch::channel(());
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // It is never closed.
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut end => break,
            next = next => next,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let (desk, secure, over) = (Arc::clone(&desk), secure.clone(), over.clone());
        // Those that have ended are let go of.
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            match secure {
                None => converse(socket, desk, over).await,
                Some(secure) => {
                    let Some(by) = secure() else { return };
                    let secured = timeout(HEADER_TIME, TlsAcceptor::from(by).accept(socket));
                    // One that does not agree is its own matter.
                    if let Ok(Ok(stream)) = secured.await {
                        converse(stream, desk, over).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop((listener, serving));
    // Who does not take an answer is not waited for.
    let parted = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(PARTING, parted).await;
    Ok(())
}

/// Answers what comes by a stream, until its end, or that of what is asked when it is over.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    desk: Arc<Desk>,
    mut over: watch::Receiver<()>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // Its errors are the client's.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(LIFE) => {}
        // Who tells it is gone.
        _ = over.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FAREWELL, connection).await;
}
