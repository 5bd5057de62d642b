//! The least-loaded pool as a state machine that is called and never calls out.
//!
//! It performs no I/O, reads no clock, draws no randomness of its own, starts no
//! thread and depends on nothing but `alloc`. Time comes in as [`Time`],
//! randomness as a seed; what happens to waiting requests goes out through
//! [`Pool::poll_outcome`]. A balancer over threads, processes, servers or
//! simulated workers is a thin shell around it.
//!
//! ```
//! use plimsoll_core::{Completion, Config, Dispatch, Pool, Request, Time, WorkerSpec};
//! use core::num::NonZeroU32;
//!
//! let now = Time::ZERO;
//! let mut pool = Pool::new(Config::default());
//! let capacity = NonZeroU32::new(8).unwrap();
//! let a = pool.add(WorkerSpec::new(capacity), now);
//! let b = pool.add(WorkerSpec::new(capacity), now);
//!
//! // Choosing and charging are one step, so two requests never see the same count.
//! let Dispatch::Assigned(first, ()) = pool.dispatch(&Request::default(), (), now) else { panic!() };
//! let Dispatch::Assigned(second, ()) = pool.dispatch(&Request::default(), (), now) else { panic!() };
//! assert_ne!(first.worker(), second.worker());
//! assert_eq!(pool.worker(a).unwrap().pending + pool.worker(b).unwrap().pending, 2);
//!
//! pool.completed(first, Completion::Succeeded, now).unwrap();
//! pool.completed(second, Completion::Succeeded, now).unwrap();
//! assert_eq!(pool.pending(), 0);
//! ```
//!
//! Start reading at [`Pool`]: its methods come in kinds, one file each.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod line;
mod load;
mod order;
mod pool;
mod request;
mod rng;
mod time;
mod worker;

pub use load::Load;
pub use order::{Policy, UnknownPolicy};
pub use pool::{Audit, Config, Penalty, Pool, Violation};
pub use request::{
    Blocked, Completion, Dispatch, DispatchToError, Lease, Outcome, Refusal, Request, StaleLease,
    Ticket,
};
pub use time::Time;
pub use worker::{Health, UnknownWorker, WorkerId, WorkerSpec, WorkerStats};
