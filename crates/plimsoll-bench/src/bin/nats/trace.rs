//! What is asked of every system alike: when requests are to be sent, and how long each is to
//! run.

use std::time::Duration;

/// Most requests are short, one of a hundred is long.
const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_millis(200);
const ONE_OF: usize = 100;

/// One request. Its place in the trace is its number.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// From the begin of the run.
    pub(crate) at: Duration,
    pub(crate) service: Duration,
}

/// Requests at random (Poisson) that ask so much of so many slots. The number of long ones and
/// the mean gap are made exact, so that the load is what it is said to be, whatever the seed.
pub(crate) fn draw(seed: u64, slots: u32, percent: u32, time: Duration) -> Vec<Arrival> {
    let mut random = fastrand::Rng::with_seed(seed);
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let mean = (SHORT.as_secs_f64() * (ONE_OF - 1) as f64 + LONG.as_secs_f64()) / ONE_OF as f64;
    let rate = f64::from(slots) * f64::from(percent) / 100.0 / mean;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
    let count = (rate * time.as_secs_f64()).round() as usize;
    let mut services = vec![SHORT; count];
    services[..count / ONE_OF].fill(LONG);
    random.shuffle(&mut services);
    let mut sum = 0.0;
    let mut gap = || -(1.0 - random.f64()).ln();
    let sums: Vec<f64> = (0..count)
        .map(|_| {
            sum += gap();
            sum
        })
        .collect();
    // One more gap, so that the last one is not at the very end.
    let span = sum + gap();
    let arrivals = sums.iter().map(|at| time.mul_f64(at / span));
    arrivals.zip(services).map(|(at, service)| Arrival { at, service }).collect()
}

/// Nearest rank, in seconds; 0 of nothing.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank within the times"
)]
pub(crate) fn quantile(times: &mut [Duration], part: f64) -> f64 {
    times.sort_unstable();
    let rank = (times.len() as f64 * part).ceil() as usize;
    times.get(rank.max(1) - 1).map_or(0.0, Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_exact() {
        let trace = draw(1, 32, 80, Duration::from_secs(5));
        let work: Duration = trace.iter().map(|arrival| arrival.service).sum();
        assert!((work.as_secs_f64() / (5.0 * 32.0) - 0.8).abs() < 0.002);
        assert!(trace.is_sorted_by_key(|arrival| arrival.at));
    }
}
