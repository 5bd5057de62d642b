//! The side that clients see.

mod client;
mod connection;
mod screen;
mod socket;

pub(crate) use self::client::{Asking, Client};
pub(crate) use self::connection::serve;
pub(crate) use self::screen::Fault;
