//! After a switch of protocols: bytes both ways, until both sides have ended.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, split};

use super::record::Record;
use crate::control::Phase;
use crate::upstream::Held;

/// Bytes that are read at a time.
const BUFFER: usize = 16 << 10;

thread_local! {
    /// What all tunnels of a thread read into: most of them are silent.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

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
        told.record.hold_one_pool();
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
    // It holds the buffer that it is a part of.
    drop(early);
    loop {
        let (read, rest) = poll_fn(|cx| poll_pass(cx, &mut from, &mut to)).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&rest).await?;
        to.flush().await?;
        passed.fetch_add(read as u64, Ordering::Relaxed);
    }
}

/// Passes on what there is, as far as it is taken at once: how much it was, which is nothing at the
/// end, and the rest.
fn poll_pass(
    cx: &mut Context<'_>,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> Poll<io::Result<(usize, Vec<u8>)>> {
    READ.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            return Poll::Ready(Ok((0, Vec::new())));
        }
        let written = match Pin::new(to).poll_write(cx, read) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        Poll::Ready(Ok((read.len(), read[written..].to_vec())))
    })
}
