//! What a process that has handed over still has.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use plimsoll::Health;

use super::Place;
use crate::health;
use crate::pool::{Books, Pool};
use crate::upstream::Backend;

/// What a process that has handed over has of the backends that its successor uses as well; made by
/// [`Control::hand_over`](crate::Control::hand_over).
///
/// It is to take its turn every now and then, as long as the successor is there, or else to be told
/// that it is [`alone`](Self::alone).
///
/// ```
/// let control = plimsoll_proxy::Control::new();
/// assert_eq!(control.hand_over(&[]).unwrap_err(), "nothing is served");
/// ```
#[must_use = "without its turns what it has is never given back"]
#[derive(Debug)]
pub struct Rest {
    shared: Vec<Shared>,
    lines: Vec<Line>,
    /// What was granted since the last turn, and nobody who waits may use.
    unused: Vec<Place>,
}

/// One backend.
struct Shared {
    place: Place,
    books: Arc<Books>,
    backend: Arc<Backend>,
    /// The most that it has, of requests and of connections: the successor counts so many.
    has: u32,
}

/// One pool's line.
struct Line {
    pool: String,
    books: Arc<Books>,
    granted: u64,
    /// What was told last.
    told: (usize, u64),
}

/// What there is to tell the successor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// How much is given back of which backend.
    pub gives: Vec<(Place, u32)>,
    /// Lines that are other than they were.
    pub waits: Vec<Waits>,
    /// Backends that were granted and that nobody in line may use, as they have failed those who
    /// wait: to be left out for as long as the line is as it is told.
    pub unused: Vec<Place>,
}

/// Requests in line at the process that has handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The pool's name.
    pub pool: String,
    /// How many.
    pub requests: usize,
    /// How many were granted a backend before: those on their way are not counted among these.
    pub granted: u64,
}

impl Rest {
    pub(crate) fn new(pools: &[Arc<Pool>], used: &[Place]) -> Self {
        let used: HashSet<_> = used.iter().collect();
        let (mut shared, mut lines) = (Vec::new(), Vec::new());
        for pool in pools {
            let name = &pool.config.name;
            // Those that were removed and have something still are told as well.
            let (_, backends) = pool.books.snapshot();
            for backend in backends {
                let place = Place { pool: name.clone(), backend: backend.name.clone() };
                if used.contains(&place) {
                    health::share(&pool.books, &backend, true);
                    // One that was told no more is told again, by the successor.
                    backend.come_back();
                    let books = Arc::clone(&pool.books);
                    let mut one = Shared { place, books, backend, has: u32::MAX };
                    one.shrink();
                    shared.push(one);
                }
            }
            if used.iter().any(|place| place.pool == *name) {
                let books = Arc::clone(&pool.books);
                books.pace.set_elsewhere(true);
                lines.push(Line { pool: name.clone(), books, granted: 0, told: (0, 0) });
            }
        }
        Self { shared, lines, unused: Vec::new() }
    }

    /// What it has of each backend that both use, be it nothing: the successor must count it before
    /// it sends anything there.
    pub fn has(&self) -> Vec<(Place, u32)> {
        self.shared.iter().map(|shared| (shared.place.clone(), shared.has)).collect()
    }

    /// Those that operators want to get nothing new.
    pub fn drained(&self) -> Vec<Place> {
        let drained = self.shared.iter().filter(|shared| shared.backend.terms().draining);
        drained.map(|shared| shared.place.clone()).collect()
    }

    /// Lets go of what is free, and tells who waits.
    pub fn take_turn(&mut self) -> Turn {
        let shrunk = self.shared.iter_mut().map(|shared| {
            let less = shared.shrink();
            (shared, less)
        });
        let shrunk = shrunk.filter(|(_, less)| *less > 0);
        let mut gives: Vec<_> = shrunk.map(|(shared, less)| (shared.place.clone(), less)).collect();
        let unused = std::mem::take(&mut self.unused);
        // Of what is not known here nothing shrinks.
        let is_known = |place: &Place| self.shared.iter().any(|shared| shared.place == *place);
        let unknown = unused.iter().filter(|place| !is_known(place));
        gives.extend(unknown.map(|place| (place.clone(), 1)));
        let waits = self.lines.iter_mut().filter_map(Line::news).collect();
        Turn { gives, waits, unused }
    }

    /// The successor grants a place for one more request, of those that wait.
    pub fn grant(&mut self, place: Place) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.pool == place.pool) {
            line.granted += 1;
        }
        let there = self.shared.iter_mut().find(|one| one.place == place);
        if !there.is_some_and(Shared::grow) {
            self.unused.push(place);
        }
    }

    /// The successor has ended: all of every backend is there for what is left.
    pub fn alone(self) {
        for Shared { books, backend, .. } in &self.shared {
            health::share(books, backend, false);
        }
        self.lines.iter().for_each(|line| line.books.pace.set_elsewhere(false));
    }
}

impl Shared {
    /// Has no more than what is pending, or connected, now; tells how much less that is.
    fn shrink(&mut self) -> u32 {
        let less = self.in_use();
        if less >= self.has {
            return 0;
        }
        self.backend.set_most_open(less);
        // A check may have come in between, for whose connection there was room. There is none now,
        // and requests get nothing but what is granted.
        let has = less.max(self.in_use());
        std::mem::replace(&mut self.has, has) - has
    }

    /// Has one more, which the first in line gets that may; false when nobody may. No place that
    /// becomes free goes to the line by itself: it is the successor's to say whose turn it is.
    fn grow(&mut self) -> bool {
        self.has += 1;
        let (balancer, id) = (&self.books.balancer, self.backend.id());
        let dispatched = || balancer.worker(id).map(|worker| worker.dispatched);
        let before = dispatched();
        let has = NonZeroU32::new(self.has).expect("it has one more than before");
        self.backend.set_most_open(self.has);
        let _ = balancer.set_capacity(id, has);
        // The successor knows what operators want.
        let _ = balancer.set_draining(id, false);
        let _ = balancer.set_health(id, Health::Up);
        let _ = balancer.set_health(id, Health::Starting);
        dispatched() > before
    }

    /// Requests, or connections where checks have some besides.
    fn in_use(&self) -> u32 {
        let worker = self.books.balancer.worker(self.backend.id());
        let open = u32::try_from(self.backend.open()).unwrap_or(u32::MAX);
        worker.map_or(0, |worker| worker.pending).max(open)
    }
}

impl Line {
    /// How it is, where that is news.
    fn news(&mut self) -> Option<Waits> {
        let now = (self.books.balancer.waiting(), self.granted);
        if std::mem::replace(&mut self.told, now) == now {
            return None;
        }
        Some(Waits { pool: self.pool.clone(), requests: now.0, granted: now.1 })
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.place).field(&self.has).finish()
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Line").field(&self.pool).field(&self.told).finish()
    }
}
