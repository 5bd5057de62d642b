//! Random numbers, a stream for each purpose.
//!
//! Arrivals and service times are drawn from streams that no policy touches,
//! so that every policy meets the same requests (common random numbers). The
//! generator is xoshiro256++ (Blackman and Vigna, "Scrambled linear
//! pseudorandom number generators", 2021), seeded by `SplitMix64`: both are
//! published, and the same on every machine.

use rand_distr::Distribution;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// What a stream is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Arrivals = 1,
    Services = 2,
    Costs = 3,
    /// Which balancer a request goes to.
    Balancers = 4,
    /// The seeds of the balancers.
    Shuffles = 5,
    /// Draws of the policies.
    Choices = 6,
    /// Which dispatches are looked at for regret.
    Looks = 7,
}

/// Odd, with ones and zeros all over it, so that runs of one seed are not those of another near
/// it: a multiplier of Steele and Vigna, "Computationally easy, spectrally good multipliers", 2021.
const SPREAD: u64 = 0xd134_2543_de82_ef95;

/// One stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream of one purpose in the run of this number.
    pub(crate) fn new(seed: u64, run: u32, purpose: Purpose) -> Self {
        // One step of the seed's own stream for each purpose, another seed for each run.
        let mut mixed =
            Xoshiro256PlusPlus::seed_from_u64(seed ^ u64::from(run).wrapping_mul(SPREAD));
        let mut own = 0;
        for _ in 0..=purpose as u32 {
            own = mixed.next_u64();
        }
        Self(Xoshiro256PlusPlus::seed_from_u64(own))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 up to and without 1, in steps of 2^-53.
    pub(crate) fn unit(&mut self) -> f64 {
        rand_distr::StandardUniform.sample(&mut self.0)
    }

    /// A number below `bound`, which must not be 0. The bias of the
    /// multiply-shift is below `bound / 2^32`.
    #[inline]
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(bound) * (self.bits() >> 32)) >> 32) as u32
    }

    /// Exponential, mean 1.
    #[inline]
    pub(crate) fn exponential(&mut self) -> f64 {
        rand_distr::Exp1.sample(&mut self.0)
    }

    /// Normal, mean 0, standard deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        rand_distr::StandardNormal.sample(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_come_again() {
        let first = |seed, run, purpose| Stream::new(seed, run, purpose).bits();
        let all = [
            first(1, 0, Purpose::Arrivals),
            first(1, 0, Purpose::Services),
            first(1, 1, Purpose::Arrivals),
            first(2, 0, Purpose::Arrivals),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one));
        }
        assert_eq!(all[0], first(1, 0, Purpose::Arrivals));
    }

    /// In the time of one: a run's stream once took as many steps as its number.
    #[test]
    fn runs_of_all_numbers_and_seeds_differ() {
        let numbers = (0..1000).chain([u32::MAX]);
        let mut all: Vec<u64> = (0..10)
            .flat_map(|seed| numbers.clone().map(move |run| (seed, run)))
            .map(|(seed, run)| Stream::new(seed, run, Purpose::Arrivals).bits())
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10_010);
    }

    #[test]
    fn draws_have_their_means() {
        let mut stream = Stream::new(7, 0, Purpose::Choices);
        let count = 100_000;
        let (mut unit, mut exponential, mut square, mut below) = (0.0, 0.0, 0.0, [0_i32; 3]);
        for _ in 0..count {
            unit += stream.unit();
            exponential += stream.exponential();
            square += stream.normal().powi(2);
            below[stream.below(3) as usize] += 1;
        }
        let mean = |sum: f64| sum / f64::from(count);
        assert!((mean(unit) - 0.5).abs() < 0.005);
        assert!((mean(exponential) - 1.0).abs() < 0.02);
        assert!((mean(square) - 1.0).abs() < 0.02);
        assert!(below.iter().all(|&n| (n - count / 3).abs() < 1000), "{below:?}");
    }
}
