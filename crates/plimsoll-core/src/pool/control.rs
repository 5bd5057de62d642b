//! Control: workers come, go and change.

use core::num::{NonZeroU16, NonZeroU32};
use core::time::Duration;

use super::{Pool, Ramp};
use crate::order::Order;
use crate::pool::outgoing::Due;
use crate::worker::{RAMP_STEPS, Worker};
use crate::{
    Health, Outcome, Penalty, Policy, Refusal, Request, Time, UnknownWorker, WorkerId, WorkerSpec,
};

impl<T> Pool<T> {
    /// Adds a worker; waiting requests may get it at once.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// assert_eq!(pool.worker(id).unwrap().pending, 0);
    /// ```
    ///
    /// # Panics
    ///
    /// At 2^32 - 1 workers.
    pub fn add(&mut self, spec: WorkerSpec, now: Time) -> WorkerId {
        let slot = if let Some(slot) = self.vacant.pop() {
            let generation = self.workers[slot as usize].generation.wrapping_add(1);
            self.workers[slot as usize] = Worker::new(spec, generation);
            slot
        } else {
            let slot = u32::try_from(self.workers.len()).ok().filter(|&slot| slot < u32::MAX);
            self.workers.push(Worker::new(spec, 0));
            slot.expect("a pool has fewer than 2^32 - 1 workers")
        };
        let worker = &self.workers[slot as usize];
        if worker.is_eligible() {
            self.order.join(slot, worker, &mut self.rng);
        }
        self.count_live(None, worker.live_capacity());
        self.serve(now);
        self.id_of(slot)
    }

    /// Takes a worker out: it gets nothing new, and when its last lease is
    /// back [`Outcome::Removed`] follows. Adding it again makes a new id.
    ///
    /// ```
    /// use plimsoll_core::{Completion, Config, Outcome, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// let lease = pool.dispatch_to(id, NonZeroU32::MIN).unwrap();
    /// pool.remove(id, Time::ZERO).unwrap();
    /// assert_eq!(pool.poll_outcome(), None);
    /// pool.completed(lease, Completion::Succeeded, Time::ZERO).unwrap();
    /// assert_eq!(pool.poll_outcome(), Some(Outcome::Removed(id)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id, or it was removed
    /// before.
    pub fn remove(&mut self, id: WorkerId, now: Time) -> Result<(), UnknownWorker> {
        self.change(id, now, |worker| worker.removed = true)?;
        self.end_ramp(id);
        self.free_if_done(id.index);
        Ok(())
    }

    /// Says whether a worker takes requests.
    ///
    /// One that is up after it was starting is new: like one that is added, it
    /// gets a random place among its equals.
    ///
    /// ```
    /// use plimsoll_core::{Blocked, Config, Health, Pool, Refusal, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// pool.set_health(id, Health::Down, Time::ZERO).unwrap();
    /// let refused = pool.try_dispatch(&Request::default(), Time::ZERO);
    /// assert_eq!(refused, Err(Blocked::Refused(Refusal::NoWorker)));
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_health(
        &mut self,
        id: WorkerId,
        health: Health,
        now: Time,
    ) -> Result<(), UnknownWorker> {
        self.change(id, now, |worker| worker.spec.health = health)
    }

    /// Drains a worker, which gets nothing new until `draining` is false again.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let spec = WorkerSpec::new(NonZeroU32::new(8).unwrap());
    /// let [old, new] = [(); 2].map(|()| pool.add(spec, Time::ZERO));
    /// pool.set_draining(old, true, Time::ZERO).unwrap();
    /// for _ in 0..4 {
    ///     let lease = pool.try_dispatch(&Request::default(), Time::ZERO).unwrap();
    ///     assert_eq!(lease.worker(), new);
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_draining(
        &mut self,
        id: WorkerId,
        draining: bool,
        now: Time,
    ) -> Result<(), UnknownWorker> {
        self.change(id, now, |worker| worker.draining = draining)
    }

    /// Changes a worker's weight.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::{NonZeroU16, NonZeroU32};
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// pool.set_weight(id, NonZeroU16::new(4).unwrap(), Time::ZERO).unwrap();
    /// assert_eq!(pool.worker(id).unwrap().load.as_f64(), 0.25);
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_weight(
        &mut self,
        id: WorkerId,
        weight: NonZeroU16,
        now: Time,
    ) -> Result<(), UnknownWorker> {
        self.change(id, now, |worker| {
            worker.spec.weight = weight;
            worker.apply_spec();
        })
    }

    /// Changes a worker's capacity. Below its pending it gets nothing until
    /// it has sunk.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let two = NonZeroU32::new(2).unwrap();
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// assert!(pool.dispatch_to(id, two).is_err());
    /// pool.set_capacity(id, two, Time::ZERO).unwrap();
    /// assert!(pool.dispatch_to(id, two).is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn set_capacity(
        &mut self,
        id: WorkerId,
        capacity: NonZeroU32,
        now: Time,
    ) -> Result<(), UnknownWorker> {
        self.change(id, now, |worker| {
            worker.spec.capacity = capacity;
            worker.apply_spec();
        })
    }

    /// Starts a worker slowly: weight and capacity grow from a sixteenth to
    /// the whole in equal steps over this time, capacity never below 1. A
    /// ramp that runs starts anew.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::{num::NonZeroU32, time::Duration};
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::new(32).unwrap()), Time::ZERO);
    /// pool.start_ramp(id, Duration::from_secs(16), Time::ZERO).unwrap();
    /// assert_eq!(pool.worker(id).unwrap().capacity_in_force, 2);
    /// while let Some(due) = pool.poll_timeout() {
    ///     pool.handle_timeout(due);
    /// }
    /// assert_eq!(pool.worker(id).unwrap().capacity_in_force, 32);
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownWorker`] when there is none of this id.
    pub fn start_ramp(
        &mut self,
        id: WorkerId,
        over: Duration,
        now: Time,
    ) -> Result<(), UnknownWorker> {
        self.change(id, now, |worker| worker.take_ramp_step(1))?;
        self.end_ramp(id);
        let next = now + over / u32::from(RAMP_STEPS);
        self.ramps.insert(id, Ramp { started: now, over, next });
        self.due.insert((next, Due::RampStep(id)));
        Ok(())
    }

    /// Changes how `dispatch` chooses from now on.
    ///
    /// ```
    /// use plimsoll_core::{Config, Policy, Pool};
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// pool.set_policy(Policy::RoundRobin);
    /// assert_eq!(pool.policy(), Policy::RoundRobin);
    /// ```
    pub fn set_policy(&mut self, policy: Policy) {
        self.config.policy = policy;
        self.order = Order::new(policy);
        for (slot, worker) in (0..).zip(&self.workers) {
            if worker.is_eligible() {
                self.order.join(slot, worker, &mut self.rng);
            }
        }
    }

    /// Changes what a failure costs from now on. Penalties that stand keep
    /// their size, and the moment of their next halving.
    ///
    /// ```
    /// use plimsoll_core::{Completion, Config, Penalty, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// pool.set_penalty(Penalty { step: 7, ..Penalty::default() });
    /// let lease = pool.try_dispatch(&Request::default(), Time::ZERO).unwrap();
    /// pool.completed(lease, Completion::Failed, Time::ZERO).unwrap();
    /// assert_eq!(pool.worker(id).unwrap().penalty, 7);
    /// ```
    pub fn set_penalty(&mut self, penalty: Penalty) {
        self.config.penalty = penalty;
    }

    /// Changes the most requests in line. Requests beyond a smaller bound
    /// stay, and nothing joins until they have left.
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Health, Pool, Refusal, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool = Pool::new(Config::default());
    /// let spec = WorkerSpec::new(NonZeroU32::MIN);
    /// pool.add(WorkerSpec { health: Health::Starting, ..spec }, Time::ZERO);
    /// pool.set_line(0);
    /// let refused = pool.dispatch(&Request::default(), "tag", Time::ZERO);
    /// assert_eq!(refused, Dispatch::Refused(Refusal::LineFull, "tag"));
    /// ```
    pub fn set_line(&mut self, line: usize) {
        self.config.line = line;
    }

    /// Changes one worker, and everything that follows from it.
    pub(super) fn change(
        &mut self,
        id: WorkerId,
        now: Time,
        with: impl FnOnce(&mut Worker),
    ) -> Result<(), UnknownWorker> {
        let slot = self.slot_of(id)?;
        let worker = &mut self.workers[slot as usize];
        let before = worker.live_capacity();
        let was_starting = worker.spec.health == Health::Starting;
        with(worker);
        let after = worker.live_capacity();
        if was_starting && worker.is_eligible() {
            self.order.join(slot, worker, &mut self.rng);
        } else {
            self.order.changed(slot, worker);
        }
        if before != after {
            self.count_live(before, after);
            self.refuse_hopeless();
        }
        self.serve(now);
        Ok(())
    }

    /// Keeps `live` right when a worker's capacity, while it is live, changes.
    fn count_live(&mut self, before: Option<NonZeroU32>, after: Option<NonZeroU32>) {
        if let Some(capacity) = after {
            *self.live.entry(capacity).or_insert(0) += 1;
        }
        if let Some(capacity) = before
            && let Some(count) = self.live.get_mut(&capacity)
        {
            *count -= 1;
            if *count == 0 {
                self.live.remove(&capacity);
            }
        }
    }

    fn end_ramp(&mut self, id: WorkerId) {
        if let Some(ramp) = self.ramps.remove(&id) {
            self.due.remove(&(ramp.next, Due::RampStep(id)));
        }
    }

    /// Refuses the waiting requests that no worker could ever take.
    fn refuse_hopeless(&mut self) {
        let mut from = 0;
        while let Some((sequence, waiting)) = self.line.at_or_after(from) {
            from = sequence + 1;
            if let Some(reason) = self.hopeless(&waiting.request()) {
                self.refuse_waiting(sequence, reason);
            }
        }
    }

    /// Why no worker that is live could ever take `request`, if so.
    pub(super) fn hopeless(&self, request: &Request<'_>) -> Option<Refusal> {
        let cost = request.cost;
        let Some((&largest, _)) = self.live.last_key_value() else {
            return Some(Refusal::NoWorker);
        };
        if largest < cost {
            return Some(Refusal::CostTooLarge);
        }
        if request.excluded.is_empty() {
            return None;
        }
        let mut able: u64 = self.live.range(cost..).map(|(_, &count)| u64::from(count)).sum();
        for (nth, &id) in request.excluded.iter().enumerate() {
            let counted = self.present(id).and_then(Worker::live_capacity) >= Some(cost);
            // An id may stand in the list twice.
            if counted && !request.excluded[..nth].contains(&id) {
                able -= 1;
            }
        }
        (able == 0).then_some(Refusal::EveryWorkerExcluded)
    }

    /// Frees the slot of a removed worker whose last lease is back.
    #[inline]
    pub(super) fn free_if_done(&mut self, slot: u32) {
        let worker = &self.workers[slot as usize];
        if worker.removed && worker.leases() == 0 {
            self.free(slot);
        }
    }

    #[cold]
    fn free(&mut self, slot: u32) {
        self.workers[slot as usize].present = false;
        self.vacant.push(slot);
        let id = self.id_of(slot);
        self.outcomes.push_back(Outcome::Removed(id));
    }
}
