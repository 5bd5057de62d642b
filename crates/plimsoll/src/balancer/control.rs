//! Control: workers come, go and change while requests run.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_core::{Health, Penalty, Policy, UnknownWorker, WorkerId, WorkerSpec};

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
    /// let id = balancer.add("10.0.0.1:80", WorkerSpec::new(NonZeroU32::MIN));
    /// let lease = balancer.try_acquire()?;
    /// assert_eq!((lease.id(), *lease.worker()), (id, "10.0.0.1:80"));
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
    /// balancer.set_health(id, Health::Up)?;
    /// assert!(balancer.try_acquire().is_ok());
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
    /// let spec = WorkerSpec::new(NonZeroU32::new(8).unwrap());
    /// let [old, _new] = ["old", "new"].map(|name| balancer.add(name, spec));
    /// balancer.set_draining(old, true)?;
    /// for _ in 0..4 {
    ///     assert_eq!(*balancer.try_acquire()?.worker(), "new");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
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
    /// use std::num::{NonZeroU16, NonZeroU32};
    ///
    /// let balancer = Balancer::new();
    /// let spec = WorkerSpec::new(NonZeroU32::new(8).unwrap());
    /// let [large, _small] = ["large", "small"].map(|name| balancer.add(name, spec));
    /// balancer.set_weight(large, NonZeroU16::new(3).unwrap())?;
    /// let (first, second) = (balancer.try_acquire()?, balancer.try_acquire()?);
    /// assert_eq!((*first.worker(), *second.worker()), ("large", "large"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
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
    /// let _first = balancer.try_acquire()?;
    /// balancer.set_capacity(id, NonZeroU32::new(2).unwrap())?;
    /// let _second = balancer.try_acquire()?;
    /// assert_eq!(balancer.snapshot().pending(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
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
    /// use std::time::Duration;
    ///
    /// let balancer = Balancer::new();
    /// let id = balancer.add((), WorkerSpec::new(NonZeroU32::new(32).unwrap()));
    /// balancer.start_ramp(id, Duration::from_secs(3600))?;
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

    /// Changes what a failure costs its worker from now on.
    ///
    /// ```
    /// use plimsoll::{Balancer, Penalty, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// balancer.set_penalty(Penalty { step: 7, ..Penalty::default() });
    /// balancer.try_acquire()?.fail();
    /// assert_eq!(balancer.snapshot().workers[0].penalty, 7);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn set_penalty(&self, penalty: Penalty) {
        self.shared.with(Instant::now(), |state, _| state.pool.set_penalty(penalty));
    }

    /// Says how many may wait in line. Those that do stay, also where they are more.
    ///
    /// ```
    /// use plimsoll::{Balancer, Reason, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// balancer.set_line(0);
    /// let _lease = balancer.try_acquire()?;
    /// let refused = balancer.request().acquire_blocking(std::time::Duration::ZERO);
    /// assert!(matches!(refused, Err(Reason::Full)));
    /// # Ok::<(), Reason>(())
    /// ```
    pub fn set_line(&self, line: usize) {
        self.shared.with(Instant::now(), |state, _| state.pool.set_line(line));
    }

    /// Changes how workers are chosen.
    ///
    /// ```
    /// use plimsoll::{Balancer, Policy, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// for name in ["a", "b"] {
    ///     balancer.add(name, WorkerSpec::new(NonZeroU32::MIN));
    /// }
    /// balancer.set_policy(Policy::RoundRobin);
    /// let turns = [(); 2].map(|()| *balancer.try_acquire().unwrap().worker());
    /// assert_ne!(turns[0], turns[1]);
    /// ```
    pub fn set_policy(&self, policy: Policy) {
        self.shared.with(Instant::now(), |state, _| state.pool.set_policy(policy));
    }
}
