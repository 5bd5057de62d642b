//! Send each request to the least-loaded worker, and the answer straight back
//! to whoever asked.
//!
//! - [`ThreadPool`]: functions on threads, each worker with a state of its own.
//! - [`TaskPool`]: the same with futures on the executor that you have.
//! - [`Balancer`]: leases on workers of any type: connections, addresses,
//!   processes, devices.
//!
//! ```
//! use plimsoll::ThreadPool;
//!
//! let pool = ThreadPool::new(4)?;
//! let reply = pool.submit(|()| "answered by the least-loaded worker")?;
//! println!("{}", reply.wait()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The choosing and counting is `plimsoll-core`'s, whose words are used here:
//! *pending* is what a worker has been given and has not completed, its *load*
//! is (pending + penalty + 1) / weight, its *capacity* is the most it may have
//! pending, and the *line* is where requests wait when every worker is at
//! capacity.
#![cfg_attr(test, allow(missing_docs, reason = "tests name themselves"))]

mod balancer;
mod clock;
mod crew;
mod error;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod options;
mod reply;
mod scope;
mod shutdown;
mod slot;
mod stats;
mod sync;
mod task;

mod thread;
mod timer;

pub use plimsoll_core as core;
pub use plimsoll_core::{
    Audit, DispatchToError, Health, Penalty, Policy, UnknownWorker, WorkerId, WorkerSpec,
    WorkerStats,
};

pub use balancer::{Acquire, AcquireRequest, Balancer, BalancerBuilder, Lease, Removal};
pub use error::{BuildError, FactoryError, Reason, Refused, ReplyError};
pub use reply::Reply;
pub use scope::Scope;
pub use shutdown::{Shutdown, ShutdownReport};
pub use stats::{Snapshot, Times};

pub use task::{StateGuard, TaskMap, TaskPool, TaskPoolBuilder, TaskRequest};
pub use thread::{Map, MapUnordered, ThreadPool, ThreadPoolBuilder, ThreadRequest};

/// The examples of the project's first page are tests of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
