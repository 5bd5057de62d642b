//! A restart without a gap: a new process of the program serves in the place of this one, which
//! finishes what it has.
//!
//! | where | what |
//! |---|---|
//! | `successor` | at the old process: starts the new one and hands over |
//! | `predecessor` | at the new process: takes over |
//! | `link` | what goes between the two, descriptors included |
//! | `words` | what they say |
//! | `program` | how this process was started |

mod link;
mod predecessor;
mod program;
mod successor;
mod words;

use std::time::Duration;

pub(super) use self::predecessor::{Finishing, Predecessor};
pub(super) use self::program::Program;
pub(super) use self::successor::Restart;
pub(super) use self::words::Use;

/// In the environment of a process that takes over: whom from. Its standard input is a [`link::Link`]
/// then.
const PREDECESSOR: &str = "PLIMSOLL_PREDECESSOR";

/// The longest that one of the two waits for the other before it is known that both can serve.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a process asks whether it is to end, while it waits for the other.
const LOOK: Duration = Duration::from_millis(50);
