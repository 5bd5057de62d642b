//! A proxy that does nothing but proxy: what hyper itself costs, on both sides.
//!
//! `bare_hyper PORT BACKEND_PORT...`: one thread; a client's connection has a
//! connection to a backend of its own, the next in turn. No count, no line, no
//! checks, no headers changed, no retries, no limits.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use hyper::service::service_fn;
use hyper::{Response, body::Incoming, client, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> io::Result<()> {
    let ports: Option<Vec<u16>> = std::env::args().skip(1).map(|port| port.parse().ok()).collect();
    let Some((&port, backends)) = ports.as_deref().and_then(|ports| ports.split_first()) else {
        return Err(io::Error::other("usage: bare_hyper PORT BACKEND_PORT..."));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let mut turns = backends.iter().cycle();
        loop {
            let (client, _) = listener.accept().await?;
            let backend = *turns.next().ok_or_else(|| io::Error::other("no backend is given"))?;
            // A connection that fails is the load generator's to count.
            tokio::task::spawn_local(async move { pair(client, backend).await.ok() });
        }
    })
}

/// Passes one client's requests to one backend, until either is gone.
async fn pair(client: TcpStream, backend: u16) -> Result<(), Failure> {
    client.set_nodelay(true)?;
    let backend = TcpStream::connect(("127.0.0.1", backend)).await?;
    backend.set_nodelay(true)?;
    let (sender, connection) = client::conn::http1::handshake(TokioIo::new(backend)).await?;
    tokio::task::spawn_local(connection);
    let sender = Rc::new(RefCell::new(sender));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        // HTTP/1: the answer to the request before has been read to its end, so
        // the connection has room.
        let answer = sender.borrow_mut().send_request(request);
        async { Ok::<Response<Incoming>, Failure>(answer.await?) }
    });
    server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(client), service)
        .await
        .map_err(Failure::from)
}
