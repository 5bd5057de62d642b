//! `plimsoll serve` from the outside: the built program, backends that
//! misbehave, clients that leave.
#![forbid(unsafe_code)]

mod backend;
mod backend_faults;
mod client_faults;
mod line;
mod options;
mod passing;
mod proxy;
mod stopping;
mod wire;
