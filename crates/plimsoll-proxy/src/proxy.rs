//! What all threads share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plimsoll::{Balancer, Lease};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::Config;
use crate::log::Log;
use crate::pool::Pool;
use crate::routes::Routes;
use crate::shutdown::Shutdown;
use crate::stats::Stats;

/// The proxy, apart from its threads.
pub(crate) struct Proxy {
    pub(crate) config: Config,
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) routes: Routes,
    /// Where connections go.
    pub(crate) seats: Balancer<SeatWorker>,
    pub(crate) shutdown: Shutdown,
    pub(crate) stats: Stats,
    pub(crate) log: Log,
}

impl Proxy {
    pub(crate) fn new(mut config: Config, shutdown: Shutdown) -> io::Result<Self> {
        config.limits = config.limits.bounded();
        let threads = config.threads.get();
        let pool = |told| Arc::new(Pool::new(told, threads, config.audit_every));
        let pools: Vec<_> = std::mem::take(&mut config.pools).into_iter().map(pool).collect();
        Ok(Self {
            routes: Routes::new(&config.routes, &pools)?,
            pools,
            seats: Balancer::new(),
            shutdown,
            stats: Stats::default(),
            log: Log::start(&config.log)?,
            config,
        })
    }
}

/// A thread as a worker: its requests are connections.
pub(crate) struct SeatWorker {
    pub(crate) index: usize,
    pub(crate) arrivals: UnboundedSender<Arrival>,
}

/// A connection on its way to the thread that serves it.
pub(crate) struct Arrival {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) lease: Lease<SeatWorker>,
}

/// A thread's own view.
pub(crate) struct Seat {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) index: usize,
    /// What is under way is cut off: the drain's time is over.
    pub(crate) ends: AtomicBool,
}
