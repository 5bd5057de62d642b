//! The side that backends see.

mod connect;
mod connection;
mod connections;
mod response;
mod upload;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use hyper::header::HeaderValue;
use plimsoll::WorkerId;
use tokio::sync::Notify;

pub(crate) use self::connect::ConnectError;
pub(crate) use self::connection::Connection;
use self::connections::Connections;
pub(crate) use self::response::Held;
pub(crate) use self::upload::{ToBackend, Upload, UploadFault};
use crate::config::{BackendConfig, HealthConfig};
use crate::health::Judge;

/// One worker: where it is, and the connections that it has.
pub(crate) struct Backend {
    /// As the pool's balancer knows it.
    id: OnceLock<WorkerId>,
    /// `host:port`, as it is shown.
    pub(crate) name: String,
    addresses: Vec<SocketAddr>,
    /// For requests that name no host of their own.
    pub(crate) host: HeaderValue,
    /// As it was told, whatever is in force.
    pub(crate) capacity: NonZeroU32,
    connections: Arc<Connections>,
    judge: Mutex<Judge>,
    /// Told when it is ejected.
    pub(crate) ejected: Notify,
}

impl Backend {
    pub(crate) fn new(config: &BackendConfig, health: &HealthConfig, threads: usize) -> Self {
        let fallback = || HeaderValue::from_static("backend");
        Self {
            id: OnceLock::new(),
            name: config.name.clone(),
            addresses: config.addresses.clone(),
            host: HeaderValue::from_str(&config.name).unwrap_or_else(|_| fallback()),
            capacity: config.capacity,
            connections: Arc::new(Connections::new(config.capacity, threads)),
            judge: Mutex::new(Judge::new(health.clone(), Instant::now())),
            ejected: Notify::new(),
        }
    }

    /// It is a worker of a balancer's now.
    pub(crate) fn joined_as(&self, id: WorkerId) {
        // Once: it is of one pool.
        let _ = self.id.set(id);
    }

    /// # Panics
    ///
    /// Before it is a worker.
    pub(crate) fn id(&self) -> WorkerId {
        *self.id.get().expect("a pool adds its backends as it is made")
    }

    /// What is known of its health.
    pub(crate) fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, mut connection: Box<Connection>, now: Instant) {
        connection.rest(now);
        self.connections.keep(connection);
    }

    /// Connections that are open, idle ones included.
    pub(crate) fn open(&self) -> usize {
        self.connections.open()
    }

    /// Lets go of this thread's connections that have been idle for too long,
    /// or that the backend has closed.
    pub(crate) fn sweep(&self, thread: usize, oldest: Instant) {
        self.connections.sweep(thread, oldest);
    }
}
