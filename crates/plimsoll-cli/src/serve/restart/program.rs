//! How this process was started, so that another can be.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The program as it was found at the start, and what it was told: a program that is put in its
/// place meanwhile is the one that is started.
#[derive(Debug)]
pub(in crate::serve) struct Program {
    path: PathBuf,
    name: OsString,
}

impl Program {
    /// This process's; asked at its start. Where the system does not tell, as without `/proc`, it is
    /// what it was called by.
    pub(in crate::serve) fn of_this() -> Self {
        let name = env::args_os().next().unwrap_or_default();
        let running = env::current_exe().unwrap_or_else(|_| PathBuf::from(&name));
        // A link that is another by then leads to another program, where it was called by one.
        let called = env::current_dir().map(|here| here.join(&name));
        let called =
            called.ok().filter(|path| fs::canonicalize(path).is_ok_and(|it| it == running));
        Self { path: called.unwrap_or(running), name }
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The same again, with the same options and environment.
    pub(super) fn again(&self) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(&self.path);
        command.arg0(&self.name).args(env::args_os().skip(1));
        command
    }
}
