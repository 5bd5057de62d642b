//! Models for the checkers: loom tries every schedule of two and three threads
//! up to a bound of preemptions, shuttle random ones of eight.
//!
//! Run by `scripts/loom` and `scripts/shuttle`. Time stands still in them: no
//! deadlines, no back-off, no penalties that end.

#[cfg(loom)]
mod balancer;
#[cfg(loom)]
mod pool;
#[cfg(loom)]
mod slot;
#[cfg(shuttle)]
mod storm;
#[cfg(loom)]
mod task_pool;

use crate::{Balancer, Snapshot, ThreadPool};

fn at_rest(snapshot: &Snapshot, invariants: Result<(), String>) {
    assert_eq!(invariants, Ok(()));
    assert_eq!((snapshot.pending(), snapshot.waiting), (0, 0), "{snapshot:?}");
    assert!(snapshot.workers.iter().all(|worker| worker.dispatched == worker.completed));
}

fn balancer_at_rest<W: Send + Sync>(balancer: &Balancer<W>) {
    at_rest(&balancer.snapshot(), balancer.check_invariants());
}

fn pool_at_rest<S>(pool: &ThreadPool<S>) {
    at_rest(&pool.snapshot(), pool.check_invariants());
}

fn task_pool_at_rest<S: Send>(pool: &crate::TaskPool<S>) {
    at_rest(&pool.snapshot(), pool.check_invariants());
}
