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
