//! One process serves in another's place, while the other finishes what it has.
//!
//! Both use the same backends meanwhile, and together never more of one than its capacity: what
//! the old one has, the new one counts as lent, in its balancer and among its open
//! connections. The old one ([`Rest`]) has no more than that at any time: what becomes
//! free it gives back, and nothing goes to its line by itself. A request that waits there stands in
//! the new one's line ([`Loans`]), as any other. How the two speak to each other is not known
//! here.

mod loans;
mod rest;

pub use self::loans::Loans;
pub use self::rest::{Rest, Turn, Waits};

/// A backend of a pool, as two processes know it.
///
/// ```
/// use plimsoll_proxy::Place;
///
/// let place = Place { pool: "web".into(), backend: "10.0.0.1:9001".into() };
/// assert_eq!(place, place.clone());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The pool's name.
    pub pool: String,
    /// The backend's, in that pool.
    pub backend: String,
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::task::{Context, Poll, Waker};
    use std::thread;
    use std::time::{Duration, Instant};

    use plimsoll::{Acquire, Lease};

    use super::*;
    use crate::config::{BackendConfig, Config};
    use crate::control::Control;
    use crate::proxy::Proxy;
    use crate::upstream::Backend;

    const CAPACITY: u32 = 3;
    const BACKENDS: usize = 2;

    /// How many there are at a time, and were at the most.
    #[derive(Default)]
    struct Count {
        now: AtomicU32,
        most: AtomicU32,
    }

    impl Count {
        fn enter(&self) {
            self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        }

        fn leave(&self) {
            self.now.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Leases on each backend, and connections to it, of both processes.
    #[derive(Default)]
    struct Counts {
        leases: [Count; BACKENDS],
        connections: [Count; BACKENDS],
    }

    fn backend(nth: usize) -> BackendConfig {
        let at = ([127, 0, 0, 1], 9).into();
        let mut backend = BackendConfig::new(nth.to_string(), vec![at]);
        backend.capacity = NonZeroU32::new(CAPACITY).unwrap();
        backend
    }

    fn proxy() -> Arc<Proxy> {
        let mut config = Config::new((0..BACKENDS).map(backend).collect());
        config.threads = std::num::NonZeroUsize::MIN;
        Arc::new(Proxy::new(config, Control::new()).unwrap())
    }

    /// Has requests there until it is over, with connections as requests have them.
    fn requests(proxy: &Proxy, counts: &Counts, over: &AtomicBool) -> u64 {
        let mut served = 0;
        let books = Arc::clone(&proxy.live().pools[0].books);
        while !over.load(Ordering::Relaxed) {
            let patience = Duration::from_secs(10);
            let lease = books.balancer.acquire_blocking(patience).expect("its turn comes");
            let backend = Arc::clone(lease.worker());
            let nth: usize = backend.name.parse().unwrap();
            counts.leases[nth].enter();
            let place = loop {
                match backend.lend_place() {
                    Some(place) => break place,
                    None => thread::yield_now(),
                }
            };
            counts.connections[nth].enter();
            thread::sleep(Duration::from_micros(50));
            // In the order in which requests give them back.
            counts.connections[nth].leave();
            drop(place);
            counts.leases[nth].leave();
            drop(lease);
            served += 1;
        }
        served
    }

    fn all() -> Vec<Place> {
        let place = |nth: usize| Place { pool: "default".into(), backend: nth.to_string() };
        (0..BACKENDS).map(place).collect()
    }

    /// The one process takes its turn, and then the other.
    fn exchange(rest: &mut Rest, loans: &mut Loans) {
        let turn = rest.take_turn();
        turn.gives.iter().for_each(|(place, count)| loans.give_back(place, *count));
        turn.waits.iter().for_each(|waits| loans.wait(waits));
        turn.unused.iter().for_each(|place| loans.leave_out(place));
        loans.take_turn().into_iter().for_each(|place| rest.grant(place));
    }

    /// Two processes, of which the old one has all of its backends, by their numbers, and one more
    /// request in line, that does not go to the backend that is told; then it hands over.
    struct Pair {
        rest: Rest,
        loans: Loans,
        has: [Vec<Lease<Arc<Backend>>>; BACKENDS],
        waits: Acquire<Arc<Backend>>,
        both: [Arc<Proxy>; 2],
    }

    impl Pair {
        fn new(excluded: Option<usize>, before: impl FnOnce(&Proxy)) -> Self {
            let (old, new) = (proxy(), proxy());
            let books = Arc::clone(&old.live().pools[0].books);
            let mut has: [Vec<_>; BACKENDS] = Default::default();
            while let Ok(lease) = books.balancer.try_acquire() {
                has[lease.worker().name.parse::<usize>().unwrap()].push(lease);
            }
            let mut request = books.balancer.request();
            if let Some(nth) = excluded {
                request = request.exclude(has[nth][0].id());
            }
            let mut waits = request.acquire();
            assert!(ask(&mut waits).is_none());
            before(&old);
            let rest = old.hand_over(&all()).unwrap();
            let mut loans = Loans::new(&new);
            for (place, count) in rest.has() {
                loans.lend(&place, count);
            }
            assert_eq!(loans.lent(), BACKENDS * CAPACITY as usize);
            Self { rest, loans, has, waits, both: [old, new] }
        }

        fn exchange(&mut self) {
            exchange(&mut self.rest, &mut self.loans);
        }

        /// How often the new one has given a backend away.
        fn given(&self, nth: usize) -> u64 {
            let live = self.both[1].live();
            let pool = &live.pools[0];
            pool.books.balancer.worker(pool.backends[nth].id()).unwrap().dispatched
        }

        fn end(mut self) {
            self.has = Default::default();
            drop(self.waits);
            let begun = Instant::now();
            while self.loans.lent() > 0 || self.loans.is_asked() {
                assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", self.loans);
                exchange(&mut self.rest, &mut self.loans);
            }
            for proxy in self.both {
                let books = &proxy.live().pools[0].books;
                assert_eq!(books.balancer.snapshot().pending(), 0);
                books.balancer.check_invariants().unwrap();
            }
        }
    }

    fn ask(waits: &mut Acquire<Arc<Backend>>) -> Option<Lease<Arc<Backend>>> {
        match Pin::new(waits).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(lease) => Some(lease.unwrap()),
            Poll::Pending => None,
        }
    }

    /// It failed there once.
    #[test]
    fn who_may_not_use_the_least_loaded_backend_gets_another() {
        let mut pair = Pair::new(Some(0), |_| {});
        // The line is of no use for these, be they ever so free.
        pair.has[0].truncate(1);
        let begun = Instant::now();
        for _ in 0..20 {
            pair.exchange();
        }
        let given = pair.given(0);
        let pauses = u64::try_from(begun.elapsed().as_millis() / 50).unwrap();
        let most = 2 + u64::from(CAPACITY) + pauses;
        assert!(given <= most, "it is given away {given} times");
        assert!(ask(&mut pair.waits).is_none());
        pair.has[1].pop();
        for _ in 0..3 {
            pair.exchange();
        }
        let lease = ask(&mut pair.waits).expect("the other has room");
        assert_eq!(lease.worker().name, "1");
        drop(lease);
        pair.end();
    }

    /// The settings that the old one had do not tell of it any more, those of the new one do.
    #[test]
    fn a_backend_that_was_told_no_more_is_of_use_if_it_is_told_again() {
        let mut pair = Pair::new(None, |old| {
            let left = vec![backend(1)];
            old.change_backends([("default".to_owned(), left)].into()).unwrap();
        });
        pair.has[0].pop();
        for _ in 0..3 {
            pair.exchange();
        }
        let lease = ask(&mut pair.waits).expect("there is room");
        assert_eq!(lease.worker().name, "0");
        drop(lease);
        pair.end();
    }

    /// Whatever comes to either of the two, at whatever moment: no backend has more than it may,
    /// nobody starves, and in the end nothing is lent.
    #[test]
    fn two_processes_never_have_more_than_one_may() {
        let (old, new) = (proxy(), proxy());
        let counts = Counts::default();
        let over = AtomicBool::new(false);
        let ask = |of| {
            let (counts, over) = (&counts, &over);
            move || requests(of, counts, over)
        };
        let until = |what: &dyn Fn() -> bool| {
            let begun = Instant::now();
            while !what() {
                assert!(begun.elapsed() < Duration::from_secs(10));
                thread::yield_now();
            }
        };
        let is_full = |count: &Count| count.now.load(Ordering::SeqCst) == CAPACITY;
        let full = || counts.connections.iter().any(is_full);
        thread::scope(|scope| {
            let of_old: Vec<_> = (0..8).map(|_| scope.spawn(ask(&old))).collect();
            until(&full);
            let mut rest = old.hand_over(&all()).unwrap();
            let mut loans = Loans::new(&new);
            for (place, count) in rest.has() {
                loans.lend(&place, count);
            }
            let of_new: Vec<_> = (0..8).map(|_| scope.spawn(ask(&new))).collect();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(500) {
                exchange(&mut rest, &mut loans);
            }
            over.store(true, Ordering::Relaxed);
            // Those in line have their turn still.
            let threads = || of_old.iter().chain(&of_new);
            let begun = Instant::now();
            while threads().any(|thread| !thread.is_finished()) || loans.lent() > 0 {
                assert!(begun.elapsed() < Duration::from_secs(10), "{rest:?} {loans:?}");
                exchange(&mut rest, &mut loans);
            }
            assert!(rest.has().iter().all(|(_, has)| *has == 0) && !loans.is_asked());
            for (who, threads) in [("old", of_old), ("new", of_new)] {
                let served: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
                assert!(served > 100, "the {who} one has served {served}");
            }
            rest.alone();
            let room = old.live().pools[0].books.balancer.snapshot();
            assert!(room.workers.iter().all(|worker| worker.capacity.get() == CAPACITY));
        });
        for counted in [counts.leases, counts.connections] {
            assert_eq!(counted.map(|count| count.most.into_inner()), [CAPACITY; BACKENDS]);
        }
        for proxy in [old, new] {
            let books = &proxy.live().pools[0].books;
            assert_eq!(books.balancer.snapshot().pending(), 0);
            books.balancer.check_invariants().unwrap();
        }
    }
}
