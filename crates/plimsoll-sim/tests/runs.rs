//! What a run is, whatever the policy: the same however it is cut, on the same
//! requests, and within its bounds.
#![forbid(unsafe_code)]

use std::num::NonZeroU32;

use plimsoll_sim::{Arrivals, Config, Discipline, Outcome, Policy, Run};

const POLICIES: [&str; 13] = [
    "least-loaded",
    "power-of-2",
    "power-of-3",
    "round-robin",
    "random",
    "central-queue",
    "join-idle-queue",
    "least-work-of-2",
    "snapshot:1",
    "snapshot-two:1",
    "snapshot-own:1",
    "prequal",
    "c3",
];

fn config(policy: &str) -> Config {
    Config {
        policy: policy.parse().unwrap(),
        workers: 10,
        load: 0.8,
        jobs: 5000,
        ..Config::default()
    }
}

/// Run in slices of so many events.
fn run(config: &Config, slice: u64) -> Outcome {
    let mut run = Run::new(config, 0).unwrap();
    while !run.advance(slice) {}
    run.check_invariants().unwrap();
    run.outcome()
}

#[test]
fn slices_change_nothing() {
    for policy in POLICIES {
        let config = config(policy);
        let (small, whole) = (run(&config, 7), run(&config, u64::MAX));
        assert_eq!(format!("{small:?}"), format!("{whole:?}"), "{policy}");
    }
}

/// While nobody waits, policies cannot differ on the same requests, to the last digit.
#[test]
fn policies_meet_the_same_requests() {
    let quiet = |policy| Config { workers: 100, load: 0.1, ..config(policy) };
    let (line, least) = (run(&quiet("central-queue"), 1000), run(&quiet("least-loaded"), 1000));
    assert_eq!(line.batches, least.batches);
    assert_eq!((line.longest_line, least.most_pending), (0, 1));
    let other = run(&Config { seed: 2, ..quiet("least-loaded") }, 1000);
    assert_ne!(other.batches, least.batches);
}

#[test]
fn runs_of_other_numbers_are_other_draws() {
    let config = config("random");
    let means = [0, 1].map(|number| {
        let mut run = Run::new(&config, number).unwrap();
        while !run.advance(1000) {}
        run.outcome().batches[0].mean
    });
    assert!((means[0] - means[1]).abs() > 1e-9);
}

/// Whoever draws may draw a worker twice, where that is asked for, and then also more often than
/// there are workers.
#[test]
fn what_draws_does_so_with_replacement() {
    for policy in ["power-of-2", "power-of-3", "least-work-of-2", "snapshot-two:1", "prequal", "c3"]
    {
        let distinct = run(&Config { workers: 4, ..config(policy) }, 1000);
        let anew = Config { workers: 4, with_replacement: true, ..config(policy) };
        assert_ne!(run(&anew, 1000).batches, distinct.batches, "{policy}");
    }
    for policy in ["power-of-5", "least-work-of-5"] {
        let few = Config { workers: 3, with_replacement: true, ..config(policy) };
        assert_eq!(run(&few, 1000).answered, 5000, "{policy}");
        let error = Config { with_replacement: false, ..few }.check().unwrap_err();
        assert!(error.contains("draws from 1 to 3 workers"), "{error}");
    }
}

/// A worker whose pending cost is near the end of 32 bits is full.
#[test]
fn a_worker_gets_no_more_cost_than_32_bits_tell() {
    let stuck = Config {
        workers: 2,
        load: 0.3,
        jobs: 7000,
        costs: (1_000_000, 1_000_000),
        faults: vec!["stuck:0:0:1000000".parse().unwrap()],
        ..config("least-loaded")
    };
    let random = Config { policy: "random".parse().unwrap(), ..stuck };
    let outcome = run(&random, 100_000);
    assert_eq!(outcome.most_pending, 4294, "as many as fit");
}

/// M/M/n/n: without a line a request that finds all workers busy is refused, and Erlang's B
/// says how many are.
#[test]
fn refusals_are_as_many_as_erlang_says() {
    let (n, load) = (5, 1.2);
    let lossy =
        Config { workers: n, load, line: Some(0), jobs: 200_000, ..config("central-queue") };
    let outcome = run(&lossy, 10_000);
    let offered = f64::from(n) * load;
    let blocked =
        (1..=n).fold(1.0, |blocked, k| offered * blocked / (f64::from(k) + offered * blocked));
    let count = |number: u64| f64::from(u32::try_from(number).unwrap());
    let refused = count(outcome.refused) / count(outcome.refused + outcome.answered);
    assert!((refused / blocked - 1.0).abs() < 0.02, "{refused}, Erlang {blocked}");
    assert_eq!(outcome.longest_line, 0);
}

#[test]
fn a_closed_loop_has_no_more_requests_than_requesters() {
    for policy in ["least-loaded", "central-queue", "power-of-3"] {
        let arrivals = Arrivals::Closed { requesters: 30, think: 0.1 };
        let outcome = run(&Config { arrivals, sample_every: 0.1, ..config(policy) }, 1000);
        let most = outcome.samples.iter().map(|sample| sample.pending + sample.waiting).max();
        assert!((25..=30).contains(&most.unwrap()), "{policy}: {most:?}");
    }
}

/// Ten requests at once on one worker of two slots: in turn they end in pairs, sharing all at once.
#[test]
fn disciplines_are_as_they_say() {
    let request = plimsoll_sim::Arrival { at: 0, service: 1_000_000_000 };
    let burst = |discipline| Config {
        workers: 1,
        discipline,
        slots: NonZeroU32::new(2).unwrap(),
        arrivals: Arrivals::Trace(vec![request; 10].into()),
        warm_up: 0.0,
        batches: 1,
        ..config("least-loaded")
    };
    let mean = |discipline| run(&burst(discipline), 1).batches[0].mean;
    assert!((mean(Discipline::FirstCome) - 3.0).abs() < 1e-9);
    assert!((mean(Discipline::Sharing) - 5.0).abs() < 1e-6);
}

/// An idle worker leaves its first token with one balancer, which knows it: at a low load hardly
/// any request meets a busy worker. Each of ten balancers once had tokens of all.
#[test]
fn an_idle_worker_tells_one_balancer_that_knows_it() {
    for subset in [None, Some(20)] {
        let few =
            Config { workers: 100, load: 0.2, balancers: 10, subset, ..config("join-idle-queue") };
        let outcome = run(&Config { jobs: 200, warm_up: 0.0, batches: 1, ..few }, 1000);
        assert!(outcome.batches[0].waiting < 0.02, "{:?}", outcome.batches);
    }
}

/// Batches are of requests that ended, so that refusals and failures leave none of them out.
#[test]
fn a_trace_that_is_mostly_refused_still_tells_of_the_rest() {
    let request = |nth: u64| plimsoll_sim::Arrival { at: nth * 1_000_000, service: 100_000_000 };
    let arrivals = Arrivals::Trace((0..300).map(request).collect());
    let lossy = Config {
        workers: 1,
        capacity: NonZeroU32::new(1),
        line: Some(0),
        arrivals,
        warm_up: 0.0,
        batches: 1,
        ..config("least-loaded")
    };
    let outcome = run(&lossy, 1000);
    assert_eq!((outcome.answered, outcome.refused, outcome.batches.len()), (3, 297, 1));
    assert!((outcome.mean - 0.1).abs() < 1e-9, "{outcome:?}");
}

/// A run that is stopped tells of what there was, in its warm-up of all.
#[test]
fn a_run_that_is_stopped_tells_something() {
    let mut run = Run::new(&Config { jobs: 1_000_000_000, ..config("random") }, 0).unwrap();
    run.advance(10_000);
    let outcome = run.outcome();
    assert!(!outcome.is_warm && outcome.mean > 1.0);
    assert_eq!((outcome.batches.len(), outcome.responses.len()), (1, outcome.answered));
    assert!(outcome.in_system > 1.0 && outcome.utilisation > 0.5, "{outcome:?}");
}

/// However long a time passes between two requests.
#[test]
fn samples_of_pending_are_bounded() {
    for last in [100, 3_600_000_000_000] {
        let requests = [0, last].map(|at| plimsoll_sim::Arrival { at, service: 3_600_000_000_000 });
        let few = Config {
            arrivals: Arrivals::Trace(requests.into()),
            warm_up: 0.0,
            batches: 1,
            sample_every: 1e-12,
            ..config("least-loaded")
        };
        let samples = run(&few, 1000).samples;
        assert!((300..=800).contains(&samples.len()), "{}", samples.len());
        let gap = samples[1].at - samples[0].at;
        let is_even = |pair: &[plimsoll_sim::Sample]| (pair[1].at - pair[0].at - gap).abs() < 1e-6;
        assert!(samples.windows(2).all(is_even));
    }
}

/// Requests of centuries, at a clock that does not go round.
#[test]
fn a_clock_that_is_full_stops() {
    let request = plimsoll_sim::Arrival { at: 1 << 60, service: u64::MAX - 5 };
    let long = Config {
        arrivals: Arrivals::Trace([request; 3].into()),
        warm_up: 0.0,
        batches: 1,
        ..config("least-work-of-2")
    };
    let request = plimsoll_sim::Arrival { at: 5, ..request };
    let longer = Config { arrivals: Arrivals::Trace([request; 3].into()), ..long.clone() };
    for long in [long, longer.clone()] {
        let error = Run::new(&long, 0).unwrap_err();
        assert!(error.contains("seconds of its own time"), "{error}");
    }
    // How many a full line refuses is not known beforehand.
    let lossy =
        Config { capacity: NonZeroU32::new(1), line: Some(0), policy: Policy::Central, ..longer };
    let outcome = run(&lossy, 1000);
    assert_eq!(outcome.answered, 0, "none ends in 584 years");
    let sentence = outcome.gave_up.unwrap();
    assert!(sentence.contains("after 584 years, where the clock ends"), "{sentence}");
}

#[test]
fn a_fleet_that_is_stuck_is_given_up() {
    let fault = "stuck:0-9:10:100000000".parse().unwrap();
    let stuck = Config { faults: vec![fault], most_present: 2000, ..config("random") };
    let outcome = run(&stuck, 1000);
    let sentence = outcome.gave_up.unwrap();
    assert!(sentence.contains("when 2001 requests were pending"), "{sentence}");
    assert!(run(&config("random"), 1000).gave_up.is_none());
}

/// Invariant I3: one balancer that gives to the least loaded regrets nothing, where load is the
/// core's: of costs and weights, of penalties and slow starts, of workers that have room.
#[test]
fn the_least_loaded_is_not_regretted() {
    let faults = ["failing:0-2:100:200", "gone:3-4:100:200", "slow:5:100:300:4"];
    let base = Config {
        costs: (1, 4),
        weights: vec![1, 3],
        capacity: NonZeroU32::new(6),
        line: Some(100),
        faults: faults.map(|fault| fault.parse().unwrap()).into(),
        slow_start: 100.0,
        ..config("least-loaded")
    };
    let outcome = run(&base, 1000);
    assert!(outcome.regret.abs() < 1e-9 && outcome.failed > 0, "{outcome:?}");
    for blind in ["random", "round-robin"] {
        let policy = blind.parse().unwrap();
        assert!(run(&Config { policy, ..base.clone() }, 1000).regret > 0.1, "{blind}");
    }
}

/// A run as long as its relaxation says meets its closed form; one far shorter is too low, and is
/// told from it by the form itself.
#[test]
fn the_relaxation_time_tells_how_long_a_warm_up_is() {
    let close = |times: f64, runs: u32| {
        let base = Config { load: 0.95, ..config("random") };
        let seconds = base.relaxation().unwrap() * times;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let jobs = (seconds * base.rate()) as u64;
        let config = Config { jobs, warm_up: 0.25, batches: 5, ..base };
        let mut all = plimsoll_sim::Runs::default();
        for number in 0..runs {
            let mut run = Run::new(&config, number).unwrap();
            while !run.advance(10_000) {}
            all.add(&run.outcome());
        }
        let expected = plimsoll_sim::theory::expected(&config).unwrap();
        let summary = all.summary().unwrap();
        assert!(summary.is_warm && summary.gave_up.is_none());
        (summary.mean.value / expected.mean, summary.misses(&expected))
    };
    let (long, misses) = close(16.0, 8);
    assert!((long - 1.0).abs() < 0.1 && !misses, "{long}");
    let (short, misses) = close(0.5, 24);
    assert!(short < 0.85 && misses, "{short}");
}
