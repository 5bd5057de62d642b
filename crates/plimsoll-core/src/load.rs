//! Load: what the pool is ordered by, as an exact fraction.

use core::cmp::Ordering;

/// (pending cost + penalty + 1) / weight: what the next request of cost 1
/// would meet at a worker.
///
/// Loads compare by cross-multiplication, so 1/2 and 2/4 are one load and no
/// rounding ever separates or merges two.
///
/// ```
/// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
/// use core::num::{NonZeroU16, NonZeroU32};
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let mut spec = WorkerSpec::new(NonZeroU32::new(4).unwrap());
/// let light = pool.add(spec, Time::ZERO);
/// spec.weight = NonZeroU16::new(2).unwrap();
/// let heavy = pool.add(spec, Time::ZERO);
/// let load = |id| pool.worker(id).unwrap().load;
/// assert!(load(heavy) < load(light));
/// assert_eq!(load(heavy).as_f64(), 0.5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// At most 2^33: pending and penalty are 32 bits each.
    sum: u64,
    /// Weight in force, in 1/[`Load::UNIT`]; at most 2^24.
    weight: u32,
}

impl Load {
    /// Weights in force carry this many parts per unit, so that a ramp can
    /// scale a weight of 1.
    pub(crate) const UNIT: u32 = 1 << 8;

    /// The load of every worker under a policy that does not look at load.
    pub(crate) const LEVEL: Self = Self { sum: 0, weight: 1 };

    pub(crate) fn new(pending: u32, penalty: u32, weight: u32) -> Self {
        Self { sum: u64::from(pending) + u64::from(penalty) + 1, weight }
    }

    /// The load as a floating-point number, for showing.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// assert_eq!(pool.worker(id).unwrap().load.as_f64(), 1.0);
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "both parts are far below 2^53")]
    pub fn as_f64(self) -> f64 {
        self.sum as f64 * f64::from(Self::UNIT) / f64::from(self.weight)
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        // At most 2^33 * 2^24: no overflow.
        let left = self.sum * u64::from(other.weight);
        let right = other.sum * u64::from(self.weight);
        left.cmp(&right)
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}
