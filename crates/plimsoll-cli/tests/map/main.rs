//! `plimsoll map` from the outside: the built program, real filters, real
//! processes that die.
#![forbid(unsafe_code)]

mod ends;
mod faults;
mod filters;
mod input;
mod options;
mod running;
