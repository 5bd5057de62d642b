//! Control: workers come, go and change while requests run.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_core::{Health, Policy, UnknownWorker, WorkerId, WorkerSpec};

use super::{Balancer, Post, Removal};
use crate::slot::Slot;

impl<W: Send + Sync + 'static> Balancer<W> {
    /// Adds a worker; who waits in line may get it at once.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add("a worker", WorkerSpec::new(NonZeroU32::new(8).unwrap()));
    /// assert_eq!(balancer.try_acquire()?.id(), id);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
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
    /// ```
    /// use plimsoll::{Balancer, Health, Reason, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// balancer.set_health(id, Health::Down)?;
    /// assert!(matches!(balancer.try_acquire(), Err(Reason::NoWorker)));
    /// # Ok::<(), plimsoll::UnknownWorker>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_health(&self, id: WorkerId, health: Health) -> Result<(), UnknownWorker> {
        self.shared.with(Instant::now(), |state, now| state.pool.set_health(id, health, now))
    }

    /// Drains a worker, which gets nothing new until `draining` is false again.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// balancer.set_draining(id, true)?;
    /// assert!(balancer.try_acquire().is_err());
    /// balancer.set_draining(id, false)?;
    /// assert!(balancer.try_acquire().is_ok());
    /// # Ok::<(), plimsoll::UnknownWorker>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_draining(&self, id: WorkerId, draining: bool) -> Result<(), UnknownWorker> {
        self.shared.with(Instant::now(), |state, now| state.pool.set_draining(id, draining, now))
    }

    /// Changes a worker's weight.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let spec = WorkerSpec::new(NonZeroU32::new(9).unwrap());
    /// let strong = balancer.add("strong", spec);
    /// balancer.add("weak", spec);
    /// balancer.set_weight(strong, 2.try_into().unwrap())?;
    /// let leases: Vec<_> = (0..9).map(|_| balancer.try_acquire().unwrap()).collect();
    /// assert_eq!(leases.iter().filter(|lease| *lease.worker() == "strong").count(), 6);
    /// # Ok::<(), plimsoll::UnknownWorker>(())
    /// ```
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
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let first = balancer.try_acquire().unwrap();
    /// assert!(balancer.try_acquire().is_err());
    /// balancer.set_capacity(id, NonZeroU32::new(2).unwrap())?;
    /// assert!(balancer.try_acquire().is_ok());
    /// # Ok::<(), plimsoll::UnknownWorker>(())
    /// ```
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
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add((), WorkerSpec::new(NonZeroU32::new(32).unwrap()));
    /// balancer.start_ramp(id, std::time::Duration::from_secs(60))?;
    /// assert_eq!(balancer.snapshot().workers[0].capacity_in_force, 2);
    /// # Ok::<(), plimsoll::UnknownWorker>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn start_ramp(&self, id: WorkerId, over: Duration) -> Result<(), UnknownWorker> {
        self.shared.with(Instant::now(), |state, now| state.pool.start_ramp(id, over, now))
    }

    /// Changes how workers are chosen.
    ///
    /// ```
    /// use plimsoll::{Balancer, Policy};
    ///
    /// let balancer = Balancer::<()>::new();
    /// balancer.set_policy(Policy::PowerOfTwo); // to compare with
    /// ```
    pub fn set_policy(&self, policy: Policy) {
        self.shared.with(Instant::now(), |state, _| state.pool.set_policy(policy));
    }
}
