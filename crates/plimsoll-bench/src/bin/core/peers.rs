//! The structures compared, all under one contract: the least load wins, loads
//! compare exactly as fractions, among equals the worker that moved least
//! recently; a full worker gets nothing; a stale lease is found out.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};

use plimsoll_core::{
    Completion, Config, Dispatch, Outcome, Policy, Pool, Request, Time, WorkerSpec,
};
use priority_queue::PriorityQueue;
use rustc_hash::FxBuildHasher;

#[derive(Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) capacity: u32,
    pub(crate) weight: u32,
}

pub(crate) trait Peer {
    type Lease;

    /// `None` when no worker has room.
    fn dispatch(&mut self, cost: u32) -> Option<Self::Lease>;

    fn completed(&mut self, lease: Self::Lease);

    /// Charges one worker, whatever its load; only for the linear scan.
    fn charge(&mut self, _slot: usize, _cost: u32) -> Self::Lease {
        unreachable!("fast enough to choose for itself")
    }

    /// A request of cost 1 that joins the line, since all are full.
    fn wait(&mut self);

    /// Completes one, and gives its worker to the head of the line.
    fn completed_and_served(&mut self, lease: Self::Lease) -> Self::Lease;
}

// Plimsoll's own.

pub(crate) struct Plimsoll(Pool<u64>);

impl Plimsoll {
    pub(crate) fn new(specs: &[Spec], policy: Policy) -> Self {
        let mut pool = Pool::new(Config { policy, ..Config::default() });
        for spec in specs {
            let mut worker = WorkerSpec::new(NonZeroU32::new(spec.capacity).unwrap());
            worker.weight = NonZeroU16::new(u16::try_from(spec.weight).unwrap()).unwrap();
            pool.add(worker, Time::ZERO);
        }
        Self(pool)
    }
}

impl Peer for Plimsoll {
    type Lease = plimsoll_core::Lease;

    fn dispatch(&mut self, cost: u32) -> Option<Self::Lease> {
        let cost = NonZeroU32::new(cost)?;
        self.0.try_dispatch(&Request { cost, ..Request::default() }, Time::ZERO).ok()
    }

    fn completed(&mut self, lease: Self::Lease) {
        self.0.completed(lease, Completion::Succeeded, Time::ZERO).unwrap();
    }

    fn wait(&mut self) {
        let did = self.0.dispatch(&Request::default(), 7, Time::ZERO);
        assert!(matches!(did, Dispatch::InLine(_)));
    }

    fn completed_and_served(&mut self, lease: Self::Lease) -> Self::Lease {
        self.completed(lease);
        match self.0.poll_outcome() {
            Some(Outcome::Assigned { lease, .. }) => lease,
            other => panic!("{other:?} instead of the next in line"),
        }
    }
}

// What the peers share.

#[derive(Clone, Copy)]
struct Load {
    sum: u64,
    weight: u64,
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.sum * other.weight).cmp(&(other.sum * self.weight))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

/// Load, then the stamp of the last move.
type Rank = (Load, u64);

struct Worker {
    pending: u32,
    capacity: u32,
    weight: u32,
    generation: u32,
    stamp: u64,
}

impl Worker {
    fn rank(&self) -> Rank {
        let load = Load { sum: u64::from(self.pending) + 1, weight: u64::from(self.weight) };
        (load, self.stamp)
    }

    fn has_room_for(&self, cost: u32) -> bool {
        self.pending + cost <= self.capacity
    }
}

pub(crate) struct PeerLease {
    slot: u32,
    generation: u32,
    cost: u32,
}

/// The workers, and the requests that wait for them.
struct Fleet {
    workers: Vec<Worker>,
    stamp: u64,
    line: VecDeque<u64>,
}

impl Fleet {
    fn new(specs: &[Spec]) -> Self {
        let worker = |(stamp, spec): (u64, &Spec)| Worker {
            pending: 0,
            capacity: spec.capacity,
            weight: spec.weight,
            generation: 0,
            stamp,
        };
        let workers: Vec<Worker> = (0..).zip(specs).map(worker).collect();
        Self { stamp: workers.len() as u64, workers, line: VecDeque::new() }
    }

    fn charge(&mut self, slot: u32, cost: u32) -> PeerLease {
        self.stamp += 1;
        let worker = &mut self.workers[slot as usize];
        worker.pending += cost;
        worker.stamp = self.stamp;
        PeerLease { slot, generation: worker.generation, cost }
    }

    fn uncharge(&mut self, lease: &PeerLease) {
        self.stamp += 1;
        let worker = &mut self.workers[lease.slot as usize];
        assert_eq!(worker.generation, lease.generation, "a stale lease");
        worker.pending -= lease.cost;
        worker.stamp = self.stamp;
    }
}

/// The same line for all peers.
macro_rules! line {
    () => {
        fn wait(&mut self) {
            self.fleet.line.push_back(7);
        }

        fn completed_and_served(&mut self, lease: PeerLease) -> PeerLease {
            self.completed(lease);
            self.fleet.line.pop_front().expect("64 wait");
            self.dispatch(1).expect("one just completed")
        }
    };
}

// The linear scan.

pub(crate) struct LinearScan {
    fleet: Fleet,
}

impl LinearScan {
    pub(crate) fn new(specs: &[Spec]) -> Self {
        Self { fleet: Fleet::new(specs) }
    }
}

impl Peer for LinearScan {
    type Lease = PeerLease;

    fn dispatch(&mut self, cost: u32) -> Option<PeerLease> {
        let workers = (0..).zip(&self.fleet.workers);
        let (slot, _) = workers
            .filter(|(_, worker)| worker.has_room_for(cost))
            .min_by_key(|(_, worker)| worker.rank())?;
        Some(self.fleet.charge(slot, cost))
    }

    fn completed(&mut self, lease: PeerLease) {
        self.fleet.uncharge(&lease);
    }

    fn charge(&mut self, slot: usize, cost: u32) -> PeerLease {
        self.fleet.charge(u32::try_from(slot).unwrap(), cost)
    }

    line!();
}

// The ordered set.

pub(crate) struct BTree {
    fleet: Fleet,
    /// The workers below capacity.
    set: BTreeSet<(Rank, u32)>,
}

impl BTree {
    pub(crate) fn new(specs: &[Spec]) -> Self {
        let fleet = Fleet::new(specs);
        let set = (0..).zip(&fleet.workers).map(|(slot, worker)| (worker.rank(), slot)).collect();
        Self { fleet, set }
    }

    fn take_out(&mut self, slot: u32) {
        let worker = &self.fleet.workers[slot as usize];
        if worker.has_room_for(1) {
            self.set.remove(&(worker.rank(), slot));
        }
    }

    fn put_in(&mut self, slot: u32) {
        let worker = &self.fleet.workers[slot as usize];
        if worker.has_room_for(1) {
            self.set.insert((worker.rank(), slot));
        }
    }
}

impl Peer for BTree {
    type Lease = PeerLease;

    fn dispatch(&mut self, cost: u32) -> Option<PeerLease> {
        let mut slots = self.set.iter().map(|&(_, slot)| slot);
        let slot = slots.find(|&slot| self.fleet.workers[slot as usize].has_room_for(cost))?;
        self.take_out(slot);
        let lease = self.fleet.charge(slot, cost);
        self.put_in(slot);
        Some(lease)
    }

    fn completed(&mut self, lease: PeerLease) {
        self.take_out(lease.slot);
        self.fleet.uncharge(&lease);
        self.put_in(lease.slot);
    }

    line!();
}

// The `priority-queue` crate, with a fast hasher.

pub(crate) struct QueueCrate {
    fleet: Fleet,
    /// The workers below capacity.
    queue: PriorityQueue<u32, Reverse<Rank>, FxBuildHasher>,
}

impl QueueCrate {
    pub(crate) fn new(specs: &[Spec]) -> Self {
        let fleet = Fleet::new(specs);
        let entries = (0..).zip(&fleet.workers);
        let queue = entries.map(|(slot, worker)| (slot, Reverse(worker.rank()))).collect();
        Self { fleet, queue }
    }

    fn refile(&mut self, slot: u32) {
        let worker = &self.fleet.workers[slot as usize];
        if worker.has_room_for(1) {
            self.queue.push(slot, Reverse(worker.rank()));
        } else {
            self.queue.remove(&slot);
        }
    }
}

impl Peer for QueueCrate {
    type Lease = PeerLease;

    fn dispatch(&mut self, cost: u32) -> Option<PeerLease> {
        let mut aside = Vec::new();
        let chosen = loop {
            let Some((&slot, _)) = self.queue.peek() else { break None };
            if self.fleet.workers[slot as usize].has_room_for(cost) {
                break Some(slot);
            }
            aside.extend(self.queue.pop());
        };
        self.queue.extend(aside);
        let slot = chosen?;
        let lease = self.fleet.charge(slot, cost);
        self.refile(slot);
        Some(lease)
    }

    fn completed(&mut self, lease: PeerLease) {
        self.fleet.uncharge(&lease);
        self.refile(lease.slot);
    }

    line!();
}

// The classic: a binary heap of workers, each of which knows its place.

pub(crate) struct IndexedHeap {
    fleet: Fleet,
    /// The workers below capacity, with their ranks beside them for the cache.
    heap: Vec<(Rank, u32)>,
    places: Vec<usize>,
}

const ABSENT: usize = usize::MAX;

impl IndexedHeap {
    pub(crate) fn new(specs: &[Spec]) -> Self {
        let fleet = Fleet::new(specs);
        let mut new = Self { heap: Vec::new(), places: vec![ABSENT; fleet.workers.len()], fleet };
        for slot in 0..u32::try_from(specs.len()).unwrap() {
            new.refile(slot);
        }
        new
    }

    fn refile(&mut self, slot: u32) {
        let worker = &self.fleet.workers[slot as usize];
        let (rank, fits) = (worker.rank(), worker.has_room_for(1));
        let place = self.places[slot as usize];
        match (place, fits) {
            (ABSENT, true) => {
                self.heap.push((rank, slot));
                self.rise(self.heap.len() - 1);
            }
            (ABSENT, false) => {}
            (place, true) => {
                self.heap[place].0 = rank;
                let place = self.rise(place);
                self.sink(place);
            }
            (place, false) => {
                self.heap.swap_remove(place);
                self.places[slot as usize] = ABSENT;
                if place < self.heap.len() {
                    let place = self.rise(place);
                    self.sink(place);
                }
            }
        }
    }

    fn set(&mut self, place: usize, entry: (Rank, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] = place;
    }

    fn rise(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 {
            let parent = self.heap[(place - 1) / 2];
            if parent.0 <= entry.0 {
                break;
            }
            self.set(place, parent);
            place = (place - 1) / 2;
        }
        self.set(place, entry);
        place
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let mut child = 2 * place + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].0 < self.heap[child].0 {
                child += 1;
            }
            if entry.0 <= self.heap[child].0 {
                break;
            }
            self.set(place, self.heap[child]);
            place = child;
        }
        self.set(place, entry);
    }
}

impl Peer for IndexedHeap {
    type Lease = PeerLease;

    fn dispatch(&mut self, cost: u32) -> Option<PeerLease> {
        let top = self.heap.first()?.1;
        let fits = |slot: u32| self.fleet.workers[slot as usize].has_room_for(cost);
        // A heap is not sorted: past its top it must be searched.
        let slot =
            if fits(top) { top } else { self.heap.iter().filter(|(_, slot)| fits(*slot)).min()?.1 };
        let lease = self.fleet.charge(slot, cost);
        self.refile(slot);
        Some(lease)
    }

    fn completed(&mut self, lease: PeerLease) {
        self.fleet.uncharge(&lease);
        self.refile(lease.slot);
    }

    line!();
}
