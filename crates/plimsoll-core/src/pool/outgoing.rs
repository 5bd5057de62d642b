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
    pub fn poll_outcome(&mut self) -> Option<Outcome<T>> {
        self.outcomes.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, if ever. Look
    /// again after every call that changes the pool.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Does what is due at `now`: refuses waiting requests past their
    /// deadline, takes ramps a step on, halves penalties.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&(at, due)) = self.due.first() {
            if at > now {
                break;
            }
            self.due.pop_first();
            match due {
                Due::Deadline(sequence) => self.refuse_waiting(sequence, Refusal::DeadlinePassed),
                Due::RampStep(id) => self.step_ramp(id, at, now),
                Due::HalvePenalty(id) => self.halve_penalty(id, at, now),
            }
        }
        self.serve(None, now);
    }

    /// Adds one failure's penalty to a worker.
    pub(super) fn add_penalty(&mut self, slot: u32, now: Time) {
        let id = self.id_of(slot);
        let worker = &mut self.workers[slot as usize];
        let weight = u32::from(worker.spec.weight.get());
        let step = u32::from(self.config.penalty.step) * weight;
        if step == 0 {
            return;
        }
        if worker.penalty == 0 {
            self.due.insert((now + self.half_life(), Due::HalvePenalty(id)));
        }
        let worker = &mut self.workers[slot as usize];
        let most = u32::from(self.config.penalty.most) * weight;
        worker.penalty = most.min(worker.penalty.checked_add(step).unwrap_or(most));
    }

    fn halve_penalty(&mut self, id: WorkerId, at: Time, now: Time) {
        let Ok(slot) = self.slot_of(id) else { return };
        self.change(slot, now, |worker| worker.penalty /= 2);
        if self.workers[slot as usize].penalty > 0 {
            self.due.insert((at + self.half_life(), Due::HalvePenalty(id)));
        }
    }

    fn step_ramp(&mut self, id: WorkerId, at: Time, now: Time) {
        let Ok(slot) = self.slot_of(id) else { return };
        // A ramp that was started anew has another next step.
        let Some(ramp) = self.ramps.get_mut(&slot).filter(|ramp| ramp.next == at) else { return };
        let step = self.workers[slot as usize].ramp_step() + 1;
        if step < RAMP_STEPS {
            let part = ramp.over / u32::from(RAMP_STEPS) * u32::from(step);
            ramp.next = ramp.started + part;
            self.due.insert((ramp.next, Due::RampStep(id)));
        } else {
            self.ramps.remove(&slot);
        }
        self.change(slot, now, |worker| worker.set_ramp_step(step));
    }

    /// Never 0, or a halving would be due for ever.
    fn half_life(&self) -> core::time::Duration {
        self.config.penalty.half_life.max(core::time::Duration::from_millis(1))
    }
}
