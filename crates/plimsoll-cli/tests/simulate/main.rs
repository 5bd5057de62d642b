//! `plimsoll simulate` from the outside.
#![forbid(unsafe_code)]

mod ends;
#[path = "../program/mod.rs"]
mod program;
mod results;
mod running;
#[path = "../program/terminal.rs"]
mod terminal;
mod traces;
