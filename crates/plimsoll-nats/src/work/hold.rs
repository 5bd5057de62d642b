//! What a worker has, and what it may still answer, as a state machine without I/O.

use std::collections::{HashMap, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use plimsoll_core::Time;

use crate::wire::{Answer, Beat, LeaseId};

/// Beats whose answers are waited for.
const AWAITED: usize = 64;

/// How often it beats before it knows what its balancer wants.
const FIRST_BEATS: Duration = Duration::from_millis(250);

/// What becomes of a request that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It runs.
    Yes,
    /// It does not begin, and its balancer is told so.
    No,
    /// It came before, and its balancer is told nothing.
    Twice,
}

/// A worker's leases.
///
/// A worker is given up by its balancer when its beats stay away; it cannot know whether they
/// do. What it knows is when it sent the last beat that was answered. Some time before anybody
/// may have given it up it gives up itself what it has ([`Hold::poll_timeout`]): another may
/// have it by then, and a request has one answer.
///
/// ```
/// use plimsoll_core::Time;
/// use plimsoll_nats::{Answer, Hold, Taken};
/// use std::num::{NonZeroU16, NonZeroU32};
///
/// let now = Time::ZERO;
/// let (one, lease) = (NonZeroU32::MIN, "17-1".parse().unwrap());
/// let mut hold = Hold::new(1, 8, NonZeroU16::MIN);
/// let beat = hold.beat(now);
/// // Nothing is taken before a balancer has answered.
/// assert_eq!(hold.take(17, lease, one, now), Taken::No);
/// let answer = Answer { number: 1, beat: beat.number, every_ms: 250, lost_after_ms: 3000 };
/// hold.answered(17, &answer, now);
/// let lease = "17-2".parse().unwrap();
/// assert_eq!(hold.take(17, lease, one, now), Taken::Yes);
/// assert!(hold.finished(lease));
/// ```
#[derive(Debug)]
pub struct Hold {
    generation: u64,
    capacity: u32,
    weight: NonZeroU16,
    has: HashMap<LeaseId, NonZeroU32>,
    /// What runs on, and is not its to answer any more.
    abandoned: HashMap<LeaseId, NonZeroU32>,
    /// The last one that came: a balancer's come in their order.
    last: Option<LeaseId>,
    epoch: u64,
    seen: u64,
    beats: u64,
    /// Beats that were not answered: their numbers, and when they were sent.
    awaited: VecDeque<(u64, Time)>,
    /// The last one that was answered.
    heard: u64,
    /// The first one that says that it takes nothing more.
    last_from: Option<u64>,
    /// Until when nobody can have given it up.
    safe_until: Option<Time>,
    next_beat: Time,
    every: Duration,
}

impl Hold {
    /// A worker with nothing. A process that begins anew takes a greater generation than its last
    /// one: the time, say.
    pub fn new(generation: u64, capacity: u32, weight: NonZeroU16) -> Self {
        Self {
            generation,
            capacity,
            weight,
            has: HashMap::new(),
            abandoned: HashMap::new(),
            last: None,
            epoch: 0,
            seen: 0,
            beats: 0,
            awaited: VecDeque::new(),
            heard: 0,
            last_from: None,
            safe_until: None,
            next_beat: Time::ZERO,
            every: FIRST_BEATS,
        }
    }

    /// Its generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The latest epoch that it knows.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The cost of all that runs.
    pub fn filled(&self) -> u64 {
        self.has.values().chain(self.abandoned.values()).map(|cost| u64::from(cost.get())).sum()
    }

    /// It takes nothing more, and says so from its next beat on.
    pub fn end(&mut self) {
        self.capacity = 0;
        self.last_from = Some(self.beats + 1);
    }

    /// Whether nothing runs after its [`end`](Self::end), and nothing more is on its way: that was sent
    /// before the balancer answered that it knows of the end, or it sends nothing any more.
    ///
    /// ```
    /// use plimsoll_core::Time;
    /// use plimsoll_nats::{Answer, Hold};
    /// use std::num::NonZeroU16;
    ///
    /// let now = Time::ZERO;
    /// let mut hold = Hold::new(1, 8, NonZeroU16::MIN);
    /// let mut answer = Answer { number: 1, beat: 1, every_ms: 250, lost_after_ms: 3000 };
    /// assert_eq!(hold.beat(now).number, 1);
    /// hold.answered(17, &answer, now);
    /// hold.end();
    /// assert!(!hold.may_leave(now));
    /// (answer.number, answer.beat) = (2, hold.beat(now).number);
    /// hold.answered(17, &answer, now);
    /// assert!(hold.may_leave(now));
    /// ```
    pub fn may_leave(&self, now: Time) -> bool {
        let Some(from) = self.last_from else { return false };
        self.filled() == 0 && (self.heard >= from || !self.is_safe(now))
    }

    /// Whether nobody can have given it up: there is a balancer, and it answers.
    fn is_safe(&self, now: Time) -> bool {
        self.safe_until.is_some_and(|until| now < until)
    }

    /// A request comes. It is not taken by a worker that is full, that knows a later epoch or that
    /// may have been given up: then it did not begin, and its balancer is told so.
    pub fn take(&mut self, epoch: u64, lease: LeaseId, cost: NonZeroU32, now: Time) -> Taken {
        let is_here = self.has.contains_key(&lease) || self.abandoned.contains_key(&lease);
        if epoch < self.epoch && !is_here {
            return Taken::No;
        }
        if self.last.is_some_and(|last| lease <= last) {
            return Taken::Twice;
        }
        self.last = Some(lease);
        let fits = self.filled() + u64::from(cost.get()) <= u64::from(self.capacity);
        if !self.is_safe(now) || !fits {
            return Taken::No;
        }
        self.know(epoch);
        self.has.insert(lease, cost);
        Taken::Yes
    }

    fn know(&mut self, epoch: u64) {
        if epoch > self.epoch {
            (self.epoch, self.seen) = (epoch, 0);
        }
    }

    /// A request has ended; whether its answer, and the report on it, may be sent.
    pub fn finished(&mut self, lease: LeaseId) -> bool {
        self.abandoned.remove(&lease);
        self.has.remove(&lease).is_some()
    }

    /// The next beat.
    pub fn beat(&mut self, now: Time) -> Beat {
        self.beats += 1;
        self.next_beat = now + self.every;
        self.awaited.push_back((self.beats, now));
        if self.awaited.len() > AWAITED {
            self.awaited.pop_front();
        }
        let mut leases: Vec<_> = self.has.iter().map(|(&lease, &cost)| (lease, cost)).collect();
        leases.sort_unstable();
        let busy: u64 = self.abandoned.values().map(|cost| u64::from(cost.get())).sum();
        Beat {
            generation: self.generation,
            number: self.beats,
            epoch: self.epoch,
            seen: self.seen,
            // What it gave up still takes its place.
            capacity: u64::from(self.capacity)
                .checked_sub(busy)
                .map_or(0, |left| u32::try_from(left).unwrap_or(u32::MAX)),
            weight: self.weight,
            leases,
        }
    }

    /// A beat was answered. An answer of an earlier epoch says nothing.
    pub fn answered(&mut self, epoch: u64, answer: &Answer, now: Time) {
        if epoch < self.epoch {
            return;
        }
        self.know(epoch);
        self.seen = answer.number;
        self.every = answer.every().max(Duration::from_millis(1));
        self.next_beat = self.next_beat.min(now + self.every);
        while let Some(&(number, sent)) = self.awaited.front() {
            if number > answer.beat {
                break;
            }
            self.awaited.pop_front();
            if number == answer.beat {
                // A tenth less, for clocks that differ and for what is on its way.
                let safe = sent + answer.lost_after() / 10 * 9;
                self.safe_until = self.safe_until.max(Some(safe));
                self.heard = number;
            }
        }
    }

    /// Its generation was given up: it goes on as the next, or as the one that is given, if that
    /// is later. Nothing that runs is answered. What it knew of epochs it forgets: no balancer of
    /// an earlier one knows the new generation.
    pub fn begin_anew(&mut self, generation: u64) {
        self.generation = generation.max(self.generation.saturating_add(1));
        self.abandon();
        (self.beats, self.seen, self.heard) = (0, 0, 0);
        (self.epoch, self.last) = (0, None);
        self.last_from = self.last_from.map(|_| 1);
        self.awaited.clear();
        self.safe_until = None;
        self.next_beat = Time::ZERO;
    }

    fn abandon(&mut self) {
        self.abandoned.extend(self.has.drain());
    }

    /// When [`handle_timeout`](Self::handle_timeout) or a beat is due.
    pub fn poll_timeout(&self) -> Time {
        match self.safe_until {
            Some(until) if !self.has.is_empty() => until.min(self.next_beat),
            _ => self.next_beat,
        }
    }

    /// Gives up what it has when it may have been given up itself. Tells whether a beat is due.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        if self.safe_until.is_some_and(|until| now >= until) {
            self.abandon();
        }
        now >= self.next_beat
    }
}
