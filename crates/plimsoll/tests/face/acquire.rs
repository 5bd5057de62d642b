//! Acquiring: at once, in a task, in a thread; what may cut it short.

use std::sync::mpsc::channel;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll::{Balancer, DispatchToError, Health, Lease, Reason, UnknownWorker};

use crate::common::{Counter, LIMIT, block_on, bounded, poll, settled, spec, until};

/// A balancer whose one worker has one lease out.
fn full() -> (Balancer<()>, Lease<()>) {
    let balancer = Balancer::new();
    balancer.add((), spec(1));
    let lease = balancer.try_acquire().unwrap();
    (balancer, lease)
}

#[test]
fn refusals_say_whether_waiting_would_help() {
    let balancer = Balancer::new();
    assert!(matches!(balancer.try_acquire(), Err(Reason::NoWorker)));
    assert!(matches!(balancer.acquire_blocking(LIMIT), Err(Reason::NoWorker)));
    assert!(matches!(block_on(balancer.acquire()), Err(Reason::NoWorker)));
    let id = balancer.add((), spec(2));
    let too_much = || balancer.request().cost(3.try_into().unwrap());
    assert!(matches!(too_much().try_acquire(), Err(Reason::CostTooLarge)));
    assert!(matches!(too_much().acquire_blocking(LIMIT), Err(Reason::CostTooLarge)));
    let nobody = || balancer.request().exclude(id);
    assert!(matches!(nobody().try_acquire(), Err(Reason::EveryWorkerExcluded)));
    assert!(matches!(block_on(nobody().acquire()), Err(Reason::EveryWorkerExcluded)));
    let late = balancer.request().deadline(Instant::now()).try_acquire();
    assert!(matches!(late, Err(Reason::DeadlinePassed)));
    settled(&balancer);
}

/// Past policy and line, and never past a capacity.
#[test]
fn a_lease_on_one_worker_is_a_lease_like_others() {
    let balancer = Balancer::new();
    let one = balancer.add("one", spec(2));
    let other = balancer.add("other", spec(1));
    let leases = [(); 2].map(|()| balancer.try_acquire_from(one).unwrap());
    assert_eq!(
        leases.each_ref().map(|lease| (*lease.worker(), lease.pending())),
        [("one", 1), ("one", 2)]
    );
    assert_eq!(balancer.try_acquire_from(one).err(), Some(DispatchToError::NoRoom));
    let elsewhere = balancer.try_acquire().unwrap();
    let counter = Counter::new();
    let mut next = balancer.acquire();
    assert!(poll(&mut next, &counter).is_pending());
    drop(leases);
    assert!(poll(&mut next, &counter).is_ready());
    balancer.set_health(one, Health::Down).unwrap();
    assert_eq!(balancer.try_acquire_from(one).err(), Some(DispatchToError::NotUp));
    drop(elsewhere);
    drop(balancer.remove(other).unwrap());
    let unknown = balancer.try_acquire_from(other).err();
    assert_eq!(unknown, Some(DispatchToError::Unknown(UnknownWorker(other))));
    settled(&balancer);
}

#[test]
fn the_line_is_bounded() {
    let balancer: Balancer<()> = Balancer::builder().line(1).build();
    balancer.add((), spec(1));
    let lease = balancer.try_acquire().unwrap();
    let counter = Counter::new();
    let mut first = balancer.acquire();
    assert!(poll(&mut first, &counter).is_pending());
    assert!(matches!(block_on(balancer.acquire()), Err(Reason::Full)));
    assert!(matches!(balancer.acquire_blocking(LIMIT), Err(Reason::Full)));
    drop((lease, first));
    settled(&balancer);
}

#[test]
fn the_line_is_served_in_order() {
    let (balancer, lease) = full();
    let counters = [Counter::new(), Counter::new(), Counter::new()];
    let mut waiting: Vec<_> = counters.iter().map(|_| balancer.acquire()).collect();
    for (acquire, counter) in waiting.iter_mut().zip(&counters) {
        assert!(poll(acquire, counter).is_pending());
    }
    let mut lease = Some(lease);
    for (nth, acquire) in waiting.iter_mut().enumerate() {
        drop(lease.take());
        let woken: Vec<_> = counters.iter().map(|counter| counter.count()).collect();
        assert_eq!(woken.iter().sum::<usize>(), nth + 1, "{woken:?}");
        let Poll::Ready(Ok(next)) = poll(acquire, &counters[nth]) else { panic!("not its turn") };
        lease = Some(next);
    }
    drop(lease);
    settled(&balancer);
}

#[test]
fn blocked_threads_get_the_lease_that_others_give_back() {
    bounded(|| {
        let (balancer, lease) = full();
        let (sender, leases) = channel();
        for _ in 0..3 {
            let (balancer, sender) = (balancer.clone(), sender.clone());
            thread::spawn(move || sender.send(balancer.acquire_blocking(LIMIT).unwrap()).unwrap());
        }
        until(|| balancer.snapshot().waiting == 3);
        drop(lease);
        for _ in 0..3 {
            drop(leases.recv().unwrap());
        }
        settled(&balancer);
    });
}

#[test]
fn a_blocked_acquire_ends_in_time_and_leaves_the_line() {
    bounded(|| {
        let (balancer, lease) = full();
        let timed_out = balancer.acquire_blocking(Duration::from_millis(1));
        assert!(matches!(timed_out, Err(Reason::DeadlinePassed)));
        let timed_out = balancer.acquire_blocking(Duration::ZERO);
        assert!(matches!(timed_out, Err(Reason::DeadlinePassed)));
        assert_eq!(balancer.snapshot().waiting, 0);
        let soon = Instant::now() + Duration::from_millis(1);
        let late = balancer.request().deadline(soon).acquire_blocking(LIMIT);
        assert!(matches!(late, Err(Reason::DeadlinePassed)));
        drop(lease);
        settled(&balancer);
    });
}

#[test]
fn a_deadline_wakes_who_awaits() {
    bounded(|| {
        let (balancer, lease) = full();
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(20);
        let late = block_on(balancer.request().deadline(deadline).acquire());
        assert!(matches!(late, Err(Reason::DeadlinePassed)));
        assert!(Instant::now() >= deadline);
        assert_eq!(balancer.snapshot().waiting, 0);
        drop(lease);
        settled(&balancer);
    });
}

#[test]
fn dropped_before_its_first_poll_it_was_never_in_line() {
    let (balancer, lease) = full();
    let acquire = balancer.acquire();
    assert_eq!(balancer.snapshot().waiting, 0);
    drop(acquire);
    drop(lease);
    settled(&balancer);
}

#[test]
fn dropped_in_line_it_leaves_the_line() {
    let (balancer, lease) = full();
    let counters = [Counter::new(), Counter::new()];
    let mut first = balancer.acquire();
    let mut second = balancer.acquire();
    assert!(poll(&mut first, &counters[0]).is_pending());
    assert!(poll(&mut second, &counters[1]).is_pending());
    assert_eq!(balancer.snapshot().waiting, 2);
    drop(first);
    assert_eq!(balancer.snapshot().waiting, 1);
    drop(lease);
    assert_eq!((counters[0].count(), counters[1].count()), (0, 1));
    drop(block_on(second).unwrap());
    settled(&balancer);
}

#[test]
fn dropped_with_a_lease_assigned_it_passes_it_on() {
    let (balancer, lease) = full();
    let counters = [Counter::new(), Counter::new()];
    let mut first = balancer.acquire();
    let mut second = balancer.acquire();
    assert!(poll(&mut first, &counters[0]).is_pending());
    assert!(poll(&mut second, &counters[1]).is_pending());
    drop(lease);
    assert_eq!((counters[0].count(), counters[1].count()), (1, 0));
    drop(first);
    assert_eq!(counters[1].count(), 1);
    drop(block_on(second).unwrap());
    settled(&balancer);
}

#[test]
fn held_and_not_polled_it_keeps_the_lease() {
    let (balancer, lease) = full();
    let counter = Counter::new();
    let mut held = balancer.acquire();
    assert!(poll(&mut held, &counter).is_pending());
    drop(lease);
    assert_eq!(balancer.snapshot().pending(), 1);
    assert!(matches!(balancer.try_acquire(), Err(Reason::Full)));
    drop(block_on(held).unwrap());
    settled(&balancer);
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let (balancer, lease) = full();
    let (old, new) = (Counter::new(), Counter::new());
    let mut acquire = balancer.acquire();
    assert!(poll(&mut acquire, &old).is_pending());
    assert!(poll(&mut acquire, &new).is_pending());
    drop(lease);
    assert_eq!((old.count(), new.count()), (0, 1));
    drop(acquire);
    settled(&balancer);
}

#[test]
fn a_costly_request_waits_for_room_and_is_not_overtaken() {
    let balancer = Balancer::new();
    balancer.add((), spec(3));
    let small = balancer.try_acquire().unwrap();
    let counters = [Counter::new(), Counter::new()];
    let mut costly = balancer.request().cost(3.try_into().unwrap()).acquire();
    assert!(poll(&mut costly, &counters[0]).is_pending());
    let mut next = balancer.acquire();
    assert!(poll(&mut next, &counters[1]).is_pending(), "the line has stopped");
    assert!(matches!(balancer.try_acquire(), Err(Reason::Full)));
    drop(small);
    assert_eq!((counters[0].count(), counters[1].count()), (1, 0));
    let lease = block_on(costly).unwrap();
    assert_eq!((lease.cost().get(), balancer.snapshot().pending()), (3, 3));
    drop(lease);
    drop(block_on(next).unwrap());
    settled(&balancer);
}

#[test]
fn who_waits_for_an_excluded_worker_only_is_passed_over_and_keeps_its_place() {
    let balancer = Balancer::new();
    let first = balancer.add("first", spec(1));
    balancer.add("second", spec(1));
    let leases = [balancer.try_acquire().unwrap(), balancer.try_acquire().unwrap()];
    let counters = [Counter::new(), Counter::new()];
    let mut choosy = balancer.request().exclude(first).acquire();
    let mut other = balancer.acquire();
    assert!(poll(&mut choosy, &counters[0]).is_pending());
    assert!(poll(&mut other, &counters[1]).is_pending());
    let [a, b] = leases;
    let (on_first, on_second) = if *a.worker() == "first" { (a, b) } else { (b, a) };
    drop(on_first);
    assert_eq!((counters[0].count(), counters[1].count()), (0, 1));
    drop(on_second);
    assert_eq!(counters[0].count(), 1);
    let lease = block_on(choosy).unwrap();
    assert_eq!(*lease.worker(), "second");
    drop((lease, other));
    settled(&balancer);
}

#[test]
fn a_panicking_waker_harms_nobody_else() {
    struct Bomb;
    impl std::task::Wake for Bomb {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a waker goes wrong");
        }
    }
    let balancer = Balancer::new();
    let id = balancer.add((), spec(2));
    let leases = [balancer.try_acquire().unwrap(), balancer.try_acquire().unwrap()];
    let waker = std::task::Waker::from(std::sync::Arc::new(Bomb));
    let mut context = std::task::Context::from_waker(&waker);
    let mut first = Box::pin(balancer.acquire());
    assert!(first.as_mut().poll(&mut context).is_pending());
    let counter = Counter::new();
    let mut second = balancer.acquire();
    assert!(poll(&mut second, &counter).is_pending());
    // Both are assigned by one call, the bomb first.
    balancer.set_capacity(id, 4.try_into().unwrap()).unwrap();
    assert_eq!(counter.count(), 1);
    drop((leases, first, second));
    settled(&balancer);
}
