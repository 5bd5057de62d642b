//! Random faults, with every invariant looked at after every event.
#![forbid(unsafe_code)]

mod draws;

use std::num::NonZeroU32;

use plimsoll_sim::{Arrivals, Config, Discipline, Fault, FaultKind, Policy, Run, Service};

use draws::Draws;

fn fault(draws: &mut Draws, workers: u32, is_core: bool) -> Fault {
    let kinds = [FaultKind::Slow(5.0), FaultKind::Stuck, FaultKind::Failing, FaultKind::Gone];
    let kind = draws.one(if is_core { &kinds } else { &kinds[..3] });
    let first = draws.below(workers);
    let last = first + draws.below(workers - first);
    let from = f64::from(draws.below(200)) / 10.0;
    let to = from + f64::from(1 + draws.below(200)) / 10.0;
    Fault { kind, workers: first..=last, from, to }
}

/// A world drawn from a seed; all of its faults are over after 40 seconds.
fn world(seed: u64) -> Config {
    let mut draws = Draws::of(seed);
    let policies = "least-loaded power-of-2 round-robin random central-queue least-loaded \
        power-of-3 join-idle-queue least-work-of-2 snapshot-own:1 prequal c3";
    let names: Vec<&str> = policies.split_whitespace().collect();
    let policy: Policy = draws.one(&names).parse().unwrap();
    let core = ["least-loaded", "power-of-2", "round-robin", "random", "central-queue"];
    let is_core = core.contains(&policy.to_string().as_str());
    let workers = 3 + draws.below(8);
    let plain = Config {
        policy,
        workers,
        load: 0.2 + f64::from(draws.below(12)) / 10.0,
        balancers: 1 + draws.below(3),
        discipline: draws.one(&[Discipline::FirstCome, Discipline::Sharing]),
        slots: NonZeroU32::MIN,
        service: draws.one(&[
            Service::Exponential,
            Service::Deterministic,
            Service::Bimodal(0.1, 20.0),
        ]),
        speeds: draws.one(&[vec![1.0], vec![1.0, 0.5]]),
        penalty: draws.below(2) == 0,
        seed,
        jobs: 400,
        warm_up: 0.0,
        batches: 1,
        drain: true,
        audit: true,
        ..Config::default()
    };
    let count = 1 + draws.below(4);
    let faults = (0..count).map(|_| fault(&mut draws, workers, is_core)).collect();
    if !is_core {
        return Config { faults, load: plain.load.min(0.9), ..plain };
    }
    let subset = (draws.below(3) == 0).then(|| 1 + draws.below(workers));
    Config {
        faults,
        subset,
        capacity: Some(NonZeroU32::new(8 + draws.below(8)).unwrap()),
        line: Some(draws.below(30)),
        slots: NonZeroU32::new(1 + draws.below(3)).unwrap(),
        weights: draws.one(&[vec![1], vec![1, 3]]),
        costs: draws.one(&[(1, 1), (1, 4)]),
        slow_start: draws.one(&[0.0, 5.0]),
        ..plain
    }
}

/// Runs a world event by event; tells what has failed and was refused.
fn live(seed: u64) -> (u64, u64) {
    let mut config = world(seed);
    // The one line before all workers is refused costs above a worker's slots.
    if config.policy.is_central() {
        (config.costs, config.capacity) = ((1, 1), None);
    }
    let mut run = Run::new(&config, 0).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    while !run.advance(1) {
        let checked = run.check_invariants();
        assert_eq!(checked, Ok(()), "seed {seed}\n{config:?}");
    }
    assert_eq!(run.pending(), 0, "seed {seed}: all faults are over\n{config:?}");
    let outcome = run.outcome();
    let ended = outcome.answered + outcome.failed + outcome.refused;
    assert_eq!(ended, config.jobs, "seed {seed}: each request ends once\n{config:?}");
    (outcome.failed, outcome.refused)
}

#[test]
fn invariants_hold_at_every_event_of_256_faulty_worlds_and_nothing_stays_pending() {
    let (mut failed, mut refused) = (0, 0);
    for seed in 0..256 {
        let ended = live(seed);
        failed += ended.0;
        refused += ended.1;
    }
    // The worlds are as wild as they are meant to be.
    assert!(failed > 1000 && refused > 1000, "{failed} failed, {refused} refused");
}

fn mean(config: &Config) -> (f64, u64) {
    let mut run = Run::new(config, 0).unwrap();
    while !run.advance(10_000) {}
    run.check_invariants().unwrap();
    let outcome = run.outcome();
    let batches = &outcome.batches;
    let sum: f64 = batches.iter().map(|batch| batch.mean).sum();
    let count = u32::try_from(batches.len()).unwrap();
    (sum / f64::from(count), outcome.failed)
}

/// A worker that fails fast looks idle, and draws what comes, unless a failure
/// leaves a penalty: a hazard of Ray and ingress-nginx.
#[test]
fn a_worker_that_fails_fast_draws_all_without_a_penalty() {
    let fault = Fault { kind: FaultKind::Failing, workers: 0..=0, from: 0.0, to: 1e6 };
    let config =
        Config { workers: 20, load: 0.8, jobs: 50_000, faults: vec![fault], ..Config::default() };
    let (_, with) = mean(&config);
    let (_, without) = mean(&Config { penalty: false, ..config });
    assert!(without > 5 * with, "{without} failed without a penalty, {with} with one");
}

/// Least-loaded sees that a slow worker is slow, round robin does not.
#[test]
fn a_slow_worker_hurts_round_robin_most() {
    let fault = Fault { kind: FaultKind::Slow(5.0), workers: 0..=1, from: 0.0, to: 1e6 };
    let config =
        Config { workers: 20, load: 0.7, jobs: 50_000, faults: vec![fault], ..Config::default() };
    let (least, _) = mean(&config);
    let (turns, _) = mean(&Config { policy: "round-robin".parse().unwrap(), ..config });
    assert!(turns > 10.0 * least, "{turns} against {least}");
}

/// A worker that comes back cold, with a slow start, gets little at first.
#[test]
fn slow_start_eases_a_worker_in() {
    let back = |slow_start| {
        let fault = Fault { kind: FaultKind::Gone, workers: 0..=0, from: 5.0, to: 20.0 };
        let config = Config {
            workers: 4,
            load: 0.9,
            jobs: 90,
            capacity: NonZeroU32::new(16),
            line: Some(1000),
            faults: vec![fault],
            slow_start,
            ..Config::default()
        };
        let imbalance = |number| {
            let mut run = Run::new(&config, number).unwrap();
            while !run.advance(1) {
                run.check_invariants().unwrap();
            }
            run.outcome().imbalance
        };
        (0..40).map(imbalance).sum::<f64>()
    };
    let (cold, eased) = (back(0.0), back(20.0));
    assert!(eased > cold, "the others do more while it is eased in: {eased} against {cold}");
}

/// A worker that comes back while requests wait in line is not filled by them at once: its
/// capacity grows as its ramp does, and what waits does so in the line.
#[test]
fn slow_start_holds_while_a_line_waits() {
    let request = |nth: u64| plimsoll_sim::Arrival { at: nth, service: 10_000_000_000 };
    // It is gone, and back, long before the first request ends.
    let fault = Fault { kind: FaultKind::Gone, workers: 0..=0, from: 0.0, to: 1.0 };
    let back = |slow_start| {
        let config = Config {
            workers: 2,
            capacity: NonZeroU32::new(16),
            line: Some(1000),
            arrivals: Arrivals::Trace((1..=100).map(request).collect()),
            faults: vec![fault.clone()],
            slow_start,
            sample_every: 2.0,
            warm_up: 0.0,
            batches: 1,
            ..Config::default()
        };
        let mut run = Run::new(&config, 0).unwrap();
        while !run.advance(1) {
            run.check_invariants().unwrap();
        }
        let sample = run.outcome().samples[1];
        (sample.at, sample.pending, sample.waiting)
    };
    assert_eq!(back(0.0), (2.0, 32, 68), "both are full");
    assert_eq!(back(32.0), (2.0, 17, 83), "one of its sixteen places is in force");
}

/// A fault of many workers takes one look at all that runs, not one for each of them.
#[test]
fn half_of_a_large_fleet_goes_and_comes_back() {
    for discipline in [Discipline::FirstCome, Discipline::Sharing] {
        let fault = |kind| Fault { kind, workers: 0..=9_999, from: 0.5, to: 1.0 };
        let config = Config {
            workers: 20_000,
            load: 0.4,
            jobs: 30_000,
            discipline,
            faults: vec![fault(FaultKind::Gone), fault(FaultKind::Slow(2.0))],
            warm_up: 0.0,
            drain: true,
            ..Config::default()
        };
        let mut run = Run::new(&config, 0).unwrap();
        while !run.advance(10_000) {
            run.check_invariants().unwrap();
        }
        let outcome = run.outcome();
        assert!((1000..=4000).contains(&outcome.failed), "{}", outcome.failed);
        assert_eq!((run.pending(), outcome.answered + outcome.failed), (0, config.jobs));
    }
}
