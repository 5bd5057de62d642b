//! `plimsoll serve` from the outside: the built program, backends that
//! misbehave, clients that leave.
#![forbid(unsafe_code)]

mod admission;
#[path = "../program/authority.rs"]
mod authority;
mod backend;
mod backend_faults;
mod client_faults;
mod crowds;
mod dns;
mod fairness;
mod files;
mod frames;
mod health;
mod held;
mod http2;
mod http2_faults;
mod ledger;
mod line;
#[path = "../program/metrics.rs"]
mod metrics;
mod nameserver;
mod operations;
mod options;
mod parsers;
mod passing;
mod process;
mod proxy;
mod reload;
mod restart;
mod retries;
mod routes;
mod seeing;
mod steer;
mod stopping;
mod takeover;
mod times;
mod tls;
mod trailers;
mod tunnels;
mod wire;
