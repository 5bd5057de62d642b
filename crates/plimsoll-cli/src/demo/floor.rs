//! Where the workers stand: their fake work, and which of them are slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::args::MOST_THREADS;

/// How many times as long a slow worker takes.
pub(crate) const SLOWER: u32 = 4;

/// By worker number: the pool's slots, which a removed worker leaves to the
/// next that is added.
#[derive(Debug)]
pub(crate) struct Floor {
    slow: Vec<AtomicBool>,
}

/// A worker's state.
#[derive(Debug)]
pub(crate) struct Seat {
    floor: Arc<Floor>,
    number: usize,
}

impl Floor {
    /// With the first `slow` workers slow.
    pub(crate) fn new(slow: u32) -> Arc<Self> {
        let slow = (0..MOST_THREADS).map(|number| AtomicBool::new(number < slow)).collect();
        Arc::new(Self { slow })
    }

    pub(crate) fn is_slow(&self, number: usize) -> bool {
        self.slow.get(number).is_some_and(|slow| slow.load(Ordering::Relaxed))
    }

    pub(crate) fn set_slow(&self, number: usize, slow: bool) {
        if let Some(place) = self.slow.get(number) {
            place.store(slow, Ordering::Relaxed);
        }
    }
}

impl Seat {
    pub(crate) fn new(floor: Arc<Floor>, number: usize) -> Self {
        Self { floor, number }
    }

    /// Does a request's work. It sleeps, so that a machine with few cores shows
    /// many workers as well as one with many.
    pub(crate) fn work(&self, service: Duration) {
        let longer = if self.floor.is_slow(self.number) { SLOWER } else { 1 };
        thread::sleep(service * longer);
    }
}
