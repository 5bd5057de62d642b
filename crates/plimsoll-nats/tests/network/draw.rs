//! What is drawn from a seed.

use std::num::NonZeroU16;
use std::time::Duration;

pub(crate) struct Draw(fastrand::Rng);

impl Draw {
    pub(crate) fn of(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.u64(..bound)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.0.usize(..things.len())]
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn seed(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub(crate) fn capacity(&mut self) -> u32 {
        self.0.u32(1..=4)
    }

    pub(crate) fn weight(&mut self) -> NonZeroU16 {
        NonZeroU16::new(self.0.u16(1..=4)).unwrap()
    }

    pub(crate) fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.below(to - from))
    }
}
