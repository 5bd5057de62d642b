//! The eligible workers, kept in the order that the policy chooses by.

mod dense;
mod levels;

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use self::dense::Dense;
use self::levels::Levels;
use crate::rng::Rng;
use crate::worker::{Worker, may_take};
use crate::{Load, Request};

/// How `dispatch` chooses among the workers that are eligible for a request:
/// up, not draining, not excluded, with room for its cost.
///
/// ```
/// use plimsoll_core::Policy;
///
/// assert_eq!("power-of-two".parse(), Ok(Policy::PowerOfTwo));
/// assert_eq!(Policy::LeastLoaded.to_string(), "least-loaded");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The smallest load; among equals the one that has been idle longest,
    /// that is, whose load changed least recently.
    #[default]
    LeastLoaded,
    /// The less loaded of two distinct workers drawn uniformly; the first
    /// drawn when they are equal.
    PowerOfTwo,
    /// Each in turn, whatever its load and weight.
    RoundRobin,
    /// Drawn uniformly, whatever its load and weight.
    Random,
}

impl Policy {
    /// Every policy, the product's own first.
    ///
    /// ```
    /// use plimsoll_core::Policy;
    ///
    /// assert!(Policy::ALL.iter().all(|policy| policy.name().parse() == Ok(*policy)));
    /// ```
    pub const ALL: [Self; 4] =
        [Self::LeastLoaded, Self::PowerOfTwo, Self::RoundRobin, Self::Random];

    /// The name used in flags, metrics and tables.
    ///
    /// ```
    /// use plimsoll_core::Policy;
    ///
    /// assert_eq!(Policy::LeastLoaded.name(), "least-loaded");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least-loaded",
            Self::PowerOfTwo => "power-of-two",
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|policy| policy.name() == name).ok_or(UnknownPolicy)
    }
}

/// A name that is no policy's.
///
/// ```
/// use plimsoll_core::{Policy, UnknownPolicy};
///
/// assert_eq!("round-robin".parse(), Ok(Policy::RoundRobin));
/// assert_eq!("best".parse::<Policy>(), Err(UnknownPolicy));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPolicy;

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown policy; there are least-loaded, power-of-two, round-robin and random")
    }
}

impl core::error::Error for UnknownPolicy {}

/// Exactly the eligible workers, by slot, arranged for one policy.
#[derive(Debug)]
pub(crate) enum Order {
    LeastLoaded(Levels),
    PowerOfTwo(Dense),
    /// One level holds all: its list is the turn.
    RoundRobin(Levels),
    Random(Dense),
}

impl Order {
    pub(crate) fn new(policy: Policy) -> Self {
        match policy {
            Policy::LeastLoaded => Self::LeastLoaded(Levels::default()),
            Policy::PowerOfTwo => Self::PowerOfTwo(Dense::default()),
            Policy::RoundRobin => Self::RoundRobin(Levels::default()),
            Policy::Random => Self::Random(Dense::default()),
        }
    }

    /// A new worker, or one that is up after it was starting: at a random place
    /// among its equals, so that many balancers with different seeds do not
    /// move in step.
    pub(crate) fn join(&mut self, slot: u32, worker: &Worker, rng: &mut Rng) {
        match self {
            Self::LeastLoaded(levels) => levels.insert_shuffled(slot, worker.load(), rng),
            Self::RoundRobin(levels) => levels.insert_shuffled(slot, Load::LEVEL, rng),
            Self::PowerOfTwo(dense) | Self::Random(dense) => dense.insert(slot),
        }
    }

    /// `worker` was just dispatched to: it moves to its place, behind its equals.
    pub(crate) fn dispatched(&mut self, slot: u32, worker: &Worker) {
        match self {
            Self::RoundRobin(levels) if worker.is_eligible() => levels.put(slot, Load::LEVEL),
            _ => self.changed(slot, worker),
        }
    }

    /// Load or eligibility of `worker` changed by something other than a
    /// dispatch: it moves to its place, behind its equals.
    pub(crate) fn changed(&mut self, slot: u32, worker: &Worker) {
        let eligible = worker.is_eligible();
        let (levels, load) = match self {
            Self::LeastLoaded(levels) => (levels, worker.load()),
            // A completed request does not cost a worker its turn.
            Self::RoundRobin(levels) if eligible && levels.contains(slot) => return,
            Self::RoundRobin(levels) => (levels, Load::LEVEL),
            Self::PowerOfTwo(dense) | Self::Random(dense) if eligible => return dense.insert(slot),
            Self::PowerOfTwo(dense) | Self::Random(dense) => return dense.remove(slot),
        };
        if eligible {
            levels.put(slot, load);
        } else {
            levels.remove(slot);
        }
    }

    /// The worker that the policy chooses for `request`, if any is eligible.
    ///
    /// Constant time for a request of cost 1 that excludes nothing. Otherwise
    /// the levels are walked past the less loaded workers that are excluded or
    /// lack the room: at worst all of them.
    #[inline]
    pub(crate) fn choose(
        &self,
        request: &Request<'_>,
        workers: &[Worker],
        rng: &mut Rng,
    ) -> Option<u32> {
        // Every worker here has room for 1.
        let every = request.cost.get() == 1 && request.excluded.is_empty();
        match self {
            Self::LeastLoaded(levels) | Self::RoundRobin(levels) if every => levels.first(),
            _ => self.look_for(request, every, workers, rng),
        }
    }

    fn look_for(
        &self,
        request: &Request<'_>,
        every: bool,
        workers: &[Worker],
        rng: &mut Rng,
    ) -> Option<u32> {
        let takes = |slot: u32| every || may_take(&workers[slot as usize], slot, request);
        match self {
            Self::LeastLoaded(levels) | Self::RoundRobin(levels) => {
                levels.iter().find(|&slot| takes(slot))
            }
            Self::PowerOfTwo(dense) => {
                let (first, second) = dense.draw_two(takes, rng)?;
                let load = |slot: u32| workers[slot as usize].load();
                match second {
                    Some(second) if load(second) < load(first) => Some(second),
                    _ => Some(first),
                }
            }
            Self::Random(dense) => dense.draw(takes, rng),
        }
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        match self {
            Self::LeastLoaded(levels) | Self::RoundRobin(levels) => levels.contains(slot),
            Self::PowerOfTwo(dense) | Self::Random(dense) => dense.contains(slot),
        }
    }

    /// Whether the structure is sound and files each worker under its load.
    pub(crate) fn check(&self, workers: &[Worker]) -> Result<(), String> {
        match self {
            Self::LeastLoaded(levels) => levels.check(|slot| workers[slot as usize].load()),
            Self::RoundRobin(levels) => levels.check(|_| Load::LEVEL),
            Self::PowerOfTwo(dense) | Self::Random(dense) => dense.check(),
        }
    }
}
