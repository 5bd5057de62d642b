//! Requests that are somewhere: on their way, in a line, at a worker.

use plimsoll_core::Lease;

use super::NONE;
use crate::units::index;

/// One request, from its arrival until it is answered or refused.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) arrived: u64,
    /// When a worker began it; until then when it arrived.
    pub(crate) began: u64,
    /// What a worker of speed 1 needs for it.
    pub(crate) service: u64,
    /// Its charge, where its balancer is the core's.
    pub(crate) lease: Option<Lease>,
    pub(crate) balancer: u32,
    pub(crate) worker: u32,
    /// What its worker had pending when it came, itself included.
    pub(crate) met: u32,
    /// Behind it at its worker, or the next free place.
    pub(super) next: u32,
    /// Whether it fails when it ends.
    pub(super) failing: bool,
}

impl Job {
    pub(crate) fn cost(&self) -> u32 {
        self.lease.as_ref().map_or(1, |lease| lease.cost().get())
    }

    pub(crate) fn is_at_worker(&self) -> bool {
        self.worker != NONE
    }
}

/// All requests that are somewhere, by number; numbers are used again.
#[derive(Debug)]
pub(crate) struct Jobs {
    places: Vec<Job>,
    free: u32,
    count: u32,
}

impl Jobs {
    pub(super) fn with_capacity(jobs: usize) -> Self {
        Self { places: Vec::with_capacity(jobs), free: NONE, count: 0 }
    }

    #[inline]
    pub(crate) fn insert(&mut self, arrived: u64, service: u64, balancer: u32) -> u32 {
        let job = Job {
            arrived,
            began: arrived,
            service,
            lease: None,
            balancer,
            worker: NONE,
            met: 0,
            next: NONE,
            failing: false,
        };
        self.count += 1;
        if self.free == NONE {
            self.places.push(job);
            index(self.places.len()) - 1
        } else {
            let number = self.free;
            self.free = self.places[number as usize].next;
            self.places[number as usize] = job;
            number
        }
    }

    /// Forgets a request; its lease must have been taken out.
    #[inline]
    pub(crate) fn remove(&mut self, number: u32) {
        self.places[number as usize].next = self.free;
        // What is free is told from what is in use, when all are looked at.
        self.places[number as usize].arrived = u64::MAX;
        self.free = number;
        self.count -= 1;
    }

    #[inline]
    pub(crate) fn get(&self, number: u32) -> &Job {
        &self.places[number as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Job {
        &mut self.places[number as usize]
    }

    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Those that are in use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.places.iter().filter(|job| job.arrived != u64::MAX)
    }
}
