//! From a worker of the same pool, what would wait for itself is refused.

use std::time::Duration;

use plimsoll::{Reason, ReplyError, Shutdown, TaskPool, ThreadPool};

use crate::common::{bounded, bounded_async, settled};

#[test]
fn a_worker_thread_cannot_wait_for_its_own_pool() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let own = pool.clone();
        let request = move |(): &mut ()| {
            let refused = own.submit(|()| 1).unwrap_err();
            assert!(matches!(refused.reason, Reason::WouldDeadlock));
            assert_eq!((refused.request)(&mut ()), 1);

            let reply = own.try_submit(|()| ()).unwrap();
            assert!(matches!(reply.wait(), Err(ReplyError::WouldDeadlock)));
            let mut reply = own.try_submit(|()| ()).unwrap();
            let waited = reply.wait_timeout(Duration::from_secs(100));
            assert!(matches!(waited, Err(ReplyError::WouldDeadlock)));
            drop(reply);

            let scope = own.scope(|_| panic!("its body does not begin"));
            assert!(matches!(scope, Err::<(), _>(ReplyError::WouldDeadlock)));
            let told = own.broadcast(|()| ());
            assert!(matches!(told[..], [Err(ReplyError::WouldDeadlock)]));
            assert!(matches!(own.map(0..9, |(), n| n), Err(Reason::WouldDeadlock)));
            assert!(matches!(own.map_unordered(0..9, |(), n| n), Err(Reason::WouldDeadlock)));
        };
        pool.submit(request).unwrap().wait().unwrap();
        settled(&pool);
    });
}

#[test]
fn a_worker_may_submit_without_waiting() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let own = pool.clone();
        let inner = pool.submit(move |()| own.try_submit(|()| 7).unwrap()).unwrap();
        assert_eq!(inner.wait().unwrap().wait().unwrap(), 7);
        settled(&pool);
    });
}

#[test]
fn an_answer_that_is_here_can_be_taken_on_a_worker() {
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        let reply = pool.submit(|()| 7).unwrap();
        crate::common::until(|| reply.is_ready());
        let taken = pool.submit(move |()| reply.wait().unwrap()).unwrap();
        assert_eq!(taken.wait().unwrap(), 7);
        settled(&pool);
    });
}

#[test]
fn a_worker_may_wait_for_another_pool() {
    bounded(|| {
        let (pool, other) = (ThreadPool::new(1).unwrap(), ThreadPool::new(1).unwrap());
        let asked = other.clone();
        let request = move |(): &mut ()| {
            let sum: u32 = asked.map(0..10, |(), n| n).unwrap().map(Result::unwrap).sum();
            sum + asked.submit(|()| 1).unwrap().wait().unwrap()
        };
        assert_eq!(pool.submit(request).unwrap().wait().unwrap(), 46);
        settled(&pool);
        settled(&other);
    });
}

#[test]
fn a_map_that_is_carried_to_a_worker_does_not_hang_there() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let mut ordered = pool.map(0..6, |(), n: u32| n).unwrap();
        let mut unordered = pool.map_unordered(0..6, |(), n: u32| n).unwrap();
        assert_eq!(ordered.next().unwrap().unwrap(), 0);
        unordered.next().unwrap().unwrap();
        let request = move |(): &mut ()| (ordered.count(), unordered.count());
        assert_eq!(pool.submit(request).unwrap().wait().unwrap(), (5, 5));
        pool.shutdown(Shutdown::Drain);
        settled(&pool);
    });
}

#[test]
fn a_task_cannot_block_on_its_own_pool() {
    bounded_async(2, async {
        let spawn = |worker| drop(tokio::spawn(worker));
        let pool = TaskPool::builder().workers(1).build(spawn, |_| async { Ok(()) }).unwrap();
        let check = |own: &TaskPool<()>| {
            let refused = own.submit(|_| async {}).unwrap_err();
            assert!(matches!(refused.reason, Reason::WouldDeadlock));
            let reply = own.try_submit(|_| async {}).unwrap();
            assert!(matches!(reply.wait(), Err(ReplyError::WouldDeadlock)));
        };
        let (in_function, in_future) = (pool.clone(), pool.clone());
        let request = move |_| {
            check(&in_function);
            async move {
                check(&in_future);
                let told = in_future.broadcast(|_| async {}).await;
                assert!(matches!(told[..], [Err(ReplyError::WouldDeadlock)]));
            }
        };
        pool.submit_async(request).await.unwrap().await.unwrap();
        settled(&pool);
    });
}

#[test]
fn another_task_on_the_same_thread_is_no_worker() {
    bounded(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let spawn = |worker| drop(tokio::spawn(worker));
            let pool = TaskPool::builder().workers(1).build(spawn, |_| async { Ok(()) }).unwrap();
            let reply = pool.submit(|_| async { tokio::task::yield_now().await }).unwrap();
            tokio::task::yield_now().await;
            // The worker is amid a request; this task is not it.
            let second = pool.submit(|_| async { 2 }).unwrap();
            reply.await.unwrap();
            assert_eq!(second.await.unwrap(), 2);
            settled(&pool);
        });
    });
}
