//! Workers come, go and change; what is seen of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use plimsoll::{Balancer, Health, Policy, Reason, WorkerSpec};

use crate::common::{Counter, block_on, bounded, poll, settled, spec};

#[test]
fn equals_take_turns_and_capacity_holds() {
    let balancer = Balancer::new();
    let ids: Vec<_> = (0..3).map(|number| balancer.add(number, spec(10))).collect();
    let leases: Vec<_> = (0..30).map(|_| balancer.try_acquire().unwrap()).collect();
    assert!(matches!(balancer.try_acquire(), Err(Reason::Full)));
    for (number, &id) in ids.iter().enumerate() {
        assert_eq!(leases.iter().filter(|lease| *lease.worker() == number).count(), 10);
        assert_eq!(leases.iter().filter(|lease| lease.id() == id).count(), 10);
    }
    drop(leases);
    settled(&balancer);
}

#[test]
fn a_weight_of_two_takes_twice_as_much_and_can_change() {
    let balancer = Balancer::new();
    let light = balancer.add("light", spec(1000));
    let heavy = WorkerSpec { weight: 2.try_into().unwrap(), ..spec(1000) };
    balancer.add("heavy", heavy);
    let share = |leases: u32| {
        let leases: Vec<_> = (0..leases).map(|_| balancer.try_acquire().unwrap()).collect();
        leases.iter().filter(|lease| *lease.worker() == "heavy").count()
    };
    assert_eq!(share(300), 200);
    balancer.set_weight(light, 2.try_into().unwrap()).unwrap();
    assert_eq!(share(300), 150);
    settled(&balancer);
}

#[test]
fn a_worker_that_is_added_serves_the_line() {
    let balancer = Balancer::new();
    balancer.add("first", spec(1));
    let lease = balancer.try_acquire().unwrap();
    let counter = Counter::new();
    let mut waiting = balancer.acquire();
    assert!(poll(&mut waiting, &counter).is_pending());
    balancer.add("second", spec(1));
    assert_eq!(counter.count(), 1);
    let second = block_on(waiting).unwrap();
    assert_eq!(*second.worker(), "second");
    drop((lease, second));
    settled(&balancer);
}

/// What another gave it counts, above its capacity and while it is down, and goes to the line as it
/// comes back.
#[test]
fn what_a_worker_has_already_is_adopted() {
    let balancer = Balancer::new();
    let id = balancer.add((), spec(2));
    balancer.set_health(id, Health::Down).unwrap();
    let mut adopted: Vec<_> = (0..3).map(|_| balancer.adopt(id).unwrap()).collect();
    balancer.set_health(id, Health::Up).unwrap();
    assert_eq!(balancer.worker(id).unwrap().pending, 3);
    let counter = Counter::new();
    let mut waiting = balancer.acquire();
    assert!(poll(&mut waiting, &counter).is_pending());
    adopted.pop();
    assert_eq!(counter.count(), 0);
    adopted.pop();
    assert_eq!(counter.count(), 1);
    drop((adopted, block_on(waiting).unwrap()));
    assert_eq!(balancer.snapshot().run.count(), 1, "the time of those is not known");
    let removed = balancer.remove(id).unwrap();
    assert!(balancer.adopt(id).is_err() && balancer.worker(id).is_none());
    drop(removed);
    settled(&balancer);
}

#[test]
fn a_removal_yields_the_worker_when_its_last_lease_is_back() {
    let balancer = Balancer::new();
    let id = balancer.add(String::from("it"), spec(2));
    let leases = [balancer.try_acquire().unwrap(), balancer.try_acquire().unwrap()];
    let counter = Counter::new();
    let mut removal = balancer.remove(id).unwrap();
    assert!(balancer.remove(id).is_err(), "removed twice");
    assert!(matches!(balancer.try_acquire(), Err(Reason::NoWorker)));
    assert!(poll(&mut removal, &counter).is_pending());
    let [first, second] = leases;
    drop(first);
    assert_eq!(counter.count(), 0);
    drop(second);
    assert_eq!(counter.count(), 1);
    assert_eq!(block_on(removal), "it");
    assert_eq!(balancer.snapshot().workers.len(), 0);
    settled(&balancer);
}

#[test]
fn a_removal_yields_an_idle_worker_at_once_and_lets_go_of_it_when_dropped() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let flag = Arc::new(AtomicBool::new(false));
    let balancer = Balancer::new();
    let id = balancer.add(Dropped(Arc::clone(&flag)), spec(1));
    let worker = balancer.remove(id).unwrap().wait(Duration::ZERO).unwrap();
    assert!(!flag.load(Ordering::SeqCst));

    let id = balancer.add(worker, spec(1));
    let lease = balancer.try_acquire().unwrap();
    drop(balancer.remove(id).unwrap());
    assert!(!flag.load(Ordering::SeqCst), "a lease is out");
    drop(lease);
    assert!(flag.load(Ordering::SeqCst));
    settled(&balancer);
}

#[test]
fn an_id_is_of_one_worker_only() {
    let balancer = Balancer::new();
    let old = balancer.add("old", spec(1));
    let lease = balancer.try_acquire().unwrap();
    let removal = balancer.remove(old).unwrap();
    drop(lease);
    drop(removal);
    let new = balancer.add("new", spec(1));
    assert_ne!(old, new);
    assert!(balancer.set_health(old, Health::Down).is_err());
    assert!(balancer.set_draining(old, true).is_err());
    assert!(balancer.set_weight(old, 1.try_into().unwrap()).is_err());
    assert!(balancer.set_capacity(old, 1.try_into().unwrap()).is_err());
    assert!(balancer.start_ramp(old, Duration::from_secs(1)).is_err());
    assert!(balancer.remove(old).is_err());
    // Excluding the old one excludes nothing.
    drop(balancer.request().exclude(old).try_acquire().unwrap());
    settled(&balancer);
}

#[test]
fn a_draining_worker_gets_nothing_until_it_is_back() {
    let balancer = Balancer::new();
    let id = balancer.add("it", spec(2));
    let lease = balancer.try_acquire().unwrap();
    balancer.set_draining(id, true).unwrap();
    assert!(matches!(balancer.try_acquire(), Err(Reason::NoWorker)));
    assert_eq!(balancer.snapshot().pending(), 1);
    balancer.set_draining(id, false).unwrap();
    drop(balancer.try_acquire().unwrap());
    drop(lease);
    settled(&balancer);
}

#[test]
fn capacity_below_pending_gives_nothing_until_it_has_sunk() {
    let balancer = Balancer::new();
    let id = balancer.add("it", spec(3));
    let mut leases: Vec<_> = (0..3).map(|_| balancer.try_acquire().unwrap()).collect();
    balancer.set_capacity(id, 1.try_into().unwrap()).unwrap();
    while !leases.is_empty() {
        assert!(matches!(balancer.try_acquire(), Err(Reason::Full)));
        balancer.check_invariants().unwrap();
        leases.pop();
    }
    drop(balancer.try_acquire().unwrap());
    settled(&balancer);
}

#[test]
fn requests_wait_for_a_starting_worker_and_not_for_one_that_is_down() {
    let balancer = Balancer::new();
    let id = balancer.add((), WorkerSpec { health: Health::Starting, ..spec(1) });
    let counter = Counter::new();
    let mut waiting = balancer.acquire();
    assert!(poll(&mut waiting, &counter).is_pending());
    balancer.set_health(id, Health::Up).unwrap();
    let lease = block_on(waiting).unwrap();
    let mut waiting = balancer.acquire();
    assert!(poll(&mut waiting, &counter).is_pending());
    balancer.set_health(id, Health::Down).unwrap();
    assert!(matches!(block_on(waiting), Err(Reason::NoWorker)));
    drop(lease);
    settled(&balancer);
}

#[test]
fn a_ramp_grows_by_itself_and_serves_who_waits() {
    bounded(|| {
        let balancer = Balancer::new();
        let id = balancer.add((), spec(16));
        balancer.start_ramp(id, Duration::from_millis(50)).unwrap();
        let mut leases = vec![balancer.try_acquire().unwrap()];
        assert!(matches!(balancer.try_acquire(), Err(Reason::Full)), "a sixteenth of 16 is 1");
        while leases.len() < 16 {
            leases.push(balancer.acquire_blocking(Duration::from_secs(20)).unwrap());
        }
        drop(leases);
        settled(&balancer);
    });
}

#[test]
fn a_failed_lease_makes_its_worker_look_busier() {
    let balancer = Balancer::new();
    balancer.add(0, spec(100));
    balancer.add(1, spec(100));
    let lease = balancer.try_acquire().unwrap();
    let failed = *lease.worker();
    lease.fail();
    let next: Vec<_> = (0..4).map(|_| balancer.try_acquire().unwrap()).collect();
    assert!(next.iter().all(|lease| *lease.worker() != failed));
    drop(next);

    // Unwinding says the same.
    let lease = balancer.try_acquire().unwrap();
    let other = *lease.worker();
    assert_ne!(other, failed);
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _lease = lease;
        panic!("the request goes wrong");
    }));
    assert!(unwound.is_err());
    let snapshot = balancer.snapshot();
    assert!(snapshot.workers.iter().all(|worker| worker.failed == 1), "{snapshot:?}");
    settled(&balancer);
}

#[test]
fn a_snapshot_is_one_consistent_reading() {
    bounded(|| {
        const LINE: usize = 3;
        let balancer =
            Balancer::<u32>::clone(&Balancer::builder().line(LINE).audit_every(7).build());
        for number in 0..3 {
            balancer.add(number, spec(2));
        }
        let done = AtomicBool::new(false);
        let acquired = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..2000 {
                            if balancer.acquire_blocking(Duration::from_secs(20)).is_ok() {
                                acquired.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            let looker = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let snapshot = balancer.snapshot();
                    for worker in &snapshot.workers {
                        let out = worker.dispatched - worker.completed;
                        assert_eq!(out, u64::from(worker.pending), "{worker:?}");
                        assert!(worker.pending <= 2, "{worker:?}");
                    }
                    assert!(snapshot.waiting <= LINE);
                    assert_eq!(snapshot.waiting == 0, snapshot.longest_wait.is_none());
                    balancer.check_invariants().unwrap();
                }
            });
            for thread in threads {
                thread.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
            looker.join().unwrap();
        });
        let snapshot = balancer.snapshot();
        let acquired = acquired.into_inner();
        assert_eq!(snapshot.workers.iter().map(|worker| worker.completed).sum::<u64>(), acquired);
        assert_eq!((snapshot.wait.count(), snapshot.run.count()), (acquired, acquired));
        assert!(snapshot.run.quantile(0.5) <= snapshot.run.max());
        settled(&balancer);
    });
}

#[test]
fn the_policy_can_change_while_leases_are_out() {
    let balancer = Balancer::new();
    for number in 0..4 {
        balancer.add(number, spec(4));
    }
    let mut leases = Vec::new();
    for policy in [Policy::RoundRobin, Policy::Random, Policy::PowerOfTwo, Policy::LeastLoaded] {
        balancer.set_policy(policy);
        leases.extend((0..4).map(|_| balancer.try_acquire().unwrap()));
        balancer.check_invariants().unwrap();
    }
    assert!(matches!(balancer.try_acquire(), Err(Reason::Full)));
    drop(leases);
    settled(&balancer);
}
