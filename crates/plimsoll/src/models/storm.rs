//! Whole lives under random schedules, eight threads in each.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::{balancer_at_rest, pool_at_rest, task_pool_at_rest};
use crate::{Balancer, ReplyError, Shutdown, StateGuard, TaskPool, ThreadPool, WorkerSpec};

/// How many schedules, from the script.
fn schedules() -> usize {
    let told = std::env::var("PLIMSOLL_SCHEDULES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(200)
}

fn draw(below: u32) -> u32 {
    thread_rng().gen_range(0..below)
}

/// A panic without the report that the checker would take for its own.
fn blow_up() {
    resume_unwind(Box::new("a request goes wrong"));
}

/// Three workers, three requesters, one who resizes and shuts down, and the
/// test's own thread.
fn life() {
    let pool = ThreadPool::builder()
        .workers(3)
        .capacity(1 + draw(2))
        .line(draw(3) as usize)
        .build(|_| Ok(0_u64))
        .unwrap();
    let requesters: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            thread::spawn(move || {
                for n in 0..6 {
                    match draw(8) {
                        0 => drop(pool.submit(|_| blow_up()).map(crate::Reply::wait)),
                        1 => drop(pool.submit(|_| ())),
                        2 => drop(pool.try_submit(|_| ())),
                        3 => drop(pool.submit(|_| ()).map(crate::Reply::detach)),
                        4 => drop(pool.broadcast(|count| *count += 1)),
                        5 => drop(pool.scope(|scope| {
                            let _ = scope.submit(|count| *count += 1);
                            let _ = scope.submit(|_| blow_up());
                        })),
                        _ => match pool.submit(move |_| n).map(crate::Reply::wait) {
                            Ok(Ok(answer)) => assert_eq!(answer, n),
                            Ok(Err(ReplyError::Shutdown)) | Err(_) => {}
                            Ok(Err(error)) => panic!("{error}"),
                        },
                    }
                }
            })
        })
        .collect();
    let controller = {
        let pool = pool.clone();
        thread::spawn(move || {
            for _ in 0..4 {
                pool.resize(1 + draw(3) as usize).unwrap();
                pool.check_invariants().unwrap();
            }
            match draw(3) {
                0 => drop(pool.shutdown(Shutdown::Drain)),
                1 => drop(pool.shutdown(Shutdown::DropQueue)),
                _ => {}
            }
        })
    };
    for thread in requesters {
        thread.join().unwrap();
    }
    controller.join().unwrap();
    pool.shutdown(Shutdown::Drain);
    pool_at_rest(&pool);
}

/// Two workers that are tasks, each on a thread, four requesters, one who
/// resizes and shuts down, and the test's own thread.
fn tasks() {
    let spawn = |worker| drop(thread::spawn(move || shuttle::future::block_on(worker)));
    let pool = TaskPool::builder()
        .workers(2)
        .capacity(1 + draw(2))
        .line(draw(3) as usize)
        .build(spawn, |_| async { Ok(0_u64) })
        .unwrap();
    let requesters: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            thread::spawn(move || {
                for n in 0..5 {
                    match draw(6) {
                        0 => drop(pool.submit(|_| async { blow_up() }).map(crate::Reply::wait)),
                        1 => drop(pool.submit(|_| async {})),
                        2 => drop(
                            pool.submit(|_| shuttle::future::yield_now()).map(crate::Reply::detach),
                        ),
                        3 => {
                            let add = |mut count: StateGuard<u64>| async move { *count += 1 };
                            drop(shuttle::future::block_on(pool.broadcast(add)));
                        }
                        _ => match pool.submit(move |_| async move { n }).map(crate::Reply::wait) {
                            Ok(Ok(answer)) => assert_eq!(answer, n),
                            Ok(Err(ReplyError::Shutdown)) | Err(_) => {}
                            Ok(Err(error)) => panic!("{error}"),
                        },
                    }
                }
            })
        })
        .collect();
    for _ in 0..3 {
        pool.resize(1 + draw(2) as usize).unwrap();
        pool.check_invariants().unwrap();
    }
    match draw(3) {
        0 => drop(shuttle::future::block_on(pool.shutdown(Shutdown::Drain))),
        1 => drop(shuttle::future::block_on(pool.shutdown(Shutdown::DropQueue))),
        _ => {}
    }
    for thread in requesters {
        thread.join().unwrap();
    }
    shuttle::future::block_on(pool.shutdown(Shutdown::Drain));
    task_pool_at_rest(&pool);
}

/// Seven requesters over two workers that change, and the one who changes them.
fn leases() {
    let balancer = Arc::new(Balancer::new());
    let spec = |capacity: u32| WorkerSpec::new(capacity.try_into().unwrap());
    balancer.add(0, spec(1));
    let requesters: Vec<_> = (0..7)
        .map(|_| {
            let balancer = Arc::clone(&balancer);
            thread::spawn(move || {
                for _ in 0..6 {
                    match draw(4) {
                        0 => drop(balancer.try_acquire()),
                        1 => drop(balancer.acquire_blocking(Duration::MAX)),
                        2 => drop(balancer.acquire_blocking(Duration::ZERO)),
                        _ => {
                            let mut acquire = Box::pin(balancer.acquire());
                            let mut context = Context::from_waker(Waker::noop());
                            let _ = acquire.as_mut().poll(&mut context);
                            thread::yield_now();
                        }
                    }
                }
            })
        })
        .collect();
    for number in 1..5 {
        let id = balancer.add(number, spec(1 + draw(2)));
        balancer.set_weight(id, 2.try_into().unwrap()).unwrap();
        balancer.set_capacity(id, (1 + draw(3)).try_into().unwrap()).unwrap();
        balancer.check_invariants().unwrap();
        assert_eq!(balancer.remove(id).unwrap().wait(Duration::MAX).unwrap(), number);
    }
    for thread in requesters {
        thread.join().unwrap();
    }
    balancer_at_rest(&balancer);
}

#[test]
fn a_thread_pools_life() {
    shuttle::check_random(life, schedules());
}

#[test]
fn a_thread_pools_life_with_few_preemptions() {
    shuttle::check_pct(life, schedules(), 3);
}

#[test]
fn a_balancer_in_a_storm() {
    shuttle::check_random(leases, schedules());
}

#[test]
fn a_balancer_in_a_storm_with_few_preemptions() {
    shuttle::check_pct(leases, schedules(), 3);
}

#[test]
fn a_task_pools_life() {
    shuttle::check_random(tasks, schedules());
}

#[test]
fn a_task_pools_life_with_few_preemptions() {
    shuttle::check_pct(tasks, schedules(), 3);
}
