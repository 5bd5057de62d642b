//! Seeing: snapshots, and histograms of fixed size kept outside the lock.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use plimsoll_core::{Audit, Pool, Time, WorkerStats};

/// A pool or balancer at one moment.
///
/// ```
/// use plimsoll::ThreadPool;
///
/// let pool = ThreadPool::builder().workers(2).audit_every(1).build(|_| Ok(()))?;
/// pool.submit(|()| ())?.wait()?;
/// let snapshot = pool.snapshot();
/// assert_eq!((snapshot.workers.len(), snapshot.pending()), (2, 0));
/// assert_eq!((snapshot.waiting, snapshot.longest_wait), (0, None));
/// assert_eq!((snapshot.wait.count(), snapshot.run.count()), (1, 1));
/// assert_eq!(snapshot.audit.regretted, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The workers, by slot.
    pub workers: Vec<WorkerStats>,
    /// Requests in line.
    pub waiting: usize,
    /// How long the head of the line has waited.
    pub longest_wait: Option<Duration>,
    /// From submission until a worker began, over all requests so far.
    pub wait: Times,
    /// From when a worker began until it was done, over all requests so far.
    pub run: Times,
    /// What audits at run time have found.
    pub audit: Audit,
}

impl Snapshot {
    /// The pending cost of all workers together.
    ///
    /// ```
    /// use plimsoll::{Balancer, WorkerSpec};
    /// use std::num::NonZeroU32;
    ///
    /// let balancer = Balancer::new();
    /// balancer.add((), WorkerSpec::new(NonZeroU32::MIN));
    /// let _lease = balancer.try_acquire()?;
    /// assert_eq!(balancer.snapshot().pending(), 1);
    /// # Ok::<(), plimsoll::Reason>(())
    /// ```
    pub fn pending(&self) -> u64 {
        self.workers.iter().map(|worker| u64::from(worker.pending)).sum()
    }

    /// Of the core's own pool, in a balancer of one's own; waits and runs are to be filled in.
    ///
    /// ```
    /// use plimsoll::Snapshot;
    /// use plimsoll::core::{Config, Pool, Time};
    ///
    /// let pool: Pool<()> = Pool::new(Config::default());
    /// assert_eq!(Snapshot::of(&pool, Time::ZERO).waiting, 0);
    /// ```
    pub fn of<T>(pool: &Pool<T>, now: Time) -> Self {
        Self {
            workers: pool.workers().collect(),
            waiting: pool.waiting(),
            longest_wait: pool.longest_wait(now),
            wait: Times::new(),
            run: Times::new(),
            audit: pool.audit(),
        }
    }

    pub(crate) fn with_times(mut self, recorder: &Recorder) -> Self {
        (self.wait, self.run) = recorder.read();
        self
    }
}

/// A distribution of times, to two significant digits, up to an hour.
///
/// ```
/// use plimsoll::ThreadPool;
///
/// let pool = ThreadPool::new(2)?;
/// pool.map(0..10, |(), n: u32| n)?.for_each(drop);
/// let run = pool.snapshot().run;
/// assert_eq!(run.count(), 10);
/// assert!(run.quantile(0.5) <= run.quantile(0.99));
/// assert!(run.mean() <= run.max());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    /// None yet: for a balancer of one's own, which is shown as those of this crate are.
    ///
    /// # Panics
    ///
    /// Never: the bounds are in range.
    ///
    /// ```
    /// use plimsoll::Times;
    /// use std::time::Duration;
    ///
    /// let mut times = Times::new();
    /// times.record(Duration::from_millis(3));
    /// assert_eq!(times.within(Duration::from_millis(4)), 1);
    /// ```
    pub fn new() -> Self {
        const LONGEST_NANOS: u64 = 3_600_000_000_000;
        Self(Histogram::new_with_bounds(1, LONGEST_NANOS, 2).expect("the bounds are in range"))
    }

    /// Counts one.
    ///
    /// ```
    /// use plimsoll::Times;
    /// use std::time::Duration;
    ///
    /// let mut times = Times::new();
    /// times.record(Duration::from_secs(1));
    /// assert_eq!(times.count(), 1);
    /// ```
    pub fn record(&mut self, time: Duration) {
        self.note(nanos(time));
    }

    /// How many there are.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.map(0..10, |(), n: u32| n)?.for_each(drop);
    /// assert_eq!(pool.snapshot().wait.count(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that this part of them (0 to 1) do not exceed.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.map(0..100, |(), n: u32| n)?.for_each(drop);
    /// let wait = pool.snapshot().wait;
    /// assert!(wait.quantile(0.5) <= wait.quantile(0.99));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(part))
    }

    /// Their mean.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.map(0..10, |(), n: u32| n)?.for_each(drop);
    /// assert!(pool.snapshot().run.mean().as_secs_f64() < 1.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.0.mean() / 1e9)
    }

    /// All of them together, as exactly as they are kept; it never falls.
    ///
    /// ```
    /// use plimsoll::Times;
    /// use std::time::Duration;
    ///
    /// let mut times = Times::new();
    /// for _ in 0..3 {
    ///     times.record(Duration::from_secs(2));
    /// }
    /// assert!(times.sum().abs_diff(Duration::from_secs(6)) < Duration::from_millis(60));
    /// ```
    pub fn sum(&self) -> Duration {
        let of_kept = |kept: hdrhistogram::iterators::IterationValue<u64>| {
            let time = self.0.median_equivalent(kept.value_iterated_to());
            u128::from(kept.count_at_value()) * u128::from(time)
        };
        let nanos: u128 = self.0.iter_recorded().map(of_kept).sum();
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        let nanos = u64::try_from(nanos % 1_000_000_000).unwrap_or(0);
        Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos))
    }

    /// The longest.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.map(0..10, |(), n: u32| n)?.for_each(drop);
    /// assert!(pool.snapshot().run.max() >= pool.snapshot().run.mean());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// How many do not exceed a limit, as exactly as they are kept.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.map(0..10, |(), n: u32| n)?.for_each(drop);
    /// let run = pool.snapshot().run;
    /// assert_eq!(run.within(Duration::from_secs(60)), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn within(&self, limit: Duration) -> u64 {
        self.0.count_between(0, nanos(limit))
    }

    /// Those that came after an earlier snapshot of the same times.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.map(0..10, |(), n: u32| n)?.for_each(drop);
    /// let earlier = pool.snapshot().run;
    /// pool.map(0..5, |(), n: u32| n)?.for_each(drop);
    /// assert_eq!(pool.snapshot().run.since(&earlier).count(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        // Of other times, which have more: then nothing is known.
        if since.0.subtract(&earlier.0).is_err() {
            since.0.reset();
        }
        since
    }

    fn note(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Counts those of another, too.
    ///
    /// # Panics
    ///
    /// Never: all have the same bounds.
    ///
    /// ```
    /// use plimsoll::Times;
    /// use std::time::Duration;
    ///
    /// let (mut all, mut some) = (Times::new(), Times::new());
    /// some.record(Duration::from_secs(1));
    /// all.add(&some);
    /// assert_eq!(all.count(), 1);
    /// ```
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Times")
            .field("count", &self.count())
            .field("mean", &self.mean())
            .field("max", &self.max())
            .finish()
    }
}

/// As the histograms count, and as the core's moments do.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

static THREADS: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    /// The shard that this thread records in: a thread's own stays in its
    /// core's cache, a worker's would follow the worker from core to core.
    static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % Recorder::SHARDS;
}

/// Where the times are recorded: a fixed number of shards, each with a lock of
/// its own, so that threads rarely meet.
pub(crate) struct Recorder {
    shards: [Mutex<(Times, Times)>; Self::SHARDS],
}

impl Recorder {
    const SHARDS: usize = 8;

    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new((Times::new(), Times::new()))) }
    }

    /// Records one request, in nanoseconds.
    pub(crate) fn record(&self, wait: u64, run: u64) {
        let shard = &self.shards[SHARD.with(|shard| *shard)];
        let mut times = shard.lock().unwrap_or_else(PoisonError::into_inner);
        times.0.note(wait);
        times.1.note(run);
    }

    fn read(&self) -> (Times, Times) {
        let mut sum = (Times::new(), Times::new());
        for shard in &self.shards {
            let times = shard.lock().unwrap_or_else(PoisonError::into_inner);
            sum.0.add(&times.0);
            sum.1.add(&times.1);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who reads it takes any fall for a new beginning. The mean in whole nanoseconds times
    /// the count does fall.
    #[test]
    fn a_sum_never_falls() {
        let mut times = Times::new();
        let mut before = Duration::ZERO;
        for nth in 0..10_000 {
            times.record(Duration::from_nanos(if nth % 3 == 0 { 1 } else { 100 }));
            assert!(times.sum() > before, "after {nth}");
            before = times.sum();
        }
    }
}
