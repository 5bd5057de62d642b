//! What a simulation is of.

use std::num::NonZeroU32;
use std::ops::Range;

use crate::units::{real, within};
use crate::{Arrivals, Fault, FaultKind, Policy, Service};

/// How a worker works off what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// First come, first served, as many at once as it has slots.
    FirstCome,
    /// All at once, sharing its slots equally; none gets more than one slot.
    Sharing,
}

/// One simulation. The default is 100 workers at load 0.9 under least-loaded.
///
/// ```
/// use plimsoll_sim::Config;
///
/// let config = Config { workers: 10, load: 0.5, ..Config::default() };
/// assert_eq!(config.check(), Ok(()));
/// assert_eq!(config.rate(), 5.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Config {
    /// How requests find their workers.
    pub policy: Policy,
    /// Whether what a policy draws may be the same worker twice.
    pub with_replacement: bool,
    /// How many workers there are.
    pub workers: u32,
    /// Work that comes, over the work that all workers can do.
    pub load: f64,
    /// How many balancers there are, each knowing only its own requests.
    pub balancers: u32,
    /// How many workers each balancer uses: those that follow its place on a
    /// ring. `None` is all.
    pub subset: Option<u32>,
    /// Whether all balancers begin with the same order of their workers.
    pub same_shuffle: bool,
    /// The most requests (or cost) that a balancer gives to a worker; `None` is no bound.
    pub capacity: Option<NonZeroU32>,
    /// The most requests that wait in a balancer's line; `None` is no bound.
    pub line: Option<u32>,
    /// How workers work off what they have.
    pub discipline: Discipline,
    /// How many requests a worker runs at once, each at full speed.
    pub slots: NonZeroU32,
    /// How fast workers are, in turn: with two, every other worker has the first.
    pub speeds: Vec<f64>,
    /// Their weights, in turn.
    pub weights: Vec<u16>,
    /// Requests cost a whole number between these, each as often, and take as
    /// much longer.
    pub costs: (u32, u32),
    /// When requests come.
    pub arrivals: Arrivals,
    /// How long they take.
    pub service: Service,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// How long a worker that comes back is eased in, in seconds; 0 is not at all.
    pub slow_start: f64,
    /// Whether a failure leaves a penalty.
    pub penalty: bool,
    /// What everything is drawn from.
    pub seed: u64,
    /// How many requests end before a run does.
    pub jobs: u64,
    /// The share of them that is not measured.
    pub warm_up: f64,
    /// How many parts the rest is measured in.
    pub batches: u32,
    /// Whether requests stop coming once `jobs` have come, and the run goes on until all
    /// have ended. A trace always ends so.
    pub drain: bool,
    /// Whether each pool audits every dispatch by a plain scan of all its workers:
    /// for tests.
    pub audit: bool,
    /// How often pending is noted at first, in seconds; 0 is never. When there are 800 samples
    /// every other is dropped, and the next are twice as far apart.
    pub sample_every: f64,
    /// A run gives up when more requests than this, and more than 20 a worker, are at workers
    /// and in lines: each takes some 80 bytes.
    pub most_present: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            policy: Policy::LEAST_LOADED,
            with_replacement: false,
            workers: 100,
            load: 0.9,
            balancers: 1,
            subset: None,
            same_shuffle: false,
            capacity: None,
            line: None,
            discipline: Discipline::FirstCome,
            slots: NonZeroU32::MIN,
            speeds: vec![1.0],
            weights: vec![1],
            costs: (1, 1),
            arrivals: Arrivals::Poisson,
            service: Service::Exponential,
            faults: Vec::new(),
            slow_start: 0.0,
            penalty: true,
            seed: 1,
            jobs: 1_000_000,
            warm_up: 0.2,
            batches: 20,
            drain: false,
            audit: false,
            sample_every: 0.0,
            most_present: 2_000_000,
        }
    }
}

/// The most workers.
const MOST_WORKERS: u32 = 10_000_000;

/// The most places for workers in all balancers together: some 2 GB.
const MOST_PLACES: u32 = 20_000_000;

/// The most seconds that a run is expected to take: 31 years.
const LONGEST: f64 = 1e9;

/// The most requests a second: a thousand in each nanosecond.
const MOST_A_SECOND: f64 = 1e12;

/// The most bursts between two requests, on average.
const MOST_BURSTS: f64 = 100.0;

/// The most times that a balancer is told of a worker between two requests, on average.
const MOST_LOOKS: f64 = 1e4;

impl Config {
    /// Whether it can be simulated.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let known = self.known();
        if !(1..=MOST_WORKERS).contains(&self.workers) {
            return Err(format!("{} workers: it is from 1 to {MOST_WORKERS}", self.workers));
        }
        if self.balancers == 0
            || self.balancers.checked_mul(known).is_none_or(|all| all > MOST_PLACES)
        {
            return Err(format!(
                "{} balancers that know {known} workers each are not between 1 and {MOST_PLACES} \
                 places: a smaller subset makes more of them possible",
                self.balancers
            ));
        }
        if known == 0 || known > self.workers {
            return Err(format!(
                "a subset of {known}: it is from 1 to the {} workers that there are",
                self.workers
            ));
        }
        self.check_numbers()?;
        self.check_load()?;
        self.check_length()?;
        self.check_policy()?;
        for fault in &self.faults {
            fault.check()?;
            if *fault.workers.end() >= self.workers {
                return Err(format!(
                    "the fault {fault} is of worker {}, and they are counted from 0 to {}",
                    fault.workers.end(),
                    self.workers - 1
                ));
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), String> {
        let positive = |number: &f64| (1e-6..=1e6).contains(number);
        if self.speeds.is_empty() || !self.speeds.iter().all(positive) {
            return Err("speeds are numbers from 0.000001 to 1000000".into());
        }
        if self.weights.is_empty() || self.weights.contains(&0) {
            return Err("weights are whole numbers from 1 to 65535".into());
        }
        let (least, most) = self.costs;
        if least == 0 || least > most || most > 1_000_000 {
            return Err(format!("costs from {least} to {most}: they are from 1 to 1000000"));
        }
        if self.capacity_in_force().is_some_and(|capacity| capacity.get() < most) {
            let slots = if self.policy.is_central() {
                format!(": central-queue gives it no more than its slots, {}", self.slots)
            } else {
                String::new()
            };
            return Err(format!(
                "a request may cost {most}, more than any worker's capacity{slots}"
            ));
        }
        if !(0.0..1.0).contains(&self.warm_up) || self.batches == 0 {
            return Err("the warm-up is a share from 0 to below 1, of at least 1 batch".into());
        }
        if self.measured() < u64::from(self.batches) {
            return Err(format!(
                "{} requests a run are too few: {} are measured after the warm-up, in {} batches",
                self.count(),
                self.measured(),
                self.batches
            ));
        }
        within("a slow start of", self.slow_start, 0.0, LONGEST)?;
        within("time between samples of", self.sample_every, 0.0, f64::INFINITY)?;
        self.policy.check_numbers()?;
        self.service.check()?;
        self.arrivals.check()
    }

    fn check_load(&self) -> Result<(), String> {
        let open = matches!(self.arrivals, Arrivals::Poisson | Arrivals::Bursts { .. });
        if open && !(self.load > 0.0 && self.load <= 1000.0) {
            return Err(format!("load {}: it is more than 0 and at most 1000", self.load));
        }
        let bounded = self.line.is_some() && (self.capacity.is_some() || self.policy.is_central());
        if open && self.load >= 1.0 && !bounded {
            return Err(format!(
                "load {} is 1 or more, so that pending grows without end: bound it by a capacity \
                 and a line",
                self.load
            ));
        }
        if open && !bounded {
            self.check_subsets()?;
        }
        if self.line.is_some() && self.capacity.is_none() && !self.policy.is_central() {
            return Err("a line needs a capacity: without one nobody waits in it".into());
        }
        Ok(())
    }

    /// A clock of nanoseconds in 64 bits ends after 584 years, and stands still where thousands
    /// come in each. And what happens between two requests takes time, too.
    fn check_length(&self) -> Result<(), String> {
        let seconds = match self.arrivals {
            Arrivals::Closed { requesters, think } => {
                real(self.jobs) / f64::from(requesters) * (think + self.service.mean())
            }
            _ => self.expected_seconds().unwrap_or(0.0),
        };
        if seconds > LONGEST {
            return Err(format!(
                "a run would take {seconds:.0} seconds of its own time: it is at most {LONGEST}, and \
                 fewer requests take less"
            ));
        }
        let is_open = matches!(self.arrivals, Arrivals::Poisson | Arrivals::Bursts { .. });
        if is_open && self.rate() > MOST_A_SECOND {
            return Err(format!(
                "{:.0} requests a second are more than a clock of nanoseconds tells apart: they are \
                 at most {MOST_A_SECOND}",
                self.rate()
            ));
        }
        let gap = seconds / real(self.count());
        if let Arrivals::Bursts { length, .. } = self.arrivals
            && length < gap / MOST_BURSTS
        {
            return Err(format!(
                "bursts of {length} s are too short where requests come every {gap:.3e} s: so many \
                 between two of them are as good as none, as in poisson; they are at least {:.3e} s",
                gap / MOST_BURSTS
            ));
        }
        // A trace takes at least as long as the longest of its requests, at the fastest worker.
        let alone = match &self.arrivals {
            Arrivals::Trace(requests) => {
                let longest = requests.iter().map(|request| request.service).max().unwrap_or(0);
                let fastest = self.speeds.iter().copied().fold(0.0, f64::max);
                crate::units::seconds(longest) / fastest
            }
            _ => 0.0,
        };
        let looks = f64::from(self.balancers) * f64::from(self.known());
        let shortest = gap.max(alone / real(self.count())) * looks / MOST_LOOKS;
        if self.policy.age().is_some_and(|age| age < shortest) {
            return Err(format!(
                "{} tells {looks} times of a worker each time, and requests come every {gap:.3e} s: \
                 all time would go by with it; the age is at least {shortest:.3e} s",
                self.policy
            ));
        }
        Ok(())
    }

    /// The load of the workers that balancers know, not of all.
    fn check_subsets(&self) -> Result<(), String> {
        let Some(subset) = self.subset else { return Ok(()) };
        let (mut all, mut known, mut most) = (0.0, 0.0, 0);
        for worker in 0..self.workers {
            let cover = self.knowing(worker).len();
            all += self.speed(worker);
            known += if cover > 0 { self.speed(worker) } else { 0.0 };
            most = most.max(cover);
        }
        let even = real(u64::from(self.balancers) * u64::from(subset)) / f64::from(self.workers);
        let busiest = if self.policy.is_blind() {
            self.load * real(most as u64) / even
        } else {
            self.load * all / known
        };
        if busiest < 1.0 {
            return Ok(());
        }
        Err(format!(
            "the balancers ({}) know {subset} of {} workers each, which leaves some out or known \
             to fewer: a worker's load is {} and not {}",
            self.balancers,
            self.workers,
            (busiest * 1000.0).round() / 1000.0,
            self.load
        ))
    }

    /// The balancers that know a worker, one after another from this on, on a ring of
    /// balancers: balancers begin at even distances on the ring of workers.
    pub(crate) fn knowing(&self, worker: u32) -> Range<u32> {
        let begun =
            |before: u64| (before * u64::from(self.balancers)).div_ceil(u64::from(self.workers));
        let end = u64::from(self.workers) + u64::from(worker) + 1;
        // Below twice the balancers, of which there are fewer than 2^31.
        let [from, to] = [begun(end - u64::from(self.known())), begun(end)]
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        from..to
    }

    fn check_policy(&self) -> Result<(), String> {
        let policy = &self.policy;
        if policy.core(self.with_replacement).is_some() {
            return Ok(());
        }
        if self.capacity.is_some() {
            return Err(format!(
                "{policy} has no line, and so no capacity, as it is here: those of the core have \
                 (least-loaded, power-of-2 of distinct workers, round-robin, random, central-queue)"
            ));
        }
        if self.faults.iter().any(|fault| fault.kind == FaultKind::Gone) {
            return Err(format!(
                "{policy} does not know that a worker is gone: those of the core do"
            ));
        }
        if self.costs.1 > 1 || self.weights.iter().any(|&weight| weight > 1) {
            return Err(format!("{policy} knows no costs and weights: those of the core do"));
        }
        policy.check(self.known(), self.with_replacement, self.slots)
    }

    /// The most that a balancer gives to a worker: `capacity`, but under central-queue a worker's
    /// slots, whatever `capacity` is.
    ///
    /// ```
    /// use plimsoll_sim::{Config, Policy};
    /// use std::num::NonZeroU32;
    ///
    /// let config = Config { capacity: NonZeroU32::new(4), ..Config::default() };
    /// assert_eq!(config.capacity_in_force(), NonZeroU32::new(4));
    /// let central = Config { policy: Policy::Central, ..config };
    /// assert_eq!(central.capacity_in_force(), Some(NonZeroU32::MIN));
    /// ```
    pub fn capacity_in_force(&self) -> Option<NonZeroU32> {
        if self.policy.is_central() { Some(self.slots) } else { self.capacity }
    }

    /// How many workers a balancer knows.
    pub(crate) fn known(&self) -> u32 {
        self.subset.unwrap_or(self.workers)
    }

    /// Requests a second, where they come by load.
    ///
    /// ```
    /// use plimsoll_sim::Config;
    ///
    /// let config = Config { speeds: vec![1.0, 3.0], ..Config::default() };
    /// assert_eq!(config.rate(), 180.0);
    /// ```
    pub fn rate(&self) -> f64 {
        self.load * self.all_speeds() * f64::from(self.slots.get()) / self.service.mean()
    }

    /// About how long, in seconds, a worker's queue takes to forget what it was, where workers
    /// are chosen without a look at them: `E[S²] / (1 - load)²` in units of the mean service time.
    /// Where speeds differ, such a policy gives all workers as much, and it is the slowest that
    /// takes longest: its own load and its own service times count. A policy that looks gives each
    /// what it can do, and the mean speed counts, which is a guess.
    ///
    /// From an idle start, a seventh of the mean wait is still missing after one of these, a
    /// seventeenth after two and a hundredth after four (Abate and Whitt, "Transient behavior of
    /// regulated Brownian motion", 1987), so that less of a warm-up tells of a mean that is too
    /// low. Policies that look need less, bursts more. `None` where the load is not known before,
    /// or is 1 or more, of the slowest worker where that counts.
    ///
    /// ```
    /// use plimsoll_sim::Config;
    ///
    /// let seconds = |load| Config { load, ..Config::default() }.relaxation();
    /// assert!((seconds(0.9).unwrap() - 200.0).abs() < 1e-6);
    /// assert!((seconds(0.99).unwrap() - 20_000.0).abs() < 1e-6);
    /// assert_eq!(seconds(1.5), None);
    ///
    /// // One in two is half as fast: of a load of 0.6 its own is 0.9, and it takes twice as long.
    /// let policy = "random".parse().unwrap();
    /// let unequal = Config { policy, load: 0.6, speeds: vec![1.0, 0.5], ..Config::default() };
    /// assert!((unequal.relaxation().unwrap() - 400.0).abs() < 1e-6);
    /// ```
    pub fn relaxation(&self) -> Option<f64> {
        let is_open = matches!(self.arrivals, Arrivals::Poisson | Arrivals::Bursts { .. });
        let mean_speed = self.all_speeds() / f64::from(self.workers);
        let speed = if self.policy.is_blind() { self.slowest() } else { mean_speed };
        let load = self.load * mean_speed / speed;
        let (least, most) = (f64::from(self.costs.0), f64::from(self.costs.1));
        // A service time is multiplied by a cost over the mean cost.
        let count = most - least + 1.0;
        let mean_cost = f64::midpoint(least, most);
        let spread = 1.0 + (count * count - 1.0) / 12.0 / (mean_cost * mean_cost);
        let able = speed * f64::from(self.slots.get());
        let time = self.service.second_moment() * spread / self.service.mean() / able;
        (is_open && load < 1.0).then(|| time / (1.0 - load).powi(2))
    }

    /// The speeds of all workers together, without a look at each of ten million.
    fn all_speeds(&self) -> f64 {
        let times = |nth: usize| {
            // How many workers have this one of the speeds.
            let before = u64::from(self.workers).saturating_sub(nth as u64);
            real(before.div_ceil(self.speeds.len() as u64))
        };
        self.speeds.iter().enumerate().map(|(nth, speed)| speed * times(nth)).sum()
    }

    /// The speed of the slowest worker.
    fn slowest(&self) -> f64 {
        let speeds = self.speeds.iter().take(self.workers as usize).copied();
        speeds.fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn speed(&self, worker: u32) -> f64 {
        self.speeds[worker as usize % self.speeds.len()]
    }

    pub(crate) fn weight(&self, worker: u32) -> u16 {
        self.weights[worker as usize % self.weights.len()]
    }

    /// How many requests end before they are measured.
    pub(crate) fn warming(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let warming = (real(self.count()) * self.warm_up) as u64;
        warming
    }

    pub(crate) fn measured(&self) -> u64 {
        self.count() - self.warming()
    }

    /// How many requests a run is of.
    ///
    /// ```
    /// use plimsoll_sim::Config;
    ///
    /// assert_eq!(Config { jobs: 1000, ..Config::default() }.count(), 1000);
    /// ```
    pub fn count(&self) -> u64 {
        match &self.arrivals {
            Arrivals::Trace(requests) => requests.len() as u64,
            _ => self.jobs,
        }
    }

    /// About how long a run takes, in seconds of its own time; `None` where
    /// only running tells it.
    ///
    /// ```
    /// use plimsoll_sim::Config;
    ///
    /// assert_eq!(Config { jobs: 900, ..Config::default() }.expected_seconds(), Some(10.0));
    /// ```
    pub fn expected_seconds(&self) -> Option<f64> {
        match &self.arrivals {
            Arrivals::Poisson | Arrivals::Bursts { .. } => Some(real(self.jobs) / self.rate()),
            Arrivals::Trace(requests) => {
                requests.last().map(|request| crate::units::seconds(request.at))
            }
            Arrivals::Closed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(policy: &str, workers: u32, balancers: u32, subset: u32) -> Config {
        let policy = policy.parse().unwrap();
        Config { policy, workers, balancers, subset: Some(subset), ..Config::default() }
    }

    #[test]
    fn speeds_are_added_up_as_workers_have_them() {
        let speeds = vec![1.0, 2.0, 4.0];
        for (workers, expected) in [(1, 1.0), (2, 3.0), (3, 7.0), (4, 8.0), (8, 17.0)] {
            let config = Config { workers, load: 1.0, speeds: speeds.clone(), ..Config::default() };
            assert!((config.rate() - expected).abs() < 1e-12, "{workers}: {}", config.rate());
        }
    }

    /// Against the balancers' own places on the ring.
    #[test]
    fn who_knows_a_worker_is_as_the_balancers_have_it() {
        for (workers, balancers, subset) in [(10, 3, 4), (7, 7, 1), (5, 12, 2), (9, 4, 9)] {
            let config = config("random", workers, balancers, subset);
            for worker in 0..workers {
                let mut told: Vec<u32> =
                    config.knowing(worker).map(|number| number % balancers).collect();
                told.sort_unstable();
                let knows = |number: &u32| {
                    let first = number * workers / balancers;
                    (worker + workers - first) % workers < subset
                };
                let theirs: Vec<u32> = (0..balancers).filter(knows).collect();
                assert_eq!(told, theirs, "{workers} {balancers} {subset}: {worker}");
            }
        }
    }

    #[test]
    fn the_load_is_of_the_workers_that_are_known() {
        for (policy, balancers, subset) in
            [("least-loaded", 1, 50), ("random", 3, 50), ("least-loaded", 4, 20)]
        {
            let error = config(policy, 100, balancers, subset).check().unwrap_err();
            assert!(error.contains("a worker's load is 1."), "{error}");
        }
        assert_eq!(config("least-loaded", 100, 3, 50).check(), Ok(()));
        assert_eq!(config("random", 100, 100, 5).check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_refused_in_a_sentence() {
        let of = |policy: &str| Config { policy: policy.parse().unwrap(), ..Config::default() };
        let refused = |config: Config, part: &str| {
            let error = config.check().unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        refused(Config { workers: 1, ..of("snapshot-two:1") }, "draws two workers");
        refused(Config { subset: Some(1), balancers: 100, ..of("snapshot-two:1") }, "knows 1");
        refused(Config { costs: (1, 4), ..of("central-queue") }, "no more than its slots, 1");
        refused(
            Config { jobs: 10, ..of("random") },
            "10 requests a run are too few: 8 are measured after the warm-up, in 20",
        );
        refused(Config { workers: 1, load: 1e-5, ..of("random") }, "at most 1000000000");
        let slow = Arrivals::Closed { requesters: 1, think: 1e9 };
        refused(Config { arrivals: slow, ..of("random") }, "at most 1000000000");
        refused(config("random", 100, 1, 200), "from 1 to the 100 workers");
    }
}
