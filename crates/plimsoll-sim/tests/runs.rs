//! What a run is, whatever the policy: the same however it is cut, on the same
//! requests, and within its bounds.
#![forbid(unsafe_code)]

use std::num::NonZeroU32;

use plimsoll_sim::{Arrivals, Config, Discipline, Outcome, Run};

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
