//! Workers and what they have: requests that run, and requests behind them.

mod jobs;
mod sharing;

use std::ops::RangeInclusive;

use self::jobs::Jobs;
use self::sharing::Share;
use crate::events::{Event, Events};
use crate::units::{index, scaled, seconds};
use crate::{Config, Discipline, FaultKind};

/// No request.
const NONE: u32 = u32::MAX;

/// One worker: 24 bytes, since there may be a million.
#[derive(Clone, Debug)]
struct Worker {
    /// What waits behind the requests that run, first and last.
    head: u32,
    tail: u32,
    running: u32,
    pending: u32,
    /// Service times of what it has completed.
    work: u64,
}

/// What is wrong with a worker: of each kind how many faults are on.
#[derive(Clone, Copy, Debug)]
struct Condition {
    /// The product of their factors.
    slow: f64,
    slowed: u32,
    stuck: u32,
    failing: u32,
    gone: u32,
}

const WELL: Condition = Condition { slow: 1.0, slowed: 0, stuck: 0, failing: 0, gone: 0 };

impl Condition {
    /// A fault begins or ends.
    fn change(&mut self, kind: FaultKind, begins: bool) {
        let count = match kind {
            FaultKind::Slow(_) => &mut self.slowed,
            FaultKind::Stuck => &mut self.stuck,
            FaultKind::Failing => &mut self.failing,
            FaultKind::Gone => &mut self.gone,
        };
        if begins {
            *count += 1;
        } else {
            *count -= 1;
        }
        if let FaultKind::Slow(times) = kind {
            self.slow = match (begins, self.slowed) {
                (true, _) => self.slow * times,
                // Exactly as before, whatever was multiplied.
                (false, 0) => 1.0,
                (false, _) => self.slow / times,
            };
        }
    }
}

/// What has just come to its end at a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) job: u32,
    pub(crate) failed: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fleet {
    discipline: Discipline,
    slots: u32,
    workers: Vec<Worker>,
    /// Times are multiplied by this; empty where all workers are alike.
    paces: Vec<f64>,
    /// Empty where nothing goes wrong.
    conditions: Vec<Condition>,
    /// A request's last bit of work at a stuck worker: what is left, and whose.
    held: Vec<(u64, u32)>,
    /// Under processor sharing.
    shares: Vec<Share>,
    pub(crate) jobs: Jobs,
    pub(crate) events: Events,
}

impl Fleet {
    pub(crate) fn new(config: &Config) -> Self {
        let workers = config.workers as usize;
        let idle = Worker { head: NONE, tail: NONE, running: 0, pending: 0, work: 0 };
        let alike = config.speeds.iter().all(|&speed| (speed - 1.0).abs() < f64::EPSILON);
        let paces = if alike && config.faults.is_empty() {
            Vec::new()
        } else {
            (0..config.workers).map(|worker| 1.0 / config.speed(worker)).collect()
        };
        let shares = match config.discipline {
            Discipline::FirstCome => Vec::new(),
            Discipline::Sharing => vec![Share::default(); workers],
        };
        Self {
            discipline: config.discipline,
            slots: config.slots.get(),
            workers: vec![idle; workers],
            paces,
            conditions: if config.faults.is_empty() { Vec::new() } else { vec![WELL; workers] },
            held: Vec::new(),
            shares,
            jobs: Jobs::with_capacity(workers),
            events: Events::with_capacity(workers),
        }
    }

    pub(crate) fn len(&self) -> u32 {
        index(self.workers.len())
    }

    #[inline]
    pub(crate) fn pending(&self, worker: u32) -> u32 {
        self.workers[worker as usize].pending
    }

    /// Service times of what each worker has completed since they were set to
    /// 0, in seconds.
    pub(crate) fn work(&self) -> impl Iterator<Item = f64> {
        self.workers.iter().map(|worker| seconds(worker.work))
    }

    pub(crate) fn forget_work(&mut self) {
        for worker in &mut self.workers {
            worker.work = 0;
        }
    }

    /// Whether it is removed from all balancers.
    pub(crate) fn is_gone(&self, worker: u32) -> bool {
        self.condition(worker).gone > 0
    }

    fn condition(&self, worker: u32) -> Condition {
        self.conditions.get(worker as usize).copied().unwrap_or(WELL)
    }

    /// Gives a request to a worker.
    #[inline]
    pub(crate) fn admit(&mut self, worker: u32, number: u32, now: u64) {
        let slots = self.slots;
        let at = &mut self.workers[worker as usize];
        at.pending += 1;
        let job = self.jobs.get_mut(number);
        job.worker = worker;
        job.met = at.pending;
        if self.discipline == Discipline::Sharing {
            self.share(worker, number, now);
        } else if at.running < slots {
            at.running += 1;
            self.begin(worker, number, now);
        } else {
            let tail = std::mem::replace(&mut at.tail, number);
            if tail == NONE {
                at.head = number;
            } else {
                self.jobs.get_mut(tail).next = number;
            }
        }
    }

    /// Lets the next event happen: tells the request that ended, if it was not
    /// an event that has been scheduled anew since.
    #[inline]
    pub(crate) fn step(&mut self) -> Option<Ended> {
        let event = self.events.pop()?;
        if self.discipline == Discipline::Sharing {
            return self.share_ends(event);
        }
        let number = event.who;
        let job = self.jobs.get(number);
        let worker = job.worker;
        let (service, failed) = (job.service, job.failing);
        let at = &mut self.workers[worker as usize];
        at.pending -= 1;
        if !failed {
            at.work = at.work.saturating_add(service);
        }
        self.next_begins(worker, event.at);
        Some(Ended { job: number, failed })
    }

    /// The slot of a request that ended is free.
    #[inline]
    fn next_begins(&mut self, worker: u32, now: u64) {
        let at = &mut self.workers[worker as usize];
        let head = at.head;
        if head == NONE {
            at.running -= 1;
            return;
        }
        at.head = self.jobs.get(head).next;
        if at.head == NONE {
            at.tail = NONE;
        }
        self.begin(worker, head, now);
    }

    #[inline]
    fn begin(&mut self, worker: u32, number: u32, now: u64) {
        let service = self.jobs.get(number).service;
        let mut time = match self.paces.get(worker as usize) {
            None => service,
            Some(pace) => scaled(service, *pace),
        };
        let job = self.jobs.get_mut(number);
        job.began = now;
        job.next = NONE;
        if let Some(condition) = self.conditions.get(worker as usize) {
            time = scaled(time, condition.slow);
            if condition.failing > 0 {
                time /= 100;
                job.failing = true;
            }
            if condition.stuck > 0 {
                self.held.push((time, number));
                return;
            }
        }
        self.events.push(now.saturating_add(time), number);
    }

    /// Begins or ends a fault of these workers. Requests that they lose are told.
    pub(crate) fn change(
        &mut self,
        workers: &RangeInclusive<u32>,
        kind: FaultKind,
        begins: bool,
        now: u64,
    ) -> Vec<u32> {
        let shares = self.discipline == Discipline::Sharing;
        let mut slow_before = Vec::new();
        for worker in workers.clone() {
            if shares {
                self.pass(worker, now);
            }
            let condition = &mut self.conditions[worker as usize];
            slow_before.push(condition.slow);
            condition.change(kind, begins);
        }
        if kind == FaultKind::Gone && begins {
            return self.lose(workers, now);
        }
        if shares {
            workers.clone().for_each(|worker| self.reschedule(worker, now));
            return Vec::new();
        }
        for (left, number) in self.take_running(workers, now) {
            let worker = self.jobs.get(number).worker;
            let after = self.condition(worker);
            let before = slow_before[(worker - workers.start()) as usize];
            let left = scaled(left, after.slow / before);
            if after.stuck > 0 {
                self.held.push((left, number));
            } else {
                self.events.push(now.saturating_add(left), number);
            }
        }
        Vec::new()
    }

    /// Takes out what runs at these workers, and tells how long it would run on: one pass over
    /// all that runs, however many workers there are.
    fn take_running(&mut self, workers: &RangeInclusive<u32>, now: u64) -> Vec<(u64, u32)> {
        let Self { jobs, held, events, .. } = self;
        let is_theirs = |number: u32| workers.contains(&jobs.get(number).worker);
        let mut running = Vec::new();
        held.retain(|&(left, number)| {
            if is_theirs(number) {
                running.push((left, number));
            }
            !is_theirs(number)
        });
        running.extend(events.take(is_theirs).iter().map(|event| (event.at - now, event.who)));
        running
    }

    /// All that these workers have is lost.
    fn lose(&mut self, workers: &RangeInclusive<u32>, now: u64) -> Vec<u32> {
        let mut lost = Vec::new();
        if self.discipline == Discipline::Sharing {
            for worker in workers.clone() {
                lost.extend(self.shares[worker as usize].empty());
            }
        } else {
            lost.extend(self.take_running(workers, now).iter().map(|&(_, number)| number));
        }
        for worker in workers.clone() {
            let at = &mut self.workers[worker as usize];
            let mut number = std::mem::replace(&mut at.head, NONE);
            at.tail = NONE;
            (at.running, at.pending) = (0, 0);
            while number != NONE {
                lost.push(number);
                number = self.jobs.get(number).next;
            }
        }
        lost
    }

    /// What must hold between events, by plain scans.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut pending = vec![0; self.workers.len()];
        for job in self.jobs.iter().filter(|job| job.worker != NONE) {
            pending[job.worker as usize] += 1;
        }
        for (number, worker) in self.workers.iter().enumerate() {
            if worker.pending != pending[number] {
                return Err(format!(
                    "worker {number} counts {} pending and has {}",
                    worker.pending, pending[number]
                ));
            }
            if self.discipline == Discipline::Sharing {
                if self.shares[number].len() != worker.pending as usize {
                    return Err(format!("worker {number} shares out {:?}", self.shares[number]));
                }
                continue;
            }
            let mut waiting = 0;
            let mut at = worker.head;
            while at != NONE {
                waiting += 1;
                at = self.jobs.get(at).next;
            }
            let idle = waiting > 0 && worker.running < self.slots;
            if worker.running > self.slots || worker.running + waiting != worker.pending || idle {
                return Err(format!(
                    "worker {number} runs {} in {} slots, {waiting} behind them, of {} pending",
                    worker.running, self.slots, worker.pending
                ));
            }
        }
        if self.jobs.iter().count() != self.jobs.len() as usize {
            return Err(format!(
                "{} requests, counted {}",
                self.jobs.iter().count(),
                self.jobs.len()
            ));
        }
        Ok(())
    }

    /// A request joins those that share a worker.
    fn share(&mut self, worker: u32, number: u32, now: u64) {
        self.pass(worker, now);
        let failing = self.condition(worker).failing > 0;
        let job = self.jobs.get_mut(number);
        job.began = now;
        job.failing = failing;
        let service = if failing { job.service / 100 } else { job.service };
        self.shares[worker as usize].add(number, service);
        self.reschedule(worker, now);
    }

    /// The event of a worker whose requests share it.
    fn share_ends(&mut self, event: Event) -> Option<Ended> {
        let worker = event.who;
        if self.shares[worker as usize].event != Some(event.order) {
            return None;
        }
        self.pass(worker, event.at);
        let number = self.shares[worker as usize].pop()?;
        let job = self.jobs.get(number);
        let at = &mut self.workers[worker as usize];
        at.pending -= 1;
        if !job.failing {
            at.work = at.work.saturating_add(job.service);
        }
        let failed = job.failing;
        self.reschedule(worker, event.at);
        Some(Ended { job: number, failed })
    }

    fn pass(&mut self, worker: u32, now: u64) {
        let speed = self.speed(worker);
        self.shares[worker as usize].pass(now, speed, self.slots);
    }

    /// Schedules when the next of its requests ends, if no other comes.
    fn reschedule(&mut self, worker: u32, now: u64) {
        let next = self.shares[worker as usize].next(self.speed(worker), self.slots);
        let event = next.map(|next| self.events.push(now.saturating_add(next), worker));
        self.shares[worker as usize].event = event;
    }

    /// How fast a worker runs one request alone.
    fn speed(&self, worker: u32) -> f64 {
        let condition = self.condition(worker);
        if condition.stuck > 0 { 0.0 } else { 1.0 / (self.pace(worker) * condition.slow) }
    }

    /// How many times as long as at a worker of speed 1 a request takes.
    pub(crate) fn pace(&self, worker: u32) -> f64 {
        self.paces.get(worker as usize).copied().unwrap_or(1.0)
    }
}
