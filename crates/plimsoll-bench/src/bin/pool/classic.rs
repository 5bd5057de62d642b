//! The classic program: 100 requesters, each of which sends a trivial request,
//! waits for its answer and begins again.
//!
//! The requesters are tokio tasks on a runtime with a thread per core, the same
//! for every system.

use std::ffi::OsStr;
use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plimsoll::{TaskPool, ThreadPool};
use plimsoll_bench::{Report, Rounds, cpu_seconds};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const REQUESTERS: usize = 100;
const ROUND: Duration = Duration::from_millis(500);

/// The work: too small to be seen.
fn work(n: u64) -> u64 {
    std::hint::black_box(n).wrapping_mul(3)
}

pub(crate) fn measure(report: &mut Report) {
    let runtime = Runtime::new().expect("a runtime starts");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = |workers: usize, capacity: u32| {
        ThreadPool::builder().workers(workers).capacity(capacity).build(|_| Ok(())).expect("builds")
    };
    let tasks = |workers: usize, capacity: u32| {
        let handle = runtime.handle().clone();
        let spawn = move |worker| drop(handle.spawn(worker));
        let pool = TaskPool::builder().workers(workers).capacity(capacity);
        pool.build(spawn, |_| async { Ok(()) }).expect("builds")
    };
    let mut systems: Vec<Rounds<'_, 2>> = Vec::new();
    for (name, pool) in [
        ("ThreadPool cores, capacity 64", threads(cores, 64)),
        ("ThreadPool cores, capacity 1", threads(cores, 1)),
        ("ThreadPool 10, capacity 64", threads(10, 64)),
        ("ThreadPool 10, capacity 1", threads(10, 1)),
    ] {
        let request = move |n| {
            let submitted = pool.submit_async(move |()| work(n));
            async move { submitted.await.expect("taken").await.expect("answered") }
        };
        systems.push(system(&runtime, name, request));
    }
    for (name, pool) in
        [("TaskPool 10, capacity 64", tasks(10, 64)), ("TaskPool 10, capacity 1", tasks(10, 1))]
    {
        let request = move |n| {
            let submitted = pool.submit_async(move |_| async move { work(n) });
            async move { submitted.await.expect("taken").await.expect("answered") }
        };
        systems.push(system(&runtime, name, request));
    }
    let rayon = Arc::new(rayon::ThreadPoolBuilder::new().build().expect("builds"));
    systems.push(system(&runtime, "rayon::spawn + oneshot", move |n| {
        let (reply, answer) = oneshot::channel();
        rayon.spawn(move || _ = reply.send(work(n)));
        async move { answer.await.expect("answered") }
    }));
    systems.push(system(&runtime, "tokio::spawn", |n| async move {
        tokio::spawn(async move { work(n) }).await.expect("answered")
    }));
    systems.push(system(&runtime, "spawn_blocking", |n| async move {
        tokio::task::spawn_blocking(move || work(n)).await.expect("answered")
    }));
    let threadpool = Arc::new(std::sync::Mutex::new(threadpool::ThreadPool::new(10)));
    systems.push(system(&runtime, "threadpool 10", move |n| {
        let (reply, answer) = oneshot::channel();
        let pool = threadpool.lock().expect("not poisoned").clone();
        pool.execute(move || _ = reply.send(work(n)));
        async move { answer.await.expect("answered") }
    }));
    let channel = crossbeam_pool(10);
    systems.push(system(&runtime, "crossbeam-channel 10", move |n| {
        let (reply, answer) = oneshot::channel();
        channel.send(Box::new(move || _ = reply.send(work(n)))).expect("open");
        async move { answer.await.expect("answered") }
    }));
    if let Some(classic) = std::env::var_os("PLIMSOLL_BENCH_GO") {
        systems.push(("the classic in Go, 10", Box::new(move || go(&classic))));
    }
    let metrics = [("requests/s", "1/s"), ("processor time a request", "µs")];
    report.measure_all("classic", metrics, &mut systems);
}

/// A round of the program of `peers/go`, built by `scripts/bench`.
fn go(classic: &OsStr) -> [f64; 2] {
    let used = cpu_seconds();
    let arguments = ["10".to_owned(), REQUESTERS.to_string(), ROUND.as_millis().to_string()];
    let output = Command::new(classic).args(arguments).output().expect("the Go program runs");
    let figure = String::from_utf8_lossy(&output.stdout);
    let rate: f64 = figure.trim().parse().expect("the Go program prints its figure");
    [rate, (cpu_seconds() - used) / (rate * ROUND.as_secs_f64()) * 1e6]
}

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Threads that share one channel of boxed closures.
pub(crate) fn crossbeam_pool(workers: usize) -> crossbeam_channel::Sender<Job> {
    let (sender, jobs) = crossbeam_channel::unbounded::<Job>();
    for _ in 0..workers {
        let jobs = jobs.clone();
        std::thread::spawn(move || jobs.iter().for_each(|job| job()));
    }
    sender
}

/// A system, measured for a round.
fn system<'a, F, Fut>(runtime: &'a Runtime, name: &'a str, request: F) -> Rounds<'a, 2>
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = u64> + Send + 'static,
{
    let request = Arc::new(request);
    (name, Box::new(move || round(runtime, &request)))
}

/// Requests per second of all requesters together, and what one costs.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn round<F, Fut>(runtime: &Runtime, request: &Arc<F>) -> [f64; 2]
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = u64> + Send + 'static,
{
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let used = cpu_seconds();
    let requesters: Vec<_> = (0..REQUESTERS)
        .map(|_| {
            let (request, done) = (Arc::clone(request), Arc::clone(&done));
            runtime.spawn(async move {
                let mut answered = 0;
                while begun.elapsed() < ROUND {
                    // A clock reading per request would be part of the figure.
                    for n in 0..16 {
                        assert_eq!(request(n).await, n * 3);
                    }
                    answered += 16;
                }
                done.fetch_add(answered, Ordering::Relaxed);
            })
        })
        .collect();
    runtime.block_on(async {
        for requester in requesters {
            requester.await.expect("a requester ends");
        }
    });
    let answered = done.load(Ordering::Relaxed) as f64;
    let rate = answered / begun.elapsed().as_secs_f64();
    [rate, (cpu_seconds() - used) / answered * 1e6]
}
