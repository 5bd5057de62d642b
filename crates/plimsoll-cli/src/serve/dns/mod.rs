//! Backends from DNS.
//!
//! | file | what it is |
//! |---|---|
//! | `question.rs` | what is asked for |
//! | `ask.rs` | asking once |
//! | `names.rs` | what is told of names, and known of them: which backends that makes |
//! | `watch.rs` | asking again as answers run out |

mod ask;
mod names;
mod question;
mod watch;

pub(super) use self::ask::{Answer, ask_all};
pub(super) use self::names::{Named, Names};
pub(super) use self::question::Question;
pub(super) use self::watch::watch;
