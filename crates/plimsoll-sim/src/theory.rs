//! Closed forms: mean response times, in units of the mean service time.
//!
//! `rho` is the load per worker, below 1; requests come in a Poisson process,
//! service times are exponential where nothing else is said, and workers serve
//! one at a time, first come, first served.

use crate::{Arrivals, Config, Discipline, Policy};
use plimsoll_core::Policy as Core;

/// The most terms of a sum: it stops where they no longer count.
const TERMS: u32 = 1_000_000;

/// The most servers of which Erlang's recursion is gone through, which takes some 10 ns of each.
const SERVERS: u32 = 10_000_000;

/// M/M/1: each worker is drawn at random.
///
/// ```
/// assert!((plimsoll_sim::theory::random(0.9) - 10.0).abs() < 1e-12);
/// ```
pub fn random(rho: f64) -> f64 {
    1.0 / (1.0 - rho)
}

/// The quantile `q` of M/M/1's response time, which is exponential.
///
/// ```
/// assert!((plimsoll_sim::theory::random_quantile(0.9, 0.99) - 46.0517).abs() < 1e-4);
/// ```
pub fn random_quantile(rho: f64, q: f64) -> f64 {
    -(1.0 - q).ln() / (1.0 - rho)
}

/// M/G/1 (Pollaczek and Khinchine, 1930, 1932): each worker is drawn at random,
/// and this is the mean of the square of a service time of mean 1.
///
/// ```
/// assert!((plimsoll_sim::theory::random_general(0.9, 1f64.exp()) - 13.232).abs() < 1e-3);
/// ```
pub fn random_general(rho: f64, second_moment: f64) -> f64 {
    1.0 + rho * second_moment / (2.0 * (1.0 - rho))
}

/// M/M/n (Erlang, 1917): one line before all workers. No policy is better.
///
/// ```
/// assert!((plimsoll_sim::theory::central_queue(10, 0.9) - 1.668732).abs() < 1e-6);
/// assert!((plimsoll_sim::theory::central_queue(100, 0.99) - 1.882768).abs() < 1e-6);
/// ```
pub fn central_queue(n: u32, rho: f64) -> f64 {
    let offered = f64::from(n) * rho;
    // Erlang B by its recursion, which stays within 0 and 1; then C from B.
    let blocked = (1..=n).fold(1.0, |blocked, k| {
        let load = offered * blocked;
        load / (f64::from(k) + load)
    });
    let waits = blocked / (1.0 - rho * (1.0 - blocked));
    1.0 + waits / (f64::from(n) * (1.0 - rho))
}

/// Round robin over n workers: each is an `E_n`/M/1 queue (Kleinrock, Queueing Systems I,
/// 1975, 6.4).
///
/// ```
/// assert!((plimsoll_sim::theory::round_robin(1, 0.9) - 10.0).abs() < 1e-9);
/// ```
pub fn round_robin(n: u32, rho: f64) -> f64 {
    let stages = f64::from(n) * rho;
    let transform = |sigma: f64| (f64::from(n) * (stages / (stages + 1.0 - sigma)).ln()).exp();
    // The root below 1: the transform is convex, above the diagonal before it.
    let (mut low, mut high) = (0.0, 1.0 - 1e-9);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if transform(middle) > middle { low = middle } else { high = middle }
    }
    1.0 / (1.0 - f64::midpoint(low, high))
}

/// Round robin over n workers with any service times of this second moment: from and to
/// which the mean lies. Marshall, "Some inequalities in queuing", 1968, for intervals that are
/// sums of n exponential ones; what is not known is how long a worker idles.
///
/// ```
/// let (from, to) = plimsoll_sim::theory::round_robin_general(100, 0.9, 50.75);
/// assert!(224.4 < from && from < to && to < 225.0);
/// let exact = plimsoll_sim::theory::round_robin(100, 0.9);
/// let (from, to) = plimsoll_sim::theory::round_robin_general(100, 0.9, 2.0);
/// assert!(from < exact && exact < to);
/// ```
pub fn round_robin_general(n: u32, rho: f64, second_moment: f64) -> (f64, f64) {
    let interval = 1.0 / rho;
    let variance = interval * interval / f64::from(n);
    let idle = interval * (1.0 - rho);
    let waiting = (variance + second_moment - 1.0 + idle * idle) / (2.0 * idle);
    // An idle time is no shorter than work leaves it on average, and no longer than what is
    // left of an interval.
    let shortest = idle / 2.0;
    let longest = (variance + interval * interval) / (2.0 * interval);
    (1.0 + waiting - longest, 1.0 + waiting - shortest)
}

/// The least pending of d workers drawn, as their number grows without end
/// (Mitzenmacher, 1996; Vvedenskaya, Dobrushin, Karpelevich, 1996).
///
/// ```
/// assert!((plimsoll_sim::theory::power_of(2, 0.9) - 2.6141).abs() < 1e-4);
/// ```
pub fn power_of(d: u32, rho: f64) -> f64 {
    if d == 1 {
        return random(rho);
    }
    let d = f64::from(d);
    let term = |i: u32| rho.powf((d.powf(f64::from(i)) - d) / (d - 1.0));
    (1..=TERMS).map(term).take_while(|&term| term > 1e-15).sum()
}

/// The same for two of n, drawn with replacement: the first correction in 1/n
/// (Gast and Van Houdt, "A Refined Mean Field Approximation", 2017).
///
/// ```
/// let two = plimsoll_sim::theory::power_of_two(100, 0.9);
/// assert!((two - plimsoll_sim::theory::power_of(2, 0.9) - 0.045).abs() < 1e-12);
/// ```
pub fn power_of_two(n: u32, rho: f64) -> f64 {
    power_of(2, rho) + rho / (2.0 * f64::from(n) * (1.0 - rho))
}

/// The least work of d workers drawn, as their number grows without end
/// (Hellemans and Van Houdt, 2018).
///
/// ```
/// assert!((plimsoll_sim::theory::least_work(1, 0.9) - 10.0).abs() < 1e-9);
/// ```
pub fn least_work(d: u32, rho: f64) -> f64 {
    if d == 1 {
        return random(rho);
    }
    let d = f64::from(d);
    let term = |k: u32| rho.powf(d * f64::from(k)) / (1.0 + f64::from(k) * (d - 1.0));
    (0..=TERMS).map(term).take_while(|&term| term > 1e-15).sum()
}

/// Join-idle-queue that keeps so many tokens, as the number of workers grows without end
/// (Hellemans and Van Houdt, 2020).
///
/// ```
/// assert!((plimsoll_sim::theory::idle_queue(0, 0.9) - 10.0).abs() < 1e-9);
/// ```
pub fn idle_queue(tokens: u32, rho: f64) -> f64 {
    (1.0 - rho).powf(-1.0 / (f64::from(tokens) + 1.0))
}

/// A closed form for a configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// The mean response time, in seconds.
    pub mean: f64,
    /// Whether it is of this very number of workers, and not of one that grows
    /// without end.
    pub is_exact: bool,
}

/// The closed form of the mean response time, where there is one, and where it does not take long:
/// of no more than ten million servers in one queue.
///
/// ```
/// use plimsoll_sim::{Config, theory};
///
/// let config = Config { policy: "random".parse().unwrap(), ..Config::default() };
/// let expected = theory::expected(&config).unwrap();
/// assert!(expected.is_exact && (expected.mean - 10.0).abs() < 1e-9);
/// assert_eq!(theory::expected(&Config::default()), None);
/// ```
pub fn expected(config: &Config) -> Option<Expected> {
    let alike = config.speeds.iter().all(|&speed| (speed - 1.0).abs() < f64::EPSILON)
        && config.weights.iter().all(|&weight| weight == config.weights[0]);
    let plain = config.arrivals == Arrivals::Poisson
        && alike
        && config.faults.is_empty()
        && config.costs == (1, 1)
        && config.capacity.is_none()
        && config.line.is_none()
        && config.known() == config.workers
        && config.load < 1.0;
    if !plain {
        return None;
    }
    let (n, rho) = (config.workers, config.load);
    let slots = config.slots.get();
    let mean = config.service.mean();
    let is_exponential = config.service == crate::Service::Exponential;
    let first_come = config.discipline == Discipline::FirstCome;
    let one = config.balancers == 1;
    let limit = |mean| Some(Expected { mean, is_exact: false });
    let exact = |times: f64| Some(Expected { mean: times * mean, is_exact: true });
    let simple = one && is_exponential && first_come && slots == 1;
    match config.policy {
        // Each worker has its share of a Poisson process, whoever draws.
        Policy::Core(Core::Random) if first_come && slots == 1 => {
            exact(random_general(rho, config.service.second_moment() / mean.powi(2)))
        }
        Policy::Core(Core::Random) if !first_come && slots == 1 => exact(random(rho)),
        Policy::Core(Core::Random) if is_exponential && slots <= SERVERS => {
            exact(central_queue(slots, rho))
        }
        Policy::Central if one && is_exponential => {
            let servers = n.checked_mul(slots).filter(|&servers| servers <= SERVERS)?;
            exact(central_queue(servers, rho))
        }
        Policy::Core(Core::RoundRobin) if simple => exact(round_robin(n, rho)),
        Policy::Power(2) if simple && config.with_replacement => limit(power_of_two(n, rho)),
        Policy::Power(choices) if simple => limit(power_of(choices, rho)),
        Policy::LeastWork(choices) if simple => limit(least_work(choices, rho)),
        Policy::IdleQueue(tokens) if simple && tokens < n => limit(idle_queue(tokens, rho)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_is_one_queue() {
        for rho in [0.1, 0.5, 0.9, 0.99] {
            for mean in [
                central_queue(1, rho),
                round_robin(1, rho),
                power_of(1, rho),
                least_work(1, rho),
                idle_queue(0, rho),
                random_general(rho, 2.0),
            ] {
                assert!((mean / random(rho) - 1.0).abs() < 1e-9, "{mean} at {rho}");
            }
        }
        // A sum of more terms than are added.
        assert!((least_work(1, 0.999_999) / 1e6 - 1.0).abs() < 1e-9);
    }

    /// In the time of none of them.
    #[test]
    fn a_queue_of_billions_of_servers_has_no_closed_form_here() {
        let slots = std::num::NonZeroU32::new(4_000_000).unwrap();
        for policy in ["central-queue", "random"] {
            let policy = policy.parse().unwrap();
            let of = |slots| Config { policy, workers: 1000, slots, ..Config::default() };
            assert!(expected(&of(std::num::NonZeroU32::MIN)).is_some());
            let slots = if policy == Policy::Central { slots } else { std::num::NonZeroU32::MAX };
            assert_eq!(expected(&of(slots)), None);
        }
    }

    #[test]
    fn a_subset_has_no_closed_form() {
        let policy = "random".parse().unwrap();
        let config = Config { policy, balancers: 100, subset: Some(5), ..Config::default() };
        assert_eq!(expected(&config), None);
        assert!(expected(&Config { subset: Some(100), ..config }).is_some());
    }
}
