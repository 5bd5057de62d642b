//! The side that backends see.

mod connect;
mod connection;
mod connections;
mod response;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::HeaderValue;

pub(crate) use self::connect::ConnectError;
pub(crate) use self::connection::Connection;
use self::connections::Connections;
pub(crate) use self::response::Held;
pub(crate) use self::upload::{ToBackend, Upload, UploadFault};
use crate::config::BackendConfig;

/// One worker: where it is, and the connections that it has.
pub(crate) struct Backend {
    /// `host:port`, as it is shown.
    pub(crate) name: String,
    addresses: Vec<SocketAddr>,
    /// For requests that name no host of their own.
    pub(crate) host: HeaderValue,
    connections: Arc<Connections>,
}

impl Backend {
    pub(crate) fn new(config: &BackendConfig, threads: usize) -> Self {
        let fallback = || HeaderValue::from_static("backend");
        Self {
            name: config.name.clone(),
            addresses: config.addresses.clone(),
            host: HeaderValue::from_str(&config.name).unwrap_or_else(|_| fallback()),
            connections: Arc::new(Connections::new(config.capacity, threads)),
        }
    }

    /// Connections that are open, idle ones included.
    pub(crate) fn open(&self) -> usize {
        self.connections.open()
    }

    /// Lets go of this thread's connections that have been idle for too long,
    /// or that the backend has closed.
    pub(crate) fn sweep(&self, thread: usize, oldest: std::time::Instant) {
        self.connections.sweep(thread, oldest);
    }
}
