//! The side that clients see.

mod client;
mod connection;
mod fields;
mod screen;
mod socket;
mod stall;
mod wire;

pub(crate) use self::client::{Asking, Client};
pub(crate) use self::connection::serve;
pub(crate) use self::fields::check_fields;
pub(crate) use self::screen::{Fault, is_authority};
pub(crate) use self::stall::Progress;
