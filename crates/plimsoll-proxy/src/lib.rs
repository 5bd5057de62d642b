//! An exact least-loaded HTTP balancer, as a library.
//!
//! [`run`] serves until it is told to stop. Its workers are HTTP servers; one
//! [`Balancer`](plimsoll::Balancer) for all threads knows how many requests
//! each has, never gives one more than its capacity, and keeps what has to
//! wait in one fair line: a pool. Several pools can be served by host and path.
//!
//! | where | what |
//! |---|---|
//! | `front` | clients: the strict look at their bytes, time limits, who has left |
//! | `exchange` | one request: its head, its place in line, its tries, its answer |
//! | `upstream` | backends: connections, bodies, what a response holds |
//! | `threads` | a runtime per core, and how connections come to them |
//! | `restart` | one process in another's place, and what both use meanwhile |
#![forbid(unsafe_code)]

mod admin;
mod alarm;
mod config;
mod control;
mod exchange;
mod front;
mod health;
mod log;
mod pace;
mod pool;
mod proxy;
mod refusal;
mod restart;
mod retry;
mod routes;
mod share;
mod stats;
mod stream;
mod threads;
mod tls;
mod upstream;

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use pool::Pool;
use proxy::Proxy;

pub use config::{
    BackendConfig, CertificateConfig, ClientsConfig, Config, HealthConfig, Limits, LineConfig,
    LogConfig, LogFormat, PoolConfig, PoolTimes, RouteConfig, Times, TlsConfig,
};
pub use control::{Change, Control, Listener};
pub use plimsoll_admin::{Access, Family, Reload};
pub use restart::{Loans, Place, Rest, Turn, Waits};

/// The sockets that a proxy serves.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub clients: Vec<Listener>,
    /// For operators.
    pub admin: Option<Admin>,
}

/// Where operators see `/metrics` and `/workers`, and steer what is there.
pub struct Admin {
    /// The socket.
    pub socket: TcpListener,
    /// Whether operators speak TLS: by the certificates of clients' listeners, and without one of
    /// their own.
    pub tls: bool,
    /// Who may.
    pub access: Access,
    /// What `POST /reload` does.
    pub reload: Option<Reload>,
    /// What else there is to see.
    pub more: Option<More>,
}

/// Tells what there is to see besides what the proxy knows.
pub type More = Arc<dyn Fn() -> Vec<Family> + Send + Sync>;

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Serves what comes to the listeners until `control` says otherwise.
///
/// Told to drain, it accepts no more, finishes what runs, and returns when
/// that is done, or cuts it off when the drain's time is over.
///
/// ```
/// use plimsoll_proxy::{BackendConfig, Config, Control, Listener, Listeners, run};
/// use std::net::TcpListener;
///
/// let backend = BackendConfig::new("127.0.0.1:9", vec!["127.0.0.1:9".parse()?]);
/// let at = "127.0.0.1:0".parse()?;
/// let clients = vec![Listener { at, socket: TcpListener::bind(at)?, tls: false }];
/// let control = Control::new();
/// control.drain();
/// run(Config::new(vec![backend]), Listeners { clients, admin: None }, &control)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the system gives no thread, or nothing to wait for sockets with, or the
/// log's file cannot be opened, or a route leads to no pool.
pub fn run(config: Config, listeners: Listeners, control: &Control) -> io::Result<()> {
    Server::new(config, control)?.run(listeners)
}

/// A proxy that does not serve yet: for who has something to do in between.
pub struct Server(Arc<Proxy>);

impl Server {
    /// Makes all that [`run`] makes before it serves.
    ///
    /// # Errors
    ///
    /// When the log's file cannot be opened, or a route leads to no pool.
    pub fn new(config: Config, control: &Control) -> io::Result<Self> {
        Ok(Self(Arc::new(Proxy::new(config, control.clone())?)))
    }

    /// The backends that it uses.
    pub fn places(&self) -> Vec<Place> {
        let place = |pool: &Arc<Pool>| {
            let backends = pool.backends.iter().map(|backend| backend.name.clone());
            let name = pool.config.name.clone();
            backends.map(move |backend| Place { pool: name.clone(), backend }).collect::<Vec<_>>()
        };
        self.0.live().pools.iter().flat_map(place).collect()
    }

    /// What a process has of them that this one takes over from; nothing so far.
    pub fn loans(&self) -> Loans {
        Loans::new(&self.0)
    }

    /// Serves, as [`run`] does.
    ///
    /// # Errors
    ///
    /// When the system gives no thread, or nothing to wait for sockets with.
    pub fn run(self, listeners: Listeners) -> io::Result<()> {
        let Self(proxy) = self;
        let admin = listeners.admin.map(|at| admin::start(Arc::clone(&proxy), at)).transpose()?;
        let served = threads::run(&proxy, listeners.clients);
        proxy.control.stop();
        // What it panicked with is on stderr, and the end of the proxy is no worse.
        let _ = admin.map(JoinHandle::join);
        // The last to hold it, and with it the log, whose lines are written now.
        drop(proxy);
        served
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
