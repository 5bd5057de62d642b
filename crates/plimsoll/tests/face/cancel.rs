//! Dropping a reply cancels what has not begun; detaching does not.

use std::sync::mpsc::channel;

use plimsoll::ThreadPool;

use crate::common::{bounded, hold, settled, up};

#[test]
fn a_cancelled_request_leaves_the_line_at_once() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let held = hold(&pool);
        let (token, dropped) = channel::<()>();
        let reply = pool.submit(move |()| token.send(()).unwrap()).unwrap();
        assert_eq!(pool.snapshot().waiting, 1);
        drop(reply);
        assert_eq!(pool.snapshot().waiting, 0);
        assert!(dropped.recv().is_err(), "it was dropped, and has not run");
        held.let_go();
        settled(&pool);
    });
}

#[test]
fn a_cancelled_request_leaves_its_workers_queue_at_once() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(3).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let (token, dropped) = channel::<()>();
        let goes = pool.submit(move |()| token.send(()).unwrap()).unwrap();
        let stays = pool.submit(|()| "it ran").unwrap();
        assert_eq!(pool.snapshot().pending(), 3);
        drop(goes);
        assert_eq!(pool.snapshot().pending(), 2);
        assert!(dropped.recv().is_err(), "it was dropped, and has not run");
        held.let_go();
        assert_eq!(stays.wait().unwrap(), "it ran");
        settled(&pool);
    });
}

#[test]
fn a_cancelled_charge_goes_to_the_head_of_the_line() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(2).capacity(2).build(|_| Ok(())).unwrap();
        up(&pool);
        let held = [hold(&pool), hold(&pool)];
        let queued = [pool.submit(|()| ()).unwrap(), pool.submit(|()| ()).unwrap()];
        let in_line = pool.submit(|()| 3).unwrap();
        assert_eq!((pool.snapshot().pending(), pool.snapshot().waiting), (4, 1));
        drop(queued);
        assert_eq!((pool.snapshot().pending(), pool.snapshot().waiting), (3, 0));
        for held in held {
            held.let_go();
        }
        assert_eq!(in_line.wait().unwrap(), 3);
        settled(&pool);
    });
}

#[test]
fn a_request_that_moved_back_into_line_can_still_be_cancelled() {
    bounded(|| {
        let (go, gone) = channel::<()>();
        let gone = std::sync::Mutex::new(Some(gone));
        let first = std::sync::atomic::AtomicBool::new(true);
        let factory = move |_| {
            if !first.swap(false, std::sync::atomic::Ordering::SeqCst) {
                // The state is built anew only when the test says so.
                let _ = gone.lock().unwrap().take().map(|gone| gone.recv());
            }
            Ok(())
        };
        let pool = ThreadPool::builder().workers(1).capacity(2).build(factory).unwrap();
        let held = hold(&pool);
        let queued = pool.submit(|()| panic!("it was cancelled")).unwrap();
        assert_eq!(pool.snapshot().pending(), 2);
        held.blow_up();
        assert_eq!((pool.snapshot().pending(), pool.snapshot().waiting), (0, 1));
        drop(queued);
        assert_eq!(pool.snapshot().waiting, 0);
        drop(go);
        pool.submit(|()| ()).unwrap().wait().unwrap();
        settled(&pool);
    });
}

#[test]
fn what_has_begun_is_not_cancelled() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let (running, runs) = channel();
        let (go, gone) = channel::<()>();
        let (done, ended) = channel();
        let reply = pool.submit(move |()| {
            running.send(()).unwrap();
            gone.recv().unwrap_err();
            done.send(()).unwrap();
        });
        runs.recv().unwrap();
        drop(reply.unwrap());
        assert_eq!(pool.snapshot().pending(), 1);
        drop(go);
        ended.recv().unwrap();
        pool.submit(|()| ()).unwrap().wait().unwrap();
        settled(&pool);
    });
}

#[test]
fn a_detached_request_runs() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let held = hold(&pool);
        let (done, ended) = channel();
        pool.submit(move |()| done.send(()).unwrap()).unwrap().detach();
        held.let_go();
        ended.recv().unwrap();
        pool.submit(|()| ()).unwrap().wait().unwrap();
        settled(&pool);
    });
}

#[test]
fn a_request_that_panics_when_it_is_dropped_harms_nobody_else() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a request goes wrong when dropped");
        }
    }
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let soon = std::time::Instant::now() + std::time::Duration::from_millis(5);
        let bomb = Bomb;
        let first = pool.request().deadline(soon).submit(move |()| drop(bomb)).unwrap();
        let second = pool.request().deadline(soon).submit(|()| ()).unwrap();
        // The timer's thread drops both.
        first.wait().unwrap_err();
        second.wait().unwrap_err();
        held.let_go();
        pool.submit(|()| ()).unwrap().wait().unwrap();
        settled(&pool);
        // And it still keeps time.
        let held = hold(&pool);
        let soon = std::time::Instant::now() + std::time::Duration::from_millis(5);
        pool.request().deadline(soon).submit(|()| ()).unwrap().wait().unwrap_err();
        held.let_go();
        settled(&pool);
    });
}
