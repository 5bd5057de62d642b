//! How a balancer chooses: the core's policies, and those that only the
//! simulator has, a file each.

mod c3;
mod idle_queue;
mod least_work;
mod power;
mod prequal;
mod snapshot;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use plimsoll_core::Policy as Core;

use self::c3::C3;
use self::idle_queue::IdleQueue;
use self::least_work::LeastWork;
use self::power::Power;
use self::prequal::Prequal;
pub use self::prequal::PrequalOptions;
pub(crate) use self::prequal::Replica;
use self::snapshot::{Snapshot, Use};
use crate::fleet::Fleet;
use crate::streams::Stream;
use crate::units::within;

/// How requests find their workers.
///
/// ```
/// use plimsoll_sim::Policy;
///
/// assert_eq!("power-of-two".parse::<Policy>().unwrap().to_string(), "power-of-2");
/// assert_eq!("snapshot:10".parse::<Policy>().unwrap().to_string(), "snapshot:10");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// A policy of the core, other than power-of-two.
    Core(Core),
    /// One line before all workers: the core, with a capacity of a worker's slots.
    Central,
    /// The least pending of so many workers drawn; of two distinct ones it is the core's.
    Power(u32),
    /// The least work given to, of so many workers drawn.
    LeastWork(u32),
    /// Workers that become idle leave a token, of which a balancer keeps so
    /// many; without one it draws a worker.
    IdleQueue(u32),
    /// The least pending, as it was when last told: every so many seconds.
    Snapshot(f64),
    /// The less pending of two workers drawn, as it was when last told.
    SnapshotTwo(f64),
    /// The least pending, as it was when last told, plus what was given since.
    SnapshotOwn(f64),
    /// Prequal: probes of pending and latency.
    Prequal(PrequalOptions),
    /// C3: a score of latency and the cube of the queue.
    C3,
}

impl Policy {
    /// The product's own.
    pub const LEAST_LOADED: Self = Self::Core(Core::LeastLoaded);

    /// Whether there is one line before all workers.
    ///
    /// ```
    /// use plimsoll_sim::Policy;
    ///
    /// assert!(Policy::Central.is_central() && !Policy::LEAST_LOADED.is_central());
    /// ```
    pub fn is_central(&self) -> bool {
        matches!(self, Self::Central)
    }

    /// Whether it gives each of its workers as much, without a look at what they have.
    pub(crate) fn is_blind(&self) -> bool {
        let core = matches!(self, Self::Core(Core::Random | Core::RoundRobin));
        core || matches!(self, Self::Power(1) | Self::LeastWork(1))
    }

    /// The core's policy behind it, if it is one.
    pub(crate) fn core(&self, with_replacement: bool) -> Option<Core> {
        match *self {
            Self::Core(core) => Some(core),
            Self::Central => Some(Core::LeastLoaded),
            Self::Power(2) if !with_replacement => Some(Core::PowerOfTwo),
            _ => None,
        }
    }

    /// How often it must be told what all workers have pending, in seconds.
    pub(crate) fn age(&self) -> Option<f64> {
        match *self {
            Self::Snapshot(age) | Self::SnapshotTwo(age) | Self::SnapshotOwn(age) => Some(age),
            _ => None,
        }
    }

    /// Whether its own numbers are such that it can choose.
    pub(crate) fn check_numbers(&self) -> Result<(), String> {
        match *self {
            Self::Power(choices) | Self::LeastWork(choices) if !(1..=1000).contains(&choices) => {
                Err(format!("{self} is not of 1 to 1000 choices"))
            }
            Self::Snapshot(age) | Self::SnapshotTwo(age) | Self::SnapshotOwn(age) => {
                within("the age of a snapshot", age, 1e-6, 1e9)
            }
            Self::Prequal(options) => options.check(),
            _ => Ok(()),
        }
    }

    /// Whether it can choose among `known` workers.
    pub(crate) fn check(
        &self,
        known: u32,
        with_replacement: bool,
        slots: NonZeroU32,
    ) -> Result<(), String> {
        match *self {
            Self::Power(choices) | Self::LeastWork(choices)
                if choices > known && !with_replacement =>
            {
                Err(format!("{self} draws from 1 to {known} workers, if each no more than once"))
            }
            Self::SnapshotTwo(_) if known < 2 && !with_replacement => {
                Err(format!("{self} draws two workers, and a balancer knows {known}"))
            }
            Self::LeastWork(_) if slots.get() > 1 => {
                Err(format!("{self} adds work up as one slot does it, not {slots}"))
            }
            _ => Ok(()),
        }
    }

    /// What chooses, where the core does not.
    pub(crate) fn choice(&self, known: u32, with_replacement: bool) -> Choice {
        match *self {
            Self::Core(_) | Self::Central => unreachable!("the core chooses"),
            Self::Power(choices) => Choice::Power(Power { choices, with_replacement }),
            Self::LeastWork(choices) => {
                Choice::LeastWork(LeastWork::new(known, choices, with_replacement))
            }
            Self::IdleQueue(tokens) => Choice::IdleQueue(IdleQueue::new(known, tokens)),
            Self::Snapshot(_) => Choice::Snapshot(Snapshot::new(known, Use::Least)),
            Self::SnapshotTwo(_) => {
                Choice::Snapshot(Snapshot::new(known, Use::Two { with_replacement }))
            }
            Self::SnapshotOwn(_) => Choice::Snapshot(Snapshot::new(known, Use::Own)),
            Self::Prequal(options) => Choice::Prequal(Prequal::new(options, with_replacement)),
            Self::C3 => Choice::C3(C3::new(known, with_replacement)),
        }
    }
}

/// The workers that a balancer knows: `count` of them from `first` on, on a ring
/// of all. A *place* is a worker's number among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) all: u32,
}

impl Known {
    #[inline]
    pub(crate) fn worker(self, place: u32) -> u32 {
        // Both are below 2^31: this fits.
        let worker = self.first + place;
        if worker >= self.all { worker - self.all } else { worker }
    }

    /// Where a worker stands among them; beyond `count` when it is not one.
    #[inline]
    pub(crate) fn place(self, worker: u32) -> u32 {
        if worker >= self.first { worker - self.first } else { self.all - self.first + worker }
    }
}

/// What a balancer may look at.
pub(crate) struct View<'a> {
    pub(crate) known: Known,
    /// What it has given to each worker that it knows, and not got back.
    pub(crate) own: &'a [u32],
    pub(crate) fleet: &'a Fleet,
    /// What workers tell a probe.
    pub(crate) replicas: &'a [Replica],
    pub(crate) balancers: u32,
    pub(crate) now: u64,
    /// What the request needs of a worker of speed 1.
    pub(crate) service: u64,
}

/// What a balancer learns from an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) place: u32,
    /// From its dispatch, in nanoseconds.
    pub(crate) latency: u64,
    /// How long it ran.
    pub(crate) ran: u64,
    /// What its worker had pending when it was done.
    pub(crate) pending: u32,
}

/// A policy at work in one balancer.
#[derive(Debug)]
pub(crate) enum Choice {
    Power(Power),
    LeastWork(LeastWork),
    IdleQueue(IdleQueue),
    Snapshot(Snapshot),
    Prequal(Prequal),
    C3(C3),
}

impl Choice {
    /// The place of the worker that gets the request.
    #[inline]
    pub(crate) fn choose(&mut self, view: &View<'_>, rng: &mut Stream) -> u32 {
        match self {
            Self::Power(power) => power.choose(view, rng),
            Self::LeastWork(least) => least.choose(view, rng),
            Self::IdleQueue(queue) => queue.choose(view, rng),
            Self::Snapshot(snapshot) => snapshot.choose(rng),
            Self::Prequal(prequal) => prequal.choose(view, rng),
            Self::C3(c3) => c3.choose(view, rng),
        }
    }

    pub(crate) fn answered(&mut self, answer: Answer) {
        if let Self::C3(c3) = self {
            c3.answered(answer);
        }
    }

    /// A worker of no pending request tells.
    pub(crate) fn idle(&mut self, place: u32) {
        if let Self::IdleQueue(queue) = self {
            queue.leave(place);
        }
    }

    /// All workers tell what they have pending.
    pub(crate) fn told(&mut self, known: Known, fleet: &Fleet) {
        if let Self::Snapshot(snapshot) = self {
            snapshot.told(known, fleet);
        }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const KNOWN: &str = "it is one of least-loaded, power-of-D, round-robin, random, \
            central-queue, join-idle-queue[:TOKENS], least-work-of-D, snapshot:AGE, \
            snapshot-two:AGE, snapshot-own:AGE, prequal and c3";
        let known = || KNOWN.to_owned();
        if text == Core::PowerOfTwo.name() {
            return Ok(Self::Power(2));
        }
        if let Ok(core) = text.parse() {
            return Ok(Self::Core(core));
        }
        let choices = |text: &str| {
            text.parse().map_err(|_| format!("'{text}' is no number of choices, as in power-of-2"))
        };
        let (name, rest) =
            text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let age = || {
            let age = rest.unwrap_or_default().parse();
            age.map_err(|_| format!("{name}:AGE is a number of seconds, such as {name}:10"))
        };
        let policy = match (name, rest) {
            ("central-queue", None) => Self::Central,
            ("c3", None) => Self::C3,
            ("join-idle-queue", None) => Self::IdleQueue(u32::MAX),
            ("join-idle-queue", Some(tokens)) => {
                let tokens = tokens.parse().map_err(|_| "join-idle-queue:TOKENS is a whole number");
                Self::IdleQueue(tokens?)
            }
            ("snapshot", _) => Self::Snapshot(age()?),
            ("snapshot-two", _) => Self::SnapshotTwo(age()?),
            ("snapshot-own", _) => Self::SnapshotOwn(age()?),
            ("prequal", options) => Self::Prequal(options.unwrap_or_default().parse()?),
            (_, None) => {
                match (name.strip_prefix("power-of-"), name.strip_prefix("least-work-of-")) {
                    (Some(number), _) => Self::Power(choices(number)?),
                    (_, Some(number)) => Self::LeastWork(choices(number)?),
                    _ => return Err(known()),
                }
            }
            _ => return Err(known()),
        };
        policy.check_numbers()?;
        Ok(policy)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(Core::PowerOfTwo) => f.write_str("power-of-2"),
            Self::Core(core) => f.write_str(core.name()),
            Self::Central => f.write_str("central-queue"),
            Self::Power(choices) => write!(f, "power-of-{choices}"),
            Self::LeastWork(choices) => write!(f, "least-work-of-{choices}"),
            Self::IdleQueue(u32::MAX) => f.write_str("join-idle-queue"),
            Self::IdleQueue(tokens) => write!(f, "join-idle-queue:{tokens}"),
            Self::Snapshot(age) => write!(f, "snapshot:{age}"),
            Self::SnapshotTwo(age) => write!(f, "snapshot-two:{age}"),
            Self::SnapshotOwn(age) => write!(f, "snapshot-own:{age}"),
            Self::Prequal(options) => write!(f, "prequal{options}"),
            Self::C3 => f.write_str("c3"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let names = "least-loaded power-of-2 power-of-5 round-robin random central-queue \
            join-idle-queue join-idle-queue:3 least-work-of-2 snapshot:1 snapshot-two:10 \
            snapshot-own:0.5 prequal prequal:pool=8:hot=0.5 c3";
        for name in names.split_whitespace() {
            assert_eq!(name.parse::<Policy>().unwrap().to_string(), name);
        }
        let bad = "best power-of-0 power-of-x snapshot snapshot:-1 c3:1 prequal:pool prequal:x=1";
        for name in bad.split_whitespace().chain([""]) {
            assert!(name.parse::<Policy>().is_err(), "{name}");
        }
    }

    #[test]
    fn places_and_workers_are_one_on_the_ring() {
        let known = Known { first: 7, count: 5, all: 10 };
        let workers: Vec<u32> = (0..5).map(|place| known.worker(place)).collect();
        assert_eq!(workers, [7, 8, 9, 0, 1]);
        assert!((0..5).all(|place| known.place(known.worker(place)) == place));
        assert!(known.place(2) >= 5);
    }
}
