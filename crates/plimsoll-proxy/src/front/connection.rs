//! One connection from a client, from its first byte to its last.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::client::{Client, Origin};
use super::screen;
use super::socket::{Gate, Socket};
use super::wire::Wire;
use crate::alarm::{Alarm, before};
use crate::config::Config;
use crate::control::Phase;
use crate::exchange;
use crate::proxy::{Live, Seat};
use crate::stream::{SharedStream, tune};

/// What hyper reads of a head at the least, in bytes: more than that it refuses by itself, and
/// nobody is told of it.
const BUFFER: usize = 400 << 10;

/// How often an HTTP/2 connection is asked whether it is idle, unless its
/// limits are shorter.
const LOOK: Duration = Duration::from_secs(1);

/// The longest that a client without a request takes to agree to the end of
/// its connection. hyper would wait for it for ever.
const PARTING: Duration = Duration::from_secs(3);

/// Serves a connection to its end. When time is up, its thread drops it.
pub(crate) async fn serve(seat: Arc<Seat>, stream: TcpStream, peer: SocketAddr, tls: bool) {
    if tune(&stream).is_err() {
        return;
    }
    let live = seat.live();
    let config = &live.config;
    let stream = SharedStream::new(stream);
    let wire = if tls {
        // Apart, so that the many without have no room for it in their tasks.
        match Box::pin(secured(&live, stream.clone())).await {
            Some(wire) => wire,
            None => return seat.proxy.stats.failed_handshake(),
        }
    } else {
        Wire::Plain(stream.clone())
    };
    let gate = Arc::new(Gate::new(screen_limits(config)));
    let origin = Origin { peer, tls, certificate: wire.certificate() };
    let mut socket = Socket::new(wire, Arc::clone(&gate), config.times);
    // Gone before it said anything.
    let Ok(http2) = socket.speaks_http2().await else { return };
    let client = Arc::new(Client::new(origin, http2, gate, stream, config));
    drop(live);
    if http2 {
        // Apart, so that the many of HTTP/1 have no room for it in their tasks.
        Box::pin(serve_http2(&seat, socket, client)).await;
    } else {
        serve_http1(&seat, socket, client).await;
    }
}

/// In TLS, if the client comes to an agreement about it in the time that a head has.
async fn secured(live: &Live, stream: SharedStream) -> Option<Wire> {
    let server = Arc::clone(&live.tls.as_ref()?.clients);
    let secured = Wire::secured(stream, server);
    before(Instant::now() + live.config.times.client_header, secured).await?.ok()
}

async fn serve_http1(seat: &Arc<Seat>, mut socket: Socket, client: Arc<Client>) {
    let config = &Arc::clone(&seat.live().config);
    let room = config.limits.head_bytes.max(BUFFER);
    let mut alarm = Alarm::default();
    let _end = End(&client);
    loop {
        let service =
            service_fn(|request| exchange::answer(Arc::clone(seat), client.begin(), request));
        let mut connection = http1::Builder::new()
            .max_headers(config.limits.headers)
            .max_buf_size(room)
            // Trailers as well.
            .max_header_size(room)
            .serve_connection(TokioIo::new(socket), service);
        let ended = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => client.poll_rest(cx, &mut alarm).map(|()| None),
        });
        let ended = ended.await;
        if let Some(Err(error)) = ended {
            // The client's errors, or told by the exchange: its own is an answer that broke off.
            let socket = connection.into_parts().io.into_inner();
            return Box::pin(socket.part(error.is_user())).await;
        }
        let parts = connection.into_parts();
        socket = parts.io.into_inner();
        if let Some(tunnel) = client.tunnel() {
            return Box::pin(tunnel.run(socket, parts.read_buf)).await;
        }
        // Without hyper, and its buffers, for as long as nothing comes.
        socket.take_back(&parts.read_buf);
        drop(parts.read_buf);
        if ended.is_some() {
            return;
        }
        if socket.readable().await.is_err() {
            return Box::pin(socket.part(false)).await;
        }
    }
}

/// A connection's end. A tunnel that has not begun holds its client, which holds it.
struct End<'a>(&'a Client);

impl Drop for End<'_> {
    fn drop(&mut self) {
        drop(self.0.tunnel());
    }
}

async fn serve_http2(seat: &Arc<Seat>, socket: Socket, client: Arc<Client>) {
    let config = &Arc::clone(&seat.live().config);
    let (limits, times) = (config.limits, config.times);
    let asked = Arc::clone(&client);
    let served = Arc::clone(seat);
    let service =
        service_fn(move |request| exchange::answer(Arc::clone(&served), asked.begin(), request));
    let header_list = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(header_list)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let phase = seat.proxy.control.watch();
    let look = LOOK.min(times.client_idle).min(times.body_idle);
    let (mut idle_since, mut begun) = (Instant::now(), 0);
    let mut draining = false;
    loop {
        let ends = tokio::select! {
            _ = connection.as_mut() => return,
            () = phase.reached(Phase::Draining), if !draining => true,
            () = client.had_its_last(), if !draining => true,
            () = tokio::time::sleep(look) => {
                if client.stalls(times.body_idle) {
                    return;
                }
                // One that came and went between two looks counts as well.
                let before = std::mem::replace(&mut begun, client.requests());
                if client.is_active() || begun > before {
                    idle_since = Instant::now();
                }
                let idle = idle_since.elapsed();
                if draining && idle >= PARTING {
                    return;
                }
                !draining && idle >= times.client_idle
            }
        };
        if ends {
            draining = true;
            idle_since = Instant::now();
            connection.as_mut().graceful_shutdown();
        }
    }
}

fn screen_limits(config: &Config) -> screen::Limits {
    let limits = config.limits;
    screen::Limits {
        head_bytes: limits.head_bytes,
        headers: limits.headers,
        target_bytes: limits.target_bytes,
    }
}
