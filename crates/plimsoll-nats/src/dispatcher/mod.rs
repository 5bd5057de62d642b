//! The balancer as a state machine without I/O: requests, beats and reports go in, deliveries
//! and refusals come out.
//!
//! | file | what it is |
//! |---|---|
//! | `mod.rs` | requests, and what becomes of them |
//! | `members.rs` | workers: how they join, what they tell, how they are given up |
//! | `types.rs` | what goes in and comes out |
//! | `look.rs` | what is seen of it, and what must hold between calls |

mod look;
mod members;
mod types;

use bytes::Bytes;
use plimsoll::Times;
use plimsoll_core::{Blocked, Completion, Dispatch, Lease, Outcome, Pool, Request, Time, WorkerId};
use std::collections::{HashMap, VecDeque};

use self::members::Member;
pub use self::types::{Counts, Error, Output, Parcel, Settings, Terms};
use crate::wire::{End, LeaseId, Service, WorkerName};

/// How often a request may come back unbegun before it is refused: each time from another
/// worker that is full or gone without having said so.
const MOST_TRIES: usize = 16;

/// Payloads shorter than this are copied where they are held, so that they do not hold the
/// buffer that they were read into.
const COPIED: usize = 32 << 10;

/// See the module.
///
/// After every call, [`poll_output`](Self::poll_output) says what is to be done.
///
/// ```
/// use plimsoll_core::Time;
/// use plimsoll_nats::{Beat, Dispatcher, Output, Parcel, Settings, Terms};
///
/// let now = Time::ZERO;
/// let service = "resize".parse().unwrap();
/// let mut dispatcher = Dispatcher::new(service, Settings::default(), 17, 1);
/// let text = br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":8,"leases":[]}"#;
/// dispatcher.beat(&"a".parse().unwrap(), &Beat::read(text).unwrap(), now);
/// dispatcher.request(Parcel::default(), Terms::default(), now);
/// let outputs: Vec<_> = std::iter::from_fn(|| dispatcher.poll_output()).collect();
/// assert!(matches!(
///     outputs[..],
///     [Output::Answer { .. }, Output::Attend(true), Output::Deliver { .. }]
/// ));
/// ```
#[derive(Debug)]
pub struct Dispatcher {
    service: Service,
    settings: Settings,
    epoch: u64,
    pool: Pool<Box<Asked>>,
    /// Workers that beat, each where its slot is in the pool.
    slots: Vec<Option<Member>>,
    /// Where each is there.
    names: HashMap<WorkerName, usize>,
    /// Those that were given up, with their generation, until when it is remembered.
    given_up: HashMap<WorkerName, (u64, Time)>,
    next_lease: u64,
    /// Answers to beats, of all workers: one that comes back has seen none of those to come.
    answers: u64,
    /// When beats are looked at next.
    next_look: Time,
    outputs: VecDeque<Output>,
    /// Bytes of the requests that are held, in line and for another try.
    held: usize,
    attends: bool,
    is_closed: bool,
    is_retired: bool,
    counts: Counts,
    /// From a request's coming to its delivery, and from there to its report.
    wait: Times,
    run: Times,
}

/// A request.
#[derive(Debug)]
struct Asked {
    parcel: Parcel,
    /// The bytes that are held of it for another try. Where there are none only its inbox is
    /// left once it is delivered.
    held: usize,
    terms: Terms,
    deadline: Option<Time>,
    came: Time,
    /// Whether a worker was lost with it: it gets one other try.
    was_lost: bool,
    /// Workers that did not begin it.
    excluded: Vec<WorkerId>,
}

impl Asked {
    /// Whether another worker may have it when one was lost with it.
    fn may_run_again(&self, now: Time) -> bool {
        let is_in_time = self.terms.timeout.is_none_or(|timeout| now < self.came + timeout);
        self.terms.is_repeatable && self.held > 0 && !self.was_lost && is_in_time
    }
}

/// A request that was delivered.
#[derive(Debug)]
struct Out {
    lease: Lease,
    /// Nothing of one that was adopted.
    asked: Option<Box<Asked>>,
    /// The number of the last answer that its worker was sent before it.
    after: u64,
    since: Time,
}

impl Dispatcher {
    /// A balancer of a service, in this epoch; the seed shuffles its workers.
    pub fn new(service: Service, settings: Settings, epoch: u64, seed: u64) -> Self {
        let config = plimsoll_core::Config {
            line: settings.line,
            audit_every: settings.audit_every,
            seed,
            ..plimsoll_core::Config::default()
        };
        Self {
            service,
            settings,
            epoch,
            pool: Pool::new(config),
            slots: Vec::new(),
            names: HashMap::new(),
            given_up: HashMap::new(),
            next_lease: 1,
            answers: 0,
            next_look: Time::ZERO,
            outputs: VecDeque::new(),
            held: 0,
            attends: false,
            is_closed: false,
            is_retired: false,
            wait: Times::new(),
            run: Times::new(),
            counts: Counts::default(),
        }
    }

    /// A request came.
    pub fn request(&mut self, parcel: Parcel, terms: Terms, now: Time) {
        self.counts.requests += 1;
        let deadline = self.deadline(&terms, now, now);
        let mut asked = Asked {
            parcel,
            held: 0,
            terms,
            deadline,
            came: now,
            was_lost: false,
            excluded: vec![],
        };
        if self.is_closed {
            return self.refuse(asked, Error::Closing);
        }
        let request = Request { cost: terms.cost, excluded: &[], deadline };
        match self.pool.try_dispatch(&request, now) {
            Ok(lease) => self.deliver(lease, Box::new(asked), now),
            Err(Blocked::Refused(reason)) => self.refuse(asked, reason.into()),
            // What waits is held, or it does not wait. What is refused costs no copy.
            Err(Blocked::WouldWait)
                if self.pool.waiting() >= self.settings.line || !self.hold(&mut asked) =>
            {
                self.refuse(asked, Error::LineFull);
            }
            Err(Blocked::WouldWait) => {
                let asked = Box::new(asked);
                if let Dispatch::Refused(reason, asked) = self.pool.dispatch(&request, asked, now) {
                    self.refuse(*asked, reason.into());
                }
            }
        }
        self.follow(now);
    }

    /// Until when a request may be in line that joins it now.
    fn deadline(&self, terms: &Terms, came: Time, now: Time) -> Option<Time> {
        let own = terms.timeout.map(|timeout| came + timeout);
        own.into_iter().chain(self.settings.line_time.map(|limit| now + limit)).min()
    }

    /// A worker's report on a lease, or the server's that nobody was there.
    pub fn done(&mut self, worker: &str, lease: LeaseId, end: End, now: Time) {
        let out = self.member_mut(worker).and_then(|member| member.out.remove(&lease));
        let Some(out) = out else {
            self.counts.unknown += 1;
            return;
        };
        match end {
            End::Finished | End::Failed => {
                let how =
                    if end == End::Failed { Completion::Failed } else { Completion::Succeeded };
                self.counts.failed += u64::from(end == End::Failed);
                self.counts.answered += 1;
                self.run.record(now.since(out.since).unwrap_or_default());
                self.give_back(out, how, now);
            }
            End::Refused => self.unbegun(out, now),
            End::Vanished => {
                self.counts.vanished += 1;
                self.suspect(worker, now);
                self.unbegun(out, now);
            }
        }
        self.follow(now);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let looks = (!self.names.is_empty()).then_some(self.next_look);
        self.pool.poll_timeout().into_iter().chain(looks).min()
    }

    /// Does what is due by now: requests in line that are too late, workers that are silent.
    pub fn handle_timeout(&mut self, now: Time) {
        self.pool.handle_timeout(now);
        self.follow(now);
        if let Some(late) = now.since(self.next_look) {
            // Later than by a beat it was this side that did not hear, and beats may have come
            // that it has not been told of yet.
            if late > self.settings.beat_every {
                self.next_look = now + self.settings.beat_every;
            } else {
                self.next_look = now + self.settings.beat_every / 2;
                self.look(now);
            }
        }
        self.follow(now);
    }

    /// Takes no more requests: those that come are refused, those in line go on.
    pub fn close(&mut self) {
        self.is_closed = true;
        self.attend();
    }

    /// Refuses all that is in line.
    pub fn clear_line(&mut self) {
        for asked in self.pool.clear_line() {
            self.refuse(*asked, Error::Closing);
        }
    }

    /// Dispatches nothing any more: another does. What is in line is refused, and so is what
    /// comes back from workers unbegun; what they have they answer themselves.
    pub fn retire(&mut self) {
        self.is_retired = true;
        self.close();
        self.clear_line();
    }

    /// A request did not begin: it goes back to its place in line, and so to another worker.
    fn unbegun(&mut self, mut out: Out, now: Time) {
        let id = out.lease.worker();
        match out.asked.take() {
            asked if self.is_retired => self.end(Out { asked, ..out }, Error::Closing, now),
            Some(mut asked) if asked.held > 0 && asked.excluded.len() < MOST_TRIES => {
                asked.excluded.push(id);
                self.take_back(out.lease, asked, now);
            }
            asked => self.end(Out { asked, ..out }, Error::Unbegun, now),
        }
    }

    /// Nobody knows how far it came: it is done again where it may be, once, since it may be what
    /// its worker was lost by. It ran until now, and is in line only from now on.
    fn lost(&mut self, mut out: Out, now: Time) {
        self.counts.lost += 1;
        match out.asked.take() {
            Some(mut asked) if !self.is_retired && asked.may_run_again(now) => {
                asked.was_lost = true;
                asked.deadline = self.deadline(&asked.terms, asked.came, now);
                self.take_back(out.lease, asked, now);
            }
            asked => self.end(Out { asked, ..out }, Error::WorkerLost, now),
        }
    }

    fn take_back(&mut self, lease: Lease, asked: Box<Asked>, now: Time) {
        self.counts.again += 1;
        let excluded = asked.excluded.clone();
        let (cost, deadline) = (asked.terms.cost, asked.deadline);
        let request = Request { cost, excluded: &excluded, deadline };
        let taken = self.pool.take_back(lease, &request, asked, now);
        debug_assert!(taken.is_ok(), "it is this pool's lease");
    }

    /// It is over without an answer of a worker's.
    fn end(&mut self, mut out: Out, error: Error, now: Time) {
        if let Some(asked) = out.asked.take() {
            self.refuse(*asked, error);
        }
        self.give_back(out, Completion::Failed, now);
    }

    fn give_back(&mut self, out: Out, how: Completion, now: Time) {
        self.held -= out.asked.map_or(0, |asked| asked.held);
        let taken = self.pool.completed(out.lease, how, now);
        debug_assert!(taken.is_ok(), "it is this pool's lease");
    }

    /// Holds a request for as long as it is here, if there is room for it.
    fn hold(&mut self, asked: &mut Asked) -> bool {
        if asked.held == 0 {
            let size = asked.parcel.size();
            if self.held + size > self.settings.keep_bytes {
                return false;
            }
            if asked.parcel.payload.len() < COPIED {
                asked.parcel.payload = Bytes::copy_from_slice(&asked.parcel.payload);
            }
            asked.held = size;
            self.held += size;
        }
        true
    }

    /// Does what the core says of its line.
    fn follow(&mut self, now: Time) {
        while let Some(outcome) = self.pool.poll_outcome() {
            match outcome {
                Outcome::Assigned { lease, tag, .. } => self.deliver(lease, tag, now),
                Outcome::Refused { reason, tag, .. } => self.refuse(*tag, reason.into()),
                // Its slot has another name when it has another worker.
                Outcome::Removed(_) => {}
            }
        }
    }

    fn deliver(&mut self, lease: Lease, mut asked: Box<Asked>, now: Time) {
        let parcel = if self.hold(&mut asked) {
            asked.parcel.clone()
        } else {
            let inbox = asked.parcel.inbox.clone();
            std::mem::replace(&mut asked.parcel, Parcel { inbox, ..Parcel::default() })
        };
        let slot = lease.worker().index();
        let member =
            self.slots[slot].as_mut().expect("a worker is a member while it gets requests");
        let id = LeaseId { epoch: self.epoch, number: self.next_lease };
        self.next_lease += 1;
        self.wait.record(now.since(asked.came).unwrap_or_default());
        self.outputs.push_back(Output::Deliver {
            worker: member.name.clone(),
            to: member.to.clone(),
            lease: id,
            parcel,
        });
        let after = member.answers;
        member.out.insert(id, Out { lease, asked: Some(asked), after, since: now });
    }

    fn refuse(&mut self, asked: Asked, error: Error) {
        let nth = Error::ALL.iter().position(|&other| other == error);
        self.counts.refused[nth.expect("all errors are in the list")] += 1;
        self.held -= asked.held;
        self.outputs.push_back(Output::Refuse { inbox: asked.parcel.inbox, error });
    }
}
