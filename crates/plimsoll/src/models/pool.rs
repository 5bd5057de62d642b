//! The thread pool: sleep and waking, cancelling, closing.

use loom::thread;

use super::pool_at_rest;
use crate::{Reason, ReplyError, Shutdown, ThreadPool};

#[test]
fn submit_against_park() {
    loom::model(|| {
        let pool = ThreadPool::new(1).unwrap();
        assert_eq!(pool.submit(|()| 1).unwrap().wait().unwrap(), 1);
        pool.shutdown(Shutdown::Drain);
        pool_at_rest(&pool);
    });
}

#[test]
fn two_submit_against_park() {
    loom::model(|| {
        let pool = ThreadPool::new(1).unwrap();
        let other = pool.clone();
        let thread = thread::spawn(move || other.submit(|()| 2).unwrap().wait().unwrap());
        assert_eq!(pool.submit(|()| 1).unwrap().wait().unwrap(), 1);
        assert_eq!(thread.join().unwrap(), 2);
        pool_at_rest(&pool);
        drop(pool);
    });
}

#[test]
fn two_workers_wake_in_a_chain() {
    loom::model(|| {
        let pool = ThreadPool::new(2).unwrap();
        let replies = [1, 2].map(|n| pool.submit(move |()| n).unwrap());
        for (n, reply) in (1..).zip(replies) {
            assert_eq!(reply.wait().unwrap(), n);
        }
        pool_at_rest(&pool);
        drop(pool);
    });
}

#[test]
fn cancel_against_begin() {
    loom::model(|| {
        let pool = ThreadPool::new(1).unwrap();
        drop(pool.submit(|()| ()).unwrap());
        pool.shutdown(Shutdown::Drain);
        pool_at_rest(&pool);
    });
}

#[test]
fn close_against_submit() {
    loom::model(|| {
        let pool = ThreadPool::new(1).unwrap();
        let other = pool.clone();
        let thread = thread::spawn(move || match other.submit(|()| 1) {
            Ok(reply) => assert_eq!(reply.wait().unwrap(), 1),
            Err(refused) => assert!(matches!(refused.reason, Reason::Closed)),
        });
        pool.shutdown(Shutdown::Drain);
        thread.join().unwrap();
        pool_at_rest(&pool);
    });
}

#[test]
fn dropped_queue_against_submit() {
    loom::model(|| {
        let pool = ThreadPool::new(1).unwrap();
        let other = pool.clone();
        let thread = thread::spawn(move || match other.submit(|()| 1).map(crate::Reply::wait) {
            Ok(Ok(answer)) => assert_eq!(answer, 1),
            Ok(Err(error)) => assert!(matches!(error, ReplyError::Shutdown)),
            Err(refused) => assert!(matches!(refused.reason, Reason::Closed)),
        });
        pool.shutdown(Shutdown::DropQueue);
        thread.join().unwrap();
        pool_at_rest(&pool);
    });
}

#[test]
fn the_gate_opens() {
    loom::model(|| {
        let pool = ThreadPool::builder().workers(1).line(0).build(|_| Ok(())).unwrap();
        let other = pool.clone();
        let thread = thread::spawn(move || other.submit(|()| 2).unwrap().wait().unwrap());
        // One of the two may have to wait for the other at the gate.
        assert_eq!(pool.submit(|()| 1).unwrap().wait().unwrap(), 1);
        assert_eq!(thread.join().unwrap(), 2);
        pool_at_rest(&pool);
        drop(pool);
    });
}

#[test]
fn the_last_handle_dropped_on_the_worker() {
    loom::model(|| {
        let pool = ThreadPool::new(1).unwrap();
        let own = pool.clone();
        let reply = pool.submit(move |()| drop(own)).unwrap();
        drop(pool);
        reply.wait().unwrap();
    });
}
