//! The run as a state machine: which copy gets which line, which answer is
//! whose, what is printed when, what is tried again.
//!
//! It performs no I/O, reads no clock and starts nothing. The shell around it
//! (`engine`) says what happened:
//!
//! - input: [`Machine::offer`], [`Machine::too_long`], [`Machine::end_input`];
//! - copies: [`Machine::started`], [`Machine::wrote`], [`Machine::answer`],
//!   [`Machine::retire`], [`Machine::died`], [`Machine::could_not_start`];
//!
//! and asks what to do: [`Machine::to_write`], [`Machine::may_read`],
//! [`Machine::may_close`], [`Machine::output`], [`Machine::poll_failure`],
//! [`Machine::overdue`], [`Machine::is_finished`].
//!
//! Lines wait in the input, not in the pool's line, until a copy has room: the
//! pool's line holds only what was taken back from copies that ended.

mod deaths;
mod failure;
mod queue;
mod slot;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::{
    Completion, Config, Health, Lease, Outcome, Penalty, Pool, Request, Ticket, Time, WorkerSpec,
};

pub(crate) use self::deaths::Aftermath;
pub(crate) use self::failure::{Cause, Failure, Reason};
pub(crate) use self::slot::Stats;
use self::slot::{Held, Slot};
use self::window::{First, Window};

/// What an unanswered line is charged to the buffer beside its bytes: its
/// records here and in the pool.
const RECORD: usize = 128;

/// Printed bytes that may wait for the writer before answers wait instead.
const OUTPUT: usize = 256 * 1024;

/// How long a copy may keep its answers back after the end of the input before
/// it is shown that end, when lines wait that no copy has room for.
const LINGER: Duration = Duration::from_secs(1);

/// What of the options concerns the machine.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Copies of COMMAND.
    pub(crate) workers: usize,
    /// Lines a copy holds at once.
    pub(crate) capacity: NonZeroU32,
    /// How often a line is tried again.
    pub(crate) retries: u32,
    /// The most time at a copy's head.
    pub(crate) timeout: Option<Duration>,
    /// Bytes that unanswered lines and early answers share.
    pub(crate) buffer: usize,
    /// Print in input order.
    pub(crate) ordered: bool,
    /// Print an empty line for a failed one.
    pub(crate) keep_place: bool,
    /// The byte that ends a line.
    pub(crate) end: u8,
    /// Keep times for `--summary`.
    pub(crate) keep_times: bool,
    /// Shuffles the first order of the copies.
    pub(crate) seed: u64,
}

/// What has become of the input so far; `answered + failed` reaches `lines`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Lines taken from the input.
    pub(crate) lines: u64,
    /// Those answered.
    pub(crate) answered: u64,
    /// Those given up.
    pub(crate) failed: u64,
}

/// A line taken back from a copy, while it waits in the pool's line.
#[derive(Debug)]
struct TakenBack {
    number: u64,
    lost: u32,
    line: Box<[u8]>,
}

/// An answer that belongs to no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfTurn;

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    pool: Pool<TakenBack>,
    slots: Vec<Slot>,
    /// Slots by the index of the pool's worker.
    slot_of: Vec<usize>,
    window: Window,
    output: Vec<u8>,
    failures: VecDeque<Failure>,
    /// Lines in the pool's line, by number.
    in_line: BTreeMap<u64, Ticket>,
    counts: Counts,
    /// What unanswered lines are charged to the buffer.
    charged: usize,
    input_ended: bool,
    stopped: bool,
    /// Copies that ended since any answered last, without having answered.
    barren: u32,
    first_given: Option<Time>,
}

impl Machine {
    pub(crate) fn new(settings: Settings, now: Time) -> Self {
        let config = Config {
            // Only lines taken back wait in it, and those over the bound.
            line: 0,
            seed: settings.seed,
            // A copy that fails is replaced by a new one, which starts clean.
            penalty: Penalty { step: 0, ..Penalty::default() },
            ..Config::default()
        };
        let mut pool = Pool::new(config);
        let spec = Self::spec(&settings);
        let slots: Vec<Slot> = (0..settings.workers)
            .map(|_| Slot::new(pool.add(spec, now), now, settings.keep_times))
            .collect();
        let mut machine = Self {
            pool,
            slots: Vec::new(),
            slot_of: Vec::new(),
            window: Window::new(settings.workers, settings.end, settings.keep_place),
            output: Vec::new(),
            failures: VecDeque::new(),
            in_line: BTreeMap::new(),
            counts: Counts::default(),
            charged: 0,
            input_ended: false,
            stopped: false,
            barren: 0,
            first_given: None,
            settings,
        };
        for (nth, slot) in slots.into_iter().enumerate() {
            machine.name_slot(slot.id.index(), nth);
            machine.slots.push(slot);
        }
        machine
    }

    /// A copy that is still to be started; lines may wait for it.
    fn spec(settings: &Settings) -> WorkerSpec {
        WorkerSpec { health: Health::Starting, ..WorkerSpec::new(settings.capacity) }
    }

    fn name_slot(&mut self, index: usize, slot: usize) {
        if self.slot_of.len() <= index {
            self.slot_of.resize(index + 1, 0);
        }
        self.slot_of[index] = slot;
    }

    // Input.

    /// Offers the next line of the input; false when it has to wait.
    pub(crate) fn offer(&mut self, line: &[u8], now: Time) -> bool {
        let charge = line.len() + RECORD;
        if self.buffered() + charge > self.settings.buffer {
            // Failed lines leave the window without a word that would bring
            // the next offer.
            self.print();
        }
        let buffered = self.buffered();
        if self.stopped || (buffered > 0 && buffered + charge > self.settings.buffer) {
            return false;
        }
        let Ok(lease) = self.pool.try_dispatch(&Request::default(), now) else { return false };
        self.counts.lines += 1;
        self.charged += charge;
        self.place(lease, self.counts.lines, 0, line, now);
        true
    }

    /// The next line of the input is too long to be kept.
    pub(crate) fn too_long(&mut self) {
        self.counts.lines += 1;
        self.fail(self.counts.lines, Reason::LineTooLong, None);
    }

    /// Whether the input has to wait, whatever its next line is.
    pub(crate) fn is_full(&mut self) -> bool {
        self.print();
        self.buffered() >= self.settings.buffer || self.output.len() >= OUTPUT
    }

    /// There is no more input, or no more is wanted.
    pub(crate) fn end_input(&mut self) {
        self.input_ended = true;
    }

    // Copies.

    /// The copy of this slot is up.
    pub(crate) fn started(&mut self, slot: usize, again: bool, now: Time) {
        let slot = &mut self.slots[slot];
        slot.answered_by_copy = 0;
        slot.retired = false;
        if again {
            slot.stats.restarts += 1;
        }
        let known = self.pool.set_health(slot.id, Health::Up, now);
        debug_assert!(known.is_ok(), "a slot's id is in the pool");
        self.settle(now);
    }

    /// What the copy must be written next.
    pub(crate) fn to_write(&self, slot: usize) -> Option<[IoSlice<'_>; 2]> {
        let slot = &self.slots[slot];
        slot.has_unwritten().then(|| slot.to_write())
    }

    /// So many bytes were written to the copy.
    pub(crate) fn wrote(&mut self, slot: usize, bytes: usize) {
        self.slots[slot].wrote(bytes);
    }

    /// The copy answered its oldest line.
    ///
    /// # Errors
    ///
    /// [`OutOfTurn`] when it had none, or none that it can have read.
    pub(crate) fn answer(
        &mut self,
        slot: usize,
        answer: &[u8],
        now: Time,
    ) -> Result<(), OutOfTurn> {
        let held = self.slots[slot].answer(now).ok_or(OutOfTurn)?;
        self.slots[slot].fruitless = 0;
        if self.barren > 0 {
            self.barren = 0;
            self.slots.iter_mut().for_each(|slot| slot.barren = 0);
        }
        self.counts.answered += 1;
        self.charged -= held.len + RECORD;
        if self.settings.ordered {
            let print = self.output.len() < OUTPUT;
            self.window.answered(held.number, slot, answer, print, &mut self.output);
        } else {
            self.output.extend_from_slice(answer);
            self.output.push(self.settings.end);
        }
        self.give_back(held.lease, Completion::Succeeded, now);
        Ok(())
    }

    // What to do.

    /// Whether the copy should see the end of its input, since a filter may
    /// answer only then: it is owed nothing more, or it answers nothing while
    /// lines wait that no copy has room for. These wait for its successor.
    pub(crate) fn may_close(&self, slot: usize, now: Time) -> bool {
        let slot = &self.slots[slot];
        if self.pool.waiting() > 0 {
            return self.lingers_until(slot).is_some_and(|until| until <= now);
        }
        self.input_ended && !slot.has_unwritten()
    }

    /// When the next copy is to see the end of its input though lines wait.
    pub(crate) fn next_close(&self) -> Option<Time> {
        if self.pool.waiting() == 0 {
            return None;
        }
        self.slots.iter().filter_map(|slot| self.lingers_until(slot)).min()
    }

    fn lingers_until(&self, slot: &Slot) -> Option<Time> {
        let holds = !slot.retired && !slot.paused && slot.pending() > 0 && !slot.has_unwritten();
        (self.input_ended && holds).then(|| slot.head_since + LINGER)
    }

    /// Whether a copy is needed where there is none.
    pub(crate) fn needs_copies(&self) -> bool {
        !self.stopped && (!self.input_ended || self.pool.waiting() > 0)
    }

    /// How many lines the copy of this slot has.
    pub(crate) fn pending(&self, slot: usize) -> usize {
        self.slots[slot].pending()
    }

    /// Whether the copy's answers may be read now. Call
    /// [`refresh_pauses`](Self::refresh_pauses) first.
    pub(crate) fn may_read(&self, slot: usize) -> bool {
        !self.slots[slot].paused
    }

    /// Decides which copies' answers may be read until the next call. Time
    /// does not pass for the head of a copy that may not answer.
    pub(crate) fn refresh_pauses(&mut self, now: Time) {
        self.print();
        let printable = self.output.len() < OUTPUT;
        let full = self.buffered() >= self.settings.buffer;
        let first = self.window.first();
        for (nth, slot) in self.slots.iter_mut().enumerate() {
            let may_read = match (self.settings.ordered, full) {
                // Early answers can wait in the buffer.
                (true, false) => true,
                // Only what can be printed makes room. A line that is not with
                // any copy needs one with room, which any answer may make.
                (true, true) => printable && (first == First::With(nth) || first == First::InLine),
                (false, _) => printable,
            };
            if slot.paused && may_read {
                slot.head_since = now;
            }
            slot.paused = !may_read;
        }
    }

    /// Printed bytes that were not taken yet; to be emptied by the taker.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        self.print();
        &mut self.output
    }

    /// The next failure that was not reported yet.
    pub(crate) fn poll_failure(&mut self) -> Option<Failure> {
        self.failures.pop_front()
    }

    /// A copy whose head has been there for longer than `--timeout`.
    pub(crate) fn overdue(&self, now: Time) -> Option<usize> {
        let due = |slot: &Slot| self.head_due(slot).is_some_and(|due| due <= now);
        self.slots.iter().position(due)
    }

    /// The most time at a copy's head.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.settings.timeout
    }

    /// When the next head will be overdue.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.slots.iter().filter_map(|slot| self.head_due(slot)).min()
    }

    fn head_due(&self, slot: &Slot) -> Option<Time> {
        let timeout = self.settings.timeout?;
        (!slot.paused && slot.pending() > 0).then(|| slot.head_since + timeout)
    }

    /// Since when copies have had lines, when nothing was ever answered.
    pub(crate) fn silent_since(&self) -> Option<Time> {
        self.first_given.filter(|_| self.counts.answered == 0 && self.charged > 0)
    }

    /// Whether every line of an ended input was answered or given up, and
    /// everything printed was taken.
    pub(crate) fn is_finished(&self) -> bool {
        self.input_ended && self.is_idle() && self.window.is_empty() && self.output.is_empty()
    }

    /// Whether every line taken was answered or given up.
    pub(crate) fn is_idle(&self) -> bool {
        self.counts.answered + self.counts.failed == self.counts.lines
    }

    /// Whether the run gave up because copies die without answering.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// What each slot has done.
    pub(crate) fn stats(&self) -> impl Iterator<Item = &Stats> {
        self.slots.iter().map(|slot| &slot.stats)
    }

    // Inside.

    /// What of the buffer is used.
    fn buffered(&self) -> usize {
        self.charged + self.window.charged()
    }

    fn print(&mut self) {
        if self.settings.ordered {
            self.window.print(OUTPUT, &mut self.output);
        }
    }

    /// Gives a line to the copy that its lease names.
    fn place(&mut self, lease: Lease, number: u64, lost: u32, line: &[u8], now: Time) {
        let nth = self.slot_of[lease.worker().index()];
        let held = Held { number, lease, len: line.len(), lost, given: now };
        self.slots[nth].give(held, line, self.settings.end);
        if self.settings.ordered {
            self.window.given(number, nth);
        }
        if self.first_given.is_none() {
            self.first_given = Some(now);
        }
    }

    fn give_back(&mut self, lease: Lease, how: Completion, now: Time) {
        let given = self.pool.completed(lease, how, now);
        debug_assert!(given.is_ok(), "leases stay with the pool that made them");
        self.settle(now);
    }

    /// Does what the pool says about lines that waited.
    fn settle(&mut self, now: Time) {
        while let Some(outcome) = self.pool.poll_outcome() {
            match outcome {
                Outcome::Assigned { lease, tag: TakenBack { number, lost, line }, .. } => {
                    self.in_line.remove(&number);
                    self.place(lease, number, lost, &line, now);
                }
                // Each slot always has a worker that is up or starting, of the
                // one capacity: the pool has no ground to refuse. Should it,
                // the line is not lost silently.
                Outcome::Refused { reason, tag, .. } => {
                    self.in_line.remove(&tag.number);
                    self.charged -= tag.line.len() + RECORD;
                    self.fail(tag.number, Reason::Refused(reason.to_string()), Some(tag.line));
                }
                Outcome::Removed(_) => {}
            }
        }
    }

    /// Gives a line up; its charge is settled by the caller.
    fn fail(&mut self, number: u64, reason: Reason, line: Option<Box<[u8]>>) {
        self.counts.failed += 1;
        if self.settings.ordered {
            self.window.failed(number);
        } else if self.settings.keep_place {
            self.output.push(self.settings.end);
        }
        self.failures.push_back(Failure { number, reason, line });
    }
}
