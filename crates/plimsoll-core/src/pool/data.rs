//! Data: a request is dispatched, waits, is completed, comes back, goes away.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::Pool;
use crate::line::Waiting;
use crate::pool::outgoing::Due;
use crate::worker::may_take;
use crate::{
    Blocked, Completion, Dispatch, DispatchToError, Health, Lease, Outcome, Refusal, Request,
    StaleLease, Ticket, Time, WorkerId,
};

impl<T> Pool<T> {
    /// Chooses a worker and charges it, in one step; or puts the request in
    /// line; or refuses it.
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Pool, Refusal, Request, Time};
    ///
    /// let mut pool = Pool::new(Config::default());
    /// let refused = pool.dispatch(&Request::default(), "tag", Time::ZERO);
    /// assert_eq!(refused, Dispatch::Refused(Refusal::NoWorker, "tag"));
    /// ```
    pub fn dispatch(&mut self, request: &Request<'_>, tag: T, now: Time) -> Dispatch<T> {
        match self.try_dispatch(request, now) {
            Ok(lease) => Dispatch::Assigned(lease, tag),
            Err(Blocked::Refused(reason)) => Dispatch::Refused(reason, tag),
            Err(Blocked::WouldWait) if self.line.len() >= self.config.line => {
                Dispatch::Refused(Refusal::LineFull, tag)
            }
            Err(Blocked::WouldWait) => {
                let sequence = self.next_sequence();
                self.join_line(sequence, Waiting::new(request, tag, now));
                Dispatch::InLine(Ticket(sequence))
            }
        }
    }

    /// Like [`dispatch`](Self::dispatch) for a request that does not wait.
    ///
    /// ```
    /// use plimsoll_core::{Blocked, Config, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// let lease = pool.try_dispatch(&Request::default(), Time::ZERO).unwrap();
    /// assert_eq!(lease.worker(), id);
    /// let second = pool.try_dispatch(&Request::default(), Time::ZERO);
    /// assert_eq!(second, Err(Blocked::WouldWait));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Blocked`]: it would have to wait, or would be refused.
    pub fn try_dispatch(&mut self, request: &Request<'_>, now: Time) -> Result<Lease, Blocked> {
        if request.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Blocked::Refused(Refusal::DeadlinePassed));
        }
        let may_pass = self.line.is_empty() || !self.line_is_stopped();
        let choose = || self.order.choose(request, &self.workers, &mut self.rng);
        if let Some(slot) = may_pass.then(choose).flatten() {
            self.audit_dispatch(slot, request);
            self.audit_line();
            let sequence = self.next_sequence();
            return Ok(self.charge(slot, request.cost, sequence));
        }
        Err(match self.hopeless(request) {
            Some(reason) => Blocked::Refused(reason),
            None => Blocked::WouldWait,
        })
    }

    /// Charges the named worker, past policy and line: for requests that
    /// belong to one worker.
    ///
    /// ```
    /// use plimsoll_core::{Config, DispatchToError, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let one = NonZeroU32::MIN;
    /// let [_, own] = [(); 2].map(|()| pool.add(WorkerSpec::new(one), Time::ZERO));
    /// let lease = pool.dispatch_to(own, one).unwrap();
    /// assert_eq!(lease.worker(), own);
    /// assert_eq!(pool.dispatch_to(own, one), Err(DispatchToError::NoRoom));
    /// ```
    ///
    /// # Errors
    ///
    /// [`DispatchToError`] when there is no such worker, or it takes no
    /// request of this cost now.
    pub fn dispatch_to(
        &mut self,
        worker: WorkerId,
        cost: NonZeroU32,
    ) -> Result<Lease, DispatchToError> {
        let slot = self.slot_of(worker).map_err(DispatchToError::Unknown)?;
        let chosen = &self.workers[slot as usize];
        if !chosen.is_live() || chosen.spec.health != Health::Up {
            return Err(DispatchToError::NotUp);
        }
        if !chosen.has_room_for(cost) {
            return Err(DispatchToError::NoRoom);
        }
        let sequence = self.next_sequence();
        Ok(self.charge(slot, cost, sequence))
    }

    /// Charges the named worker for a request that it has already, whatever its
    /// health and capacity: for a balancer that takes over from another, and
    /// learns from the workers what they were given.
    ///
    /// A worker that is still [`Health::Starting`] gets nothing from the line
    /// before all that it has is adopted.
    ///
    /// ```
    /// use plimsoll_core::{Config, Health, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let one = NonZeroU32::MIN;
    /// let id = pool.add(WorkerSpec { health: Health::Starting, ..WorkerSpec::new(one) }, Time::ZERO);
    /// let [_first, _second] = [(); 2].map(|()| pool.adopt(id, one).unwrap());
    /// pool.set_health(id, Health::Up, Time::ZERO).unwrap();
    /// assert_eq!(pool.pending(), 2);
    /// // Above its capacity: it gets nothing until it has sunk below.
    /// assert!(pool.try_dispatch(&Request::default(), Time::ZERO).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`DispatchToError::Unknown`] when there is no such worker,
    /// [`DispatchToError::NoRoom`] when its pending would not fit 32 bits.
    pub fn adopt(&mut self, worker: WorkerId, cost: NonZeroU32) -> Result<Lease, DispatchToError> {
        let slot = self.slot_of(worker).map_err(DispatchToError::Unknown)?;
        let pending = self.workers[slot as usize].pending;
        if pending.checked_add(cost.get()).is_none() {
            return Err(DispatchToError::NoRoom);
        }
        let sequence = self.next_sequence();
        Ok(self.charge(slot, cost, sequence))
    }

    /// Gives a charge back and serves the head of the line.
    ///
    /// ```
    /// use plimsoll_core::{Completion, Config, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// let lease = pool.try_dispatch(&Request::default(), Time::ZERO).unwrap();
    /// assert_eq!(pool.pending(), 1);
    /// pool.completed(lease, Completion::Succeeded, Time::ZERO).unwrap();
    /// assert_eq!(pool.pending(), 0);
    /// ```
    ///
    /// # Errors
    ///
    /// [`StaleLease`] with the lease when this pool did not make it; nothing
    /// changes.
    pub fn completed(
        &mut self,
        lease: Lease,
        how: Completion,
        now: Time,
    ) -> Result<(), StaleLease> {
        let (slot, _) = self.uncharge(lease)?;
        let worker = &mut self.workers[slot as usize];
        worker.completed += 1;
        if how == Completion::Failed {
            worker.failed += 1;
            self.add_penalty(slot, now);
        }
        let moved = !self.line.is_empty() && self.hand_over(slot, now);
        self.order.changed(slot, &self.workers[slot as usize]);
        if moved {
            self.serve(now);
        }
        self.free_if_done(slot);
        Ok(())
    }

    /// Takes back a request that its worker did not begin: it returns to its
    /// old place in line, before all that came after it and over the bound if
    /// need be. Its worker is not blamed.
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Health, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let (now, request) = (Time::ZERO, Request::default());
    /// let mut pool = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), now);
    /// let Dispatch::Assigned(lease, tag) = pool.dispatch(&request, "tag", now) else { panic!() };
    /// pool.set_health(id, Health::Starting, now).unwrap(); // it has to be built anew
    /// let ticket = pool.take_back(lease, &request, tag, now).unwrap();
    /// assert_eq!((pool.pending(), pool.waiting()), (0, 1));
    /// assert_eq!(pool.cancel(ticket, now), Some("tag"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`StaleLease`] with the lease, and the tag, when this pool did not make
    /// it; nothing changes.
    pub fn take_back(
        &mut self,
        lease: Lease,
        request: &Request<'_>,
        tag: T,
        now: Time,
    ) -> Result<Ticket, (StaleLease, T)> {
        let (slot, sequence) = match self.uncharge(lease) {
            Ok(uncharged) => uncharged,
            Err(stale) => return Err((stale, tag)),
        };
        self.workers[slot as usize].dispatched -= 1;
        self.join_line(sequence, Waiting::new(request, tag, now));
        if let Some(reason) = self.hopeless(request) {
            self.refuse_waiting(sequence, reason);
        }
        self.order.changed(slot, &self.workers[slot as usize]);
        self.serve(now);
        self.free_if_done(slot);
        Ok(Ticket(sequence))
    }

    /// Moves a request that its worker did not begin to another one, charge
    /// and all: for a shell that finds the other one ready first.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let one = NonZeroU32::MIN;
    /// let [asleep, ready] = [(); 2].map(|()| pool.add(WorkerSpec::new(one), Time::ZERO));
    /// let lease = pool.dispatch_to(asleep, one).unwrap();
    /// let lease = pool.reassign(lease, ready, Time::ZERO).unwrap();
    /// assert_eq!(lease.worker(), ready);
    /// assert_eq!(pool.worker(asleep).unwrap().pending, 0);
    /// ```
    ///
    /// # Errors
    ///
    /// The lease back when its pool is another one, or `to` is unknown, not up
    /// or without room; nothing changes.
    pub fn reassign(&mut self, lease: Lease, to: WorkerId, now: Time) -> Result<Lease, Lease> {
        let takes = |slot: u32| self.workers[slot as usize].has_room_for(lease.cost);
        let Some(to) = self.slot_of(to).ok().filter(|&slot| takes(slot)) else { return Err(lease) };
        let cost = lease.cost;
        if lease.pool != self.number {
            return Err(lease);
        }
        let Ok((from, sequence)) = self.uncharge(lease) else { unreachable!("the lease is ours") };
        self.workers[from as usize].dispatched -= 1;
        let lease = self.charge(to, cost, sequence);
        let moved = self.hand_over(from, now);
        self.order.changed(from, &self.workers[from as usize]);
        if moved {
            self.serve(now);
        }
        self.free_if_done(from);
        Ok(lease)
    }

    /// A waiting request goes away; its tag comes back. `None` when it no
    /// longer waits.
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Health, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool = Pool::new(Config::default());
    /// let spec = WorkerSpec::new(NonZeroU32::MIN);
    /// pool.add(WorkerSpec { health: Health::Starting, ..spec }, Time::ZERO);
    /// let Dispatch::InLine(ticket) = pool.dispatch(&Request::default(), "tag", Time::ZERO) else {
    ///     panic!("no worker is up yet")
    /// };
    /// assert_eq!(pool.cancel(ticket, Time::ZERO), Some("tag"));
    /// assert_eq!(pool.cancel(ticket, Time::ZERO), None);
    /// ```
    pub fn cancel(&mut self, ticket: Ticket, now: Time) -> Option<T> {
        let waiting = self.leave_line(ticket.0)?;
        // It may have been what the line stopped at.
        self.serve(now);
        Some(waiting.tag)
    }

    /// Takes every waiting request out of the line, in order: for a shell that
    /// shuts down and drops what has not begun.
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Health, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool = Pool::new(Config::default());
    /// let spec = WorkerSpec::new(NonZeroU32::MIN);
    /// pool.add(WorkerSpec { health: Health::Starting, ..spec }, Time::ZERO);
    /// for tag in ["first", "second"] {
    ///     let dispatch = pool.dispatch(&Request::default(), tag, Time::ZERO);
    ///     assert!(matches!(dispatch, Dispatch::InLine(_)));
    /// }
    /// assert_eq!(pool.clear_line(), ["first", "second"]);
    /// ```
    pub fn clear_line(&mut self) -> Vec<T> {
        let mut tags = Vec::with_capacity(self.line.len());
        while let Some((sequence, _)) = self.line.at_or_after(0) {
            tags.extend(self.leave_line(sequence).map(|waiting| waiting.tag));
        }
        tags
    }

    /// Offers a worker whose room just grew to the head of the line, before it
    /// is put in order: a worker that is filled again at once never enters it.
    /// Tells whether the line must be served further.
    fn hand_over(&mut self, slot: u32, now: Time) -> bool {
        let Some((sequence, head)) = self.line.head() else { return false };
        let request = head.request();
        if request.deadline.is_some_and(|deadline| deadline <= now) {
            return true;
        }
        if may_take(&self.workers[slot as usize], slot, &request) {
            self.assign_waiting(sequence, slot);
            return true;
        }
        // No other worker has got any room since the line was last served.
        !self.stops_line(&request)
    }

    /// Serves the line from its head as far as it goes.
    pub(super) fn serve(&mut self, now: Time) {
        let mut from = 0;
        while let Some((sequence, waiting)) = self.line.at_or_after(from) {
            from = sequence + 1;
            let request = waiting.request();
            if request.deadline.is_some_and(|deadline| deadline <= now) {
                self.refuse_waiting(sequence, Refusal::DeadlinePassed);
            } else if let Some(slot) = self.order.choose(&request, &self.workers, &mut self.rng) {
                self.assign_waiting(sequence, slot);
            } else if self.stops_line(&request) {
                break;
            }
        }
        self.audit_line();
    }

    /// Gives a waiting request its worker.
    fn assign_waiting(&mut self, sequence: u64, slot: u32) {
        if let Some(waiting) = self.leave_line(sequence) {
            self.audit_dispatch(slot, &waiting.request());
            let lease = self.charge(slot, waiting.request().cost, sequence);
            let ticket = Ticket(sequence);
            self.outcomes.push_back(Outcome::Assigned { ticket, lease, tag: waiting.tag });
        }
    }

    /// Gives up a waiting request.
    pub(super) fn refuse_waiting(&mut self, sequence: u64, reason: Refusal) {
        if let Some(Waiting { tag, .. }) = self.leave_line(sequence) {
            self.outcomes.push_back(Outcome::Refused { ticket: Ticket(sequence), reason, tag });
        }
    }

    /// Whether a request in line holds up all that come after it.
    fn line_is_stopped(&self) -> bool {
        self.line.iter().any(|(_, waiting)| self.stops_line(&waiting.request()))
    }

    /// Whether a request that no worker is eligible for stops the line: no
    /// worker has room for it, those that it excludes included.
    fn stops_line(&self, request: &Request<'_>) -> bool {
        !request
            .excluded
            .iter()
            .any(|&id| self.present(id).is_some_and(|worker| worker.has_room_for(request.cost)))
    }

    fn join_line(&mut self, sequence: u64, waiting: Waiting<T>) {
        if let Some(deadline) = waiting.deadline {
            self.due.insert((deadline, Due::Deadline(sequence)));
        }
        self.line.insert(sequence, waiting);
    }

    fn leave_line(&mut self, sequence: u64) -> Option<Waiting<T>> {
        let waiting = self.line.remove(sequence)?;
        if let Some(deadline) = waiting.deadline {
            self.due.remove(&(deadline, Due::Deadline(sequence)));
        }
        Some(waiting)
    }

    fn charge(&mut self, slot: u32, cost: NonZeroU32, sequence: u64) -> Lease {
        let worker = &mut self.workers[slot as usize];
        worker.pending += cost.get();
        worker.dispatched += 1;
        self.pending += u64::from(cost.get());
        self.order.dispatched(slot, worker);
        let worker = WorkerId { index: slot, generation: worker.generation };
        Lease { pool: self.number, worker, cost, sequence }
    }

    /// Takes the lease's charge off and tells its slot and sequence; the
    /// order must be told next.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is what makes a second give-back impossible"
    )]
    fn uncharge(&mut self, lease: Lease) -> Result<(u32, u64), StaleLease> {
        let Lease { pool, worker, cost, sequence } = lease;
        if pool != self.number {
            return Err(StaleLease(Lease { pool, worker, cost, sequence }));
        }
        // Its worker is here: a removed one stays until its last lease is back.
        self.workers[worker.index as usize].pending -= cost.get();
        self.pending -= u64::from(cost.get());
        Ok((worker.index, sequence))
    }

    fn next_sequence(&mut self) -> u64 {
        let sequence = self.sequence;
        self.sequence += 1;
        sequence
    }
}
