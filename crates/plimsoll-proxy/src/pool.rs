//! A pool of backends: its settings, and the books that it keeps through every change of them.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll::{Balancer, Health, Snapshot, WorkerId, WorkerSpec, WorkerStats};

use crate::config::{BackendConfig, PoolConfig};
use crate::health::{self, Ceiling};
use crate::pace::Pace;
use crate::retry::Budget;
use crate::share::Shares;
use crate::upstream::Backend;

/// Backends that serve the same, with one line in front, as told last.
pub(crate) struct Pool {
    pub(crate) config: PoolConfig,
    pub(crate) books: Arc<Books>,
    /// In the order that they were told in.
    pub(crate) backends: Vec<Arc<Backend>>,
}

/// What a pool knows of its requests.
pub(crate) struct Books {
    pub(crate) balancer: Balancer<Arc<Backend>>,
    pub(crate) pace: Pace,
    pub(crate) shares: Shares,
    pub(crate) retries: Budget,
    pub(crate) ceiling: Ceiling,
    weighed: AtomicBool,
    /// Whether its pool is told of no more.
    is_retired: AtomicBool,
    /// All that the balancer may still show: those that were removed, too.
    shown: Mutex<HashMap<WorkerId, Arc<Backend>>>,
}

impl Pool {
    /// A new one.
    pub(crate) fn new(config: PoolConfig, threads: usize, audit_every: u64) -> Self {
        let builder = Balancer::builder().line(config.line.length).seed(fastrand::u64(..));
        let books = Books {
            balancer: builder.audit_every(audit_every).build(),
            pace: Pace::new(),
            shares: Shares::default(),
            retries: Budget::new(),
            ceiling: Ceiling::new(config.health.most_ejected_percent, config.backends.len()),
            weighed: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            shown: Mutex::default(),
        };
        Self::with(Arc::new(books), Vec::new(), config, threads)
    }

    /// The same with other settings: what is told again is kept with all that is known of it,
    /// and what is told no more finishes what it has.
    pub(crate) fn changed(&self, config: PoolConfig, threads: usize) -> Self {
        self.books.is_retired.store(false, Ordering::Relaxed);
        self.books.balancer.set_line(config.line.length);
        self.books.ceiling.set(config.health.most_ejected_percent, config.backends.len());
        // Those that leave come back by their names.
        let stay = |backend: &&Arc<Backend>| !backend.is_retired();
        let before = self.backends.iter().filter(stay).map(Arc::clone).collect();
        Self::with(Arc::clone(&self.books), before, config, threads)
    }

    /// The same with other backends.
    pub(crate) fn with_backends(&self, backends: Vec<BackendConfig>, threads: usize) -> Self {
        self.changed(PoolConfig { backends, ..self.config.clone() }, threads)
    }

    /// Lets go of its backends, which finish what they have.
    pub(crate) fn retire(&self) {
        self.books.is_retired.store(true, Ordering::Relaxed);
        for backend in &self.backends {
            backend.retire(&self.books.balancer);
        }
    }

    fn with(
        books: Arc<Books>,
        mut before: Vec<Arc<Backend>>,
        config: PoolConfig,
        threads: usize,
    ) -> Self {
        let mut backends = Vec::new();
        for told in &config.backends {
            // What stands for one that is not known yet is nothing to keep.
            let is_kept = |backend: &Arc<Backend>| {
                backend.name == told.name && backend.is_promised() == told.addresses.is_empty()
            };
            let kept = before.iter().position(is_kept);
            let kept = kept.map(|at| before.remove(at));
            let backend = match kept.or_else(|| books.take_back(&told.name)) {
                Some(kept) => {
                    health::retune(&books, &kept, told, &config.health);
                    kept
                }
                None => books.join(Backend::new(told, &config.health, threads), told.weight),
            };
            backends.push(backend);
        }
        for backend in before {
            backend.retire(&books.balancer);
        }
        // Those that have finished are let go of, also where nobody looks.
        drop(books.snapshot());
        Self { config, books, backends }
    }
}

impl Books {
    fn join(&self, backend: Backend, weight: NonZeroU16) -> Arc<Backend> {
        let backend = Arc::new(backend);
        let health = if backend.is_promised() { Health::Starting } else { Health::Up };
        let spec = WorkerSpec { weight, health, ..WorkerSpec::new(backend.capacity()) };
        // Shown from the first look at the balancer on.
        let mut shown = self.shown();
        let id = self.balancer.add(Arc::clone(&backend), spec);
        backend.joined_as(id);
        shown.insert(id, Arc::clone(&backend));
        backend
    }

    /// Whether its pool is told of no more, and has finished.
    pub(crate) fn is_over(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed) && self.snapshot().0.workers.is_empty()
    }

    /// One of this name that was told no more and has not finished: it is told again, with all that
    /// it has.
    fn take_back(&self, name: &str) -> Option<Arc<Backend>> {
        // Until it has come back nobody finds it finished.
        let shown = self.shown();
        let leaves = |backend: &&Arc<Backend>| {
            backend.name == name && backend.is_retired() && !backend.is_promised()
        };
        // Not one that was removed. It drains as it is.
        let known =
            |backend: &&Arc<Backend>| self.balancer.set_draining(backend.id(), true).is_ok();
        let backend = shown.values().filter(leaves).find(known)?;
        backend.come_back();
        Some(Arc::clone(backend))
    }

    /// Whether nobody weighs it yet, who asks then being the one that does.
    pub(crate) fn wants_weighing(&self) -> bool {
        !self.weighed.swap(true, Ordering::Relaxed)
    }

    /// Nobody weighs it any more.
    pub(crate) fn unweigh(&self) {
        self.weighed.store(false, Ordering::Relaxed);
    }

    /// What the balancer knows, with the backends in its order.
    pub(crate) fn snapshot(&self) -> (Snapshot, Vec<Arc<Backend>>) {
        let mut shown = self.shown();
        // Before it is looked at what they have: nothing new comes to them, so that those without
        // anything have finished.
        let leave = shown.iter().filter(|(_, backend)| backend.is_retired());
        let leave: HashSet<_> = leave.map(|(id, _)| *id).collect();
        let mut snapshot = self.balancer.snapshot();
        let is_over = |worker: &&WorkerStats| worker.pending == 0 && leave.contains(&worker.id);
        let over: Vec<_> =
            snapshot.workers.iter().filter(is_over).map(|worker| worker.id).collect();
        if !over.is_empty() {
            for id in over {
                let _ = self.balancer.remove(id);
            }
            snapshot = self.balancer.snapshot();
        }
        let mut gone = std::mem::take(&mut *shown);
        let there = snapshot.workers.iter().filter_map(|worker| gone.remove_entry(&worker.id));
        *shown = there.collect();
        let backends = snapshot.workers.iter().map(|worker| Arc::clone(&shown[&worker.id]));
        let backends = backends.collect();
        (snapshot, backends)
    }

    fn shown(&self) -> MutexGuard<'_, HashMap<WorkerId, Arc<Backend>>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> PoolConfig {
        let at = ([127, 0, 0, 1], 9).into();
        PoolConfig::new("web", vec![BackendConfig::new("127.0.0.1:9", vec![at])])
    }

    #[test]
    fn a_pool_that_was_let_go_of_comes_back() {
        let mut pool = Pool::new(config(), 1, 0);
        // With something to finish, and without.
        for has in [1, 0] {
            let leases: Vec<_> =
                (0..has).map(|_| pool.books.balancer.try_acquire().unwrap()).collect();
            pool.retire();
            assert!(pool.books.balancer.try_acquire().is_err());
            pool = pool.changed(config(), 1);
            assert!(pool.books.balancer.try_acquire().is_ok(), "{has} to finish");
            assert_eq!(pool.books.snapshot().0.pending(), has);
            drop(leases);
        }
    }

    /// However close together what comes, what is asked for and what is looked at are.
    #[test]
    fn nobody_who_has_a_request_is_removed() {
        let mut pool = Pool::new(config(), 1, 0);
        let books = Arc::clone(&pool.books);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let Ok(lease) = books.balancer.try_acquire() else { continue };
                    std::thread::yield_now();
                    // One that is removed is told nothing.
                    let told = books.balancer.set_weight(lease.id(), NonZeroU16::MIN);
                    assert!(told.is_ok(), "it is removed, and has a request");
                }
            });
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(books.snapshot());
                }
            });
            for _ in 0..1000 {
                pool.retire();
                pool = pool.changed(config(), 1);
            }
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn who_was_removed_does_not_come_back() {
        let pool = Pool::new(config(), 1, 0);
        let lease = pool.books.balancer.try_acquire().unwrap();
        pool.retire();
        drop(pool.books.balancer.remove(lease.id()).unwrap());
        let pool = pool.changed(config(), 1);
        assert!(pool.books.balancer.try_acquire().is_ok_and(|other| other.id() != lease.id()));
    }
}
