//! Looking: nothing here changes the pool.

use core::time::Duration;

use super::{Audit, Config, Pool};
use crate::{Policy, Time, WorkerId, WorkerStats};

impl<T> Pool<T> {
    /// One worker; `None` when the id is unknown or stale.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerStats> {
        Some(self.present(id)?.stats(id.index))
    }

    /// Every worker, by slot; removed ones until their last lease is back.
    pub fn workers(&self) -> impl Iterator<Item = WorkerStats> + '_ {
        (0..)
            .zip(&self.workers)
            .filter(|(_, worker)| worker.present)
            .map(|(slot, worker)| worker.stats(slot))
    }

    /// The pending cost of all workers together.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Requests in line.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// How long the request at the head of the line has waited there.
    pub fn longest_wait(&self, now: Time) -> Option<Duration> {
        let (_, head) = self.line.head()?;
        Some(now.since(head.since).unwrap_or(Duration::ZERO))
    }

    /// How `dispatch` chooses.
    pub fn policy(&self) -> Policy {
        self.config.policy
    }

    /// How the pool was configured, later changes included.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the audits have found so far.
    pub fn audit(&self) -> Audit {
        self.audit
    }
}
