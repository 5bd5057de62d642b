//! Why a run did not begin.

use std::fmt;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use rustix::io::Errno;

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
            Self::Command(_, error) => match Lack::of(error) {
                Lack::Program => status::NOT_FOUND,
                Lack::Executable => status::NOT_EXECUTABLE,
                Lack::Means => status::FAILED,
            },
            Self::System(_) => status::FAILED,
            Self::NoOutput => status::UNWRITABLE,
        })
    }
}

/// What is missing where COMMAND cannot be started.
enum Lack {
    /// There is no such program.
    Program,
    /// There is one that cannot be executed.
    Executable,
    /// The system has no process, memory or the like for it.
    Means,
}

impl Lack {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Program,
            ErrorKind::PermissionDenied | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
                Self::Executable
            }
            _ if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => Self::Executable,
            _ => Self::Means,
        }
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(sentence) => f.write_str(sentence),
            Self::Command(name, error) => match Lack::of(error) {
                Lack::Program => write!(
                    f,
                    "COMMAND '{name}' was not found: give a program in PATH or a path to one"
                ),
                Lack::Executable => write!(f, "COMMAND '{name}' cannot be run: {error}"),
                Lack::Means => write!(f, "a copy of COMMAND '{name}' cannot be started: {error}"),
            },
            Self::System(error) => write!(f, "the run cannot begin: {error}"),
            Self::NoOutput => f.write_str(
                "stdout is closed, and the answers would be lost: write '> /dev/null' where nobody \
                 wants them",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_executed_is_126() {
        let cases = [
            (Errno::NOENT, status::NOT_FOUND, "was not found"),
            (Errno::ACCESS, status::NOT_EXECUTABLE, "cannot be run"),
            (Errno::NOEXEC, status::NOT_EXECUTABLE, "cannot be run"),
            (Errno::ISDIR, status::NOT_EXECUTABLE, "cannot be run"),
            (Errno::AGAIN, status::FAILED, "cannot be started"),
            (Errno::NOMEM, status::FAILED, "cannot be started"),
            (Errno::MFILE, status::FAILED, "cannot be started"),
        ];
        for (errno, status, words) in cases {
            let unready = Unready::Command("x".into(), errno.into());
            assert_eq!(unready.status(), ExitCode::from(status), "{errno}");
            assert!(unready.to_string().contains(words), "{unready}");
        }
    }
}
