//! The library through its public face: a file per capability.
//!
//! Each test ends with nothing pending and all invariants in place, waits for
//! events and never for time to pass, and has a limit.
#![allow(missing_docs, reason = "tests name themselves")]

mod acquire;
mod balancer;
mod cancel;
mod common;
mod deadlock;
mod hazards;
mod map;
mod panics_and_rebuilds;
mod resize;
mod scope;
mod shutdown;
mod task_pool;
mod task_workers;
mod thread_pool;
