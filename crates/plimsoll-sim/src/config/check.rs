//! Whether a configuration can be simulated.

use super::Config;
use crate::units::{real, seconds, within};
use crate::{Arrival, Arrivals, FaultKind};

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
        let seconds = self.least_seconds();
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
        let looks = f64::from(self.balancers) * f64::from(self.known());
        let shortest = gap * looks / MOST_LOOKS;
        if self.policy.age().is_some_and(|age| age < shortest) {
            return Err(format!(
                "{} tells {looks} times of a worker each time, and requests come every {gap:.3e} s: \
                 all time would go by with it; the age is at least {shortest:.3e} s",
                self.policy
            ));
        }
        Ok(())
    }

    /// The least time that a run can be expected to take, in seconds: as requests come, and as
    /// workers can do them. A line that is full refuses requests, which takes no time.
    fn least_seconds(&self) -> f64 {
        let (fastest, share) = (self.fastest(), if self.line.is_none() { 1.0 } else { 0.0 });
        let (alone, work) = match &self.arrivals {
            Arrivals::Poisson | Arrivals::Bursts { .. } => (real(self.jobs) / self.rate(), 0.0),
            Arrivals::Closed { requesters, think } => {
                let mean = self.service.mean() * share;
                let each = real(self.jobs) / f64::from(*requesters);
                (each * (think + mean / fastest), real(self.jobs) * mean)
            }
            Arrivals::Trace(requests) => {
                let service = |request: &Arrival| seconds(request.service) * share;
                let end = |request: &Arrival| seconds(request.at) + service(request) / fastest;
                let ends = requests.iter().map(end);
                (ends.fold(0.0, f64::max), requests.iter().map(service).sum())
            }
        };
        alone.max(work / (self.all_speeds() * f64::from(self.slots.get())))
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
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::tests::config;
    use super::*;

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
    fn a_run_takes_as_long_as_requests_come_and_workers_can_do_them() {
        let closed = |requesters, think| Arrivals::Closed { requesters, think };
        let nanos = |seconds: u64| seconds * 1_000_000_000;
        let request = |at, service| Arrival { at: nanos(at), service: nanos(service) };
        let trace = |requests: &[Arrival]| Arrivals::Trace(requests.into());
        let one = Config { workers: 1, jobs: 1000, ..Config::default() };
        let many = Config { workers: 10, speeds: vec![4.0, 1.0], ..one.clone() };
        let no_line = Config { capacity: NonZeroU32::new(1), line: Some(0), ..one.clone() };
        for (config, arrivals, least) in [
            (&one, closed(10, 9.0), 1000.0),
            (&one, closed(1000, 1.0), 1000.0),
            (&many, closed(10, 9.0), 925.0),
            (&many, closed(1000, 1e-6), 40.0),
            (&no_line, closed(100, 9.0), 90.0),
            (&one, trace(&[request(0, 1); 1000]), 1000.0),
            (&one, trace(&[request(5, 0), request(2000, 1)]), 2001.0),
            (&many, trace(&[request(2, 100), request(3, 50)]), 27.0),
            (&no_line, trace(&[request(5, 100); 10]), 5.0),
        ] {
            let config = Config { arrivals, ..config.clone() };
            let told = config.least_seconds();
            assert!((told / least - 1.0).abs() < 1e-5, "{told}, not {least}: {config:?}");
        }
        let fast = Config { workers: 100, speeds: vec![1000.0], jobs: 10_000_000_000, ..one };
        assert_eq!(Config { arrivals: closed(1, 1e-6), ..fast }.check(), Ok(()));
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
        let one = Arrivals::Closed { requesters: 1, think: 1.0 };
        let slow = Config { workers: 1, speeds: vec![1e-6], arrivals: one, ..of("random") };
        refused(slow, "at most 1000000000");
        let request = Arrival { at: 0, service: 1_000_000_000 };
        let trace = Arrivals::Trace(vec![request; 2000].into());
        let slow = Config { workers: 1, speeds: vec![1e-6], arrivals: trace, ..of("random") };
        refused(slow, "at most 1000000000");
        refused(config("random", 100, 1, 200), "from 1 to the 100 workers");
    }
}
