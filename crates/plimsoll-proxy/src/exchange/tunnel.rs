//! After a switch of protocols: bytes both ways, until both sides have ended.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::record::Record;
use crate::control::Phase;
use crate::upstream::Held;

/// Bytes on their way, in each direction.
const BUFFER: usize = 16 << 10;

/// A backend that has switched protocols, for a client that is about to. It
/// runs in the place of the client's connection, which it was.
pub(crate) struct Tunnel {
    held: Held,
    told: Told,
}

/// What is told of it when it is over, also when it is dropped before.
struct Told {
    record: Box<Record>,
    /// Bytes, both ways.
    passed: AtomicU64,
    /// It has come to its end.
    over: bool,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.record.passed(*self.passed.get_mut());
        if !self.over {
            self.record.cut_off();
        }
    }
}

impl Tunnel {
    pub(super) fn new(held: Held, record: Box<Record>) -> Self {
        Self { held, told: Told { record, passed: AtomicU64::new(0), over: false } }
    }

    /// Joins the two sides; `early` is what the client has said already. The
    /// lease is given back when the backend's side is closed.
    pub(crate) async fn run(self, client: impl AsyncRead + AsyncWrite, early: Bytes) {
        let Self { held, mut told } = self;
        let proxy = Arc::clone(&told.record.seat().proxy);
        let idle = told.record.live().config.times.tunnel_idle;
        let phase = proxy.control.watch();
        let (_lease, backend) = held.switched().await;
        let (client, backend_side) = ((client, early), (backend.stream, backend.early));
        let cut_off = tokio::select! {
            cut_off = join(client, backend_side, idle, &told.passed) => cut_off,
            () = phase.reached(Phase::Stopped) => Some("the proxy ended"),
        };
        told.over = true;
        if let Some(reason) = cut_off {
            told.record.broke_off(reason);
        }
        drop(backend.place);
    }
}

/// Passes each side's end on, and ends when both have ended or one has broken
/// off, or when both have been silent for too long, which is a reason to tell. What
/// they have said already stands beside them.
async fn join(
    client: (impl AsyncRead + AsyncWrite, Bytes),
    backend: (impl AsyncRead + AsyncWrite, Bytes),
    idle: Duration,
    passed: &AtomicU64,
) -> Option<&'static str> {
    let (client_read, client_write) = split(client.0);
    let (backend_read, backend_write) = split(backend.0);
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
    let to_backend = pass(client.1, client_read, backend_write, passed);
    let to_client = pass(backend.1, backend_read, client_write, passed);
    tokio::select! {
        _ = async { tokio::try_join!(to_backend, to_client) } => None,
        () = silence => Some("the tunnel was silent for too long"),
    }
}

async fn pass(
    early: Bytes,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: &AtomicU64,
) -> io::Result<()> {
    to.write_all(&early).await?;
    to.flush().await?;
    passed.fetch_add(early.len() as u64, Ordering::Relaxed);
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        passed.fetch_add(read as u64, Ordering::Relaxed);
    }
}
