//! Plimsoll's own core in virtual time: balancers, workers and requests as a
//! discrete-event simulation.
//!
//! It drives the very [`Pool`](plimsoll_core::Pool) that ships; policies that
//! are not in it stand in `policy`, to compare with. It performs no I/O, reads
//! no clock, starts no thread: a [`Run`] is a state machine that is moved on by
//! [`Run::advance`], and equal configurations and seeds give equal results.
//!
//! Time is in seconds where it is configured or told, and in whole nanoseconds
//! inside. By default the mean service time is one second, so that times read
//! as multiples of it.
//!
//! ```
//! use plimsoll_sim::{Config, Run, Summary, theory};
//!
//! let config = Config { workers: 10, load: 0.7, jobs: 200_000, ..Config::default() };
//! let outcomes: Vec<_> = (0..4)
//!     .map(|number| {
//!         let mut run = Run::new(&config, number).unwrap();
//!         while !run.advance(10_000) {}
//!         run.check_invariants().unwrap();
//!         run.outcome()
//!     })
//!     .collect();
//! let summary = Summary::of(&outcomes);
//! // Nothing is better than one queue for all.
//! assert!(summary.mean.value > theory::central_queue(10, 0.7) - summary.mean.half_width);
//! ```
#![forbid(unsafe_code)]

mod arrivals;
mod balancer;
mod config;
mod events;
mod fault;
mod fleet;
mod policy;
mod run;
mod service;
mod stats;
mod streams;
mod summary;
pub mod theory;
mod units;

pub use arrivals::{Arrival, Arrivals};
pub use config::{Config, Discipline};
pub use fault::{Fault, FaultKind};
pub use policy::{Policy, PrequalOptions};
pub use run::Run;
pub use service::Service;
pub use stats::{Batch, Outcome, Sample};
pub use summary::{Estimate, Runs, Summary};
