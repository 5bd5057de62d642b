//! One look at a backend: a connection, or a request.

use http_body_util::BodyExt;
use hyper::Request;
use hyper::header::{self, HeaderValue};
use tokio::time::timeout;

use crate::config::HealthConfig;
use crate::upstream::{Backend, ToBackend};

/// Whether the backend is well; `None` when it has all the connections that it
/// may have, and they are at work: its answers tell more than a check.
///
/// A check takes a connection as requests do, so that a backend never has more
/// than its capacity for it.
pub(super) async fn check(backend: &Backend, thread: usize, config: &HealthConfig) -> Option<bool> {
    let connected = backend.connection_now(thread, config.timeout).await?;
    let Ok(mut connection) = connected else { return Some(false) };
    let Some(path) = &config.path else {
        backend.keep(connection);
        return Some(true);
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
        // Read to its end, so that the connection serves again.
        response.into_body().collect().await.ok()?;
        Some((200..400).contains(&status))
    };
    let good = timeout(config.timeout, answered).await.ok().flatten();
    if good.is_some() && connection.ready().await.is_ok() {
        backend.keep(connection);
    }
    Some(good.unwrap_or(false))
}
