//! One look at a backend: a connection, or a request.

use std::future::poll_fn;
use std::time::Instant;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use plimsoll::DispatchToError;

use crate::alarm::before;
use crate::config::HealthConfig;
use crate::pool::Books;
use crate::upstream::{Backend, ConnectError, Connection, ToBackend};

/// The most that is read of what a check is answered.
const MOST: usize = 64 << 10;

/// Whether the backend is well; `None` when it has all the connections that it
/// may have, and they are at work: its answers tell more than a check.
///
/// A check takes a connection as requests do, so that a backend never has more
/// than its capacity for it.
///
/// A request to a backend that is up has a lease besides: it is at work there, and
/// one whose own lease says that there is room would wait for its connection.
pub(super) async fn check(
    books: &Books,
    backend: &Backend,
    config: &HealthConfig,
    thread: usize,
) -> Option<bool> {
    let due = Instant::now() + config.timeout;
    let Some(path) = &config.path else {
        return verdict(backend.accepts(thread, due).await?);
    };
    // Given back when its connection is, or is closed.
    let _lease = match books.balancer.try_acquire_from(backend.id()) {
        Ok(lease) => Some(lease),
        Err(DispatchToError::NoRoom) => return None,
        // It is given no request besides.
        Err(DispatchToError::NotUp | DispatchToError::Unknown(_)) => None,
    };
    let mut connection = match backend.connection_now(thread, due).await? {
        Ok((connection, _)) => connection,
        Err(error) => return verdict(Err(error)),
    };
    let mut request = Request::new(ToBackend::Empty);
    *request.uri_mut() = path.clone();
    request.headers_mut().insert(header::HOST, backend.host());
    let agent = HeaderValue::from_static("plimsoll");
    request.headers_mut().insert(header::USER_AGENT, agent);
    let answered = async {
        let response = connection.send(request).await.ok()?;
        let good = (200..400).contains(&response.status().as_u16());
        Some((good, read_to_its_end(&mut connection, response.into_body()).await?))
    };
    let (good, read) = before(due, answered).await.flatten().unwrap_or_default();
    if read && connection.is_ready() {
        backend.keep(connection, Instant::now());
    }
    Some(good)
}

/// Reads a body, so that its connection serves again; false when its end is
/// far, `None` when it breaks off.
async fn read_to_its_end(connection: &mut Connection, mut body: Incoming) -> Option<bool> {
    let mut read = 0;
    while let Some(frame) = poll_fn(|cx| connection.poll_frame(&mut body, cx)).await {
        read += frame.ok()?.data_ref().map_or(0, Bytes::len);
        if read > MOST {
            return Some(false);
        }
    }
    Some(true)
}

/// What it says that a connection was made, or not. Without sockets of our own
/// nothing is known.
fn verdict(connected: Result<(), ConnectError>) -> Option<bool> {
    match connected {
        Ok(()) => Some(true),
        Err(ConnectError::NoSocket) => None,
        Err(ConnectError::Refused | ConnectError::TimedOut) => Some(false),
    }
}
