//! What has gone wrong in software of this kind, by name: the counts.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll::{Balancer, Policy, Reason, ThreadPool, WorkerSpec};

use crate::common::{Counter, LIMIT, bounded, hold, poll, settled, spec};

/// Numbers that differ with every draw, from a seed that a failure prints.
struct Draws(u64);

impl Draws {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

#[test]
fn aborting_100_000_queued_requests_returns_the_count_to_0() {
    const REQUESTS: usize = 100_000;
    bounded(|| {
        let balancer: Balancer<()> = Balancer::builder().line(REQUESTS).build();
        balancer.add((), spec(1));
        let lease = balancer.try_acquire().unwrap();
        let counter = Counter::new();
        let mut waiting: Vec<_> = (0..REQUESTS).map(|_| balancer.acquire()).collect();
        for acquire in &mut waiting {
            assert!(poll(acquire, &counter).is_pending());
        }
        assert_eq!(balancer.snapshot().waiting, REQUESTS);
        drop(waiting);
        assert_eq!(balancer.snapshot().waiting, 0);
        drop(lease);
        settled(&balancer);

        let pool = ThreadPool::builder().workers(1).line(REQUESTS).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let replies: Vec<_> = (0..REQUESTS).map(|_| pool.try_submit(|()| ()).unwrap()).collect();
        drop(replies);
        assert_eq!(pool.snapshot().waiting, 0);
        held.let_go();
        settled(&pool);
    });
}

#[test]
fn timing_out_in_line_returns_the_count_to_0() {
    bounded(|| {
        let balancer: Balancer<()> = Balancer::builder().line(10_000).build();
        balancer.add((), spec(1));
        let lease = balancer.try_acquire().unwrap();
        let counter = Counter::new();
        let deadline = Instant::now() + Duration::from_millis(50);
        let mut waiting: Vec<_> =
            (0..10_000).map(|_| balancer.request().deadline(deadline).acquire()).collect();
        for acquire in &mut waiting {
            let _ = poll(acquire, &counter);
        }
        crate::common::until(|| balancer.snapshot().waiting == 0);
        drop(lease);
        settled(&balancer);
        drop(waiting);
        settled(&balancer);
    });
}

#[test]
fn all_full_is_bounded_steps_and_a_typed_answer() {
    bounded(|| {
        let balancer: Balancer<u32> = Balancer::builder().line(0).build();
        balancer.add(0, spec(1));
        balancer.add(1, spec(1));
        let leases = [balancer.try_acquire().unwrap(), balancer.try_acquire().unwrap()];
        for _ in 0..1000 {
            assert!(matches!(balancer.try_acquire(), Err(Reason::Full)));
            assert!(matches!(balancer.acquire_blocking(LIMIT), Err(Reason::Full)));
        }
        drop(leases);
        settled(&balancer);
    });
}

#[test]
fn a_retry_with_one_worker_ends() {
    let balancer = Balancer::new();
    let only = balancer.add((), spec(1));
    let lease = balancer.try_acquire().unwrap();
    let retry = || balancer.request().exclude(only).exclude(only);
    assert!(matches!(retry().try_acquire(), Err(Reason::EveryWorkerExcluded)));
    lease.fail();
    assert!(matches!(retry().acquire_blocking(LIMIT), Err(Reason::EveryWorkerExcluded)));
    settled(&balancer);
}

#[test]
fn maxconn_1_with_more_threads_than_workers_loses_no_wake_up() {
    bounded(|| {
        let balancer = Balancer::new();
        balancer.add((), spec(1));
        let (inside, acquired) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let lease = balancer.acquire_blocking(LIMIT).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        acquired.fetch_add(1, Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lease);
                    }
                });
            }
        });
        assert_eq!(acquired.into_inner(), 16_000);
        settled(&balancer);

        let pool = ThreadPool::builder().workers(2).line(1).build(|_| Ok(())).unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..500 {
                        assert_eq!(pool.submit(move |()| n).unwrap().wait().unwrap(), n);
                    }
                });
            }
        });
        settled(&pool);
    });
}

#[test]
fn giving_up_just_when_the_worker_comes_leaks_no_charge() {
    bounded(|| {
        let balancer = Balancer::new();
        balancer.add((), spec(1));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|nth| {
                    let balancer = &balancer;
                    scope.spawn(move || {
                        let mut draws = Draws::new(nth);
                        for _ in 0..3000 {
                            let timeout = Duration::from_nanos(draws.below(20_000));
                            drop(balancer.acquire_blocking(timeout));
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                let counter = Counter::new();
                while !done.load(Ordering::Relaxed) {
                    let mut acquire = balancer.acquire();
                    let _ = poll(&mut acquire, &counter);
                    drop(acquire);
                }
            });
            for thread in threads {
                thread.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        settled(&balancer);
    });
}

#[test]
fn add_remove_and_reweigh_in_a_storm_while_releasing() {
    bounded(|| {
        let balancer: Balancer<u64> = Balancer::builder().line(64).audit_every(3).build();
        let steady = balancer.add(0, spec(2));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let requesters: Vec<_> = (0..4)
                .map(|seed| {
                    let balancer = &balancer;
                    scope.spawn(move || {
                        let mut draws = Draws::new(100 + seed);
                        let mut leases = Vec::new();
                        for _ in 0..3000 {
                            match draws.below(4) {
                                0 => leases.extend(balancer.try_acquire().ok()),
                                1 => leases.extend(
                                    balancer.acquire_blocking(Duration::from_micros(50)).ok(),
                                ),
                                2 => {
                                    let cost = 1 + u32::try_from(draws.below(3)).unwrap();
                                    let request = balancer.request().cost(cost.try_into().unwrap());
                                    leases.extend(request.exclude(steady).try_acquire().ok());
                                }
                                _ if leases.is_empty() => {}
                                _ => {
                                    let place = draws.below(leases.len() as u64);
                                    drop(leases.swap_remove(usize::try_from(place).unwrap()));
                                }
                            }
                        }
                    })
                })
                .collect();
            let controller = scope.spawn(|| {
                let mut draws = Draws::new(7);
                let mut ids = Vec::new();
                let mut removals = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let weight = 1 + u16::try_from(draws.below(9)).unwrap();
                    let capacity = 1 + u32::try_from(draws.below(5)).unwrap();
                    if ids.len() < 6 {
                        let weight = weight.try_into().unwrap();
                        let added = WorkerSpec { weight, ..spec(capacity) };
                        ids.push(balancer.add(draws.below(99), added));
                    }
                    let id = ids[usize::try_from(draws.below(ids.len() as u64)).unwrap()];
                    match draws.below(5) {
                        0 => {
                            ids.retain(|&other| other != id);
                            removals.push(balancer.remove(id).unwrap());
                        }
                        1 => balancer.set_weight(id, weight.try_into().unwrap()).unwrap(),
                        2 => balancer.set_capacity(id, capacity.try_into().unwrap()).unwrap(),
                        3 => balancer.set_draining(id, draws.below(2) == 0).unwrap(),
                        _ => balancer.start_ramp(id, Duration::from_millis(1)).unwrap(),
                    }
                    balancer.check_invariants().unwrap();
                }
                removals
            });
            for requester in requesters {
                requester.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
            for removal in controller.join().unwrap() {
                removal.wait(LIMIT).unwrap();
            }
        });
        settled(&balancer);
    });
}

#[test]
fn a_flapping_worker_never_touches_the_counter_of_its_successor() {
    let balancer = Balancer::new();
    let mut old = Vec::new();
    for generation in 0..100 {
        let id = balancer.add(generation, spec(2));
        old.push(balancer.try_acquire().unwrap());
        let snapshot = balancer.snapshot();
        assert!(snapshot.workers.iter().any(|worker| worker.id == id && worker.pending == 1));
        drop(balancer.remove(id).unwrap());
        if old.len() > 3 {
            drop(old.remove(0));
        }
        balancer.check_invariants().unwrap();
    }
    drop(old);
    settled(&balancer);
}

#[test]
fn counters_survive_every_way_out() {
    bounded(|| {
        let pool =
            ThreadPool::builder().workers(3).capacity(2).line(16).audit_every(5).build(|_| Ok(()));
        let pool = pool.unwrap();
        thread::scope(|scope| {
            for seed in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    let mut draws = Draws::new(seed);
                    for n in 0..1000 {
                        let deadline = Instant::now() + Duration::from_micros(draws.below(200));
                        match draws.below(7) {
                            0 => pool.submit(move |()| n).unwrap().wait().map(drop).unwrap(),
                            1 => drop(pool.submit(|()| ())),
                            2 => drop(pool.submit(|()| panic!("on its way out")).unwrap().wait()),
                            3 => drop(pool.request().deadline(deadline).submit(|()| ())),
                            4 => drop(
                                pool.request().deadline(deadline).submit(|()| ()).map(|r| r.wait()),
                            ),
                            5 => pool.submit(|()| ()).unwrap().detach(),
                            _ => drop(
                                pool.try_submit(|()| ())
                                    .map(|mut reply| reply.wait_timeout(Duration::from_micros(1))),
                            ),
                        }
                    }
                });
            }
        });
        pool.shutdown(plimsoll::Shutdown::Drain);
        settled(&pool);
    });
}

#[test]
fn ties_do_not_go_to_the_first_index() {
    let balancer = Balancer::new();
    for number in 0..10_usize {
        balancer.add(number, spec(1000));
    }
    let mut taken = [0; 10];
    for _ in 0..10_000 {
        taken[*balancer.try_acquire().unwrap().worker()] += 1;
    }
    assert!(taken.iter().all(|&count| count == 1000), "{taken:?}");
    settled(&balancer);
}

#[test]
fn the_count_is_raised_with_the_choice() {
    bounded(|| {
        const THREADS: usize = 8;
        let balancer = Balancer::new();
        for number in 0..THREADS {
            balancer.add(number, spec(100));
        }
        for _ in 0..200 {
            let barrier = Barrier::new(THREADS);
            let leases: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            balancer.try_acquire().unwrap()
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let mut workers: Vec<_> = leases.iter().map(|lease| *lease.worker()).collect();
            workers.sort_unstable();
            assert!(workers.into_iter().eq(0..THREADS), "two saw the same count");
        }
        settled(&balancer);
    });
}

#[test]
fn the_running_request_is_counted() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(2).capacity(8).build(Ok).unwrap();
        crate::common::up(&pool);
        let held = hold(&pool);
        assert_eq!(pool.snapshot().pending(), 1);
        let busy = pool.snapshot().workers.iter().position(|worker| worker.pending == 1).unwrap();
        // One at a time, so that the other worker is idle for each.
        for _ in 0..50 {
            let number = pool.submit(|number| *number).unwrap().wait().unwrap();
            assert_ne!(number, busy);
        }
        held.let_go();
        settled(&pool);
    });
}

#[test]
fn a_worker_that_is_still_starting_gets_nothing() {
    bounded(|| {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = std::sync::Mutex::new(gone);
        let factory = move |number| {
            if number == 0 {
                let _ = gone.lock().unwrap().recv();
            }
            Ok(number)
        };
        let pool = ThreadPool::builder().workers(2).capacity(8).build(factory).unwrap();
        for _ in 0..100 {
            assert_eq!(pool.submit(|number| *number).unwrap().wait().unwrap(), 1);
        }
        drop(go);
        crate::common::up(&pool);
        settled(&pool);
    });
}

#[test]
fn a_worker_that_fails_fast_attracts_nothing() {
    let balancer = Balancer::new();
    for number in 0..4_usize {
        balancer.add(number, spec(1000));
    }
    let mut held = std::collections::VecDeque::new();
    let mut taken = [0; 4];
    for _ in 0..4000 {
        let lease = balancer.try_acquire().unwrap();
        taken[*lease.worker()] += 1;
        if *lease.worker() == 0 {
            lease.fail();
        } else {
            held.push_back(lease);
            if held.len() > 30 {
                held.pop_front();
            }
        }
    }
    assert!(taken[0] < 400, "the magnet: {taken:?}");
    drop(held);
    settled(&balancer);
}

#[test]
fn costs_are_charged_as_they_are() {
    let balancer = Balancer::new();
    balancer.add(0, spec(200));
    balancer.add(1, spec(200));
    let heavy = balancer.request().cost(100.try_into().unwrap()).try_acquire().unwrap();
    let light: Vec<_> = (0..100).map(|_| balancer.try_acquire().unwrap()).collect();
    assert!(light.iter().all(|lease| lease.worker() != heavy.worker()));
    drop((heavy, light));
    settled(&balancer);
}

#[test]
fn weights_do_not_switch_the_policy_off() {
    let balancer: Balancer<usize> =
        Balancer::builder().policy(Policy::LeastLoaded).audit_every(1).build();
    for number in 0..5 {
        let weight = u16::try_from(number + 1).unwrap().try_into().unwrap();
        balancer.add(number, WorkerSpec { weight, ..spec(100) });
    }
    let mut draws = Draws::new(5);
    let mut leases = Vec::new();
    for _ in 0..3000 {
        if leases.len() < 60 && draws.below(2) == 0 {
            leases.extend(balancer.try_acquire().ok());
        } else if !leases.is_empty() {
            let place = usize::try_from(draws.below(leases.len() as u64)).unwrap();
            drop(leases.swap_remove(place));
        }
    }
    drop(leases);
    settled(&balancer);
}
