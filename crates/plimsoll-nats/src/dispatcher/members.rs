//! Workers: how they join, what they tell, how they are given up.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::time::Duration;

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
    pub(super) id: WorkerId,
    pub(super) generation: u64,
    /// When its last beat came.
    pub(super) beat_at: Time,
    /// The number of the last answer that it was sent.
    pub(super) answers: u64,
    /// The number of its last beat.
    beat: u64,
    pub(super) out: HashMap<LeaseId, Out>,
}

impl Dispatcher {
    /// A worker tells how it is; the first time it joins.
    pub fn beat(&mut self, worker: &WorkerName, beat: &Beat, now: Time) {
        if beat.epoch > self.epoch {
            // Epochs began anew, with their bucket or a clock: nobody else leads now. Beyond one
            // that cannot be raised nobody could ever lead: what its worker knows it must forget.
            let Some(raised) = beat.epoch.checked_add(RAISED) else {
                return self.say_gone(worker, beat.generation, beat.epoch);
            };
            self.epoch = raised;
        }
        if self.given_up.get(worker).is_some_and(|&(generation, _)| beat.generation <= generation) {
            return self.say_gone(worker, beat.generation, self.epoch);
        }
        match self.members.get(worker) {
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
                let before = self.members.remove(worker);
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

    /// A generation of a worker's is over; in an epoch that the worker listens to.
    fn say_gone(&mut self, worker: &WorkerName, generation: u64, epoch: u64) {
        self.counts.stale += 1;
        self.outputs.push_back(Output::GiveUp { worker: worker.clone(), generation, epoch });
    }

    /// A worker goes: what it has by our books is lost.
    pub fn leave(&mut self, worker: &str, now: Time) {
        if let Some((name, _)) = self.members.get_key_value(worker) {
            let name = name.clone();
            self.remove(&name, now);
            self.follow(now);
        }
    }

    /// Nobody was there for what it was sent: until it beats again it gets nothing.
    pub(super) fn suspect(&mut self, worker: &str, now: Time) {
        if let Some(member) = self.members.get(worker) {
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
            self.slots.resize(id.index() + 1, None);
        }
        self.slots[id.index()] = Some(worker.clone());
        let generation = beat.generation;
        let member =
            Member { id, generation, beat_at: now, answers: 0, beat: 0, out: HashMap::new() };
        self.members.insert(worker.clone(), member);
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
        let Some(member) = self.members.get_mut(worker) else { return };
        let seen = if beat.epoch == self.epoch { beat.seen } else { 0 };
        let has: HashSet<LeaseId> = beat.leases.iter().map(|&(lease, _)| lease).collect();
        let is_lost = |(lease, out): (&LeaseId, &Out)| {
            (seen > out.after && !has.contains(lease)).then_some(*lease)
        };
        let mut lost: Vec<LeaseId> = member.out.iter().filter_map(is_lost).collect();
        lost.sort_unstable();
        (member.beat_at, member.beat) = (now, beat.number);
        self.answers += 1;
        member.answers = self.answers;
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
            let out = self.members.get_mut(worker).and_then(|member| member.out.remove(&lease));
            if let Some(out) = out {
                self.lost(out, now);
            }
        }
    }

    /// Counts what it has that is not known.
    fn adopt(&mut self, worker: &WorkerName, beat: &Beat, now: Time) {
        let Some(member) = self.members.get_mut(worker) else { return };
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
        let mut silent: Vec<WorkerName> = self
            .members
            .iter()
            .filter(|(_, member)| is_silent(member))
            .map(|(name, _)| name.clone())
            .collect();
        silent.sort_unstable();
        // All of them first, so that nothing of what one had goes to another.
        for worker in &silent {
            if let Some(member) = self.members.get(worker) {
                self.set_health(member.id, Health::Down, now);
            }
        }
        self.follow(now);
        for worker in silent {
            self.counts.given_up += 1;
            if let Some(generation) = self.remove(&worker, now) {
                self.given_up.insert(worker, (generation, now + REMEMBERED));
            }
        }
        self.given_up.retain(|_, &mut (_, until)| until > now);
    }

    /// Takes it out of the pool; what it has is lost. Tells its generation.
    fn remove(&mut self, worker: &WorkerName, now: Time) -> Option<u64> {
        let member = self.members.remove(worker)?;
        let generation = member.generation;
        self.take_out(member, now);
        self.attend();
        Some(generation)
    }

    fn take_out(&mut self, member: Member, now: Time) {
        // First, so that nothing of what it had goes back to it.
        let removed = self.pool.remove(member.id, now);
        debug_assert!(removed.is_ok(), "members are in the pool");
        let mut out: Vec<(LeaseId, Out)> = member.out.into_iter().collect();
        out.sort_unstable_by_key(|&(lease, _)| lease);
        for (_, out) in out {
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
