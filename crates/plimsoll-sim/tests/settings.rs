//! Settings: what is refused, and that all else runs.
#![forbid(unsafe_code)]

mod draws;

use std::num::NonZeroU32;

use plimsoll_sim::{
    Arrival, Arrivals, Config, Discipline, Fault, FaultKind, Policy, PrequalOptions, Run, Service,
};

use draws::Draws;

impl Draws {
    /// Mostly a number that makes sense.
    fn number(&mut self) -> f64 {
        let sane = [0.01, 0.1, 0.5, 1.0, 2.0, 3.0, 8.0, 20.0];
        let wild = [0.0, -1.0, 1e-300, 1e-7, 1e-6, 1e3, 1e6, 1e9, 1e300, f64::INFINITY, f64::NAN];
        if self.below(4) == 0 { self.one(&wild) } else { self.one(&sane) }
    }

    fn whole(&mut self) -> u32 {
        self.one(&[0, 1, 2, 3, 4, 5, 7, 10, 16, u32::MAX])
    }

    fn policy(&mut self) -> Policy {
        match self.below(12) {
            0 => Policy::Central,
            1 => Policy::Power(self.whole()),
            2 => Policy::LeastWork(self.whole()),
            3 => Policy::IdleQueue(self.whole()),
            4 => Policy::Snapshot(self.number()),
            5 => Policy::SnapshotTwo(self.number()),
            6 => Policy::SnapshotOwn(self.number()),
            7 => Policy::Prequal(PrequalOptions {
                pool: self.one(&[0, 2, 16, u16::MAX]),
                probes: self.number(),
                hot: self.number(),
                remove: self.number(),
                delta: self.number(),
                age: self.number(),
            }),
            8 => Policy::C3,
            9 => "random".parse().unwrap(),
            10 => "round-robin".parse().unwrap(),
            _ => Policy::LEAST_LOADED,
        }
    }

    fn service(&mut self) -> Service {
        match self.below(8) {
            0 => Service::Exponential,
            1 => Service::Deterministic,
            2 => Service::Lognormal(self.number()),
            3 => Service::Bimodal(self.number(), self.number()),
            4 => Service::Pareto(self.number(), self.number()),
            5 => Service::Normal(self.number()),
            6 => Service::Hyperexponential(self.number()),
            _ => Service::Empirical((0..self.below(3)).map(|_| self.number()).collect()),
        }
    }

    fn arrivals(&mut self) -> Arrivals {
        match self.below(5) {
            0 | 1 => Arrivals::Poisson,
            2 => Arrivals::Bursts { factor: self.number(), length: self.number() },
            3 => {
                let most = self.one(&[30, 30, 5000]);
                Arrivals::Closed { requesters: self.below(most), think: self.number() }
            }
            _ => {
                let times = [0, 1, 1_000_000_000, u64::MAX];
                let count = self.below(40);
                let mut one = |at| Arrival { at, service: self.one(&times) };
                Arrivals::Trace((0..count).map(|nth| one(u64::from(nth) * 1_000_000)).collect())
            }
        }
    }

    fn fault(&mut self) -> Fault {
        let slow = FaultKind::Slow(self.number());
        let kind = self.one(&[slow, FaultKind::Stuck, FaultKind::Failing, FaultKind::Gone]);
        let (first, last) = (self.below(3), self.below(4));
        Fault { kind, workers: first..=last, from: self.number(), to: self.number() }
    }

    fn config(&mut self) -> Config {
        Config {
            policy: self.policy(),
            with_replacement: self.below(2) == 0,
            workers: 1 + self.below(20),
            load: self.number(),
            balancers: 1 + self.below(3),
            subset: (self.below(4) == 0).then(|| self.below(8)),
            capacity: self.one(&[None, None, NonZeroU32::new(4)]),
            line: self.one(&[None, None, Some(0), Some(9)]),
            discipline: self.one(&[Discipline::FirstCome, Discipline::Sharing]),
            slots: self.one(&[NonZeroU32::MIN, NonZeroU32::MIN, NonZeroU32::MAX]),
            speeds: (0..self.below(3)).map(|_| self.number()).collect(),
            weights: self.one(&[vec![1], vec![1], vec![1, 65_535], vec![0]]),
            costs: self.one(&[(1, 1), (1, 1), (1, 4), (1_000_000, 1_000_000), (0, 1)]),
            arrivals: self.arrivals(),
            service: self.service(),
            faults: (0..self.below(2)).map(|_| self.fault()).collect(),
            slow_start: self.one(&[0.0, 0.0, 5.0, 1e300, f64::NAN]),
            jobs: self.one(&[30, 4000]),
            warm_up: self.one(&[0.0, 0.5, f64::NAN]),
            batches: 1,
            // Two moments of these are two times of the clock.
            sample_every: 1e-9,
            ..Config::default()
        }
    }
}

/// Whatever is not refused runs, without a panic, and its requests move on.
#[test]
fn all_that_is_not_refused_runs() {
    let mut draws = Draws::of(1);
    let (mut ran, mut refused) = (0, 0);
    while ran < 600 {
        let config = draws.config();
        let Ok(mut run) = Run::new(&config, 0) else {
            refused += 1;
            continue;
        };
        ran += 1;
        let is_over = run.advance(5000);
        let outcome = run.outcome();
        let last = outcome.samples.last().map_or(0.0, |sample| sample.at);
        assert!(is_over || last > 0.0, "{config:?}");
        // What else happens, such as being told, is no more than that.
        assert!(is_over || outcome.events > 1000, "{} events: {config:?}", outcome.events);
        let (ended, count) = run.progress();
        assert!(!is_over || ended >= count || outcome.gave_up.is_some(), "{config:?}");
        run.check_invariants().unwrap_or_else(|broken| panic!("{broken}: {config:?}"));
    }
    assert!(refused > 1000, "{refused} are refused");
}

/// Each of these once never came to its first event, or ended in a panic.
#[test]
fn what_would_stand_still_or_panic_is_refused() {
    let of = |policy| Config { policy, ..Config::default() };
    let come = |arrivals| Config { arrivals, ..Config::default() };
    let serve = |service| Config { service, ..Config::default() };
    let fault = Fault { kind: FaultKind::Slow(f64::NAN), workers: 0..=0, from: 0.0, to: 1.0 };
    for (config, part) in [
        (come(Arrivals::Bursts { factor: 5.0, length: 0.0 }), "the length of bursts 0 is not"),
        (come(Arrivals::Bursts { factor: -1.0, length: 1.0 }), "the factor of bursts -1 is not"),
        (come(Arrivals::Closed { requesters: 3, think: f64::NAN }), "the time to think NaN is not"),
        (of(Policy::Snapshot(0.0)), "the age of a snapshot 0 is not"),
        (of(Policy::Power(0)), "is not of 1 to 1000 choices"),
        (serve(Service::Empirical([].into())), "no service time above 0"),
        (serve(Service::Empirical([1.0, f64::INFINITY].into())), "the service time inf is not"),
        (serve(Service::Normal(0.0)), "the deviation 0 is not"),
        (Config { slow_start: 1e300, ..Config::default() }, "a slow start of 1"),
        (Config { faults: vec![fault], ..Config::default() }, "a factor that is not from"),
        (
            Config { workers: 1, ..come(Arrivals::Bursts { factor: 5.0, length: 1e-6 }) },
            "bursts of 0.000001 s are too short where requests come every 1.111e0 s",
        ),
        (of(Policy::SnapshotTwo(1e-6)), "the age is at least 1.111e-4 s"),
        (
            Config {
                policy: Policy::Snapshot(1e-6),
                workers: 1,
                ..come(Arrivals::Closed { requesters: 1000, think: 1.0 })
            },
            "the age is at least 1.000e-4 s",
        ),
        (
            Config {
                policy: Policy::Snapshot(1e-6),
                workers: 1,
                ..come(Arrivals::Trace([Arrival { at: 0, service: 1_000_000_000 }; 1000].into()))
            },
            "the age is at least 1.000e-4 s",
        ),
        (Config { speeds: vec![1e6], workers: 10_000_000, ..Config::default() }, "a second"),
    ] {
        let error = config.check().unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

/// No balancer is told the same again and again while all wait for one worker.
#[test]
fn being_told_takes_no_time_where_nothing_happens() {
    let config = Config {
        policy: Policy::Snapshot(0.001),
        workers: 1,
        arrivals: Arrivals::Closed { requesters: 5, think: 1.0 },
        faults: vec!["stuck:0:0:100000000".parse().unwrap()],
        jobs: 30,
        batches: 1,
        ..Config::default()
    };
    let mut run = Run::new(&config, 0).unwrap();
    assert!(run.advance(1000), "{:?}", run.progress());
    assert_eq!(run.progress(), (30, 30));
}
