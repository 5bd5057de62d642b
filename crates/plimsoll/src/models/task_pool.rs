//! The task pool: a request handed to a task that sleeps, or about to, against
//! its worker and against those who take it back.

use loom::thread;

use super::task_pool_at_rest;
use crate::{ReplyError, Shutdown, TaskPool};

/// One worker, on a thread of its own.
fn pool() -> TaskPool<()> {
    let spawn = |worker| drop(thread::spawn(move || loom::future::block_on(worker)));
    TaskPool::builder().workers(1).build(spawn, |_| async { Ok(()) }).unwrap()
}

/// With fewer preemptions: a task's life takes many steps.
fn model(life: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound - 3);
    builder.check(life);
}

#[test]
fn submit_against_sleep() {
    model(|| {
        let pool = pool();
        let reply = pool.submit(|_| async { 1 }).unwrap();
        assert_eq!(reply.wait().unwrap(), 1);
        loom::future::block_on(pool.shutdown(Shutdown::Drain));
        task_pool_at_rest(&pool);
    });
}

#[test]
fn cancel_against_waking() {
    model(|| {
        let pool = pool();
        drop(pool.submit(|_| async {}).unwrap());
        loom::future::block_on(pool.shutdown(Shutdown::Drain));
        task_pool_at_rest(&pool);
    });
}

#[test]
fn dropped_queue_against_waking() {
    model(|| {
        let pool = pool();
        let reply = pool.submit(|_| async { 1 }).unwrap();
        loom::future::block_on(pool.shutdown(Shutdown::DropQueue));
        match reply.wait() {
            Ok(answer) => assert_eq!(answer, 1),
            Err(error) => assert!(matches!(error, ReplyError::Shutdown)),
        }
        task_pool_at_rest(&pool);
    });
}
