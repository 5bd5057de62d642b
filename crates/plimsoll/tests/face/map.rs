//! Maps over iterators: order, bounds, panics, ends.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use plimsoll::{Reason, ReplyError, Shutdown, ThreadPool};

use crate::common::{bounded, hold_all, settled};

#[test]
fn answers_come_in_the_order_of_the_items() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(4).capacity(2).build(|_| Ok(())).unwrap();
        let slow_first = |(): &mut (), n: usize| {
            if n.is_multiple_of(13) {
                thread::yield_now();
            }
            n
        };
        let answers = pool.map(0..3000, slow_first).unwrap().map(Result::unwrap);
        assert!(answers.eq(0..3000));
        settled(&pool);
    });
}

#[test]
fn unordered_answers_come_each_once() {
    bounded(|| {
        let pool = ThreadPool::new(4).unwrap();
        let answers = pool.map_unordered(0..3000, |(), n| n).unwrap().map(Result::unwrap);
        let (mut count, mut seen) = (0, BTreeSet::new());
        for answer in answers {
            count += 1;
            seen.insert(answer);
        }
        assert_eq!((count, seen), (3000, (0..3000).collect()));
        settled(&pool);
    });
}

#[test]
fn a_slow_request_does_not_hold_up_unordered_answers() {
    bounded(|| {
        let pool = ThreadPool::new(2).unwrap();
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let function = move |(): &mut (), n: u32| {
            if n == 0 {
                gone.lock().unwrap().recv().unwrap_err();
            }
            n
        };
        let mut answers = pool.map_unordered(0..50, function).unwrap();
        let first: BTreeSet<_> = answers.by_ref().take(49).map(Result::unwrap).collect();
        assert_eq!(first, (1..50).collect());
        drop(go);
        assert_eq!(answers.next().unwrap().unwrap(), 0);
        assert!(answers.next().is_none());
        settled(&pool);
    });
}

#[test]
fn the_input_is_pulled_no_further_than_the_window() {
    const WINDOW: usize = 2 * 2 * 3;
    bounded(|| {
        let pool = ThreadPool::builder().workers(2).capacity(3).build(|_| Ok(())).unwrap();
        let pulled = AtomicUsize::new(0);
        let items = || {
            pulled.store(0, Ordering::SeqCst);
            std::iter::repeat_with(|| pulled.fetch_add(1, Ordering::SeqCst))
        };
        let mut ordered = pool.map(items(), |(), n| n).unwrap();
        assert_eq!(pulled.load(Ordering::SeqCst), 0, "nothing before it is asked for");
        for asked in 0..500 {
            assert_eq!(ordered.next().unwrap().unwrap(), asked);
            assert!(pulled.load(Ordering::SeqCst) <= asked + WINDOW);
        }
        drop(ordered);
        let mut unordered = pool.map_unordered(items(), |(), n| n).unwrap();
        for asked in 0..500 {
            unordered.next().unwrap().unwrap();
            assert!(pulled.load(Ordering::SeqCst) <= asked + WINDOW);
        }
        drop(unordered);
        pool.shutdown(Shutdown::Drain);
        settled(&pool);
    });
}

#[test]
fn a_panic_is_one_items_error() {
    bounded(|| {
        let pool = ThreadPool::new(3).unwrap();
        let seventh = |(): &mut (), n: u32| {
            assert!(!n.is_multiple_of(7), "no sevenths");
            n
        };
        let ordered: Vec<_> = pool.map(1..=70, seventh).unwrap().collect();
        for (n, answer) in (1..).zip(&ordered) {
            match answer {
                Ok(answer) => assert_eq!(*answer, n),
                Err(ReplyError::Panicked(text)) => {
                    assert!(n.is_multiple_of(7) && text.contains("no sevenths"));
                }
                Err(error) => panic!("{error}"),
            }
        }
        let unordered: Vec<_> = pool.map_unordered(1..=70, seventh).unwrap().collect();
        for answers in [ordered, unordered] {
            assert_eq!(answers.len(), 70);
            assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 10);
        }
        settled(&pool);
    });
}

#[test]
fn a_dropped_map_cancels_what_has_not_begun() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let mut answers = pool.map(0..100, |(), n| n).unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), 0);
        drop(answers);
        assert_eq!(pool.snapshot().waiting, 0);
        pool.shutdown(Shutdown::Drain);
        settled(&pool);
    });
}

#[test]
fn a_pool_closed_amid_a_map_answers_for_every_item_in_order() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let mut ordered = pool.map(0..10, |(), n| n).unwrap();
        assert_eq!(ordered.next().unwrap().unwrap(), 0);
        let mut unordered = pool.map_unordered(0..10, |(), n| n).unwrap();
        unordered.next().unwrap().unwrap();
        pool.shutdown(Shutdown::Drain);
        let answers: Vec<_> = ordered.collect();
        assert_eq!(answers.len(), 9);
        assert!(matches!(answers[0], Ok(1)), "{answers:?}");
        let closed =
            |answer: &Result<i32, _>| matches!(answer, Err(ReplyError::Refused(Reason::Closed)));
        let begun = answers.iter().take_while(|answer| answer.is_ok()).count();
        assert!(answers[begun..].iter().all(closed), "{answers:?}");
        let answers: Vec<_> = unordered.collect();
        assert_eq!(answers.len(), 9);
        assert!(answers.iter().all(|answer| answer.is_ok() || closed(answer)), "{answers:?}");
        settled(&pool);
    });
}

#[test]
fn a_map_beside_other_requests_in_a_short_line_goes_on() {
    bounded(|| {
        for line in [0, 1] {
            let pool = ThreadPool::builder().workers(2).line(line).build(|_| Ok(())).unwrap();
            let held = hold_all(&pool);
            let mapping = {
                let pool = pool.clone();
                thread::spawn(move || {
                    pool.map(0..100, |(), n| n).unwrap().map(Result::unwrap).sum::<i32>()
                })
            };
            for held in held {
                held.let_go();
            }
            assert_eq!(mapping.join().unwrap(), 4950);
            settled(&pool);
        }
    });
}

#[test]
fn dropped_unordered_what_has_not_begun_does_not_run() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(8).build(|_| Ok(())).unwrap();
        let (go, gone) = channel::<()>();
        let (running, runs) = channel();
        let (gone, ran) = (Mutex::new(gone), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&ran);
        let mut answers = pool
            .map_unordered(0..100, move |(), n| {
                count.fetch_add(1, Ordering::SeqCst);
                if n == 1 {
                    running.send(()).unwrap();
                    gone.lock().unwrap().recv().unwrap_err();
                }
            })
            .unwrap();
        answers.next().unwrap().unwrap();
        runs.recv().unwrap();
        drop(answers);
        drop(go);
        pool.shutdown(plimsoll::Shutdown::Drain);
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        settled(&pool);
    });
}
