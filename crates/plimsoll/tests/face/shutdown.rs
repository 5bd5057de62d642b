//! The end: drained, drained for a time, dropped; and the last handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll::{Reason, ReplyError, Shutdown, ShutdownReport, ThreadPool};

use crate::common::{Counter, LIMIT, block_on, bounded, hold, poll, settled, until};

#[test]
fn drain_runs_what_was_submitted() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(2).capacity(3).build(|_| Ok(())).unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let count = Arc::clone(&count);
            let reply = pool.submit(move |()| count.fetch_add(1, Ordering::SeqCst));
            reply.unwrap().detach();
        }
        let report = pool.shutdown(Shutdown::Drain);
        assert_eq!(report, ShutdownReport { not_run: 0, still_running: 0 });
        assert_eq!(count.load(Ordering::SeqCst), 100);
        let refused = pool.submit(|()| 1).unwrap_err();
        assert!(matches!(refused.reason, Reason::Closed));
        assert_eq!((refused.request)(&mut ()), 1);
        assert!(matches!(pool.clone().try_submit(|()| ()).unwrap_err().reason, Reason::Closed));
        settled(&pool);
    });
}

#[test]
fn drop_queue_reports_what_did_not_run() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(3).line(2).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let queued: Vec<_> = (0..4).map(|_| pool.submit(|()| panic!("no")).unwrap()).collect();
        let counter = Counter::new();
        let mut at_gate = Box::pin(pool.submit_async(|()| ()));
        assert!(poll(&mut at_gate, &counter).is_pending());
        let other = pool.clone();
        let shutdown = thread::spawn(move || other.shutdown(Shutdown::DropQueue));
        for reply in queued {
            assert!(matches!(reply.wait(), Err(ReplyError::Shutdown)));
        }
        assert!(matches!(block_on(at_gate).unwrap_err().reason, Reason::Closed));
        held.let_go();
        let report = shutdown.join().unwrap();
        assert_eq!(report, ShutdownReport { not_run: 4, still_running: 0 });
        settled(&pool);
    });
}

#[test]
fn drain_for_a_time_leaves_what_still_runs() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(2).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let queued: Vec<_> = (0..3).map(|_| pool.submit(|()| panic!("no")).unwrap()).collect();
        let report = pool.shutdown(Shutdown::DrainFor(Duration::from_millis(5)));
        assert_eq!(report, ShutdownReport { not_run: 3, still_running: 1 });
        for reply in queued {
            assert!(matches!(reply.wait(), Err(ReplyError::Shutdown)));
        }
        held.let_go();
        let report = pool.shutdown(Shutdown::Drain);
        assert_eq!(report, ShutdownReport { not_run: 0, still_running: 0 });
        settled(&pool);
    });
}

#[test]
fn drain_for_long_enough_drains() {
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        let replies: Vec<_> = (0..50).map(|n| pool.submit(move |()| n).unwrap()).collect();
        let report = pool.shutdown(Shutdown::DrainFor(LIMIT));
        assert_eq!(report, ShutdownReport { not_run: 0, still_running: 0 });
        for (n, reply) in (0..).zip(replies) {
            assert_eq!(reply.wait().unwrap(), n);
        }
        settled(&pool);
    });
}

#[test]
fn many_may_shut_down_at_once() {
    bounded(|| {
        let pool = ThreadPool::new(3).unwrap();
        let replies: Vec<_> = (0..50).map(|n| pool.submit(move |()| n).unwrap()).collect();
        thread::scope(|scope| {
            let how = [Shutdown::Drain, Shutdown::DrainFor(LIMIT), Shutdown::Drain];
            let threads = how.map(|how| {
                scope.spawn({
                    let pool = &pool;
                    move || pool.shutdown(how)
                })
            });
            for thread in threads {
                assert_eq!(thread.join().unwrap().not_run, 0);
            }
        });
        for reply in replies {
            reply.wait().unwrap();
        }
        settled(&pool);
    });
}

#[test]
fn dropping_the_last_handle_finishes_and_joins() {
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        let other = pool.clone();
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let count = Arc::clone(&count);
            let reply = pool.submit(move |()| count.fetch_add(1, Ordering::SeqCst));
            reply.unwrap().detach();
        }
        drop(pool);
        other.submit(|()| ()).unwrap().wait().unwrap();
        drop(other);
        assert_eq!(count.load(Ordering::SeqCst), 100);
        assert_eq!(Arc::strong_count(&count), 1, "all requests are gone");
    });
}

#[test]
fn the_last_handle_dropped_on_a_worker_does_not_join_itself() {
    bounded(|| {
        struct Gone(std::sync::mpsc::Sender<()>);
        impl Drop for Gone {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (gone, states) = channel();
        let gone = std::sync::Mutex::new(gone);
        let factory = move |_| Ok(Gone(gone.lock().unwrap().clone()));
        let pool = ThreadPool::builder().workers(2).build(factory).unwrap();
        crate::common::up(&pool);
        let own = pool.clone();
        let (go, gone) = channel::<()>();
        let reply = pool.submit(move |_| {
            gone.recv().unwrap_err();
            drop(own);
            "done"
        });
        drop(pool);
        drop(go);
        assert_eq!(reply.unwrap().wait().unwrap(), "done");
        for _ in 0..2 {
            states.recv().unwrap();
        }
    });
}

#[test]
fn the_last_handle_dropped_by_the_timer_does_not_stop_it() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let held = hold(&pool);
        let own = pool.clone();
        let soon = Instant::now() + Duration::from_millis(5);
        let reply = pool.request().deadline(soon).submit(move |()| drop(own)).unwrap();
        drop(pool);
        reply.wait().unwrap_err();
        // The timer keeps time for others while the held request runs on.
        let other = ThreadPool::new(1).unwrap();
        let busy = hold(&other);
        let soon = Instant::now() + Duration::from_millis(5);
        other.request().deadline(soon).submit(|()| ()).unwrap().wait().unwrap_err();
        busy.let_go();
        held.let_go();
        settled(&other);
    });
}

#[test]
fn a_worker_may_shut_its_own_pool_down() {
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        let own = pool.clone();
        let report = pool.submit(move |()| own.shutdown(Shutdown::Drain)).unwrap().wait().unwrap();
        assert_eq!(report, ShutdownReport { not_run: 0, still_running: 1 });
        assert!(matches!(pool.submit(|()| ()).unwrap_err().reason, Reason::Closed));
        pool.shutdown(Shutdown::Drain);
        settled(&pool);
    });
}

#[test]
fn a_pool_whose_factories_fail_shuts_down() {
    bounded(|| {
        let factory = |_| Err::<(), _>("never".into());
        let pool = ThreadPool::builder().workers(2).build(factory).unwrap();
        let reply = pool.submit(|()| ());
        let report = pool.shutdown(Shutdown::Drain);
        assert_eq!(report.still_running, 0);
        if let Ok(reply) = reply {
            reply.wait().unwrap_err();
        }
        settled(&pool);
    });
}

#[test]
fn a_panic_during_the_drain_loses_nothing() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(4).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let queued: Vec<_> = (0..6).map(|n| pool.submit(move |()| n).unwrap()).collect();
        let other = pool.clone();
        let shutdown = thread::spawn(move || other.shutdown(Shutdown::Drain));
        until(|| {
            pool.try_submit(|()| ()).is_err_and(|refused| matches!(refused.reason, Reason::Closed))
        });
        held.blow_up();
        for (n, reply) in (0..).zip(queued) {
            assert_eq!(reply.wait().unwrap(), n);
        }
        assert_eq!(shutdown.join().unwrap().not_run, 0);
        settled(&pool);
    });
}

#[test]
fn a_drain_ends_also_when_its_last_request_is_too_late() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(2).line(0).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let deadline = Instant::now() + Duration::from_millis(5);
        let late = pool.request().deadline(deadline).submit(|()| panic!("too late")).unwrap();
        let other = pool.clone();
        let shutdown = thread::spawn(move || other.shutdown(Shutdown::Drain));
        let is_closed = || matches!(pool.try_submit(|()| ()).unwrap_err().reason, Reason::Closed);
        until(|| is_closed() && Instant::now() > deadline);
        held.let_go();
        let refused = late.wait();
        assert!(matches!(refused, Err(ReplyError::Refused(Reason::DeadlinePassed))));
        let report = shutdown.join().unwrap();
        assert_eq!(report, ShutdownReport { not_run: 0, still_running: 0 });
        settled(&pool);
    });
}

#[test]
fn a_pool_may_be_dropped_with_the_last_of_a_thread() {
    thread_local! {
        static POOL: ThreadPool<()> = ThreadPool::new(1).unwrap();
    }
    bounded(|| {
        let answer = POOL.with(|pool| pool.submit(|()| 7).unwrap().wait().unwrap());
        assert_eq!(answer, 7);
    });
}
