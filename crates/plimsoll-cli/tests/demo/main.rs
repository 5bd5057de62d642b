//! `plimsoll demo` from the outside: the built program, with a pipe and with a
//! pseudo-terminal.
#![forbid(unsafe_code)]

mod ends;
mod live;
mod plain;
#[path = "../program/mod.rs"]
mod program;
mod running;
#[path = "../program/terminal.rs"]
mod terminal;
