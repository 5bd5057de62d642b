//! What pools of threads and of tasks are built with.

use std::num::NonZeroU32;

use plimsoll_core::Config;

use crate::error::BuildError;

/// Workers, their capacity, and how the core is configured.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) capacity: u32,
    pub(crate) config: Config,
}

impl Options {
    /// One worker per core, capacity 1, a line of 1,024.
    pub(crate) fn new() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { workers, capacity: 1, config: Config::default() }
    }

    pub(crate) fn check(&self) -> Result<NonZeroU32, BuildError> {
        if self.workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        NonZeroU32::new(self.capacity).ok_or(BuildError::ZeroCapacity)
    }
}

/// Writes the builder methods that both pools have.
macro_rules! builder_methods {
    () => {
        /// The most cost a worker may have pending: 1 (the default) is a shared
        /// queue in front of the workers, never idle while work waits; more
        /// gives each worker a queue of its own.
        ///
        /// ```
        /// use plimsoll::ThreadPool;
        ///
        /// let pool = ThreadPool::builder().workers(1).capacity(8).build(|_| Ok(()))?;
        /// assert_eq!(pool.snapshot().workers[0].capacity.get(), 8);
        /// # Ok::<(), plimsoll::BuildError>(())
        /// ```
        #[must_use]
        pub fn capacity(mut self, capacity: u32) -> Self {
            self.options.capacity = capacity;
            self
        }

        /// The most requests that wait while every worker is at capacity
        /// (1,024 by default).
        ///
        /// ```
        /// use plimsoll::{Reason, ThreadPool};
        /// use std::sync::mpsc;
        ///
        /// let pool = ThreadPool::builder().workers(1).line(1).build(|_| Ok(()))?;
        /// let (go, wait) = mpsc::sync_channel(0);
        /// let runs = pool.submit(move |()| (wait.recv(), wait.recv()))?;
        /// go.send("it has begun")?;
        /// let waits = pool.submit(|()| ())?;
        /// assert!(matches!(pool.try_submit(|()| ()).unwrap_err().reason, Reason::Full));
        /// # drop((go, runs, waits));
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[must_use]
        pub fn line(mut self, requests: usize) -> Self {
            self.options.config.line = requests;
            self
        }

        /// How workers are chosen (least-loaded by default).
        ///
        /// ```
        /// use plimsoll::{Policy, ThreadPool};
        ///
        /// let pool = ThreadPool::builder().policy(Policy::PowerOfTwo).build(|_| Ok(()))?;
        /// assert_eq!(pool.submit(|()| "the better of two")?.wait()?, "the better of two");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[must_use]
        pub fn policy(mut self, policy: $crate::Policy) -> Self {
            self.options.config.policy = policy;
            self
        }

        /// Shuffles the first order of the workers.
        ///
        /// ```
        /// use plimsoll::ThreadPool;
        ///
        /// let pool = ThreadPool::builder().workers(2).seed(7).build(|_| Ok(()))?;
        /// assert_eq!(pool.workers(), 2);
        /// # Ok::<(), plimsoll::BuildError>(())
        /// ```
        #[must_use]
        pub fn seed(mut self, seed: u64) -> Self {
            self.options.config.seed = seed;
            self
        }

        /// Checks every so many dispatches by a plain scan of all workers;
        /// [`Snapshot::audit`]($crate::Snapshot::audit) shows what it found. 0,
        /// the default, is never.
        ///
        /// ```
        /// use plimsoll::ThreadPool;
        ///
        /// let pool = ThreadPool::builder().workers(2).audit_every(1).build(|_| Ok(()))?;
        /// pool.submit(|()| ())?.wait()?;
        /// assert_eq!(pool.snapshot().audit.audits, 1);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[must_use]
        pub fn audit_every(mut self, dispatches: u64) -> Self {
            self.options.config.audit_every = dispatches;
            self
        }
    };
}

pub(crate) use builder_methods;
