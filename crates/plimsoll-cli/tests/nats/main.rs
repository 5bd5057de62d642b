//! `plimsoll nats` through the real binary, with a real nats-server on loopback.
//!
//! Long forms: `PLIMSOLL_LONG=1`, see scripts/long/nats-kills.

mod client;
mod commands;
mod documents;
mod kills;
#[path = "../program/mod.rs"]
mod program;
mod protocol;
mod server;
