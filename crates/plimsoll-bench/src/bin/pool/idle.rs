//! One request on an idle pool, and what an idle pool costs.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use plimsoll::{TaskPool, ThreadPool};
use plimsoll_bench::{Report, cpu_seconds, median};

/// Requests of a round; each finds the pool asleep.
const REQUESTS: u32 = 200;
/// Long enough for every thread to be parked again.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) fn measure(report: &mut Report) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);

    let pool = ThreadPool::new(cores).expect("builds");
    let rayon = rayon::ThreadPoolBuilder::new().build().expect("builds");
    let threadpool = threadpool::ThreadPool::new(cores);
    let crossbeam = crate::classic::crossbeam_pool(cores);
    report.measure(
        "one request on an idle pool, from a thread",
        "latency",
        "µs",
        &mut [
            ("ThreadPool", round(|| pool.submit(|()| 1).expect("taken").wait().expect("answered"))),
            ("rayon::spawn", round(|| through_channel(|job| rayon.spawn(job)))),
            ("threadpool", round(|| through_channel(|job| threadpool.execute(job)))),
            (
                "crossbeam-channel",
                round(|| through_channel(|job| crossbeam.send(Box::new(job)).expect("open"))),
            ),
            ("spawn_blocking", round(|| through_channel(|job| drop(runtime.spawn_blocking(job))))),
        ],
    );

    let handle = runtime.handle().clone();
    let spawn = move |worker| drop(handle.spawn(worker));
    let tasks = TaskPool::builder().workers(cores).build(spawn, |_| async { Ok(()) });
    let tasks = tasks.expect("builds");
    let task_pool = || {
        runtime.block_on(async {
            let reply = tasks.submit_async(|_| async { 1 }).await.expect("taken");
            reply.await.expect("answered")
        })
    };
    let spawn = || runtime.block_on(async { tokio::spawn(async { 1 }).await.expect("answered") });
    report.measure(
        "one request on an idle pool, from a task",
        "latency",
        "µs",
        &mut [("TaskPool", round(task_pool)), ("tokio::spawn", round(spawn))],
    );

    let idle = ThreadPool::new(10).expect("builds");
    idle.submit(|()| ()).expect("taken").wait().expect("answered");
    let (before, begun) = (cpu_seconds(), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let share = (cpu_seconds() - before) / begun.elapsed().as_secs_f64() * 100.0;
    report.add(
        "all of the above, idle",
        "every pool of this suite",
        "processor",
        share,
        "% of a core",
    );
}

fn round<'a>(mut request: impl FnMut() -> i32 + 'a) -> Box<dyn FnMut() -> f64 + 'a> {
    Box::new(move || {
        let mut samples: Vec<f64> = (0..REQUESTS)
            .map(|_| {
                std::thread::sleep(PAUSE);
                let begun = Instant::now();
                assert_eq!(request(), 1);
                begun.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        median(&mut samples)
    })
}

fn through_channel(execute: impl FnOnce(Box<dyn FnOnce() + Send>)) -> i32 {
    let (reply, answer) = mpsc::sync_channel(1);
    execute(Box::new(move || _ = reply.send(1)));
    answer.recv().expect("answered")
}
