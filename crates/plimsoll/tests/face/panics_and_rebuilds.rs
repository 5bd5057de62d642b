//! A panic costs one request; a dead worker is rebuilt; factories may fail.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use plimsoll::{FactoryError, Health, Reason, ReplyError, Shutdown, ThreadPool};

use crate::common::{bounded, hold, settled, until};

/// Asks a pool something when it is dropped, as a user's value may.
struct Asks(Arc<Mutex<Option<ThreadPool<()>>>>);

impl Asks {
    fn pool(&self) -> Option<ThreadPool<()>> {
        self.0.lock().unwrap().clone()
    }
}

impl Drop for Asks {
    fn drop(&mut self) {
        if let Some(pool) = self.pool() {
            pool.resize(pool.workers()).unwrap();
        }
    }
}

impl std::fmt::Debug for Asks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asks")
    }
}

impl std::fmt::Display for Asks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it asks")
    }
}

impl std::error::Error for Asks {}

/// P6.
#[test]
fn p6_a_panic_costs_one_request_and_its_state() {
    bounded(|| {
        let built = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&built);
        let factory = move |_| Ok(counts.fetch_add(1, Ordering::SeqCst));
        let pool = ThreadPool::builder().workers(1).build(factory).unwrap();
        assert_eq!(pool.submit(|nth| *nth).unwrap().wait().unwrap(), 0);
        let text = pool.submit(|_| panic!("in words")).unwrap().wait();
        assert!(matches!(text, Err(ReplyError::Panicked(text)) if text == "in words"));
        assert_eq!(pool.submit(|nth| *nth).unwrap().wait().unwrap(), 1, "a new state");
        let formatted = pool.submit(|nth| panic!("number {nth}")).unwrap().wait();
        assert!(matches!(formatted, Err(ReplyError::Panicked(text)) if text == "number 1"));
        let odd = pool.submit(|_| std::panic::panic_any(7)).unwrap().wait();
        assert!(matches!(odd, Err(ReplyError::Panicked(text)) if text.contains("not text")));
        assert_eq!(pool.snapshot().workers[0].failed, 3);
        settled(&pool);
    });
}

#[test]
fn queued_requests_move_on_when_their_worker_breaks() {
    bounded(|| {
        let (go, gone) = channel::<()>();
        let gone = Mutex::new(gone);
        let builds = AtomicUsize::new(0);
        let factory = move |_| {
            // The third state, the broken worker's next, is long in coming.
            if builds.fetch_add(1, Ordering::SeqCst) == 2 {
                let _ = gone.lock().unwrap().recv();
            }
            Ok(())
        };
        let pool = ThreadPool::builder().workers(2).capacity(4).build(factory).unwrap();
        crate::common::up(&pool);
        let (breaks, stays) = (hold(&pool), hold(&pool));
        let queued: Vec<_> = (0..6).map(|n| pool.submit(move |()| n).unwrap()).collect();
        assert_eq!(pool.snapshot().pending(), 8);
        breaks.blow_up();
        let snapshot = pool.snapshot();
        assert_eq!((snapshot.pending(), snapshot.waiting), (4, 3), "those of one moved into line");
        stays.let_go();
        for (n, reply) in (0..).zip(queued) {
            assert_eq!(reply.wait().unwrap(), n);
        }
        settled(&pool);
        drop(go);
    });
}

#[test]
fn a_factory_that_fails_once_is_called_again() {
    bounded(|| {
        let first = AtomicBool::new(true);
        let factory = move |_| {
            if first.swap(false, Ordering::SeqCst) { Err("not yet".into()) } else { Ok(1) }
        };
        let pool = ThreadPool::builder().workers(1).build(factory).unwrap();
        assert_eq!(pool.submit(|one| *one).unwrap().wait().unwrap(), 1);
        settled(&pool);
    });
}

#[test]
fn a_factory_that_panics_once_is_called_again() {
    bounded(|| {
        let first = AtomicBool::new(true);
        let factory = move |_| {
            assert!(!first.swap(false, Ordering::SeqCst), "the factory goes wrong");
            Ok(1)
        };
        let pool = ThreadPool::builder().workers(1).build(factory).unwrap();
        assert_eq!(pool.submit(|one| *one).unwrap().wait().unwrap(), 1);
        settled(&pool);
    });
}

/// A factory that fails while it is told to.
fn moody(works: &Arc<AtomicBool>) -> impl Fn(usize) -> Result<(), FactoryError> + use<> {
    let works = Arc::clone(works);
    move |_| if works.load(Ordering::SeqCst) { Ok(()) } else { Err("out of order".into()) }
}

#[test]
fn when_all_factories_keep_failing_who_waits_is_told_why() {
    bounded(|| {
        let works = Arc::new(AtomicBool::new(false));
        let pool = ThreadPool::builder().workers(2).line(1).build(moody(&works)).unwrap();
        let in_line = pool.submit(|()| ());
        let at_gate = pool.submit(|()| ());
        let told = |reason: &Reason| matches!(reason, Reason::Factory(why) if why.to_string() == "out of order");
        match in_line.map(plimsoll::Reply::wait) {
            Ok(Err(ReplyError::Refused(reason))) => assert!(told(&reason)),
            Err(refused) => assert!(told(&refused.reason)),
            other => panic!("{other:?}"),
        }
        match at_gate.map(plimsoll::Reply::wait) {
            Ok(Err(ReplyError::Refused(reason))) => assert!(told(&reason)),
            Err(refused) => assert!(told(&refused.reason)),
            other => panic!("{other:?}"),
        }
        let refused = pool.submit(|()| ()).unwrap_err();
        assert!(told(&refused.reason), "{:?}", refused.reason);
        for answer in pool.broadcast(|()| ()) {
            let Err(ReplyError::Refused(reason)) = answer else { panic!("nobody could answer") };
            assert!(told(&reason));
        }
        // It is tried on, and takes requests again when it works.
        works.store(true, Ordering::SeqCst);
        until(|| pool.try_submit(|()| ()).is_ok());
        settled(&pool);
    });
}

#[test]
fn one_worker_that_cannot_be_built_holds_up_nobody() {
    bounded(|| {
        let factory = |number| if number == 0 { Err("never".into()) } else { Ok(number) };
        let pool = ThreadPool::builder().workers(3).build(factory).unwrap();
        let replies: Vec<_> = (0..200).map(|_| pool.submit(|number| *number).unwrap()).collect();
        for reply in replies {
            assert_ne!(reply.wait().unwrap(), 0);
        }
        let answers = pool.broadcast(|number| *number);
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
        settled(&pool);
        let report = pool.shutdown(Shutdown::Drain);
        assert_eq!((report.not_run, report.still_running), (0, 0));
    });
}

#[test]
fn a_worker_that_leaves_while_it_rests_does_not_build_again() {
    bounded(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&calls);
        let factory = move |_| {
            counts.fetch_add(1, Ordering::SeqCst);
            Err::<(), FactoryError>("never".into())
        };
        let pool = ThreadPool::builder().workers(1).build(factory).unwrap();
        until(|| pool.snapshot().workers.iter().all(|worker| worker.health == Health::Down));
        // It rests for some 80 ms now, but for the moment between the two.
        pool.shutdown(Shutdown::Drain);
        let at_end = calls.load(Ordering::SeqCst);
        assert!((3..=4).contains(&at_end), "{at_end} calls");
    });
}

#[test]
fn a_rebuild_that_fails_for_good_fails_what_moved_into_line() {
    bounded(|| {
        let works = Arc::new(AtomicBool::new(true));
        let pool = ThreadPool::builder().workers(1).capacity(2).build(moody(&works)).unwrap();
        let held = hold(&pool);
        let queued = pool.submit(|()| ()).unwrap();
        works.store(false, Ordering::SeqCst);
        held.blow_up();
        let answer = queued.wait();
        assert!(matches!(answer, Err(ReplyError::Refused(Reason::Factory(_)))), "{answer:?}");
        settled(&pool);
    });
}

#[test]
fn a_broadcast_that_panics_costs_its_worker_the_state() {
    bounded(|| {
        let builds = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&builds);
        let factory = move |_| Ok(counts.fetch_add(1, Ordering::SeqCst));
        let pool = ThreadPool::builder().workers(2).build(factory).unwrap();
        crate::common::up(&pool);
        let answers = pool.broadcast(|nth| assert_ne!(*nth, 0, "the first state breaks"));
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
        let mut states: Vec<_> = pool.broadcast(|nth| *nth).into_iter().flatten().collect();
        states.sort_unstable();
        assert_eq!(states, [1, 2]);
        settled(&pool);
    });
}

#[test]
fn a_state_or_an_answer_that_panics_when_dropped_costs_nothing_more() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "a value goes wrong when dropped");
        }
    }
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).build(|_| Ok(Bomb)).unwrap();
        let held = hold(&pool);
        // Nobody waits for it, so its worker drops it.
        pool.submit(|_| Bomb).unwrap().detach();
        held.let_go();
        pool.submit(|_| panic!("and the state is dropped")).unwrap().wait().unwrap_err();
        let (done, ended) = channel();
        pool.submit(move |_| done.send(()).unwrap()).unwrap().detach();
        ended.recv().unwrap();
        assert_eq!(pool.submit(|_| 1).unwrap().wait().unwrap(), 1);
        settled(&pool);
        pool.shutdown(Shutdown::Drain);
    });
}

#[test]
fn a_storm_of_panics_loses_no_request() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(4).capacity(3).build(|_| Ok(())).unwrap();
        let replies: Vec<_> = (0..3000)
            .map(|n| pool.submit(move |()| assert!(n % 7 != 0, "every seventh")).unwrap())
            .collect();
        let failed = replies.into_iter().map(plimsoll::Reply::wait).filter(Result::is_err).count();
        assert_eq!(failed, 429);
        assert_eq!(pool.snapshot().workers.iter().map(|worker| worker.failed).sum::<u64>(), 429);
        settled(&pool);
    });
}

#[test]
fn a_scope_and_both_maps_tell_the_factory_s_error() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(2).build(|_| Err::<(), _>("no database".into()));
        let pool = pool.unwrap();
        let told = |error: &ReplyError| error.to_string().contains("no database");
        let scope = pool.scope(|scope| drop(scope.submit(|()| ()))).unwrap_err();
        assert!(told(&scope), "{scope}");
        let ordered: Vec<_> = pool.map(0..3, |(), n: u32| n).unwrap().collect();
        let unordered: Vec<_> = pool.map_unordered(0..3, |(), n: u32| n).unwrap().collect();
        assert!(ordered.iter().all(|answer| answer.as_ref().is_err_and(told)), "{ordered:?}");
        assert!(unordered.iter().all(|answer| answer.as_ref().is_err_and(told)), "{unordered:?}");
    });
}

#[test]
fn a_worker_that_drops_an_unwanted_answer_counts_as_busy() {
    struct Slow(std::sync::mpsc::Receiver<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            // Until the test lets go of the other end.
            let _ = self.0.recv();
        }
    }
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        crate::common::up(&pool);
        let (go, gone) = std::sync::mpsc::channel();
        let (detached, wait) = std::sync::mpsc::channel::<()>();
        let reply = pool.submit(move |()| {
            let _ = wait.recv();
            Slow(gone)
        });
        reply.unwrap().detach();
        drop(detached);
        // The other worker takes all of them, whatever the first one is at.
        for n in 0..100 {
            assert_eq!(pool.submit(move |()| n).unwrap().wait().unwrap(), n);
            assert_eq!(pool.snapshot().pending(), 1);
        }
        drop(go);
        pool.shutdown(plimsoll::Shutdown::Drain);
        settled(&pool);
    });
}

#[test]
fn an_error_that_asks_the_pool_when_it_is_dropped_does_not_hang_it() {
    bounded(|| {
        let shared = Arc::new(Mutex::new(None));
        let asks = Asks(Arc::clone(&shared));
        let calls = AtomicUsize::new(0);
        let factory = move |_| {
            // Three make the pool keep the error, one more replaces it.
            if calls.fetch_add(1, Ordering::SeqCst) < 4 {
                return Err(FactoryError::from(Asks(Arc::clone(&asks.0))));
            }
            until(|| asks.pool().is_some());
            Ok(())
        };
        let pool = ThreadPool::builder().workers(1).build(factory).unwrap();
        *shared.lock().unwrap() = Some(pool.clone());
        until(|| pool.snapshot().workers[0].health == Health::Up);
        pool.submit(|()| ()).unwrap().wait().unwrap();
        settled(&pool);
        drop(shared.lock().unwrap().take());
    });
}

#[test]
fn a_request_that_asks_the_pool_when_a_resize_refuses_it_does_not_hang_it() {
    bounded(|| {
        let factory = |number| if number == 0 { Err("it never starts".into()) } else { Ok(()) };
        let pool = ThreadPool::builder().workers(2).build(factory).unwrap();
        let of = |number: usize| pool.snapshot().workers[number].health;
        until(|| of(0) == Health::Down && of(1) == Health::Up);
        let held = hold(&pool);
        let asks = Asks(Arc::new(Mutex::new(Some(pool.clone()))));
        let waits = pool.submit(move |()| drop(asks)).unwrap();
        // Nothing is left that could ever take it.
        pool.resize(1).unwrap();
        assert!(matches!(waits.wait(), Err(ReplyError::Refused(Reason::Factory(_)))));
        held.let_go();
        settled(&pool);
    });
}
