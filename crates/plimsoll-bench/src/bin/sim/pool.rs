//! A thread pool and the simulator on one trace: when requests came, and how
//! long each was measured to run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::ThreadPool;
use plimsoll_bench::Report;
use plimsoll_sim::{Arrival, Arrivals, Config, Run, Service};

const WORKERS: u32 = 8;
const LOAD: f64 = 0.8;
const REQUESTS: usize = 6000;
/// Of the mean request: long against what waking a thread costs.
const SERVICE: Duration = Duration::from_millis(20);

/// What was seen of one request.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// From the start of the trace.
    arrived: Duration,
    waited: Duration,
    ran: Duration,
}

/// One trace: the pool's mean wait, and the simulator's with the pool's own
/// arrivals and run times.
pub(crate) fn measure(report: &mut Report) {
    let seen = live();
    #[expect(clippy::cast_precision_loss, reason = "some thousand requests")]
    let count = seen.len() as f64;
    let real = seen.iter().map(|seen| seen.waited.as_secs_f64()).sum::<f64>() / count;
    let simulated = simulate(&seen);
    let case = "8 workers, load 0.8, 6,000 requests of 20 ms";
    report.add(case, "simulator", "mean wait", simulated * 1e3, "ms");
    report.add(case, "ThreadPool", "mean wait", real * 1e3, "ms");
}

/// Sleeping requests, at exponential times, for exponential times.
fn live() -> Vec<Seen> {
    let pool = ThreadPool::builder()
        .workers(WORKERS as usize)
        .line(REQUESTS)
        .build(|_| Ok(()))
        .expect("threads can be started");
    let mut rng = fastrand::Rng::with_seed(7);
    let mut draw = move || -(1.0 - rng.f64()).ln();
    let gap = SERVICE.div_f64(f64::from(WORKERS) * LOAD);
    let start = Instant::now();
    let mut due = Duration::ZERO;
    let replies: Vec<_> = (0..REQUESTS)
        .map(|_| {
            due += gap.mul_f64(draw());
            let service = SERVICE.mul_f64(draw());
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let arrived = start.elapsed();
            let work = move |(): &mut ()| {
                let waited = start.elapsed().saturating_sub(arrived);
                let began = Instant::now();
                std::thread::sleep(service);
                Seen { arrived, waited, ran: began.elapsed() }
            };
            pool.submit(work).map_err(|refused| refused.reason).expect("the line is long enough")
        })
        .collect();
    replies.into_iter().map(|reply| reply.wait().expect("no request panics")).collect()
}

/// The mean wait of the same requests, in seconds.
fn simulate(seen: &[Seen]) -> f64 {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).expect("minutes fit");
    let requests: Arc<[Arrival]> = seen
        .iter()
        .map(|seen| Arrival { at: nanos(seen.arrived), service: nanos(seen.ran) })
        .collect();
    let config = Config {
        policy: "least-loaded".parse().expect("it is a policy"),
        workers: WORKERS,
        // The pool's own default: all that waits is in the one line.
        capacity: Some(std::num::NonZeroU32::MIN),
        arrivals: Arrivals::Trace(requests),
        service: Service::Exponential,
        warm_up: 0.0,
        batches: 1,
        ..Config::default()
    };
    let mut run = Run::new(&config, 0).expect("the trace is sound");
    while !run.advance(1 << 20) {}
    run.outcome().batches[0].waiting
}
