//! How fast requests are completed, as the line's forecast needs it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seconds that are looked back on.
const WINDOW: usize = 10;

/// Completions of each of the last seconds.
pub(crate) struct Pace {
    start: Instant,
    /// Each the number of its second, above the count within it.
    seconds: [AtomicU64; WINDOW],
    /// What the backends could complete in a second.
    possible: AtomicU64,
    /// Whether its line is a part of another process's.
    is_elsewhere: AtomicBool,
}

/// A second's number and its count, in one word: they change together.
const COUNT_BITS: u32 = 32;

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            seconds: std::array::from_fn(|_| AtomicU64::new(0)),
            possible: AtomicU64::new(u64::MAX),
            is_elsewhere: AtomicBool::new(false),
        }
    }

    /// Says what the backends could complete in a second: few completions may
    /// only mean that few were asked for. Before it is said, anything is
    /// possible.
    pub(crate) fn set_possible(&self, a_second: u64) {
        self.possible.store(a_second, Ordering::Relaxed);
    }

    /// Says whether its line is a part of another process's, of whose pace nothing is known here.
    pub(crate) fn set_elsewhere(&self, is_elsewhere: bool) {
        self.is_elsewhere.store(is_elsewhere, Ordering::Relaxed);
    }

    /// A request was completed.
    pub(crate) fn completed(&self, now: Instant) {
        self.completed_at(now.saturating_duration_since(self.start));
    }

    fn completed_at(&self, at: Duration) {
        let second = at.as_secs() + 1;
        let cell = &self.seconds[usize::try_from(second).unwrap_or(0) % WINDOW];
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            Some(if word >> COUNT_BITS == second { word + 1 } else { second << COUNT_BITS | 1 })
        });
    }

    /// How long a line of this length takes, by the completions of the last
    /// ten seconds; `None` while there are none, or it is not known.
    pub(crate) fn forecast(&self, line: usize) -> Option<Duration> {
        let is_here = !self.is_elsewhere.load(Ordering::Relaxed);
        is_here.then(|| self.forecast_at(self.start.elapsed(), line)).flatten()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn forecast_at(&self, at: Duration, line: usize) -> Option<Duration> {
        let now = at.as_secs() + 1;
        let counts = self.seconds.iter().map(|cell| cell.load(Ordering::Relaxed));
        let fresh = counts.filter(|word| (word >> COUNT_BITS) + WINDOW as u64 > now);
        let completed: u64 = fresh.map(|word| word & ((1 << COUNT_BITS) - 1)).sum();
        // The present second is not over, nor is the first of a young proxy.
        let whole = at.as_secs().min(WINDOW as u64 - 1) as f64;
        let span = whole + f64::from(at.subsec_nanos()) / 1e9;
        let possible = self.possible.load(Ordering::Relaxed) as f64;
        let rate = (completed as f64 / span.max(0.1)).max(possible);
        (completed > 0).then(|| Duration::from_secs_f64((line as f64 / rate).min(1e6)))
    }

    /// When a refused client may come again: the line's forecast between 1 and
    /// 30 s, jittered by a quarter so that the refused do not come back at once.
    pub(crate) fn retry_after(&self, line: usize) -> u64 {
        let forecast = self.forecast(line).unwrap_or(Duration::from_secs(1));
        let jittered = forecast.as_secs_f64() * (0.75 + 0.5 * fastrand::f64());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 30")]
        {
            jittered.ceil().clamp(1.0, 30.0) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_forecast_is_the_line_over_the_rate() {
        let pace = Pace::new();
        pace.set_possible(0);
        assert_eq!(pace.forecast_at(ms(500), 10), None);
        // 100 a second.
        for n in 0..2000 {
            pace.completed_at(ms(n * 10));
        }
        let forecast = pace.forecast_at(ms(20_000), 50).unwrap();
        assert!((forecast.as_secs_f64() - 0.5).abs() < 0.06, "{forecast:?}");
        // A second later a tenth of them is forgotten, and so on.
        assert!(pace.forecast_at(ms(25_000), 50).unwrap() > forecast);
        assert_eq!(pace.forecast_at(ms(31_000), 50), None);
    }

    #[test]
    fn a_young_proxy_counts_the_time_that_it_has() {
        let pace = Pace::new();
        pace.set_possible(0);
        for n in 0..50 {
            pace.completed_at(ms(n * 10));
        }
        let forecast = pace.forecast_at(ms(500), 100).unwrap();
        assert!((forecast.as_secs_f64() - 1.0).abs() < 0.05, "{forecast:?}");
    }

    #[test]
    fn nothing_is_forecast_of_a_line_elsewhere() {
        let pace = Pace::new();
        pace.completed(Instant::now());
        assert!(pace.forecast(10).is_some());
        pace.set_elsewhere(true);
        assert_eq!(pace.forecast(10), None);
    }

    #[test]
    fn a_refused_client_comes_back_between_1_and_30_s() {
        let pace = Pace::new();
        assert!((1..=2).contains(&pace.retry_after(0)));
        pace.completed(Instant::now());
        pace.set_possible(10);
        assert_eq!(pace.retry_after(1_000_000), 30);
    }
}
