//! What is seen of a dispatcher, and what must hold between calls.

use plimsoll::Snapshot;
use plimsoll_core::{Audit, Health, Time, WorkerStats};

use super::{Counts, Dispatcher};
use crate::wire::WorkerName;

impl Dispatcher {
    /// Its epoch: that of its mandate, or one above what a worker has seen.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What it has counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Workers that beat, with what the core knows of each.
    pub fn workers(&self) -> impl Iterator<Item = (&WorkerName, WorkerStats)> {
        let stats = |id| self.pool.worker(id);
        self.members().filter_map(move |member| Some((&member.name, stats(member.id)?)))
    }

    pub(super) fn any_is_up(&self) -> bool {
        self.workers().any(|(_, stats)| stats.health == Health::Up && !stats.draining)
    }

    /// Whether requests are wanted, as [`Output::Attend`](super::Output::Attend) said last.
    pub fn attends(&self) -> bool {
        self.attends
    }

    /// Whether it takes no more requests.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The cost that is out.
    pub fn pending(&self) -> u64 {
        self.pool.pending()
    }

    /// Requests in line.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// All of it at one moment, with workers by name, in their order.
    pub fn snapshot(&self, now: Time) -> (Vec<WorkerName>, Snapshot) {
        let mut workers: Vec<_> = self.workers().collect();
        workers.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let (names, workers) =
            workers.into_iter().map(|(name, stats)| (name.clone(), stats)).unzip();
        let mut snapshot = Snapshot::of(&self.pool, now);
        snapshot.workers = workers;
        (snapshot.wait, snapshot.run) = (self.wait.clone(), self.run.clone());
        (names, snapshot)
    }

    /// What audits have found.
    pub fn audit(&self) -> Audit {
        self.pool.audit()
    }

    /// Checks everything that must hold between calls, by plain scans: for tests.
    ///
    /// # Errors
    ///
    /// The first violation found.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.pool.check_invariants().map_err(|broken| broken.to_string())?;
        let mut held = 0;
        let mut pending = 0;
        if self.names.len() != self.members().count() {
            return Err("not every member has a name".into());
        }
        for member in self.members() {
            let name = &member.name;
            let stats =
                self.pool.worker(member.id).ok_or_else(|| format!("{name} has no place"))?;
            let own: u64 = member.out.values().map(|out| u64::from(out.lease.cost().get())).sum();
            if own != u64::from(stats.pending) {
                return Err(format!("{name} has leases of {own} and {} pending", stats.pending));
            }
            if self.names.get(name) != Some(&member.id.index()) {
                return Err(format!("{name} is not in its slot"));
            }
            pending += own;
            held += member
                .out
                .values()
                .filter_map(|out| out.asked.as_ref())
                .map(|it| it.held)
                .sum::<usize>();
        }
        if pending != self.pool.pending() {
            return Err(format!("leases of {pending}, {} pending", self.pool.pending()));
        }
        if held > self.held || self.held > self.settings.keep_bytes {
            return Err(format!("{} bytes are held, {held} of them out", self.held));
        }
        if self.pool.waiting() == 0 && held != self.held {
            return Err(format!("{} bytes are held, and only {held} are out", self.held));
        }
        let any = self.any_is_up();
        if self.attends != (any && !self.is_closed) {
            return Err(format!("it attends: {}, a worker is up: {any}", self.attends));
        }
        Ok(())
    }
}
