//! Requests go in, answers come out.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll::{BuildError, Policy, Reason, Refused, ReplyError, ThreadPool};

use crate::common::{
    Counter, LIMIT, block_on, bounded, bounded_async, hold, hold_all, poll, settled, signal, until,
    up,
};

#[test]
fn every_request_is_answered_once() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(4).audit_every(1).build(|_| Ok(())).unwrap();
        let replies: Vec<_> = (0..5000u64).map(|n| pool.submit(move |()| n * 2).unwrap()).collect();
        for (n, reply) in (0..).zip(replies) {
            assert_eq!(reply.wait().unwrap(), n * 2);
        }
        let snapshot = pool.snapshot();
        assert_eq!(snapshot.workers.iter().map(|worker| worker.completed).sum::<u64>(), 5000);
        assert_eq!(snapshot.wait.count(), 5000);
        settled(&pool);
    });
}

#[test]
fn a_state_need_not_be_send_and_stays_on_its_thread() {
    bounded(|| {
        let factory = |number| Ok((thread::current().id(), number, Rc::new(Cell::new(0))));
        let pool = ThreadPool::builder().workers(3).build(factory).unwrap();
        let replies: Vec<_> = (0..300)
            .map(|_| {
                pool.submit(|(thread, number, count)| {
                    assert_eq!(*thread, thread::current().id());
                    count.set(count.get() + 1);
                    *number
                })
            })
            .collect();
        for reply in replies {
            assert!(reply.unwrap().wait().unwrap() < 3);
        }
        let counts = pool.broadcast(|(.., count)| count.get());
        assert_eq!(counts.into_iter().map(Result::unwrap).sum::<i32>(), 300);
        settled(&pool);
    });
}

#[test]
fn a_pool_without_workers_or_capacity_is_not_built() {
    assert!(matches!(ThreadPool::new(0), Err(BuildError::NoWorkers)));
    let none = ThreadPool::builder().workers(1).capacity(0).build(|_| Ok(()));
    assert!(matches!(none, Err(BuildError::ZeroCapacity)));
    let pool = ThreadPool::new(1).unwrap();
    assert!(matches!(pool.resize(0), Err(BuildError::NoWorkers)));
}

#[test]
fn threads_have_their_names() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).name("clerk").build(|_| Ok(())).unwrap();
        let name = pool.submit(|()| thread::current().name().map(String::from)).unwrap();
        assert_eq!(name.wait().unwrap().as_deref(), Some("clerk-0"));
        settled(&pool);
    });
}

#[test]
fn a_refused_request_comes_back_whole() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).line(1).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let in_line = pool.try_submit(|()| 1).unwrap();
        let precious = String::from("precious");
        let refused = pool.try_submit(move |()| precious).unwrap_err();
        assert!(matches!(refused.reason, Reason::Full));
        assert_eq!((refused.request)(&mut ()), "precious");
        held.let_go();
        assert_eq!(in_line.wait().unwrap(), 1);
        settled(&pool);
    });
}

#[test]
fn a_blocking_submit_waits_at_the_gate() {
    for line in [0, 1, 2] {
        bounded(move || {
            let pool = ThreadPool::builder().workers(1).line(line).build(|_| Ok(())).unwrap();
            let held = hold(&pool);
            let waiting: Vec<_> = (0..line).map(|n| pool.submit(move |()| n).unwrap()).collect();
            let (sender, taken) = channel();
            let threads: Vec<_> = (0..3)
                .map(|n| {
                    let (pool, sender) = (pool.clone(), sender.clone());
                    thread::spawn(move || {
                        let reply = pool.submit(move |()| 10 + n).unwrap();
                        sender.send(()).unwrap();
                        reply.wait().unwrap()
                    })
                })
                .collect();
            assert!(taken.try_recv().is_err());
            held.let_go();
            for (n, reply) in (0..).zip(waiting) {
                assert_eq!(reply.wait().unwrap(), n);
            }
            for (n, thread) in (0..).zip(threads) {
                assert_eq!(thread.join().unwrap(), 10 + n);
            }
            settled(&pool);
        });
    }
}

#[test]
fn an_async_submit_waits_at_the_gate_and_can_be_dropped_there() {
    bounded(|| {
        for line in [0, 1] {
            let pool = ThreadPool::builder().workers(1).line(line).build(|_| Ok(())).unwrap();
            let held = hold(&pool);
            let in_line: Vec<_> = (0..line).map(|_| pool.try_submit(|()| ()).unwrap()).collect();
            let counters = [Counter::new(), Counter::new(), Counter::new()];
            let (token, dropped) = channel::<()>();
            let mut leaves = Box::pin(pool.submit_async(move |()| drop(token)));
            let mut stays = Box::pin(pool.submit_async(|()| "it ran"));
            let never_polled = pool.submit_async(|()| ());
            assert!(poll(&mut leaves, &counters[0]).is_pending());
            assert!(poll(&mut stays, &counters[1]).is_pending());
            drop(never_polled);
            drop(leaves);
            assert!(dropped.recv().is_err(), "its request is dropped with it");
            held.let_go();
            let reply = block_on(stays).unwrap();
            assert_eq!(block_on(reply).unwrap(), "it ran");
            assert_eq!(counters[0].count(), 0);
            for reply in in_line {
                reply.wait().unwrap();
            }
            settled(&pool);
        }
    });
}

#[test]
fn dropped_at_the_gate_when_just_let_in_the_request_is_cancelled() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).line(1).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let in_line = pool.try_submit(|()| ()).unwrap();
        let counter = Counter::new();
        let mut at_gate = Box::pin(pool.submit_async(|()| panic!("it must not run")));
        assert!(poll(&mut at_gate, &counter).is_pending());
        drop(in_line);
        assert_eq!(counter.count(), 1, "there is room in line now");
        drop(at_gate);
        assert_eq!(pool.snapshot().waiting, 0);
        held.let_go();
        settled(&pool);
    });
}

#[test]
fn deadlines_hold_at_the_gate_in_line_and_at_the_worker() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(2).line(1).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let deadline = Instant::now() + Duration::from_millis(30);
        let request = || pool.request().deadline(deadline);
        let at_worker = request().submit(|()| panic!("too late")).unwrap();
        assert_eq!(pool.snapshot().pending(), 2);
        let in_line = request().submit(|()| panic!("too late")).unwrap();
        assert_eq!(pool.snapshot().waiting, 1);
        let at_gate = request().submit(|()| ());
        let Err(Refused { reason: Reason::DeadlinePassed, .. }) = at_gate else {
            panic!("the gate let it in")
        };
        let late = ReplyError::Refused(Reason::DeadlinePassed).to_string();
        assert_eq!(in_line.wait().unwrap_err().to_string(), late);
        held.let_go();
        assert_eq!(at_worker.wait().unwrap_err().to_string(), late);
        let passed = request().try_submit(|()| ()).unwrap_err();
        assert!(matches!(passed.reason, Reason::DeadlinePassed));
        settled(&pool);
    });
}

#[test]
fn a_later_deadline_at_the_gate_is_seen_to_as_well() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).line(0).build(|_| Ok(())).unwrap();
        let held = hold(&pool);
        let now = Instant::now();
        let submits = [5, 10, 15].map(|ms| {
            let deadline = now + Duration::from_millis(ms);
            let counter = Counter::new();
            let request = pool.request().deadline(deadline);
            let mut submit = Box::pin(request.submit_async(|()| ()));
            assert!(poll(&mut submit, &counter).is_pending());
            submit
        });
        for submit in submits {
            assert!(matches!(block_on(submit).unwrap_err().reason, Reason::DeadlinePassed));
        }
        held.let_go();
        settled(&pool);
    });
}

#[test]
fn a_timed_out_wait_can_be_repeated() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let (go, gone) = channel::<()>();
        let mut reply = pool.submit(move |()| gone.recv().unwrap_err()).unwrap();
        assert!(matches!(reply.wait_timeout(Duration::ZERO), Err(ReplyError::TimedOut)));
        assert!(matches!(reply.wait_timeout(Duration::from_millis(1)), Err(ReplyError::TimedOut)));
        assert!(!reply.is_ready());
        drop(go);
        reply.wait_timeout(LIMIT).unwrap();
        settled(&pool);
    });
}

#[test]
fn a_reply_can_be_awaited_on_tokio() {
    bounded_async(2, async {
        let pool = ThreadPool::new(2).unwrap();
        let replies = (0..500).map(|n| pool.submit(move |()| n).unwrap());
        for (n, reply) in (0..).zip(replies.collect::<Vec<_>>()) {
            assert_eq!(reply.await.unwrap(), n);
        }
        settled(&pool);
    });
}

#[test]
fn a_reply_can_be_awaited_by_hand() {
    bounded(|| {
        let pool = ThreadPool::new(1).unwrap();
        let held = hold(&pool);
        let counter = Counter::new();
        let mut reply = pool.submit(|()| 7).unwrap();
        assert!(poll(&mut reply, &counter).is_pending());
        assert!(poll(&mut reply, &counter).is_pending());
        held.let_go();
        until(|| counter.count() == 1);
        let Poll::Ready(Ok(7)) = poll(&mut reply, &counter) else { panic!("woken without answer") };
        settled(&pool);
    });
}

#[test]
fn cost_counts_against_capacity() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(3).line(0).build(|_| Ok(())).unwrap();
        let (go, gone) = channel::<()>();
        let two = 2.try_into().unwrap();
        let wait = move |()| gone.recv().unwrap_err();
        let costly = pool.request().cost(two).submit(move |state| wait(*state)).unwrap();
        assert_eq!(pool.snapshot().pending(), 2);
        let refused = pool.request().cost(two).try_submit(|()| ()).unwrap_err();
        assert!(matches!(refused.reason, Reason::Full));
        let small = pool.try_submit(|()| ()).unwrap();
        let never = pool.request().cost(4.try_into().unwrap()).submit(|()| ()).unwrap_err();
        assert!(matches!(never.reason, Reason::CostTooLarge));
        drop(go);
        costly.wait().unwrap();
        small.wait().unwrap();
        settled(&pool);
    });
}

#[test]
fn a_broadcast_reaches_each_worker_once_next_in_its_own_queue() {
    bounded(|| {
        let pool = ThreadPool::builder()
            .workers(3)
            .capacity(4)
            .build(|_| Ok(Vec::<&'static str>::new()))
            .unwrap();
        up(&pool);
        let held: Vec<_> = (0..3).map(|_| hold(&pool)).collect();
        let queued: Vec<_> =
            (0..9).map(|_| pool.submit(|log: &mut Vec<_>| log.push("queued")).unwrap()).collect();
        let before = pool.snapshot().pending();
        let other = pool.clone();
        let told = thread::spawn(move || other.broadcast(|log| log.push("told")));
        // Uncharged, so nothing shows that it is on its way: let go meanwhile.
        until(|| told.is_finished() || pool.snapshot().pending() == before);
        for held in held {
            held.let_go();
        }
        assert_eq!(told.join().unwrap().into_iter().filter(Result::is_ok).count(), 3);
        for reply in queued {
            reply.wait().unwrap();
        }
        let logs: Vec<_> = pool.broadcast(|log| log.clone()).into_iter().flatten().collect();
        assert_eq!(logs.iter().flatten().filter(|line| **line == "told").count(), 3);
        assert!(logs.iter().all(|log| log.iter().filter(|line| **line == "told").count() == 1));
        settled(&pool);
    });
}

#[test]
fn a_broadcast_runs_before_what_its_worker_has_queued() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(1).capacity(8).build(|_| Ok(Vec::new())).unwrap();
        let held = hold(&pool);
        let queued: Vec<_> =
            (0..7).map(|n| pool.submit(move |log: &mut Vec<i32>| log.push(n)).unwrap()).collect();
        let (making, made) = signal();
        let other = pool.clone();
        let told = thread::spawn(move || {
            // The answer's thread is past its enqueueing when it waits.
            making.send(()).unwrap();
            other.broadcast(|log| log.push(-1))
        });
        made.recv().unwrap();
        // It may come before or after this; its place is in front either way.
        held.let_go();
        for reply in queued {
            reply.wait().unwrap();
        }
        told.join().unwrap();
        let log = pool.submit(|log: &mut Vec<i32>| std::mem::take(log)).unwrap().wait().unwrap();
        let numbers: Vec<_> = log.iter().copied().filter(|n| *n >= 0).collect();
        assert_eq!((log.len(), numbers), (8, (0..7).collect()));
        settled(&pool);
    });
}

#[test]
fn the_policy_can_change_while_requests_run() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(3).capacity(4).build(|_| Ok(())).unwrap();
        for policy in [Policy::Random, Policy::RoundRobin, Policy::PowerOfTwo, Policy::LeastLoaded]
        {
            let replies: Vec<_> = (0..200).map(|n| pool.submit(move |()| n).unwrap()).collect();
            pool.set_policy(policy);
            for (n, reply) in (0..).zip(replies) {
                assert_eq!(reply.wait().unwrap(), n);
            }
        }
        settled(&pool);
    });
}

#[test]
fn with_capacity_one_nothing_waits_behind_a_slow_request() {
    bounded(|| {
        let pool = ThreadPool::builder().workers(2).audit_every(1).build(|_| Ok(())).unwrap();
        let slow = hold(&pool);
        let replies: Vec<_> = (0..100).map(|n| pool.submit(move |()| n).unwrap()).collect();
        for (n, reply) in (0..).zip(replies) {
            assert_eq!(reply.wait().unwrap(), n);
        }
        slow.let_go();
        settled(&pool);
    });
}

#[test]
fn all_workers_work_at_once() {
    bounded(|| {
        let pool = ThreadPool::new(8).unwrap();
        // Returns only when each of 8 requests runs at the same time.
        let held = hold_all(&pool);
        assert_eq!(pool.snapshot().pending(), 8);
        for held in held {
            held.let_go();
        }
        settled(&pool);
    });
}
