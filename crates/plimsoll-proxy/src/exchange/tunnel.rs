//! After a switch of protocols: bytes both ways, until both sides have ended.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use crate::proxy::Seat;
use crate::shutdown::Phase;
use crate::upstream::Held;

/// Bytes on their way, in each direction.
const BUFFER: usize = 16 << 10;

/// Joins the two sides once both have switched. The lease is given back when
/// the backend's side is closed.
pub(super) fn open(client: OnUpgrade, backend: OnUpgrade, held: Held, seat: &Arc<Seat>) {
    let phase = seat.proxy.shutdown.watch();
    let idle = seat.proxy.config.times.tunnel_idle;
    tokio::spawn(async move {
        // Holds the socket's place among the open connections.
        let open = held.hold_open();
        let both = async {
            if let Ok((client, backend)) = tokio::try_join!(client, backend) {
                join(client, backend, idle).await;
            }
        };
        tokio::select! {
            () = both => {}
            () = phase.reached(Phase::Stopped) => {}
        }
        drop(held);
        drop(open);
    });
}

/// Passes each side's end on, and ends when both have ended or one has broken
/// off, or when both have been silent for too long.
async fn join(client: Upgraded, backend: Upgraded, idle: Duration) {
    let (client_read, client_write) = split(TokioIo::new(client));
    let (backend_read, backend_write) = split(TokioIo::new(backend));
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
    let to_backend = pass(client_read, backend_write, &passed);
    let to_client = pass(backend_read, client_write, &passed);
    tokio::select! {
        _ = async { tokio::try_join!(to_backend, to_client) } => {}
        () = silence => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &AtomicU64,
) -> io::Result<()> {
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
