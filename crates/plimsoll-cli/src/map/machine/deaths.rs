//! What follows when a copy ends: its lines are taken back, the first one
//! loses a try, and the slot waits for its next copy.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::{Completion, Request, Time};

use super::{Cause, Machine, RECORD, Reason, TakenBack};

/// So many copies that end without anything answered stop the run.
const HOPELESS: u32 = 3;

/// The wait after a copy that answered nothing; it doubles with each that
/// counts, in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How often it doubles: 50 ms, 100 ms, … 3.2 s.
const DOUBLINGS: u32 = 6;

/// What to do after a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// Start another one at this time, if copies are needed then.
    Restart(Time),
    /// Nothing is ever answered: the run stops.
    Stop,
}

impl Machine {
    /// The copy gets no more lines; it may still answer those it has. Its
    /// slot waits for the next copy.
    pub(crate) fn retire(&mut self, nth: usize, now: Time) {
        // The next copy's name joins first, so that lines that wait always
        // have a worker to wait for.
        let next = self.pool.add(Self::spec(&self.settings), now);
        let known = self.pool.remove(self.slots[nth].id, now);
        debug_assert!(known.is_ok(), "a slot's id is in the pool");
        self.slots[nth].id = next;
        self.slots[nth].retired = true;
        self.name_slot(next.index(), nth);
        self.settle(now);
    }

    /// The copy, which was [retired](Self::retire), is gone. Its first
    /// unanswered line loses a try and will run alone; the others go back to
    /// their old places in line as if they had never been given.
    pub(crate) fn died(&mut self, nth: usize, cause: &Cause, now: Time) -> Aftermath {
        let barren = self.slots[nth].answered_by_copy == 0;
        let mut first = true;
        // A line that lost a try before is the likelier culprit.
        let mut suspect = false;
        while let Some((held, line)) = self.slots[nth].give_up(now) {
            let mut lost = held.lost;
            if std::mem::take(&mut first) {
                suspect = lost > 0;
                lost += 1;
                if cause.is_final() || lost > self.settings.retries {
                    self.charged -= line.len() + RECORD;
                    let reason = Reason::Copy { cause: cause.clone(), tries: lost };
                    self.fail(held.number, reason, Some(line));
                    self.give_back(held.lease, Completion::Failed, now);
                    continue;
                }
            }
            let number = held.number;
            if self.settings.ordered {
                self.window.taken_back(number);
            }
            // A line that lost a try needs a copy that has nothing else, and
            // leaves no room beside it: a second death is then its own.
            let alone = if lost > 0 { self.settings.capacity } else { NonZeroU32::MIN };
            let request = Request { cost: alone, ..Request::default() };
            let tag = TakenBack { number, lost, line };
            if let Ok(ticket) = self.pool.take_back(held.lease, &request, tag, now) {
                self.in_line.insert(number, ticket);
            } else {
                debug_assert!(false, "leases stay with the pool that made them");
            }
            self.settle(now);
        }
        let counts = barren && !suspect && cause.blames_the_copy();
        self.ended(nth, barren, counts, now)
    }

    /// The slot's next copy could not be started.
    pub(crate) fn could_not_start(&mut self, nth: usize, now: Time) -> Aftermath {
        self.ended(nth, true, true, now)
    }

    fn ended(&mut self, nth: usize, barren: bool, counts: bool, now: Time) -> Aftermath {
        let slot = &mut self.slots[nth];
        if counts {
            self.barren += 1;
            slot.barren += 1;
            // While a copy lives that has not had its chance, there is hope.
            let here_thrice = slot.barren >= HOPELESS;
            if self.barren >= HOPELESS
                && (here_thrice || self.slots.iter().all(|slot| slot.barren > 0))
            {
                return Aftermath::Stop;
            }
        }
        let slot = &mut self.slots[nth];
        if !barren {
            slot.fruitless = 0;
            return Aftermath::Restart(now);
        }
        let pause = FIRST_PAUSE * 2_u32.pow(slot.fruitless.min(DOUBLINGS));
        if counts {
            // Deaths over one line have an end of their own: its tries.
            slot.fruitless += 1;
        }
        Aftermath::Restart(now + pause)
    }

    /// Gives up every line that has no answer; no more input is taken.
    pub(crate) fn stop(&mut self, now: Time) {
        self.stopped = true;
        self.input_ended = true;
        for (number, ticket) in std::mem::take(&mut self.in_line).into_iter().rev() {
            if let Some(TakenBack { line, .. }) = self.pool.cancel(ticket, now) {
                self.charged -= line.len() + RECORD;
                self.fail(number, Reason::RunStopped, Some(line));
            }
            self.settle(now);
        }
        for nth in 0..self.slots.len() {
            while let Some((held, line)) = self.slots[nth].give_up(now) {
                self.charged -= line.len() + RECORD;
                self.fail(held.number, Reason::RunStopped, Some(line));
                self.give_back(held.lease, Completion::Failed, now);
            }
        }
    }
}
