//! After a switch of protocols: bytes both ways, until both sides have ended.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use crate::proxy::Seat;
use crate::shutdown::Phase;
use crate::upstream::Held;

/// Bytes on their way, in each direction.
const BUFFER: usize = 16 << 10;

/// A backend that has switched protocols, for a client that is about to. It
/// runs in the place of the client's connection, which it was.
pub(crate) struct Tunnel {
    held: Held,
    seat: Arc<Seat>,
}

impl Tunnel {
    pub(super) fn new(held: Held, seat: Arc<Seat>) -> Self {
        Self { held, seat }
    }

    /// Joins the two sides; `early` is what the client has said already. The
    /// lease is given back when the backend's side is closed.
    pub(crate) async fn run(self, client: impl AsyncRead + AsyncWrite, early: Bytes) {
        let proxy = &self.seat.proxy;
        let (phase, idle) = (proxy.shutdown.watch(), proxy.config.times.tunnel_idle);
        let (_lease, backend) = self.held.switched().await;
        tokio::select! {
            () = join((client, early), (backend.stream, backend.early), idle) => {}
            () = phase.reached(Phase::Stopped) => {}
        }
        drop(backend.place);
    }
}

/// Passes each side's end on, and ends when both have ended or one has broken
/// off, or when both have been silent for too long. What they have said already
/// stands beside them.
async fn join(
    client: (impl AsyncRead + AsyncWrite, Bytes),
    backend: (impl AsyncRead + AsyncWrite, Bytes),
    idle: Duration,
) {
    let (client_read, client_write) = split(client.0);
    let (backend_read, backend_write) = split(backend.0);
    let passed = AtomicU64::new(0);
    let silence = async {
        let mut before = u64::MAX;
        loop {
            let now = passed.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
            tokio::time::sleep(idle).await;
        }
    };
    let to_backend = pass(client.1, client_read, backend_write, &passed);
    let to_client = pass(backend.1, backend_read, client_write, &passed);
    tokio::select! {
        _ = async { tokio::try_join!(to_backend, to_client) } => {}
        () = silence => {}
    }
}

async fn pass(
    early: Bytes,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &AtomicU64,
) -> io::Result<()> {
    to.write_all(&early).await?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        passed.fetch_add(1, Ordering::Relaxed);
    }
}
