//! Control: workers come, go and change while requests run.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_core::{Health, Policy, UnknownWorker, WorkerId, WorkerSpec};

use super::{Balancer, Post, Removal};
use crate::slot::Slot;

impl<W: Send + Sync + 'static> Balancer<W> {
    /// Adds a worker; who waits in line may get it at once.
    pub fn add(&self, worker: W, spec: WorkerSpec) -> WorkerId {
        let worker = Arc::new(worker);
        self.shared.with(Instant::now(), |state, now| {
            let id = state.pool.add(spec, now);
            if state.posts.len() <= id.index() {
                state.posts.resize_with(id.index() + 1, || None);
            }
            state.posts[id.index()] = Some(Post { worker, removal: None });
            id
        })
    }

    /// Takes a worker out: it gets nothing new, its leases finish, and then
    /// the [`Removal`] yields it.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add(String::from("out"), WorkerSpec::new(NonZeroU32::MIN));
    /// let lease = balancer.try_acquire()?;
    /// let removal = balancer.remove(id).unwrap();
    /// let removal = removal.wait(Duration::ZERO).unwrap_err(); // a lease is out
    /// drop(lease);
    /// assert_eq!(removal.wait(Duration::ZERO).unwrap(), "out");
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn remove(&self, id: WorkerId) -> Result<Removal<W>, UnknownWorker> {
        let slot = Arc::new(Slot::new());
        self.shared.with(Instant::now(), |state, now| {
            state.pool.remove(id, now)?;
            if let Some(post) = &mut state.posts[id.index()] {
                post.removal = Some(Arc::clone(&slot));
            }
            Ok(())
        })?;
        Ok(Removal::new(slot))
    }

    /// Says whether a worker takes requests.
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_health(&self, id: WorkerId, health: Health) -> Result<(), UnknownWorker> {
        self.shared.with(Instant::now(), |state, now| state.pool.set_health(id, health, now))
    }

    /// Drains a worker, which gets nothing new until `draining` is false again.
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_draining(&self, id: WorkerId, draining: bool) -> Result<(), UnknownWorker> {
        self.shared.with(Instant::now(), |state, now| state.pool.set_draining(id, draining, now))
    }

    /// Changes a worker's weight.
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_weight(&self, id: WorkerId, weight: NonZeroU16) -> Result<(), UnknownWorker> {
        self.shared.with(Instant::now(), |state, now| state.pool.set_weight(id, weight, now))
    }

    /// Changes a worker's capacity; below its pending it gets nothing until it
    /// has sunk.
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_capacity(&self, id: WorkerId, capacity: NonZeroU32) -> Result<(), UnknownWorker> {
        self.shared.with(Instant::now(), |state, now| state.pool.set_capacity(id, capacity, now))
    }

    /// Starts a worker slowly: weight and capacity grow to the whole in equal
    /// steps over this time.
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn start_ramp(&self, id: WorkerId, over: Duration) -> Result<(), UnknownWorker> {
        self.shared.with(Instant::now(), |state, now| state.pool.start_ramp(id, over, now))
    }

    /// Changes how workers are chosen.
    pub fn set_policy(&self, policy: Policy) {
        self.shared.with(Instant::now(), |state, _| state.pool.set_policy(policy));
    }
}
