//! Workers: how they join, what they tell, how they are given up.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

use async_nats::Subject;
use plimsoll_core::{Health, Time, WorkerId, WorkerSpec};

use super::types::Output;
use super::{Dispatcher, Out};
use crate::wire::{Answer, Beat, LeaseId, WorkerName};

/// How long it is remembered who was given up: a worker that lives finds out within two beats.
const REMEMBERED: Duration = Duration::from_secs(600);

/// How far above a later epoch that a worker knows a balancer's own is raised: the next
/// balancer's is then not the same by chance.
const RAISED: u64 = 1 << 16;

/// A worker that beats.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: WorkerName,
    pub(super) id: WorkerId,
    pub(super) generation: u64,
    /// Where its requests go in this epoch: one for all of them.
    pub(super) to: Subject,
    /// When its last beat came.
    pub(super) beat_at: Time,
    /// The number of the last answer that it was sent.
    pub(super) answers: u64,
    /// The number of its last beat.
    beat: u64,
    pub(super) out: BTreeMap<LeaseId, Out>,
}

impl Dispatcher {
    /// A worker tells how it is; the first time it joins.
    pub fn beat(&mut self, worker: &WorkerName, beat: &Beat, now: Time) {
        if beat.epoch > self.epoch {
            // Epochs began anew, with their bucket or a clock: nobody else leads now. Beyond one
            // that cannot be raised nobody could ever lead: what its worker knows it must forget.
            let Some(raised) = beat.epoch.checked_add(RAISED) else {
                return self.say_gone(worker, beat.generation, beat.epoch, beat.generation);
            };
            self.epoch = raised;
            for member in self.slots.iter_mut().flatten() {
                member.to = self.service.delivery(&member.name, member.generation, raised).into();
            }
        }
        let given_up = self.given_up.get(worker).map(|&(generation, _)| generation);
        if let Some(above) = given_up.filter(|&generation| beat.generation <= generation) {
            return self.say_gone(worker, beat.generation, self.epoch, above);
        }
        match self.member(worker.as_str()) {
            Some(member)
                if beat.generation < member.generation
                    || beat.generation == member.generation && beat.number <= member.beat =>
            {
                self.counts.stale += 1;
                return;
            }
            Some(member) if beat.generation > member.generation => {
                // It began anew before it was missed. It is there before its past goes: the line
                // has a worker to wait for.
                let before = self.forget(worker.as_str());
                self.join(worker, beat, now);
                if let Some(before) = before {
                    self.take_out(before, now);
                }
            }
            Some(_) => {}
            None => self.join(worker, beat, now),
        }
        self.reconcile(worker, beat, now);
        self.follow(now);
    }

    /// In the order of their slots.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().flatten()
    }

    fn member(&self, worker: &str) -> Option<&Member> {
        self.names.get(worker).and_then(|&slot| self.slots[slot].as_ref())
    }

    pub(super) fn member_mut(&mut self, worker: &str) -> Option<&mut Member> {
        self.names.get(worker).and_then(|&slot| self.slots[slot].as_mut())
    }

    /// A generation of a worker's is over; in an epoch that the worker listens to.
    fn say_gone(&mut self, worker: &WorkerName, generation: u64, epoch: u64, above: u64) {
        self.counts.stale += 1;
        let worker = worker.clone();
        self.outputs.push_back(Output::GiveUp { worker, generation, epoch, above });
    }

    /// A worker goes: what it has by our books is lost.
    pub fn leave(&mut self, worker: &str, now: Time) {
        if self.remove(worker, now).is_some() {
            self.follow(now);
        }
    }

    /// Nobody was there for what it was sent: until it beats again it gets nothing.
    pub(super) fn suspect(&mut self, worker: &str, now: Time) {
        if let Some(member) = self.member(worker) {
            self.set_health(member.id, Health::Down, now);
            self.attend();
        }
    }

    fn set_health(&mut self, id: WorkerId, health: Health, now: Time) {
        let known = self.pool.set_health(id, health, now);
        debug_assert!(known.is_ok(), "members are in the pool");
    }

    fn join(&mut self, worker: &WorkerName, beat: &Beat, now: Time) {
        self.given_up.remove(worker);
        let mut spec = WorkerSpec::new(NonZeroU32::new(beat.capacity).unwrap_or(NonZeroU32::MIN));
        spec.weight = beat.weight;
        // Until all that it has is counted.
        spec.health = Health::Starting;
        let id = self.pool.add(spec, now);
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        self.slots[id.index()] = Some(Member {
            name: worker.clone(),
            id,
            generation: beat.generation,
            to: self.service.delivery(worker, beat.generation, self.epoch).into(),
            beat_at: now,
            answers: 0,
            beat: 0,
            out: BTreeMap::new(),
        });
        self.names.insert(worker.clone(), id.index());
        if self.next_look <= now {
            self.next_look = now + self.settings.beat_every / 2;
        }
    }

    /// Brings what a worker says of itself together with what is known of it.
    ///
    /// What it was sent before an answer that it has seen must be in the beat that follows: a
    /// connection keeps its order. So a lease is lost that is not in it, and whose report has not
    /// come before the beat: with a server, or by a worker that gave up on itself.
    fn reconcile(&mut self, worker: &WorkerName, beat: &Beat, now: Time) {
        self.answers += 1;
        let (epoch, answers) = (self.epoch, self.answers);
        let Some(member) = self.member_mut(worker.as_str()) else { return };
        let seen = if beat.epoch == epoch { beat.seen } else { 0 };
        let has: HashSet<LeaseId> = beat.leases.iter().map(|&(lease, _)| lease).collect();
        let is_lost = |(lease, out): (&LeaseId, &Out)| {
            (seen > out.after && !has.contains(lease)).then_some(*lease)
        };
        let lost: Vec<LeaseId> = member.out.iter().filter_map(is_lost).collect();
        (member.beat_at, member.beat) = (now, beat.number);
        member.answers = answers;
        let (id, generation, number) = (member.id, member.generation, member.answers);
        self.outputs.push_back(Output::Answer {
            worker: worker.clone(),
            generation,
            epoch: self.epoch,
            answer: Answer {
                number,
                beat: beat.number,
                every_ms: millis(self.settings.beat_every),
                lost_after_ms: millis(self.settings.lost_after),
            },
        });
        self.adopt(worker, beat, now);
        // First, so that one that takes nothing more gets nothing back of what it lost.
        self.set(id, beat, now);
        for lease in lost {
            let out = self.member_mut(worker.as_str()).and_then(|it| it.out.remove(&lease));
            if let Some(out) = out {
                self.lost(out, now);
            }
        }
    }

    /// Counts what it has that is not known.
    fn adopt(&mut self, worker: &WorkerName, beat: &Beat, now: Time) {
        let Some(&slot) = self.names.get(worker) else { return };
        let Some(member) = self.slots[slot].as_mut() else { return };
        for &(lease, cost) in &beat.leases {
            if member.out.contains_key(&lease) {
                continue;
            }
            // It fails where pending would not fit 32 bits: such a beat tells no truth.
            if let Ok(charge) = self.pool.adopt(member.id, cost) {
                self.counts.adopted += 1;
                let after = member.answers;
                let out = Out { lease: charge, asked: None, after, since: now };
                member.out.insert(lease, out);
            }
        }
    }

    /// What the pool is to know of it.
    fn set(&mut self, id: WorkerId, beat: &Beat, now: Time) {
        let Some(stats) = self.pool.worker(id) else { return };
        let draining = beat.capacity == 0;
        let capacity = NonZeroU32::new(beat.capacity).filter(|&it| it != stats.capacity);
        let mut known = Ok(());
        if let Some(capacity) = capacity {
            known = known.and_then(|()| self.pool.set_capacity(id, capacity, now));
        }
        if stats.weight != beat.weight {
            known = known.and_then(|()| self.pool.set_weight(id, beat.weight, now));
        }
        if stats.draining != draining {
            known = known.and_then(|()| self.pool.set_draining(id, draining, now));
        }
        debug_assert!(known.is_ok(), "members are in the pool");
        if stats.health != Health::Up {
            self.set_health(id, Health::Up, now);
        }
        if stats.health != Health::Up || stats.draining != draining {
            self.attend();
        }
    }

    /// Gives up those whose beats stay away.
    pub(super) fn look(&mut self, now: Time) {
        let limit = self.settings.lost_after;
        let is_silent =
            |member: &Member| now.since(member.beat_at).is_some_and(|silent| silent >= limit);
        let silent: Vec<(WorkerName, WorkerId)> = self
            .members()
            .filter(|&member| is_silent(member))
            .map(|member| (member.name.clone(), member.id))
            .collect();
        // All of them first, so that nothing of what one had goes to another.
        for &(_, id) in &silent {
            self.set_health(id, Health::Down, now);
        }
        self.follow(now);
        for (worker, _) in silent {
            self.counts.given_up += 1;
            if let Some(generation) = self.remove(worker.as_str(), now) {
                self.given_up.insert(worker, (generation, now + REMEMBERED));
            }
        }
        self.given_up.retain(|_, &mut (_, until)| until > now);
    }

    fn forget(&mut self, worker: &str) -> Option<Member> {
        self.names.remove(worker).and_then(|slot| self.slots[slot].take())
    }

    /// Takes it out of the pool; what it has is lost. Tells its generation.
    fn remove(&mut self, worker: &str, now: Time) -> Option<u64> {
        let member = self.forget(worker)?;
        let generation = member.generation;
        self.take_out(member, now);
        self.attend();
        Some(generation)
    }

    fn take_out(&mut self, member: Member, now: Time) {
        // First, so that nothing of what it had goes back to it.
        let removed = self.pool.remove(member.id, now);
        debug_assert!(removed.is_ok(), "members are in the pool");
        for (_, out) in member.out {
            self.lost(out, now);
        }
    }

    /// Requests are wanted while a worker is up.
    pub(super) fn attend(&mut self) {
        let attends = self.any_is_up() && !self.is_closed;
        if attends != self.attends {
            self.attends = attends;
            self.outputs.push_back(Output::Attend(attends));
        }
    }
}

/// Whole milliseconds.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
