//! Requests that borrow.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use plimsoll::{Reason, ReplyError, Shutdown, ThreadPool};

use crate::common::{bounded, hold, settled, until};

#[test]
fn requests_borrow_from_the_caller_and_are_over_when_it_returns() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(3).capacity(2).line(4).build(|_| Ok(())).unwrap();
        let text = String::from("borrowed");
        let mut lengths = vec![0; 200];
        let result = pool.scope(|scope| {
            for length in &mut lengths {
                scope.submit(|()| *length = text.len()).unwrap();
            }
            "the body's own"
        });
        assert_eq!(result.unwrap(), "the body's own");
        assert!(lengths.iter().all(|&length| length == 8));
        settled(&pool);
    });
}

#[test]
fn the_state_is_lent_as_well() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(2).build(Ok).unwrap();
        let sum = AtomicUsize::new(0);
        pool.scope(|scope| {
            for _ in 0..50 {
                scope
                    .submit(|number: &mut usize| {
                        sum.fetch_add(*number + 1, Ordering::SeqCst);
                    })
                    .unwrap();
            }
        })
        .unwrap();
        assert!((50..=100).contains(&sum.into_inner()));
        settled(&pool);
    });
}

#[test]
fn an_unwinding_body_waits_too() {
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        let (barrier, finished) = (Barrier::new(2), AtomicUsize::new(0));
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            pool.scope(|scope| {
                for _ in 0..10 {
                    scope
                        .submit(|()| {
                            finished.fetch_add(1, Ordering::SeqCst);
                        })
                        .unwrap();
                }
                scope
                    .submit(|()| {
                        barrier.wait();
                        thread::yield_now();
                        finished.fetch_add(1, Ordering::SeqCst);
                    })
                    .unwrap();
                barrier.wait();
                panic!("the body goes wrong");
            })
        }));
        assert!(unwound.is_err());
        assert_eq!(finished.load(Ordering::SeqCst), 11);
        settled(&pool);
    });
}

#[test]
fn a_panic_of_a_request_is_the_scopes_error() {
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        let finished = AtomicUsize::new(0);
        let result = pool.scope(|scope| {
            for n in 0..20 {
                let finished = &finished;
                scope
                    .submit(move |()| {
                        assert_ne!(n, 7, "the seventh");
                        finished.fetch_add(1, Ordering::SeqCst);
                    })
                    .unwrap();
            }
        });
        let Err(ReplyError::Panicked(text)) = result else { panic!("{result:?}") };
        assert!(text.contains("the seventh"));
        assert_eq!(finished.load(Ordering::SeqCst), 19);
        settled(&pool);
    });
}

#[test]
fn a_refused_request_is_dropped_and_named() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        pool.shutdown(Shutdown::Drain);
        let borrowed = AtomicUsize::new(0);
        let result = pool.scope(|scope| {
            let refused = scope.submit(|()| {
                borrowed.fetch_add(1, Ordering::SeqCst);
            });
            assert!(matches!(refused, Err(Reason::Closed)));
        });
        assert!(matches!(result, Err(ReplyError::Refused(Reason::Closed))), "{result:?}");
        assert_eq!(borrowed.into_inner(), 0);
        settled(&pool);
    });
}

#[test]
fn a_shutdown_amid_a_scope_ends_it() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(3).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let other = pool.clone();
        let ran = AtomicUsize::new(0);
        let mut shutdown = None;
        let result = pool.scope(|scope| {
            for _ in 0..9 {
                scope
                    .submit(|()| {
                        ran.fetch_add(1, Ordering::SeqCst);
                    })
                    .unwrap();
            }
            shutdown = Some(thread::spawn(move || other.shutdown(Shutdown::DropQueue)));
            until(|| pool.snapshot().pending() == 1);
            held.let_go();
        });
        assert!(matches!(result, Err(ReplyError::Shutdown)), "{result:?}");
        assert_eq!(shutdown.unwrap().join().unwrap().not_run, 9);
        assert_eq!(ran.into_inner(), 0);
        settled(&pool);
    });
}

#[test]
fn a_request_of_a_scope_cannot_submit_to_it_but_to_another() {
    bounded(|| {
        let (pool, other) = (ThreadPool::new(1).unwrap(), ThreadPool::new(1).unwrap());
        let mut value = 0;
        let inner = &mut value;
        let result = pool.scope(|scope| {
            scope
                .submit(move |()| {
                    let refused = scope.submit(|()| ());
                    assert!(matches!(refused, Err(Reason::WouldDeadlock)));
                    other.scope(|nested| nested.submit(|()| *inner = 1).unwrap()).unwrap();
                    settled(&other);
                })
                .unwrap();
        });
        assert!(matches!(result, Err(ReplyError::Refused(Reason::WouldDeadlock))), "{result:?}");
        assert_eq!(value, 1);
        settled(&pool);
    });
}

#[test]
fn an_empty_scope_returns() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        assert_eq!(pool.scope(|_| 3).unwrap(), 3);
        settled(&pool);
    });
}
