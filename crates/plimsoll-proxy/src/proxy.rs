//! What all threads share.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plimsoll::{Balancer, Lease, WorkerId, WorkerSpec};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::Config;
use crate::health::Ceiling;
use crate::log::Log;
use crate::pace::Pace;
use crate::retry::Budget;
use crate::share::Shares;
use crate::shutdown::Shutdown;
use crate::stats::Stats;
use crate::upstream::Backend;

/// The proxy, apart from its threads.
pub(crate) struct Proxy {
    pub(crate) config: Config,
    pub(crate) balancer: Balancer<Arc<Backend>>,
    pub(crate) backends: Vec<(WorkerId, Arc<Backend>)>,
    /// Where connections go.
    pub(crate) seats: Balancer<SeatWorker>,
    pub(crate) shutdown: Shutdown,
    pub(crate) pace: Pace,
    pub(crate) shares: Shares,
    pub(crate) retries: Budget,
    pub(crate) ceiling: Ceiling,
    pub(crate) stats: Stats,
    pub(crate) log: Log,
}

impl Proxy {
    pub(crate) fn new(mut config: Config, shutdown: Shutdown) -> io::Result<Self> {
        config.limits = config.limits.bounded();
        let builder = Balancer::builder().line(config.line.length).seed(fastrand::u64(..));
        let balancer = builder.audit_every(config.audit_every).build();
        let mut backends = Vec::new();
        for (place, told) in config.backends.iter().enumerate() {
            let backend = Arc::new(Backend::new(place, told, &config.health, config.threads.get()));
            let spec = WorkerSpec { weight: told.weight, ..WorkerSpec::new(told.capacity) };
            backends.push((balancer.add(Arc::clone(&backend), spec), backend));
        }
        Ok(Self {
            balancer,
            backends,
            seats: Balancer::new(),
            shutdown,
            pace: Pace::new(),
            shares: Shares::default(),
            retries: Budget::new(),
            ceiling: Ceiling::new(config.health.most_ejected_percent, config.backends.len()),
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
