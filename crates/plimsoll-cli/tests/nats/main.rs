//! `plimsoll nats` through the real binary, with a real nats-server on loopback.
//!
//! Long forms: `PLIMSOLL_LONG=1`, as `scripts/long/nats-kills` sets it.
#![forbid(unsafe_code)]

mod access;
#[path = "../program/authority.rs"]
mod authority;
mod client;
mod commands;
mod documents;
mod ends;
mod hazards;
mod kills;
#[path = "../program/metrics.rs"]
mod metrics;
mod options;
mod outages;
#[path = "../program/mod.rs"]
mod program;
mod promises;
mod protocol;
mod server;
mod wire;
