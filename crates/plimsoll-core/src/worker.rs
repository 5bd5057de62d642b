//! A worker as the pool sees it: ids, what it may carry, what it carries.

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use crate::{Load, Request};

/// Names one worker of one pool.
///
/// The index is a slot, used again after a removal; the generation tells the
/// users of a slot apart, so that an old id never touches a new worker.
///
/// ```
/// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let spec = WorkerSpec::new(NonZeroU32::MIN);
/// let old = pool.add(spec, Time::ZERO);
/// pool.remove(old, Time::ZERO).unwrap();
/// let new = pool.add(spec, Time::ZERO);
/// assert_eq!((old.index(), new.index()), (0, 0));
/// assert_eq!((old.to_string(), new.to_string()), ("0.0".into(), "0.1".into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl WorkerId {
    /// The slot, dense from 0: a shell can keep what belongs to a worker in a
    /// vector at this index.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let first = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// assert_eq!(first.index(), 0);
    /// ```
    pub fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for WorkerId {
    /// `index.generation`, as in `3.0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// An id that names no worker of the pool, or one that has been removed.
///
/// ```
/// use plimsoll_core::{Config, Pool, Time, UnknownWorker, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// pool.remove(id, Time::ZERO).unwrap();
/// assert_eq!(pool.remove(id, Time::ZERO), Err(UnknownWorker(id)));
/// assert_eq!(UnknownWorker(id).to_string(), "worker 0.0 is not in the pool");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWorker(pub WorkerId);

impl fmt::Display for UnknownWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} is not in the pool", self.0)
    }
}

impl core::error::Error for UnknownWorker {}

/// Whether a worker takes requests.
///
/// ```
/// use plimsoll_core::{Blocked, Config, Health, Pool, Refusal, Request, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
/// let mut ask = |health| {
///     pool.set_health(id, health, Time::ZERO).unwrap();
///     pool.try_dispatch(&Request::default(), Time::ZERO)
/// };
/// assert_eq!(ask(Health::Starting), Err(Blocked::WouldWait));
/// assert_eq!(ask(Health::Down), Err(Blocked::Refused(Refusal::NoWorker)));
/// assert!(ask(Health::Up).is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not dispatched to yet; requests may wait for it.
    Starting,
    /// Dispatched to.
    #[default]
    Up,
    /// Not dispatched to, and no request waits for it.
    Down,
}

/// What a worker is added with.
///
/// ```
/// use plimsoll_core::{Health, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let spec = WorkerSpec::new(NonZeroU32::new(16).unwrap());
/// assert_eq!((spec.capacity.get(), spec.weight.get(), spec.health), (16, 1, Health::Up));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// The most cost it may have pending.
    pub capacity: NonZeroU32,
    /// Its strength relative to the others.
    pub weight: NonZeroU16,
    /// Whether it takes requests at once.
    pub health: Health,
}

impl WorkerSpec {
    /// A worker of this capacity, weight 1, up.
    ///
    /// ```
    /// use plimsoll_core::{Health, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let spec = WorkerSpec::new(NonZeroU32::new(16).unwrap());
    /// let not_yet = WorkerSpec { health: Health::Starting, ..spec };
    /// assert_eq!(not_yet.capacity.get(), 16);
    /// ```
    pub fn new(capacity: NonZeroU32) -> Self {
        Self { capacity, weight: NonZeroU16::MIN, health: Health::Up }
    }
}

/// What is known of one worker at one moment.
///
/// ```
/// use plimsoll_core::{Completion, Config, Health, Pool, Time, WorkerSpec};
/// use core::num::NonZeroU32;
///
/// let mut pool: Pool<()> = Pool::new(Config::default());
/// let id = pool.add(WorkerSpec::new(NonZeroU32::new(8).unwrap()), Time::ZERO);
/// let [one, _two] = [(); 2].map(|()| pool.dispatch_to(id, NonZeroU32::MIN).unwrap());
/// pool.completed(one, Completion::Failed, Time::ZERO).unwrap();
/// let stats = pool.worker(id).unwrap();
/// assert_eq!((stats.id, stats.health, stats.draining), (id, Health::Up, false));
/// assert_eq!((stats.capacity.get(), stats.capacity_in_force, stats.weight.get()), (8, 8, 1));
/// assert_eq!((stats.dispatched, stats.completed, stats.failed), (2, 1, 1));
/// assert_eq!((stats.pending, stats.penalty, stats.load.as_f64()), (1, 4, 6.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerStats {
    /// Which worker.
    pub id: WorkerId,
    /// Cost given and not completed.
    pub pending: u32,
    /// Load that is not pending, left by failures.
    pub penalty: u32,
    /// The most pending allowed now; below the configured one in a ramp.
    pub capacity_in_force: u32,
    /// The most pending as configured.
    pub capacity: NonZeroU32,
    /// The weight as configured.
    pub weight: NonZeroU16,
    /// What it is ordered by, with the weight in force.
    pub load: Load,
    /// Whether it takes requests.
    pub health: Health,
    /// Whether it gets nothing new and only finishes.
    pub draining: bool,
    /// Requests given to it and not taken back.
    pub dispatched: u64,
    /// Requests it gave back, failed ones included.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// A ramp's steps: weight and capacity grow by this part of the whole.
pub(crate) const RAMP_STEPS: u8 = 16;

/// One slot's record: one cache line, since at large sizes a dispatch is its misses.
#[repr(align(64))]
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) pending: u32,
    pub(crate) penalty: u32,
    /// In force: scaled by the ramp.
    pub(crate) capacity: u32,
    /// In force, in parts of [`Load::UNIT`].
    weight: u32,
    pub(crate) generation: u32,
    pub(crate) spec: WorkerSpec,
    pub(crate) draining: bool,
    /// Draining for good: the slot is freed when the last lease is back.
    pub(crate) removed: bool,
    /// Whether the slot is in use.
    pub(crate) present: bool,
    pub(crate) ramp_step: u8,
    pub(crate) dispatched: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
}

impl Worker {
    pub(crate) fn new(spec: WorkerSpec, generation: u32) -> Self {
        let mut worker = Self {
            pending: 0,
            penalty: 0,
            capacity: 0,
            weight: 0,
            generation,
            spec,
            draining: false,
            removed: false,
            present: true,
            ramp_step: RAMP_STEPS,
            dispatched: 0,
            completed: 0,
            failed: 0,
        };
        worker.apply_spec();
        worker
    }

    pub(crate) fn load(&self) -> Load {
        Load::new(self.pending, self.penalty, self.weight)
    }

    /// Up, not draining, below capacity: whether the order holds it.
    pub(crate) fn is_eligible(&self) -> bool {
        self.has_room_for(NonZeroU32::MIN)
    }

    /// Whether a request of this cost may be dispatched to it now.
    pub(crate) fn has_room_for(&self, cost: NonZeroU32) -> bool {
        // Capacity may have been lowered below pending, so this adds, and in 64 bits.
        let filled = u64::from(self.pending) + u64::from(cost.get());
        filled <= u64::from(self.capacity) && self.spec.health == Health::Up && self.is_live()
    }

    /// Whether requests may wait for it.
    pub(crate) fn is_live(&self) -> bool {
        // Without branches: nearly all are.
        let gone = !self.present | self.draining | self.removed;
        !gone && self.spec.health != Health::Down
    }

    /// The configured capacity, while requests may wait for it.
    pub(crate) fn live_capacity(&self) -> Option<NonZeroU32> {
        self.is_live().then_some(self.spec.capacity)
    }

    /// Leases out. Taken-back requests leave `dispatched`, so this is exact.
    pub(crate) fn leases(&self) -> u64 {
        self.dispatched - self.completed
    }

    pub(crate) fn take_ramp_step(&mut self, step: u8) {
        self.ramp_step = step;
        self.apply_spec();
    }

    /// Puts the configured weight and capacity in force, scaled by the ramp,
    /// never below capacity 1.
    pub(crate) fn apply_spec(&mut self) {
        let (step, steps) = (u64::from(self.ramp_step), u64::from(RAMP_STEPS));
        let scale = |whole: u64| u32::try_from((whole * step / steps).max(1)).unwrap_or(u32::MAX);
        self.capacity = scale(u64::from(self.spec.capacity.get()));
        self.weight = scale(u64::from(self.spec.weight.get()) * u64::from(Load::UNIT));
    }

    pub(crate) fn stats(&self, index: u32) -> WorkerStats {
        WorkerStats {
            id: WorkerId { index, generation: self.generation },
            pending: self.pending,
            penalty: self.penalty,
            capacity_in_force: self.capacity,
            capacity: self.spec.capacity,
            weight: self.spec.weight,
            load: self.load(),
            health: self.spec.health,
            draining: self.draining || self.removed,
            dispatched: self.dispatched,
            completed: self.completed,
            failed: self.failed,
        }
    }
}

/// Whether the worker in slot `index` may get `request` now.
pub(crate) fn may_take(worker: &Worker, index: u32, request: &Request<'_>) -> bool {
    worker.has_room_for(request.cost)
        && !request.excluded.contains(&WorkerId { index, generation: worker.generation })
}
