//! One look at a backend: a connection, or a request.

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::header::{self, HeaderValue};
use tokio::time::timeout;

use crate::config::HealthConfig;
use crate::upstream::{Backend, ConnectError, ToBackend};

/// The most that is read of what a check is answered.
const MOST: usize = 64 << 10;

/// Whether the backend is well; `None` when it has all the connections that it
/// may have, and they are at work: its answers tell more than a check.
///
/// A check takes a connection as requests do, so that a backend never has more
/// than its capacity for it.
pub(super) async fn check(backend: &Backend, thread: usize, config: &HealthConfig) -> Option<bool> {
    let Some(path) = &config.path else {
        return verdict(backend.accepts(thread, config.timeout).await?);
    };
    let mut connection = match backend.connection_now(thread, config.timeout).await? {
        Ok((connection, _)) => connection,
        Err(error) => return verdict(Err(error)),
    };
    let mut request = Request::new(ToBackend::Empty);
    *request.uri_mut() = path.clone();
    request.headers_mut().insert(header::HOST, backend.host.clone());
    let agent = HeaderValue::from_static("plimsoll");
    request.headers_mut().insert(header::USER_AGENT, agent);
    let sent = connection.send(request);
    let answered = async {
        let response = sent.await.ok()?;
        let status = response.status().as_u16();
        // Read to its end, so that the connection serves again, unless that is far.
        let read = match Limited::new(response.into_body(), MOST).collect().await {
            Ok(_) => true,
            Err(error) if error.is::<LengthLimitError>() => false,
            Err(_) => return None,
        };
        Some(((200..400).contains(&status), read))
    };
    let (good, read) = timeout(config.timeout, answered).await.ok().flatten().unwrap_or_default();
    if read && connection.ready().await.is_ok() {
        backend.keep(connection);
    }
    Some(good)
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
