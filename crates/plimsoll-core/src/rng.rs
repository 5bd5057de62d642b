//! The seeded generator behind tie shuffles and the randomised policies.

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): eight bytes of state, one multiply chain a draw.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0. The bias of the
    /// multiply-shift is below `bound / 2^32` and not seen at pool sizes.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let high = u64::from(bound) * (self.next() >> 32);
        (high >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_the_published_sequence() {
        let mut rng = Rng::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(expected.map(|_| rng.next()), expected);
    }

    #[test]
    fn draws_below_the_bound_scale_the_upper_half() {
        // 6,457,827,717,110,365,317 / 2^64 is 0.35008.
        for (bound, drawn) in [(1, 0), (10, 3), (1_000, 350), (u32::MAX, 1_503_580_182)] {
            assert_eq!(Rng::new(1_234_567).below(bound), drawn);
        }
    }
}
