//! What a response holds of its backend until it is over.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::{Request, Response};
use plimsoll::Lease;

use super::connection::End;
use super::{Backend, Connection, ToBackend};

/// The longest that a connection may take to be ready for its next request
/// after its last response has been read.
const RECOVERY: Duration = Duration::from_secs(1);

/// A lease and the connection that serves it. Dropped, the connection is
/// closed, and the lease is given back when it is.
pub(crate) struct Held {
    /// `None` when it is given back.
    parts: Option<(Connection, Lease<Arc<Backend>>)>,
}

impl Held {
    pub(crate) fn new(connection: Connection, lease: Lease<Arc<Backend>>) -> Self {
        Self { parts: Some((connection, lease)) }
    }

    /// Sends a request; its error hands it back when nothing of it was sent.
    pub(crate) fn send(
        &mut self,
        request: Request<ToBackend>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<ToBackend>>>> + use<>
    {
        let (connection, _) = self.parts.as_mut().expect("it is held until it is given back");
        connection.send(request)
    }

    /// To be held by who takes the socket over, for as long as he has it.
    pub(crate) fn hold_open(&self) -> Option<Arc<End>> {
        self.parts.as_ref().and_then(|(connection, _)| connection.hold_open())
    }

    /// The response has been read to its end: keeps the connection, then gives
    /// the lease back. `good` says whether the backend did what it is for.
    pub(crate) fn over(mut self, good: bool) {
        let Some((mut connection, mut lease)) = self.parts.take() else { return };
        if !good {
            lease.mark_failed();
        }
        if connection.is_ready() {
            lease.worker().keep(connection);
        } else if !connection.is_closed() {
            tokio::spawn(async move {
                match tokio::time::timeout(RECOVERY, connection.ready()).await {
                    Ok(Ok(())) => lease.worker().keep(connection),
                    _ => connection.end(lease),
                }
            });
        } else {
            connection.end(lease);
        }
    }

    /// The backend failed.
    pub(crate) fn failed(mut self) {
        if let Some((connection, mut lease)) = self.parts.take() {
            lease.mark_failed();
            connection.end(lease);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((connection, lease)) = self.parts.take() {
            connection.end(lease);
        }
    }
}
