//! `TaskPool`: futures on the caller's executor as workers, each with a state
//! of its own.

mod guard;
mod map;
mod pool;
mod request;
pub(crate) mod worker;

pub use self::guard::StateGuard;
pub use self::map::TaskMap;
pub use self::pool::{TaskPool, TaskPoolBuilder};
pub use self::request::TaskRequest;
