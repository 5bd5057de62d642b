//! A slot: the place of copy number n, whichever process holds it, with the
//! lines that process was given and has not answered.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use hdrhistogram::Histogram;
use plimsoll_core::{Lease, Time, WorkerId};

use super::queue;

/// One line with a copy.
#[derive(Debug)]
pub(super) struct Held {
    /// Its number in the input, from 1.
    pub(super) number: u64,
    pub(super) lease: Lease,
    /// Its length, without its end.
    pub(super) len: usize,
    /// How often it lost a try.
    pub(super) lost: u32,
    /// When this copy was given it.
    pub(super) given: Time,
}

/// What `--summary` tells of one slot.
#[derive(Debug)]
pub(crate) struct Stats {
    /// Lines answered.
    pub(crate) lines: u64,
    /// Copies started after the first.
    pub(crate) restarts: u64,
    /// Time with at least one line pending.
    pub(crate) busy: Duration,
    /// From given to answered, in microseconds; only kept when asked for.
    pub(crate) times: Option<Histogram<u64>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The pool's name for the copy that is here, or that is to come.
    pub(super) id: WorkerId,
    /// Lines given and not answered, oldest first.
    held: VecDeque<Held>,
    /// Their bytes, each with its end, in the same order.
    bytes: VecDeque<u8>,
    /// How many bytes at the back of `bytes` the copy has not been written.
    unwritten: usize,
    /// Since when the oldest line is at the head, for `--timeout`.
    pub(super) head_since: Time,
    /// The copy gets no more lines.
    pub(super) retired: bool,
    /// Its answers are not read now, and its head's time stands still.
    pub(super) paused: bool,
    /// What the present copy has answered.
    pub(super) answered_by_copy: u64,
    /// Copies that ended here, since any copy answered last, without having
    /// answered anything.
    pub(super) barren: u32,
    /// Copies in a row that ended here without having answered anything, not
    /// counting those that a line took with it which had taken others before.
    pub(super) fruitless: u32,
    busy_since: Option<Time>,
    pub(super) stats: Stats,
}

impl Slot {
    pub(super) fn new(id: WorkerId, now: Time, keep_times: bool) -> Self {
        // Three significant digits, up to an hour; longer times count as one.
        let times =
            keep_times.then(|| Histogram::new_with_max(3_600_000_000, 3)).and_then(Result::ok);
        Self {
            id,
            held: VecDeque::new(),
            bytes: VecDeque::new(),
            unwritten: 0,
            head_since: now,
            retired: false,
            paused: false,
            answered_by_copy: 0,
            barren: 0,
            fruitless: 0,
            busy_since: None,
            stats: Stats { lines: 0, restarts: 0, busy: Duration::ZERO, times },
        }
    }

    /// How many lines it holds.
    pub(super) fn pending(&self) -> usize {
        self.held.len()
    }

    /// Adds a line at the back.
    pub(super) fn give(&mut self, held: Held, line: &[u8], end: u8) {
        if self.held.is_empty() {
            self.head_since = held.given;
            self.busy_since = Some(held.given);
        }
        queue::append(&mut self.bytes, line);
        self.bytes.push_back(end);
        self.unwritten += line.len() + 1;
        self.held.push_back(held);
    }

    /// The line an answer must belong to, when there is one that the copy can
    /// have read.
    pub(super) fn answer(&mut self, now: Time) -> Option<Held> {
        let written = self.bytes.len() - self.unwritten;
        let len = self.held.front()?.len;
        if written < len + 1 {
            return None;
        }
        let held = self.held.pop_front()?;
        queue::discard(&mut self.bytes, len + 1);
        self.moved_on(now);
        self.answered_by_copy += 1;
        self.stats.lines += 1;
        if let (Some(times), Some(time)) = (&mut self.stats.times, now.since(held.given)) {
            times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
        Some(held)
    }

    /// Takes the oldest line out, with its bytes, and forgets what was
    /// written: the copy is gone.
    pub(super) fn give_up(&mut self, now: Time) -> Option<(Held, Box<[u8]>)> {
        self.unwritten = 0;
        let held = self.held.pop_front()?;
        let line = self.bytes.range(..held.len).copied().collect();
        queue::discard(&mut self.bytes, held.len + 1);
        self.moved_on(now);
        Some((held, line))
    }

    fn moved_on(&mut self, now: Time) {
        self.head_since = now;
        if self.held.is_empty()
            && let Some(busy) = self.busy_since.take().and_then(|since| now.since(since))
        {
            self.stats.busy += busy;
        }
    }

    /// Whether lines have bytes that are still to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        self.unwritten > 0
    }

    /// The bytes to write next; the second part is empty when they lie in one.
    pub(super) fn to_write(&self) -> [IoSlice<'_>; 2] {
        let written = self.bytes.len() - self.unwritten;
        let (front, back) = self.bytes.as_slices();
        match front.get(written..) {
            Some(front) => [IoSlice::new(front), IoSlice::new(back)],
            None => [IoSlice::new(&back[written - front.len()..]), IoSlice::new(&[])],
        }
    }

    /// So many of these bytes were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.unwritten -= bytes;
    }
}
