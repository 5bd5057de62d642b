//! Skewed work, open loop: 99 % of the requests are short, 1 % take 200 times
//! as long. Waiting counts from the arrival that was intended, so a late
//! submitter hides nothing; against the replay it counts, on both sides, from
//! the arrival that was recorded, so that a late submitter adds nothing either.
//! The work is slept: what is measured is who waits behind whom, not the
//! machine's cores.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use plimsoll::{Policy, ThreadPool};
use plimsoll_bench::{Report, median};

const WORKERS: usize = 8;
const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_millis(400);
const LONG_SHARE: f64 = 0.01;
/// Long enough for some 80 long requests at half load: they are what is waited for.
const RUN: Duration = Duration::from_secs(12);
const ROUNDS: u64 = 5;

/// One request: when it was to arrive, arrived, began and ended, in seconds of
/// the run.
#[derive(Clone, Copy)]
struct Served {
    intended: f64,
    arrived: f64,
    began: f64,
    ended: f64,
}

#[derive(Clone, Copy)]
enum System {
    Pool(Policy, u32),
    SharedQueue,
}

const SYSTEMS: [(&str, System); 7] = [
    ("least-loaded, capacity 1", System::Pool(Policy::LeastLoaded, 1)),
    ("least-loaded, capacity 2", System::Pool(Policy::LeastLoaded, 2)),
    ("least-loaded, capacity 8", System::Pool(Policy::LeastLoaded, 8)),
    ("shared queue (crossbeam-channel)", System::SharedQueue),
    ("round-robin, no limit", System::Pool(Policy::RoundRobin, u32::MAX)),
    ("random, no limit", System::Pool(Policy::Random, u32::MAX)),
    ("power-of-two, no limit", System::Pool(Policy::PowerOfTwo, u32::MAX)),
];

pub(crate) fn measure(report: &mut Report) {
    for load in [0.5, 0.8, 0.95] {
        let case = format!("skewed, {:.0} % load", load * 100.0);
        let mut samples = vec![[const { Vec::new() }; 6]; SYSTEMS.len()];
        for round in 0..ROUNDS {
            for ((name, system), samples) in SYSTEMS.iter().zip(&mut samples) {
                let served = run(*system, load, round);
                let figures = figures(served);
                eprintln!("{case} | {name} | {figures:.3?}");
                for (samples, figure) in samples.iter_mut().zip(figures) {
                    samples.push(figure);
                }
            }
        }
        for ((name, _), samples) in SYSTEMS.iter().zip(&mut samples) {
            let metrics = ["wait p50", "wait p99", "wait p999", "wait mean"];
            for (metric, samples) in metrics.into_iter().zip(samples.iter_mut()) {
                report.add(&case, name, metric, median(samples), "ms");
            }
            if *name == SYSTEMS[0].0 {
                report.add(&case, name, "mean wait / replay", median(&mut samples[4]), "ratio");
                report.add(&case, name, "p99 wait / replay", median(&mut samples[5]), "ratio");
            }
        }
    }
}

/// p50, p99, p999 and mean wait in ms; mean and p99 against the replay.
fn figures(mut served: Vec<Served>) -> [f64; 6] {
    served.sort_by(|a, b| a.arrived.total_cmp(&b.arrived));
    let waits = |wait: &mut dyn FnMut(&Served) -> f64| -> Vec<f64> {
        let mut waits: Vec<f64> = served.iter().map(|request| wait(request) * 1e3).collect();
        waits.sort_by(f64::total_cmp);
        waits
    };
    let intended = waits(&mut |request| request.began - request.intended);
    let recorded = waits(&mut |request| request.began - request.arrived);
    let mut free = [0.0_f64; WORKERS];
    let replayed = waits(&mut |request| replay(&mut free, request));
    [
        quantile(&intended, 0.5),
        quantile(&intended, 0.99),
        quantile(&intended, 0.999),
        mean(&intended),
        mean(&recorded) / mean(&replayed),
        quantile(&recorded, 0.99) / quantile(&replayed, 0.99),
    ]
}

/// The exact shared queue (Kiefer and Wolfowitz, "On the theory of queues with
/// many servers", 1955): each request in order of arrival begins when it has
/// come and the first server is free. Returns its wait.
fn replay(free: &mut [f64; WORKERS], request: &Served) -> f64 {
    let first = free.iter_mut().min_by(|a, b| a.total_cmp(b)).expect("there are workers");
    let began = first.max(request.arrived);
    *first = began + (request.ended - request.began);
    began - request.arrived
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

/// Nearest rank, of sorted samples.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank within the samples"
)]
fn quantile(samples: &[f64], part: f64) -> f64 {
    let rank = (samples.len() as f64 * part).ceil() as usize;
    samples[rank.clamp(1, samples.len()) - 1]
}

fn run(system: System, load: f64, seed: u64) -> Vec<Served> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mean = SHORT.as_secs_f64() * (1.0 - LONG_SHARE) + LONG.as_secs_f64() * LONG_SHARE;
    #[expect(clippy::cast_precision_loss, reason = "8")]
    let rate = WORKERS as f64 * load / mean;
    let (sender, served) = mpsc::channel();
    let begun = Instant::now();
    let job = |intended: f64, time: Duration| {
        let sender = sender.clone();
        let arrived = begun.elapsed().as_secs_f64();
        move || {
            let started = begun.elapsed().as_secs_f64();
            std::thread::sleep(time);
            let ended = begun.elapsed().as_secs_f64();
            // Nobody listens when the run has been given up.
            let _ = sender.send(Served { intended, arrived, began: started, ended });
        }
    };
    let mut pool_used = None;
    let mut submit: Box<dyn FnMut(f64, Duration)> = match system {
        System::Pool(policy, capacity) => {
            let pool = ThreadPool::builder().workers(WORKERS).capacity(capacity).policy(policy);
            let pool = pool.line(usize::MAX).audit_every(1).build(|_| Ok(())).expect("builds");
            pool_used = Some((policy, pool.clone()));
            Box::new(move |arrival, time| {
                let job = job(arrival, time);
                pool.try_submit(move |()| job()).expect("taken").detach();
            })
        }
        System::SharedQueue => {
            let queue = crate::classic::crossbeam_pool(WORKERS);
            Box::new(move |arrival, time| queue.send(Box::new(job(arrival, time))).expect("open"))
        }
    };
    let mut arrival = 0.0;
    while arrival < RUN.as_secs_f64() {
        arrival += -(1.0 - random.f64()).ln() / rate;
        let time = if random.f64() < LONG_SHARE { LONG } else { SHORT };
        if let Some(early) = Duration::from_secs_f64(arrival).checked_sub(begun.elapsed()) {
            std::thread::sleep(early);
        }
        submit(arrival, time);
    }
    drop(submit);
    drop(sender);
    let served = served.iter().collect();
    if let Some((policy, pool)) = pool_used {
        let audit = pool.snapshot().audit;
        assert!(audit.audits > 0, "dispatches were audited");
        assert!(policy != Policy::LeastLoaded || audit.regretted == 0, "{audit:?}");
    }
    served
}
