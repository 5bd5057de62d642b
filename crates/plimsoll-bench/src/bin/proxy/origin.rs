//! Backends of our own, in this process: each runs `k` requests at once and
//! queues the others, first in, first out. A request carries its id and how
//! long it runs; running is sleeping, so that no processor is missing. What
//! each request saw is noted.
//!
//! A backend does not look at a connection while its request is queued or
//! runs, as servers with a thread or a process for each request don't: what a
//! client gave up is run all the same.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::client::told;
use plimsoll_bench::precise::until;

/// One request at a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) id: u32,
    pub(crate) backend: usize,
    pub(crate) arrived: Instant,
    pub(crate) began: Instant,
    /// Before its answer is sent.
    pub(crate) ended: Instant,
}

/// Connections that a backend takes; others wait where the kernel keeps them.
const CONNECTIONS: usize = 1500;

struct Backend {
    nth: usize,
    /// What a service time is multiplied by.
    slowness: u32,
    /// Fair: who waits longest is first.
    slots: Semaphore,
    connections: Arc<Semaphore>,
    visits: Arc<Mutex<Vec<Visit>>>,
}

/// All backends, on one thread; dropped, they are gone.
pub(crate) struct Origins {
    pub(crate) ports: Vec<u16>,
    visits: Arc<Mutex<Vec<Visit>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Origins {
    /// A backend for each slowness, with `slots` each.
    pub(crate) fn start(slots: usize, slowness: &[u32]) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let visits = Arc::new(Mutex::new(Vec::new()));
        let mut ports = Vec::new();
        for (nth, &slowness) in slowness.iter().enumerate() {
            let visits = Arc::clone(&visits);
            let slots = Semaphore::new(slots);
            let connections = Arc::new(Semaphore::new(CONNECTIONS));
            let backend = Arc::new(Backend { nth, slowness, slots, connections, visits });
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = runtime.block_on(TcpListener::bind(address))?;
            ports.push(listener.local_addr()?.port());
            runtime.spawn(accept(listener, backend));
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || drop(runtime.block_on(stopped)));
        Ok(Self { ports, visits, stop: Some(stop), thread: Some(thread) })
    }

    /// What has been run to its end so far.
    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Origins {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    loop {
        let room = Arc::clone(&backend.connections).acquire_owned().await.expect("it stays open");
        // Without descriptors there is nothing to measure.
        let (stream, _) = listener.accept().await.expect("a connection");
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            // A proxy may close a connection at any time.
            drop(serve(stream, &backend).await);
            drop(room);
        });
    }
}

async fn serve(mut stream: TcpStream, backend: &Backend) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::new();
    loop {
        read.clear();
        // Requests have no bodies, and none is sent before the last is answered.
        while !read.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        let arrived = Instant::now();
        let target = read.split(|&byte| byte == b' ').nth(1).and_then(|t| str::from_utf8(t).ok());
        let Some((id, service)) = target.and_then(told) else {
            return Err(io::Error::other("a request of somebody else's"));
        };
        let slot = backend.slots.acquire().await.map_err(io::Error::other)?;
        let began = Instant::now();
        until(began + service * backend.slowness).await;
        let visit = Visit { id, backend: backend.nth, arrived, began, ended: Instant::now() };
        drop(slot);
        backend.visits.lock().unwrap_or_else(PoisonError::into_inner).push(visit);
        let body = id.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
    }
}
