//! Why a run did not begin.

use std::fmt;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use super::status;

/// See the module.
#[derive(Debug)]
pub(crate) enum Unready {
    /// An option is wrong; the sentence that says how.
    Usage(String),
    /// COMMAND cannot be started; its name and why.
    Command(String, io::Error),
    /// The system has not what a run needs.
    System(io::Error),
    /// stdout was closed: answers would be lost.
    NoOutput,
}

impl Unready {
    pub(crate) fn status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => crate::usage::STATUS,
            Self::Command(_, error) if error.kind() == ErrorKind::NotFound => status::NOT_FOUND,
            Self::Command(..) => status::NOT_EXECUTABLE,
            Self::System(_) => status::FAILED,
            Self::NoOutput => status::UNWRITABLE,
        })
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(sentence) => f.write_str(sentence),
            Self::Command(name, error) if error.kind() == ErrorKind::NotFound => {
                write!(f, "COMMAND '{name}' was not found: give a program in PATH or a path to one")
            }
            Self::Command(name, error) => write!(f, "COMMAND '{name}' cannot be run: {error}"),
            Self::System(error) => write!(f, "the run cannot begin: {error}"),
            Self::NoOutput => f.write_str(
                "stdout is closed, and the answers would be lost: write '> /dev/null' where nobody \
                 wants them",
            ),
        }
    }
}
