//! What a simulation is of.

mod check;

use std::num::NonZeroU32;
use std::ops::Range;

use crate::units::real;
use crate::{Arrivals, Fault, Policy, Service};

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

impl Config {
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

    /// The speed of the fastest worker.
    fn fastest(&self) -> f64 {
        self.speeds.iter().take(self.workers as usize).copied().fold(0.0, f64::max)
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

    /// About when measuring begins, in seconds of a run's own time; `None` where only running
    /// tells it.
    ///
    /// ```
    /// use plimsoll_sim::{Arrival, Arrivals, Config};
    ///
    /// let config = Config { jobs: 900, warm_up: 0.5, ..Config::default() };
    /// assert_eq!(config.measured_from(), Some(5.0));
    ///
    /// // The warm-up is a share of the requests, not of the time.
    /// let request = |seconds: u64| Arrival { at: seconds * 1_000_000_000, service: 1 };
    /// let trace = Arrivals::Trace([1, 2, 3, 90].map(request).into());
    /// let config = Config { arrivals: trace, ..config };
    /// assert_eq!(config.measured_from(), Some(3.0));
    /// assert_eq!(Config { warm_up: 0.0, ..config }.measured_from(), Some(0.0));
    /// ```
    pub fn measured_from(&self) -> Option<f64> {
        match &self.arrivals {
            // From the start, and not from the first request on.
            _ if self.warming() == 0 => Some(0.0),
            Arrivals::Trace(requests) => {
                let first = requests.get(usize::try_from(self.warming()).ok()?)?;
                Some(crate::units::seconds(first.at))
            }
            _ => Some(self.expected_seconds()? * self.warm_up),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn config(policy: &str, workers: u32, balancers: u32, subset: u32) -> Config {
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
}
