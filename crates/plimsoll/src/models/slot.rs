//! The slot that hands values over, and the parker.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;
use plimsoll_core::{Config, Pool, Request, Time, WorkerSpec};

use crate::crew::{Charged, Parker};
use crate::slot::Slot;

#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_thread_waits_for_what_is_put() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let other = Arc::clone(&slot);
        let thread = thread::spawn(move || assert_eq!(other.put(7), None));
        assert_eq!(slot.wait(None), Some(7));
        thread.join().unwrap();
    });
}

#[test]
fn waker_replaced_during_hand_over() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let other = Arc::clone(&slot);
        let thread = thread::spawn(move || assert_eq!(other.put(7), None));
        let counters = [Arc::new(Counter::default()), Arc::new(Counter::default())];
        let taken = counters.iter().find_map(|counter| {
            let waker = Waker::from(Arc::clone(counter));
            match slot.poll(&Context::from_waker(&waker)) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            }
        });
        thread.join().unwrap();
        if taken.is_none() {
            assert_eq!(counters[1].0.load(Ordering::SeqCst), 1, "the last waker is woken");
        }
        assert_eq!(taken.or_else(|| slot.take()), Some(7));
    });
}

#[test]
fn close_against_put() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let other = Arc::clone(&slot);
        let thread = thread::spawn(move || other.put(7));
        let closed = slot.close();
        let back = thread.join().unwrap();
        assert_eq!(closed.or(back), Some(7));
        assert!(closed.is_none() || back.is_none(), "one side has it");
    });
}

#[test]
fn park_against_two_notifies() {
    loom::model(|| {
        let parker = Arc::new(Parker::<()>::thread());
        parker.adopt_current_thread();
        let notifiers = [0; 2].map(|_| {
            let parker = Arc::clone(&parker);
            thread::spawn(move || parker.notify())
        });
        parker.park();
        for notifier in notifiers {
            notifier.join().unwrap();
        }
        // A notify that found it awake is kept for the next sleep.
        parker.notify();
        parker.park();
    });
}

#[test]
fn a_task_that_sleeps_is_woken() {
    loom::model(|| {
        let parker = Arc::new(Parker::<()>::task());
        let other = Arc::clone(&parker);
        let thread = thread::spawn(move || other.notify());
        loom::future::block_on(poll_fn(|cx| parker.poll(cx)));
        thread.join().unwrap();
    });
}

fn charged() -> Charged<()> {
    let mut pool: Pool<()> = Pool::new(Config::default());
    pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    (pool.try_dispatch(&Request::default(), Time::ZERO).unwrap(), Arc::new(()))
}

#[test]
fn a_task_that_sleeps_is_handed_its_request() {
    loom::model(|| {
        let parker = Arc::new(Parker::<()>::task());
        let other = Arc::clone(&parker);
        let thread = thread::spawn(move || {
            if let Some(waker) = other.hand(charged()) {
                waker.wake();
            }
        });
        assert!(loom::future::block_on(poll_fn(|cx| parker.poll(cx))).is_some());
        thread.join().unwrap();
    });
}

#[test]
fn a_request_is_recalled_or_the_task_has_it() {
    loom::model(|| {
        let parker = Arc::new(Parker::<()>::task());
        let other = Arc::clone(&parker);
        let thread = thread::spawn(move || {
            if let Some(waker) = other.hand(charged()) {
                waker.wake();
            }
            other.recall()
        });
        let handed = loom::future::block_on(poll_fn(|cx| parker.poll(cx)));
        let recalled = thread.join().unwrap();
        assert!(handed.is_some() != recalled.is_some(), "one side has it");
    });
}
