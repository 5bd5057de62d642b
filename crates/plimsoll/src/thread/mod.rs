//! `ThreadPool`: functions on threads as workers, each with a state of its own.

mod map;
mod pool;
mod request;
pub(crate) mod worker;

pub use self::map::{Map, MapUnordered};
pub use self::pool::{ThreadPool, ThreadPoolBuilder};
pub use self::request::ThreadRequest;
