//! When the refused may come again: the line over the rate at which requests are answered.

use std::collections::VecDeque;
use std::time::Duration;

/// How far it looks back.
const WINDOW: Duration = Duration::from_secs(10);
/// The least time between two notes.
const STEP: Duration = Duration::from_millis(500);

/// Counts of answers, as they were noted.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Duration, u64)>);

impl Pace {
    /// So many were answered in all by now.
    pub(super) fn note(&mut self, now: Duration, answered: u64) {
        if self.0.back().is_none_or(|&(at, _)| now >= at + STEP) {
            self.0.push_back((now, answered));
        }
        while self.0.front().is_some_and(|&(at, _)| at + WINDOW < now) {
            self.0.pop_front();
        }
    }

    /// Whole seconds, from 1 to 30, in which a line of this length is worked off.
    pub(super) fn retry_after(&self, line: usize) -> u64 {
        let (Some(&(from, before)), Some(&(to, after))) = (self.0.front(), self.0.back()) else {
            return 1;
        };
        let millis = to.as_millis() - from.as_millis();
        let answered = u128::from(after - before);
        if answered == 0 {
            return 1;
        }
        let seconds = (line as u128 * millis).div_ceil(answered * 1000);
        u64::try_from(seconds).unwrap_or(30).clamp(1, 30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_over_the_rate_of_the_last_ten_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.retry_after(100), 1);
        // 10 a second, after a time in which there was much more.
        for second in 0..30 {
            let answered = if second < 10 { second * 1000 } else { 9_900 + second * 10 };
            pace.note(Duration::from_secs(second), answered);
        }
        assert_eq!(pace.retry_after(100), 10);
        assert_eq!(pace.retry_after(0), 1);
        assert_eq!(pace.retry_after(100_000), 30);
    }
}
