//! The classic program: 100 requesters, each of which sends a trivial request,
//! waits for its answer and begins again.
//!
//! The requesters are tokio tasks on a runtime with a thread per core, the same
//! for every system.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plimsoll::{TaskPool, ThreadPool};
use plimsoll_bench::{Report, System};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const REQUESTERS: usize = 100;
const ROUND: Duration = Duration::from_millis(500);

/// The work: too small to be seen.
fn work(n: u64) -> u64 {
    std::hint::black_box(n).wrapping_mul(3)
}

pub(crate) fn measure(report: &mut Report, only: &str) {
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
    let mut systems: Vec<System<'_>> = Vec::new();
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
    systems.retain(|(name, _)| name.contains(only));
    report.measure("classic", "requests/s", "1/s", &mut systems);
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that share one channel of boxed closures.
fn crossbeam_pool(workers: usize) -> crossbeam_channel::Sender<Job> {
    let (sender, jobs) = crossbeam_channel::unbounded::<Job>();
    for _ in 0..workers {
        let jobs = jobs.clone();
        std::thread::spawn(move || jobs.iter().for_each(|job| job()));
    }
    sender
}

/// A system, measured for a round.
fn system<'a, F, Fut>(runtime: &'a Runtime, name: &'a str, request: F) -> System<'a>
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = u64> + Send + 'static,
{
    let request = Arc::new(request);
    (name, Box::new(move || round(runtime, Arc::clone(&request))))
}

/// Requests per second of all requesters together.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn round<F, Fut>(runtime: &Runtime, request: Arc<F>) -> f64
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = u64> + Send + 'static,
{
    let done = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let cpu0 = cpu();
    let requesters: Vec<_> = (0..REQUESTERS)
        .map(|_| {
            let (request, done) = (Arc::clone(&request), Arc::clone(&done));
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
    let n = done.load(Ordering::Relaxed) as f64;
    eprintln!("   cpu us/request {:.3}", (cpu() - cpu0) / n * 1e6);
    n / begun.elapsed().as_secs_f64()
}

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
