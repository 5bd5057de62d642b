//! What is asked of every proxy alike: when requests are to be sent, and how
//! long each is to run.

use std::time::Duration;

/// Of the logarithm of the service times.
const SIGMA: f64 = 1.0;

/// One request. Its place in the trace is its id.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// From the begin of the run.
    pub(crate) at: Duration,
    /// At a backend of the ordinary speed.
    pub(crate) service: Duration,
}

/// Requests at random (Poisson) with lognormal service times. The means of
/// both are made exact, so that the load is what it is said to be, whatever
/// the seed.
pub(crate) fn draw(seed: u64, rate: f64, time: Duration, mean: Duration) -> Vec<Arrival> {
    let mut random = fastrand::Rng::with_seed(seed);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
    let count = (rate * time.as_secs_f64()).round() as usize;
    let mut exponential = || -(1.0 - random.f64()).ln();
    let mut sum = 0.0;
    let arrivals: Vec<f64> = (0..count)
        .map(|_| {
            sum += exponential();
            sum
        })
        .collect();
    // One more gap, so that the last one is not at the very end.
    let span = sum + exponential();
    let services: Vec<f64> = (0..count).map(|_| (SIGMA * normal(&mut random)).exp()).collect();
    let total: f64 = services.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let service_scale = mean.as_secs_f64() * count as f64 / total;
    let scaled = |(at, service): (&f64, &f64)| Arrival {
        at: time.mul_f64(at / span),
        service: Duration::from_secs_f64(service * service_scale),
    };
    arrivals.iter().zip(&services).map(scaled).collect()
}

/// By the method of Box and Muller.
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}
