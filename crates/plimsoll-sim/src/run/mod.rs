//! One run: requests come, balancers choose, workers work.
//!
//! | file | what it is |
//! |---|---|
//! | `mod` | a run, and what each event does |
//! | `changes` | what is scheduled: faults, timeouts, what balancers are told |
//! | `regret` | what was chosen, compared with what could have been |
//! | `outcome` | what a run has come to |
//! | `check` | what must hold between events |

mod changes;
mod check;
mod outcome;
mod regret;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;

use self::changes::Change;
use self::regret::Regrets;

use crate::Config;
use crate::arrivals::Source;
use crate::balancer::{Around, Balancer, Given};
use crate::fleet::{Ended, Fleet};
use crate::policy::{Answer, Policy, Replica};
use crate::service::Sampler;
use crate::stats::{Sample, Times};
use crate::streams::{Purpose, Stream};
use crate::units::{nanos, scaled, seconds};

/// One simulation, moved on event by event.
///
/// ```
/// use plimsoll_sim::{Config, Run};
///
/// let config = Config { workers: 4, jobs: 1000, ..Config::default() };
/// let mut run = Run::new(&config, 0).unwrap();
/// while !run.advance(100) {
///     run.check_invariants().unwrap();
/// }
/// assert_eq!(run.outcome().answered, 1000);
/// ```
#[derive(Debug)]
pub struct Run {
    config: Config,
    now: u64,
    source: Source,
    sampler: Sampler,
    services: Stream,
    costs: Stream,
    to_balancers: Stream,
    choices: Stream,
    balancers: Vec<Balancer>,
    fleet: Fleet,
    /// The cost of what each worker has; empty where it is the number of requests.
    charged: Vec<u64>,
    /// What workers tell probes; empty where nobody probes.
    replicas: Vec<Replica>,
    changes: BinaryHeap<Reverse<(u64, Change)>>,
    /// Requests that have come.
    came: u64,
    /// How the requests that are no more have ended.
    answered: u64,
    failed: u64,
    refused: u64,
    events: u64,
    in_lines: u64,
    longest_line: u64,
    most_pending: u32,
    times: Times,
    /// Whether the warm-up is over.
    is_warm: bool,
    /// When measuring began.
    mark: Mark,
    gave_up: Option<String>,
    /// Requests in the system, summed over time, in nanoseconds.
    area: u128,
    /// The time that those which are no more were in the system.
    spent: u128,
    regrets: Regrets,
    samples: Vec<Sample>,
    next_sample: u64,
    most_present: u32,
    between_samples: u64,
}

/// The system as measuring began.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at: u64,
    area: u128,
    answered: u64,
}

/// Samples of pending that are kept: at so many every other is dropped, and later ones are as
/// far apart as those that stay.
const MOST_SAMPLES: usize = 800;

impl Run {
    /// The run of this number: other numbers are other draws of the same seed.
    ///
    /// # Errors
    ///
    /// What [`Config::check`] finds.
    ///
    /// ```
    /// use plimsoll_sim::{Config, Run};
    ///
    /// let error = Run::new(&Config { load: 1.0, ..Config::default() }, 0).unwrap_err();
    /// assert!(error.starts_with("load 1 is 1 or more"));
    /// ```
    pub fn new(config: &Config, number: u32) -> Result<Self, String> {
        config.check()?;
        let stream = |purpose| Stream::new(config.seed, number, purpose);
        let mut shuffles = stream(Purpose::Shuffles);
        let common = shuffles.bits();
        let balancers = (0..config.balancers)
            .map(|number| {
                let seed = if config.same_shuffle { common } else { shuffles.bits() };
                Balancer::new(config, number, seed)
            })
            .collect();
        let replicas = match config.policy {
            Policy::Prequal(_) => vec![Replica::default(); config.workers as usize],
            _ => Vec::new(),
        };
        let mut run = Self {
            now: 0,
            source: Source::new(&config.arrivals, config.rate(), stream(Purpose::Arrivals)),
            sampler: config.service.sampler(),
            services: stream(Purpose::Services),
            costs: stream(Purpose::Costs),
            to_balancers: stream(Purpose::Balancers),
            choices: stream(Purpose::Choices),
            balancers,
            fleet: Fleet::new(config),
            charged: if config.costs.1 > 1 { vec![0; config.workers as usize] } else { Vec::new() },
            replicas,
            changes: BinaryHeap::new(),
            came: 0,
            answered: 0,
            failed: 0,
            refused: 0,
            events: 0,
            in_lines: 0,
            longest_line: 0,
            most_pending: 0,
            times: Times::new(config.measured() / u64::from(config.batches)),
            is_warm: false,
            mark: Mark::default(),
            gave_up: None,
            area: 0,
            spent: 0,
            regrets: Regrets::new(config.workers, stream(Purpose::Looks)),
            samples: Vec::new(),
            most_present: config.most_present.max(20 * config.workers),
            between_samples: nanos(config.sample_every).max(1),
            next_sample: if config.sample_every > 0.0 { 0 } else { u64::MAX },
            config: config.clone(),
        };
        run.begin_measuring();
        run.schedule();
        run.all_idle();
        Ok(run)
    }

    /// At first all workers are idle, and tell so in a random order.
    fn all_idle(&mut self) {
        if !matches!(self.config.policy, Policy::IdleQueue(_)) {
            return;
        }
        let mut order: Vec<u32> = (0..self.config.workers).collect();
        for last in (1..self.config.workers).rev() {
            order.swap(last as usize, self.choices.below(last + 1) as usize);
        }
        for worker in order {
            self.idle(worker);
        }
    }

    /// A worker is idle: it tells one of the balancers that know it.
    fn idle(&mut self, worker: u32) {
        let knowing = self.config.knowing(worker);
        let count = knowing.end - knowing.start;
        if count > 0 {
            let told = knowing.start + self.choices.below(count);
            self.balancers[(told % self.config.balancers) as usize].idle(worker);
        }
    }

    /// Lets so many events happen, or fewer when it is over; tells whether it is.
    pub fn advance(&mut self, events: u64) -> bool {
        for _ in 0..events {
            if !self.step() {
                return true;
            }
        }
        false
    }

    /// How many of its requests have ended, and how many it is of.
    ///
    /// ```
    /// use plimsoll_sim::{Config, Run};
    ///
    /// let run = Run::new(&Config { jobs: 1000, ..Config::default() }, 0).unwrap();
    /// assert_eq!(run.progress(), (0, 1000));
    /// ```
    pub fn progress(&self) -> (u64, u64) {
        (self.ended(), self.config.count())
    }

    /// What all balancers have pending, in requests or in cost: 0 when a run
    /// that drains is over.
    ///
    /// ```
    /// use plimsoll_sim::{Config, Run};
    ///
    /// let mut run = Run::new(&Config { jobs: 500, drain: true, ..Config::default() }, 0).unwrap();
    /// while !run.advance(1000) {}
    /// assert_eq!(run.pending(), 0);
    /// ```
    pub fn pending(&self) -> u64 {
        self.balancers.iter().map(Balancer::pending).sum()
    }

    fn ended(&self) -> u64 {
        self.answered + self.failed + self.refused
    }

    fn drains(&self) -> bool {
        self.config.drain || matches!(self.config.arrivals, crate::Arrivals::Trace(_))
    }

    /// Lets the next thing happen; `false` when the run is over. At the same
    /// moment requests end before anything changes, and that before new ones come.
    #[inline]
    fn step(&mut self) -> bool {
        let ends = self.fleet.events.next_at();
        let comes = self.source.next_at();
        let changes = self.next_change_at();
        let next = ends.min(comes).min(changes);
        if self.fleet.jobs.len() > self.most_present {
            self.give_up("they come faster than they end");
            return false;
        }
        let is_done = if self.drains() {
            comes == u64::MAX && self.fleet.jobs.len() == 0
        } else {
            self.ended() >= self.config.jobs
        };
        if is_done {
            return false;
        }
        if next == u64::MAX {
            self.give_up("the next thing happens after 584 years, where the clock ends");
            return false;
        }
        self.pass(next);
        if ends == next {
            if let Some(ended) = self.fleet.step() {
                self.events += 1;
                self.end(ended);
            }
        } else if changes == next {
            self.change();
        } else {
            self.events += 1;
            self.come();
        }
        true
    }

    #[cold]
    fn give_up(&mut self, why: &str) {
        self.gave_up = Some(format!(
            "{}: a run was given up after {} seconds of its time, when {} requests were pending: {why}",
            self.config.policy,
            seconds(self.now),
            self.fleet.jobs.len()
        ));
    }

    #[inline]
    fn pass(&mut self, next: u64) {
        while next >= self.next_sample {
            let waiting = u32::try_from(self.in_lines).unwrap_or(u32::MAX);
            self.samples.push(Sample {
                at: seconds(self.next_sample),
                pending: self.fleet.jobs.len() - waiting,
                waiting,
            });
            self.next_sample = self.next_sample.saturating_add(self.between_samples);
            if self.samples.len() >= MOST_SAMPLES {
                // Every other one stays; the next is an interval after the last that does.
                self.samples = self.samples.iter().step_by(2).copied().collect();
                self.between_samples = self.between_samples.saturating_mul(2);
            }
        }
        self.area += u128::from(next - self.now) * u128::from(self.fleet.jobs.len());
        self.now = next;
    }

    fn begin_measuring(&mut self) {
        if !self.is_warm && self.ended() >= self.config.warming() {
            self.is_warm = true;
            self.fleet.forget_work();
            self.times.forget();
            self.mark = Mark { at: self.now, area: self.area, answered: self.answered };
        }
    }

    /// A request comes.
    fn come(&mut self) {
        let from_trace = self.source.take();
        self.came += 1;
        if self.drains() && self.came >= self.config.count() {
            self.source.stop();
        }
        let mut service =
            from_trace.unwrap_or_else(|| nanos(self.sampler.draw(&mut self.services)));
        let (least, most) = self.config.costs;
        let mut cost = NonZeroU32::MIN;
        if most > 1 {
            let drawn = least + self.costs.below(most - least + 1);
            service = scaled(service, 2.0 * f64::from(drawn) / f64::from(least + most));
            cost = NonZeroU32::new(drawn).unwrap_or(cost);
        }
        let balancer = match self.config.balancers {
            1 => 0,
            several => self.to_balancers.below(several),
        };
        let number = self.fleet.jobs.insert(self.now, service, balancer);
        let mut around = Around {
            fleet: &self.fleet,
            replicas: &self.replicas,
            balancers: self.config.balancers,
            rng: &mut self.choices,
            now: self.now,
        };
        let chosen = &mut self.balancers[balancer as usize];
        match chosen.dispatch(number, cost, service, &mut around) {
            Given::To(worker, charge) => {
                self.fleet.jobs.get_mut(number).lease = charge;
                self.admit(worker, number);
            }
            Given::InLine => {
                self.in_lines += 1;
                self.longest_line = self.longest_line.max(chosen.waiting() as u64);
            }
            Given::Refused => self.refuse(number),
        }
    }

    #[inline]
    fn admit(&mut self, worker: u32, number: u32) {
        if self.is_warm && self.regrets.is_due() {
            self.look_at(worker, number);
        }
        if let Some(charged) = self.charged.get_mut(worker as usize) {
            *charged += u64::from(self.fleet.jobs.get(number).cost());
        }
        self.fleet.admit(worker, number, self.now);
        self.most_pending = self.most_pending.max(self.fleet.pending(worker));
    }

    /// A request was not taken, or given up in line.
    fn refuse(&mut self, number: u32) {
        self.refused += 1;
        self.leave(number);
    }

    /// A request is no more.
    #[inline]
    fn leave(&mut self, number: u32) {
        self.spent += u128::from(self.now - self.fleet.jobs.get(number).arrived);
        self.fleet.jobs.remove(number);
        self.source.answered(self.now);
        if self.is_warm {
            self.times.ended();
        }
        self.begin_measuring();
    }

    /// A request has ended at its worker.
    #[inline]
    fn end(&mut self, Ended { job: number, failed }: Ended) {
        let now = self.now;
        let job = self.fleet.jobs.get_mut(number);
        let cost = job.cost();
        let lease = job.lease.take();
        let (worker, balancer, met) = (job.worker, job.balancer, job.met);
        let (response, began) = (now - job.arrived, job.began);
        let waiting = self.waiting(number);
        let pending = self.fleet.pending(worker);
        if let Some(charged) = self.charged.get_mut(worker as usize) {
            *charged -= u64::from(cost);
        }
        if let Some(replica) = self.replicas.get_mut(worker as usize) {
            replica.answered(met, response);
        }
        let chosen = &mut self.balancers[balancer as usize];
        chosen.completed(worker, lease, failed, now, |place| Answer {
            place,
            latency: response,
            ran: now - began,
            pending,
        });
        if failed {
            self.failed += 1;
        } else {
            self.answered += 1;
            self.times.note(response, waiting);
        }
        self.leave(number);
        if failed {
            self.arm(balancer);
        }
        if pending == 0 && matches!(self.config.policy, Policy::IdleQueue(_)) {
            self.idle(worker);
        }
        self.settle(balancer);
    }

    /// How long a request waited: until its worker began it, or, where requests
    /// share a worker, beyond what it needs alone.
    #[inline]
    fn waiting(&self, number: u32) -> u64 {
        let job = self.fleet.jobs.get(number);
        match self.config.discipline {
            crate::Discipline::FirstCome => job.began - job.arrived,
            crate::Discipline::Sharing => {
                let alone = scaled(job.service, self.fleet.pace(job.worker));
                (self.now - job.arrived).saturating_sub(alone)
            }
        }
    }

    /// Does what a balancer says of its line.
    #[inline]
    fn settle(&mut self, balancer: u32) {
        while let Some((number, given)) = self.balancers[balancer as usize].poll() {
            self.in_lines -= 1;
            match given {
                Some((worker, lease)) => {
                    self.fleet.jobs.get_mut(number).lease = Some(lease);
                    self.admit(worker, number);
                }
                None => self.refuse(number),
            }
        }
    }
}
