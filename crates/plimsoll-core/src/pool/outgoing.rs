//! Outgoing: what the shell must do next, and when.

use super::Pool;
use crate::worker::RAMP_STEPS;
use crate::{Outcome, Refusal, Time, WorkerId};

/// What happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The deadline of the waiting request of this sequence.
    Deadline(u64),
    /// The next step of a worker's ramp.
    RampStep(WorkerId),
    /// A worker's penalty halves.
    HalvePenalty(WorkerId),
}

impl<T> Pool<T> {
    /// What became of the next waiting request or removed worker; `None` when
    /// the shell knows all.
    ///
    /// ```
    /// use plimsoll_core::{Config, Outcome, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// pool.remove(id, Time::ZERO).unwrap();
    /// assert_eq!(pool.poll_outcome(), Some(Outcome::Removed(id)));
    /// assert_eq!(pool.poll_outcome(), None);
    /// ```
    pub fn poll_outcome(&mut self) -> Option<Outcome<T>> {
        self.outcomes.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, if ever. Look
    /// again after every call that changes the pool.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::{num::NonZeroU32, time::Duration};
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// assert_eq!(pool.poll_timeout(), None);
    /// pool.start_ramp(id, Duration::from_secs(16), Time::ZERO).unwrap();
    /// assert_eq!(pool.poll_timeout(), Some(Time::ZERO + Duration::from_secs(1)));
    /// ```
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Does what is due at `now`: refuses waiting requests past their
    /// deadline, takes ramps a step on, halves penalties.
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Health, Outcome, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool = Pool::new(Config::default());
    /// let spec = WorkerSpec::new(NonZeroU32::MIN);
    /// pool.add(WorkerSpec { health: Health::Starting, ..spec }, Time::ZERO);
    /// let request = Request { deadline: Some(Time::from_nanos(9)), ..Request::default() };
    /// assert!(matches!(pool.dispatch(&request, "tag", Time::ZERO), Dispatch::InLine(_)));
    /// let due = pool.poll_timeout().unwrap();
    /// pool.handle_timeout(due);
    /// assert!(matches!(pool.poll_outcome(), Some(Outcome::Refused { tag: "tag", .. })));
    /// ```
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(at, due)) = self.due.first() {
            if at > now {
                break;
            }
            self.due.pop_first();
            match due {
                Due::Deadline(sequence) => self.refuse_waiting(sequence, Refusal::DeadlinePassed),
                Due::RampStep(id) => self.step_ramp(id, now),
                Due::HalvePenalty(id) => self.halve_penalty(id, at, now),
            }
        }
        self.serve(now);
    }

    /// Adds one failure's penalty to a worker.
    pub(super) fn add_penalty(&mut self, slot: u32, now: Time) {
        let worker = &mut self.workers[slot as usize];
        let weight = u32::from(worker.spec.weight.get());
        let step = u32::from(self.config.penalty.step) * weight;
        let most = u32::from(self.config.penalty.most) * weight;
        let before = worker.penalty;
        worker.penalty = most.min(before.checked_add(step).unwrap_or(most));
        if before == 0 && worker.penalty > 0 {
            let id = self.id_of(slot);
            self.due.insert((now + self.half_life(), Due::HalvePenalty(id)));
        }
    }

    fn halve_penalty(&mut self, id: WorkerId, at: Time, now: Time) {
        let halved = self.change(id, now, |worker| worker.penalty /= 2);
        if halved.is_ok() && self.workers[id.index as usize].penalty > 0 {
            self.due.insert((at + self.half_life(), Due::HalvePenalty(id)));
        }
    }

    fn step_ramp(&mut self, id: WorkerId, now: Time) {
        let Some(ramp) = self.ramps.get_mut(&id) else { return };
        let step = self.workers[id.index as usize].ramp_step + 1;
        if step < RAMP_STEPS {
            ramp.next = ramp.started + ramp.over / u32::from(RAMP_STEPS) * u32::from(step);
            self.due.insert((ramp.next, Due::RampStep(id)));
        } else {
            self.ramps.remove(&id);
        }
        let known = self.change(id, now, |worker| worker.take_ramp_step(step));
        debug_assert!(known.is_ok(), "a removed worker has no ramp");
    }

    /// Never 0, or a halving would be due for ever.
    fn half_life(&self) -> core::time::Duration {
        self.config.penalty.half_life.max(core::time::Duration::from_millis(1))
    }
}
