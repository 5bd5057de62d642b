//! One run: a pool, its requesters, what the keys do to it, and the check that
//! nothing is left when it ends.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::{Audit, BuildError, Health, Policy, Shutdown, Snapshot, ThreadPool};

use super::args::Settings;
use super::floor::{Floor, Seat};
use super::reading::{Outcome, Reading, Row, Share, WorkerReading};
use super::record::{RECENT, Record, Told};
use super::requesters::Requesters;
use super::words::per_second;

/// How often whoever drives a run looks at it.
pub(crate) const TICK: Duration = Duration::from_millis(25);

/// Until the first request may be due: all threads have started by then.
const HEAD_START: Duration = Duration::from_millis(100);

/// What an answered request may still have pending: its worker has answered
/// and is about to give the charge back.
const GRACE: Duration = Duration::from_secs(5);

/// Why a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its time is over and every request is answered.
    Over,
    /// Somebody has seen enough.
    Quit,
    /// A signal, or Ctrl-C.
    Interrupted,
}

/// What can be done to a run while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Pause(bool),
    Workers(usize),
    Slow { slot: usize, slow: bool },
    Policy(Policy),
    End(Ending),
}

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Fault {
    Build(BuildError),
    System(io::Error),
    Output(io::Error),
    /// Something that must hold at the end does not.
    Check(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Run {
    pool: ThreadPool<Seat>,
    floor: Arc<Floor>,
    requesters: Requesters,
    record: Arc<Record>,
    clock: Clock,
    legs: Vec<Leg>,
    /// Audits of the last seconds.
    audits: VecDeque<(Instant, Audit)>,
    nth: Option<(usize, usize)>,
    length: Option<Duration>,
    line: usize,
}

/// The time that requesters send in: it stands still while they pause.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: Instant,
    paused_since: Option<Instant>,
    paused: Duration,
}

/// From one change of policy to the next.
#[derive(Clone, Copy, Debug)]
struct Leg {
    policy: Policy,
    began: Duration,
    audit: Audit,
    /// The sum of the differences between most and least pending, and how
    /// often it was looked at.
    imbalance: f64,
    looks: u32,
}

impl Run {
    /// Starts workers and requesters, under the nth of the policies.
    ///
    /// # Errors
    ///
    /// When the system has not the threads.
    pub(crate) fn start(settings: &Settings, nth: usize) -> Result<Self, Fault> {
        let policy = settings.policies[nth];
        let floor = Floor::new(settings.slow);
        let seats = Arc::clone(&floor);
        let pool = ThreadPool::builder()
            .workers(settings.workers as usize)
            .capacity(settings.capacity.get())
            .line(settings.line_bound())
            .policy(policy)
            .seed(settings.workload.seed())
            .audit_every(1)
            .build(move |number| Ok(Seat::new(Arc::clone(&seats), number)))
            .map_err(Fault::Build)?;
        while !are_up(&pool.snapshot()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let record = Arc::new(Record::new());
        let origin = Instant::now() + HEAD_START;
        let workload = &settings.workload;
        let requesters = Requesters::start(workload, settings.length, origin, &pool, &record)
            .map_err(Fault::System)?;
        let first = Leg::new(policy, Duration::ZERO, Audit::default());
        Ok(Self {
            pool,
            floor,
            requesters,
            record,
            clock: Clock { origin, paused_since: None, paused: Duration::ZERO },
            legs: vec![first],
            audits: VecDeque::new(),
            nth: settings.is_comparison().then_some((nth + 1, settings.policies.len())),
            length: settings.length,
            line: settings.line_bound(),
        })
    }

    /// Does what was asked for.
    ///
    /// # Errors
    ///
    /// When the system has not the threads.
    pub(crate) fn obey(&mut self, command: Command) -> Result<(), Fault> {
        match command {
            Command::Pause(paused) => {
                self.clock.pause(paused, Instant::now());
                self.requesters.pause(paused);
            }
            Command::Workers(workers) => {
                let before: Vec<usize> = self.staying();
                self.pool.resize(workers).map_err(Fault::Build)?;
                for slot in self.staying() {
                    // A new worker is not slow because one before it was.
                    if !before.contains(&slot) {
                        self.floor.set_slow(slot, false);
                    }
                }
            }
            Command::Slow { slot, slow } => self.floor.set_slow(slot, slow),
            Command::Policy(policy) => {
                self.pool.set_policy(policy);
                let audit = self.pool.snapshot().audit;
                let began = self.clock.elapsed(Instant::now());
                self.legs.push(Leg::new(policy, began, audit));
                self.record.begin_leg();
                // What the last policy did is not this one's regret.
                self.audits.clear();
            }
            // Whoever drives the run ends it.
            Command::End(_) => {}
        }
        Ok(())
    }

    /// Looks at the run, once each [`TICK`].
    pub(crate) fn look(&mut self) -> Reading {
        let now = Instant::now();
        let snapshot = self.pool.snapshot();
        let elapsed = self.clock.elapsed(now);
        let draining = self.length.is_some_and(|length| elapsed >= length);
        let paused = self.clock.paused_since.is_some();
        let workers: Vec<WorkerReading> = snapshot.workers.iter().map(|w| self.worker(w)).collect();
        if !draining && !paused {
            self.leg().note_imbalance(&workers);
        }
        let (answered, refused) = self.record.totals();
        Reading {
            policy: self.leg().policy,
            nth: self.nth,
            elapsed: self.length.map_or(elapsed, |length| elapsed.min(length)),
            length: self.length,
            paused,
            draining,
            workers,
            waiting: snapshot.waiting,
            line: self.line,
            recent: self.record.recent(now),
            regret: self.recent_regret(now, snapshot.audit),
            answered,
            refused,
        }
    }

    /// What the present leg has come to.
    pub(crate) fn row_so_far(&mut self) -> Row {
        let end = (self.clock.elapsed(Instant::now()), self.pool.snapshot().audit);
        let told = self.record.legs().pop().unwrap_or_else(Told::new);
        self.leg().row(end, &told)
    }

    /// Whether its time is over and every request is answered.
    pub(crate) fn is_over(&self) -> bool {
        let elapsed = self.clock.elapsed(Instant::now());
        self.length.is_some_and(|length| elapsed >= length) && self.requesters.are_done()
    }

    /// Ends it: what runs is finished, and when it is not over what has not
    /// begun is dropped. Then nothing may be pending.
    ///
    /// # Errors
    ///
    /// [`Fault::Check`] when something is.
    pub(crate) fn finish(mut self, ending: Ending) -> Result<Outcome, Fault> {
        let share = self.share();
        let mut not_run = 0;
        let last = if ending == Ending::Over {
            await_rest(&self.pool);
            let answered = self.record.last_answer().map(|at| self.clock.elapsed(at));
            answered.max(self.length).unwrap_or_default()
        } else {
            self.requesters.stop();
            not_run = self.pool.shutdown(Shutdown::DropQueue).not_run as u64;
            self.clock.elapsed(Instant::now())
        };
        let audit = self.pool.snapshot().audit;
        check_at_rest(&self.pool)?;
        let legs = std::mem::take(&mut self.legs);
        let tally = self.requesters.join();
        let tally = tally.ok_or_else(|| Fault::Check("a requester panicked".into()))?;
        if tally.sent != tally.answered + tally.dropped || tally.dropped != tally.refused + not_run
        {
            return Err(Fault::Check(format!("requests are lost: {tally:?}, {not_run} not run")));
        }
        let report = self.pool.shutdown(Shutdown::Drain);
        if report.not_run + report.still_running > 0 {
            return Err(Fault::Check(format!("the pool ended with {report:?}")));
        }
        let told = self.record.legs();
        let ends = legs.iter().skip(1).map(|leg| (leg.began, leg.audit)).chain([(last, audit)]);
        let mut rows: Vec<Row> =
            legs.iter().zip(ends).zip(&told).map(|((leg, end), told)| leg.row(end, told)).collect();
        if let Some(row) = rows.last_mut() {
            row.not_run = not_run;
        }
        Ok(Outcome { rows, share })
    }

    fn worker(&self, stats: &plimsoll::WorkerStats) -> WorkerReading {
        let slot = stats.id.index();
        WorkerReading {
            slot,
            pending: stats.pending,
            capacity: stats.capacity.get(),
            slow: self.floor.is_slow(slot),
            leaving: stats.draining,
        }
    }

    fn staying(&self) -> Vec<usize> {
        let workers = self.pool.snapshot().workers;
        workers.iter().filter(|worker| !worker.draining).map(|worker| worker.id.index()).collect()
    }

    fn share(&self) -> Share {
        let workers = self.pool.snapshot().workers;
        let share = |worker: &plimsoll::WorkerStats| {
            let slot = worker.id.index();
            (slot, worker.completed, self.floor.is_slow(slot))
        };
        Share(workers.iter().map(share).collect())
    }

    fn leg(&mut self) -> &mut Leg {
        self.legs.last_mut().expect("a run begins with a leg")
    }

    fn recent_regret(&mut self, now: Instant, audit: Audit) -> f64 {
        while self.audits.front().is_some_and(|(at, _)| now.duration_since(*at) >= RECENT) {
            self.audits.pop_front();
        }
        self.audits.push_back((now, audit));
        self.audits.front().map_or(0.0, |(_, before)| mean_regret(*before, audit))
    }
}

impl Clock {
    fn pause(&mut self, paused: bool, now: Instant) {
        match (paused, self.paused_since) {
            (true, None) => self.paused_since = Some(now),
            (false, Some(since)) => {
                self.paused += now - since;
                self.paused_since = None;
            }
            _ => {}
        }
    }

    /// Zero before the origin.
    fn elapsed(&self, now: Instant) -> Duration {
        let now = self.paused_since.unwrap_or(now);
        let since = now.checked_duration_since(self.origin).unwrap_or_default();
        since.checked_sub(self.paused).unwrap_or_default()
    }
}

impl Leg {
    fn new(policy: Policy, began: Duration, audit: Audit) -> Self {
        Self { policy, began, audit, imbalance: 0.0, looks: 0 }
    }

    fn note_imbalance(&mut self, workers: &[WorkerReading]) {
        let staying = workers.iter().filter(|worker| !worker.leaving);
        let pending: Vec<u32> = staying.map(|worker| worker.pending).collect();
        if let (Some(most), Some(least)) = (pending.iter().max(), pending.iter().min()) {
            self.imbalance += f64::from(most - least);
            self.looks += 1;
        }
    }

    fn row(&self, (ended, audit): (Duration, Audit), told: &Told) -> Row {
        let waits = &told.waits;
        let at = |quantile| Duration::from_micros(waits.value_at_quantile(quantile));
        let took = ended.checked_sub(self.began).unwrap_or_default();
        Row {
            policy: self.policy,
            requests: waits.len(),
            refused: told.refused,
            not_run: 0,
            per_second: per_second(waits.len(), took),
            mean: Duration::from_secs_f64(waits.mean() / 1e6),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(waits.max()),
            regret: mean_regret(self.audit, audit),
            imbalance: if self.looks == 0 { 0.0 } else { self.imbalance / f64::from(self.looks) },
        }
    }
}

/// The regret of the average dispatch between two readings.
fn mean_regret(before: Audit, after: Audit) -> f64 {
    let between = Audit {
        audits: after.audits - before.audits,
        regret: after.regret - before.regret,
        ..Audit::default()
    };
    between.mean_regret()
}

fn are_up(snapshot: &Snapshot) -> bool {
    snapshot.workers.iter().all(|worker| worker.health == Health::Up)
}

/// Waits for workers that have answered and not given their charge back yet.
fn await_rest(pool: &ThreadPool<Seat>) {
    let began = Instant::now();
    while pool.snapshot().pending() > 0 && began.elapsed() < GRACE {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn check_at_rest(pool: &ThreadPool<Seat>) -> Result<(), Fault> {
    let snapshot = pool.snapshot();
    let (pending, waiting) = (snapshot.pending(), snapshot.waiting);
    if pending + waiting as u64 > 0 {
        return Err(Fault::Check(format!("{pending} pending and {waiting} in line at the end")));
    }
    pool.check_invariants().map_err(Fault::Check)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => write!(f, "the workers cannot be started: {error}"),
            Self::System(error) => write!(f, "the run cannot begin: {error}"),
            Self::Output(error) => write!(f, "stdout cannot be written: {error}"),
            Self::Check(what) => write!(f, "a closing check failed: {what}"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
