//! An idle pool uses under 0.1 % of a core: measured in a process of its own.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "tests name themselves")]

use std::time::{Duration, Instant};

use plimsoll::ThreadPool;

/// The time that all threads of this process have run.
fn processor_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

#[test]
fn an_idle_pool_costs_next_to_nothing() {
    let pool = ThreadPool::builder().workers(10).build(|_| Ok(())).unwrap();
    pool.broadcast(|()| ());
    let shares = (0..5).map(|_| {
        let (before, begun) = (processor_time(), Instant::now());
        // The one thing to wait for here is time.
        std::thread::sleep(Duration::from_millis(500));
        (processor_time().saturating_sub(before)).as_secs_f64() / begun.elapsed().as_secs_f64()
    });
    // What else the process does once is in one window only.
    let least = shares.fold(f64::INFINITY, f64::min);
    println!("idle: {:.4} % of a core", least * 100.0);
    assert!(least < 0.001, "{:.4} % of a core", least * 100.0);
}
