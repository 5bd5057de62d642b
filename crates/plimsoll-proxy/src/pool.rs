//! A pool of backends, and what it keeps of them.

use std::sync::Arc;

use plimsoll::{Balancer, WorkerSpec};

use crate::config::PoolConfig;
use crate::health::Ceiling;
use crate::pace::Pace;
use crate::retry::Budget;
use crate::share::Shares;
use crate::upstream::Backend;

/// Backends that serve the same, with one line in front.
pub(crate) struct Pool {
    pub(crate) config: PoolConfig,
    pub(crate) balancer: Balancer<Arc<Backend>>,
    pub(crate) backends: Vec<Arc<Backend>>,
    pub(crate) pace: Pace,
    pub(crate) shares: Shares,
    pub(crate) retries: Budget,
    pub(crate) ceiling: Ceiling,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig, threads: usize, audit_every: u64) -> Self {
        let builder = Balancer::builder().line(config.line.length).seed(fastrand::u64(..));
        let balancer = builder.audit_every(audit_every).build();
        let mut backends = Vec::new();
        for told in &config.backends {
            let backend = Arc::new(Backend::new(told, &config.health, threads));
            let spec = WorkerSpec { weight: told.weight, ..WorkerSpec::new(told.capacity) };
            backend.joined_as(balancer.add(Arc::clone(&backend), spec));
            backends.push(backend);
        }
        Self {
            balancer,
            pace: Pace::new(),
            shares: Shares::default(),
            retries: Budget::new(),
            ceiling: Ceiling::new(config.health.most_ejected_percent, backends.len()),
            backends,
            config,
        }
    }
}
