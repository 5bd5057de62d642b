//! `plimsoll serve` from the outside: the built program, backends that
//! misbehave, clients that leave.
#![forbid(unsafe_code)]

#[path = "../program/authority.rs"]
mod authority;
mod backend;
mod backend_faults;
mod client_faults;
mod crowds;
mod fairness;
mod files;
mod frames;
mod health;
mod http2;
mod http2_faults;
mod ledger;
mod line;
mod options;
mod parsers;
mod passing;
mod proxy;
mod reload;
mod retries;
mod routes;
mod seeing;
mod stopping;
mod times;
mod tls;
mod trailers;
mod tunnels;
mod wire;
