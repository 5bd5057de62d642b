//! The budget of retries: a share of the requests, so that retries do not
//! multiply an outage.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Requests that earn one retry: a fifth of the requests may be tried again.
const REQUESTS_A_RETRY: i64 = 5;
/// Retries that every second brings, however few requests there are.
const PER_SECOND: u64 = 3;
/// The most that is saved up, in retries.
const MOST: i64 = 100;

/// Retries that are left, counted in fifths.
pub(crate) struct Budget {
    start: Instant,
    fifths: AtomicI64,
    /// The second up to which time has brought its share.
    filled: AtomicU64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        let fifths = AtomicI64::new(i64::try_from(PER_SECOND).unwrap_or(0) * REQUESTS_A_RETRY);
        Self { start: Instant::now(), fifths, filled: AtomicU64::new(0) }
    }

    /// A request came.
    pub(crate) fn earn(&self) {
        self.add(1);
    }

    /// Takes a retry; false when there is none left.
    pub(crate) fn spend(&self) -> bool {
        self.spend_at(self.start.elapsed())
    }

    fn spend_at(&self, at: Duration) -> bool {
        let now = at.as_secs();
        // Never back: another thread's clock may have been read later.
        let filled = self.filled.fetch_max(now, Ordering::Relaxed);
        let brought = now.saturating_sub(filled) * PER_SECOND;
        self.add(i64::try_from(brought).unwrap_or(MOST) * REQUESTS_A_RETRY);
        let left = |fifths: i64| (fifths >= REQUESTS_A_RETRY).then(|| fifths - REQUESTS_A_RETRY);
        self.fifths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    fn add(&self, fifths: i64) {
        let full = MOST * REQUESTS_A_RETRY;
        if fifths > 0 && self.fifths.load(Ordering::Relaxed) < full {
            let filled = self.fifths.fetch_add(fifths, Ordering::Relaxed) + fifths;
            if filled > full {
                self.fifths.fetch_sub(filled - full, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget, at: u64) -> usize {
        (0..10_000).take_while(|_| budget.spend_at(Duration::from_secs(at))).count()
    }

    #[test]
    fn every_second_brings_three() {
        let budget = Budget::new();
        assert_eq!(spent(&budget, 0), 3);
        assert_eq!(spent(&budget, 1), 3);
        assert_eq!(spent(&budget, 3), 6);
    }

    #[test]
    fn no_second_brings_its_share_twice() {
        let budget = Budget::new();
        assert_eq!(spent(&budget, 5), 18);
        assert_eq!(spent(&budget, 4), 0);
        assert_eq!(spent(&budget, 5), 0);
    }

    #[test]
    fn five_requests_earn_one_up_to_the_most() {
        let budget = Budget::new();
        assert_eq!(spent(&budget, 0), 3);
        (0..52).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, 0), 10);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, 0), 100);
        assert_eq!(spent(&budget, 1_000_000), 100);
    }
}
