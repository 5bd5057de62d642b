//! At most one allocation a request, in a process of its own, so that nobody
//! else's are counted.
#![allow(missing_docs, reason = "tests name themselves")]

use std::alloc::System;
use std::sync::Mutex;

use plimsoll::{Balancer, TaskPool, ThreadPool, WorkerSpec};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One at a time: the counter is the process's.
static ALONE: Mutex<()> = Mutex::new(());

const WARM_UP: u64 = 1000;
const REQUESTS: u64 = 20_000;

/// Allocations of a request, on all threads, when all that grows has grown.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn per_request(mut request: impl FnMut(u64)) -> f64 {
    (0..WARM_UP).for_each(&mut request);
    let region = Region::new(ALLOCATOR);
    (0..REQUESTS).for_each(&mut request);
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / REQUESTS as f64
}

#[test]
fn a_thread_pools_request() {
    let _alone = ALONE.lock();
    let pool = ThreadPool::builder().workers(2).capacity(2).build(|_| Ok(0)).unwrap();
    let count = per_request(|n| assert_eq!(pool.submit(move |_| n).unwrap().wait().unwrap(), n));
    assert!(count <= 1.01, "{count} a request");

    // Many at once: through the line as well.
    let mut replies = Vec::with_capacity(200);
    let count = per_request(|n| {
        replies.push(pool.submit(move |_| n).unwrap());
        if replies.len() == 200 {
            replies.drain(..).for_each(|reply| assert!(reply.wait().is_ok()));
        }
    });
    replies.drain(..).for_each(|reply| assert!(reply.wait().is_ok()));
    assert!(count <= 2.0, "{count} a request in line");
}

#[test]
fn a_task_pools_request() {
    let _alone = ALONE.lock();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    let spawn = |worker| drop(tokio::spawn(worker));
    let pool =
        TaskPool::builder().workers(2).capacity(2).build(spawn, |_| async { Ok(0) }).unwrap();
    let count = per_request(|n| {
        let reply = pool.submit(move |_| async move { n }).unwrap();
        assert_eq!(runtime.block_on(reply).unwrap(), n);
    });
    assert!(count <= 1.01, "{count} a request");
}

#[test]
fn a_balancers_lease() {
    let _alone = ALONE.lock();
    let balancer = Balancer::new();
    for number in 0..4 {
        balancer.add(number, WorkerSpec::new(2.try_into().unwrap()));
    }
    let count = per_request(|_| drop(balancer.try_acquire().unwrap()));
    assert!(count < 0.01, "{count} a lease");
}
