//! Processor sharing: all requests of a worker run at once, each equally fast.
//!
//! A request ends when the service that each has got since it came reaches
//! what it needs. So one number grows for all, and the next to end is the one
//! with the smallest target.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::units::real;

/// One worker's requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    /// Service that each request has got since the worker was last idle, in
    /// nanoseconds of a worker of speed 1.
    got: f64,
    /// When that was brought up to date.
    at: u64,
    /// By target, as bits: those of positive numbers are in the numbers' order.
    requests: BinaryHeap<Reverse<(u64, u32)>>,
    /// The order of its event, if one is scheduled.
    pub(super) event: Option<u32>,
}

impl Share {
    /// Brings it up to date. `speed` is the worker's, for one request alone.
    pub(super) fn pass(&mut self, now: u64, speed: f64, slots: u32) {
        if !self.requests.is_empty() {
            self.got += real(now - self.at) * self.each(speed, slots);
        }
        self.at = now;
    }

    /// How fast each request runs.
    fn each(&self, speed: f64, slots: u32) -> f64 {
        let requests = real(self.requests.len() as u64);
        speed * (f64::from(slots) / requests).min(1.0)
    }

    pub(super) fn add(&mut self, number: u32, service: u64) {
        if self.requests.is_empty() {
            self.got = 0.0;
        }
        self.requests.push(Reverse(((self.got + real(service)).to_bits(), number)));
    }

    /// How long until the next one ends, in nanoseconds; `None` when none does.
    pub(super) fn next(&self, speed: f64, slots: u32) -> Option<u64> {
        let &Reverse((target, _)) = self.requests.peek()?;
        let left = (f64::from_bits(target) - self.got).max(0.0);
        (speed > 0.0).then(|| crate::units::whole(left / self.each(speed, slots)))
    }

    pub(super) fn pop(&mut self) -> Option<u32> {
        self.requests.pop().map(|Reverse((_, number))| number)
    }

    /// All that there is, in the order in which it would have ended.
    pub(super) fn empty(&mut self) -> Vec<u32> {
        self.event = None;
        std::iter::from_fn(|| self.pop()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_share_one_slot_and_not_two() {
        for (slots, ends) in [(1, [20, 25]), (2, [10, 15])] {
            let mut share = Share::default();
            share.pass(100, 1.0, slots);
            share.add(7, 10);
            share.add(8, 15);
            assert_eq!(share.next(1.0, slots), Some(ends[0]));
            share.pass(100 + ends[0], 1.0, slots);
            assert_eq!(share.pop(), Some(7));
            assert_eq!(share.next(1.0, slots), Some(ends[1] - ends[0]));
        }
    }

    #[test]
    fn a_stuck_worker_ends_nothing() {
        let mut share = Share::default();
        share.add(1, 10);
        assert_eq!(share.next(0.0, 1), None);
        share.pass(1_000, 0.0, 1);
        assert_eq!(share.next(0.5, 1), Some(20));
    }
}
