//! Workers come and go while requests run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use plimsoll::{ReplyError, Shutdown, ThreadPool};

use crate::common::{bounded, hold, settled, until};

#[test]
fn more_workers_serve_the_line() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let held = hold(&pool);
        let reply = pool.submit(|()| 1).unwrap();
        pool.resize(2).unwrap();
        assert_eq!(reply.wait().unwrap(), 1);
        assert_eq!(pool.workers(), 2);
        held.let_go();
        settled(&pool);
    });
}

#[test]
fn a_worker_that_goes_finishes_what_it_was_given() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(2).capacity(3).build(|_| Ok(())).unwrap();
        crate::common::up(&pool);
        let held = [hold(&pool), hold(&pool)];
        let queued: Vec<_> = (0..4).map(|n| pool.submit(move |()| n).unwrap()).collect();
        pool.resize(1).unwrap();
        assert_eq!((pool.workers(), pool.snapshot().pending()), (1, 6));
        for held in held {
            held.let_go();
        }
        for (n, reply) in (0..).zip(queued) {
            assert_eq!(reply.wait().unwrap(), n);
        }
        until(|| pool.snapshot().workers.len() == 1);
        settled(&pool);
    });
}

#[test]
fn up_and_down_under_load() {
    for capacity in [1, 4] {
        bounded(move || {
            let pool =
                ThreadPool::builder().workers(4).capacity(capacity).build(|_| Ok(())).unwrap();
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                let requesters: Vec<_> = (0..3)
                    .map(|_| {
                        scope.spawn(|| {
                            for n in 0..1500 {
                                let reply = pool.submit(move |()| n).unwrap();
                                assert_eq!(reply.wait().unwrap(), n);
                            }
                        })
                    })
                    .collect();
                let resizers: Vec<_> = [[1, 7, 3], [5, 2, 4]]
                    .map(|sizes| {
                        let (pool, done) = (&pool, &done);
                        scope.spawn(move || {
                            for size in sizes.into_iter().cycle() {
                                if done.load(Ordering::Relaxed) {
                                    break;
                                }
                                pool.resize(size).unwrap();
                                pool.check_invariants().unwrap();
                                assert!((1..=7).contains(&pool.workers()));
                            }
                        })
                    })
                    .into();
                for requester in requesters {
                    requester.join().unwrap();
                }
                done.store(true, Ordering::Relaxed);
                for resizer in resizers {
                    resizer.join().unwrap();
                }
            });
            settled(&pool);
        });
    }
}

#[test]
fn a_broadcast_to_a_worker_that_goes_is_answered() {
    bounded(|| {
        let pool = ThreadPool::new(4).unwrap();
        thread::scope(|scope| {
            let resizer = scope.spawn(|| {
                for size in [1, 6, 2, 5, 1, 4].into_iter().cycle().take(300) {
                    pool.resize(size).unwrap();
                }
            });
            while !resizer.is_finished() {
                for answer in pool.broadcast(|()| ()) {
                    assert!(matches!(answer, Ok(()) | Err(ReplyError::Shutdown)), "{answer:?}");
                }
            }
        });
        settled(&pool);
    });
}

#[test]
fn a_finished_pool_does_not_grow() {
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        pool.shutdown(Shutdown::Drain);
        pool.resize(5).unwrap();
        assert_eq!(pool.workers(), 0);
        settled(&pool);
    });
}
