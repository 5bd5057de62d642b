//! Looking: nothing here changes the pool.

use core::time::Duration;

use super::{Audit, Config, Pool};
use crate::{Policy, Time, WorkerId, WorkerStats};

impl<T> Pool<T> {
    /// One worker; `None` when the id is unknown or stale.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let id = pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// assert_eq!(pool.worker(id).unwrap().pending, 0);
    /// pool.remove(id, Time::ZERO).unwrap();
    /// assert_eq!(pool.worker(id), None);
    /// ```
    pub fn worker(&self, id: WorkerId) -> Option<WorkerStats> {
        Some(self.present(id)?.stats(id.index))
    }

    /// Every worker, by slot; removed ones until their last lease is back.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let ids = [(); 3].map(|()| pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO));
    /// assert!(pool.workers().map(|worker| worker.id).eq(ids));
    /// ```
    pub fn workers(&self) -> impl Iterator<Item = WorkerStats> + '_ {
        (0..)
            .zip(&self.workers)
            .filter(|(_, worker)| worker.present)
            .map(|(slot, worker)| worker.stats(slot))
    }

    /// The pending cost of all workers together.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// let three = NonZeroU32::new(3).unwrap();
    /// let id = pool.add(WorkerSpec::new(three), Time::ZERO);
    /// let _lease = pool.dispatch_to(id, three).unwrap();
    /// assert_eq!(pool.pending(), 3);
    /// ```
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Requests in line.
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Health, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool = Pool::new(Config::default());
    /// let spec = WorkerSpec::new(NonZeroU32::MIN);
    /// pool.add(WorkerSpec { health: Health::Starting, ..spec }, Time::ZERO);
    /// assert!(matches!(pool.dispatch(&Request::default(), (), Time::ZERO), Dispatch::InLine(_)));
    /// assert_eq!(pool.waiting(), 1);
    /// ```
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// How long the request at the head of the line has waited there.
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Health, Pool, Request, Time, WorkerSpec};
    /// use core::{num::NonZeroU32, time::Duration};
    ///
    /// let mut pool = Pool::new(Config::default());
    /// let spec = WorkerSpec::new(NonZeroU32::MIN);
    /// pool.add(WorkerSpec { health: Health::Starting, ..spec }, Time::ZERO);
    /// assert!(matches!(pool.dispatch(&Request::default(), (), Time::ZERO), Dispatch::InLine(_)));
    /// let minute = Duration::from_secs(60);
    /// assert_eq!(pool.longest_wait(Time::ZERO + minute), Some(minute));
    /// ```
    pub fn longest_wait(&self, now: Time) -> Option<Duration> {
        let (_, head) = self.line.head()?;
        Some(now.since(head.since).unwrap_or(Duration::ZERO))
    }

    /// How `dispatch` chooses.
    ///
    /// ```
    /// use plimsoll_core::{Config, Policy, Pool};
    ///
    /// let pool: Pool<()> = Pool::new(Config { policy: Policy::Random, ..Config::default() });
    /// assert_eq!(pool.policy(), Policy::Random);
    /// ```
    pub fn policy(&self) -> Policy {
        self.config.policy
    }

    /// How the pool was configured, later changes included.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool};
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// pool.set_line(7);
    /// assert_eq!(*pool.config(), Config { line: 7, ..Config::default() });
    /// ```
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the audits have found so far.
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config { audit_every: 1, ..Config::default() });
    /// pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// let _lease = pool.try_dispatch(&Request::default(), Time::ZERO).unwrap();
    /// assert_eq!((pool.audit().audits, pool.audit().regretted), (1, 0));
    /// ```
    pub fn audit(&self) -> Audit {
        self.audit
    }
}
