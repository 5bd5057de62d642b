//! What a response holds of its backend until it is over.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::Frame;
use hyper::body::Incoming;
use hyper::{Request, Response};
use plimsoll::Lease;

use super::connection::{SendError, Switched};
use super::{Backend, Connection, ToBackend};

/// A connection and the lease that it serves. Dropped, the connection is
/// closed, and then the lease is given back: in the order of the fields.
pub(crate) struct Held {
    connection: Box<Connection>,
    lease: Lease<Arc<Backend>>,
}

impl Held {
    pub(crate) fn new(connection: Box<Connection>, lease: Lease<Arc<Backend>>) -> Self {
        Self { connection, lease }
    }

    /// Sends a request; its error hands it back when nothing of it was sent.
    pub(crate) fn send(
        &mut self,
        request: Request<ToBackend>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> {
        self.connection.send(request)
    }

    /// What comes next of the response's body.
    pub(crate) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.connection.poll_frame(body, cx)
    }

    /// The socket, once the backend has switched protocols, and the lease, which
    /// is to be dropped after it.
    pub(crate) async fn switched(self) -> (Lease<Arc<Backend>>, Switched) {
        (self.lease, self.connection.switched().await)
    }

    /// The response has been read to its end: keeps the connection, then gives
    /// the lease back. `good` says whether the backend did what it is for.
    pub(crate) fn over(self, good: bool, now: Instant) {
        let Self { mut connection, mut lease } = self;
        if !good {
            lease.mark_failed();
        }
        if connection.is_ready() {
            lease.worker().keep(connection, now);
        } else {
            // Before the lease.
            drop(connection);
        }
    }

    /// The backend failed.
    pub(crate) fn failed(mut self) {
        self.lease.mark_failed();
    }
}
