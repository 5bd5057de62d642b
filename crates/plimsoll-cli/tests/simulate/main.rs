//! `plimsoll simulate` from the outside.
#![forbid(unsafe_code)]

mod ends;
mod results;
mod running;
mod traces;
