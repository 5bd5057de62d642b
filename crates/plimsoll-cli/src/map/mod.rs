//! `plimsoll map`: each line of the input goes to the least-loaded copy of
//! COMMAND, each answer to its place in the output.
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the command line |
//! | `machine` | the run as a state machine, without I/O |
//! | `engine` | the event loop around it, `seats` its part for the copies |
//! | `reader`, `writer`, `voice` | stdin, stdout and stderr, a thread each |
//! | `launcher`, `process`, `pty` | copies of COMMAND |
//! | `intake`, `framer` | bytes into lines |
//! | `failed`, `summary`, `progress`, `unready`, `status` | what is reported |
//! | `signals`, `wake` | what ends a wait |

mod args;
mod engine;
mod failed;
mod framer;
mod intake;
mod launcher;
mod machine;
mod process;
mod progress;
mod pty;
mod reader;
mod seats;
mod signals;
mod status;
mod summary;
mod unready;
mod voice;
mod wake;
mod writer;

use std::process::ExitCode;

pub(crate) use self::args::Args;
pub(crate) use self::launcher::Launcher;
pub(crate) use self::process::{Process, Read, in_words};
pub(crate) use self::signals::is_ignored;
use self::unready::Unready;

/// Runs to the end of the input and tells the exit status.
#[expect(clippy::needless_pass_by_value, reason = "the options are used up")]
pub(crate) fn run(args: Args) -> ExitCode {
    let status = args.check().map_err(Unready::Usage).and_then(|()| {
        let engine = engine::Engine::start(&args)?;
        Ok(engine.run())
    });
    status.map_or_else(
        |unready| {
            eprintln!("plimsoll map: {unready}");
            unready.status()
        },
        ExitCode::from,
    )
}
