//! What COMMAND is started as: which program, which arguments, and an
//! environment in which ordinary filters flush each line.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::Process;
use super::pty;

/// Where Debian, Fedora, Arch and others keep the library of coreutils' stdbuf.
const STDBUF: [&str; 8] = [
    "/usr/libexec/coreutils/libstdbuf.so",
    "/usr/lib/coreutils/libstdbuf.so",
    "/usr/lib64/coreutils/libstdbuf.so",
    "/usr/lib/x86_64-linux-gnu/coreutils/libstdbuf.so",
    "/usr/lib/aarch64-linux-gnu/coreutils/libstdbuf.so",
    "/usr/local/libexec/coreutils/libstdbuf.so",
    "/opt/homebrew/opt/coreutils/libexec/coreutils/libstdbuf.so",
    "/usr/local/opt/coreutils/libexec/coreutils/libstdbuf.so",
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Launcher {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    has_stdbuf: bool,
    pty: bool,
}

impl Launcher {
    /// `null`: lines end with a NUL byte.
    pub(crate) fn new(command: &[OsString], null: bool, pty: bool) -> Self {
        let mut words = command.iter().cloned();
        let program = words.next().unwrap_or_default();
        let mut arguments: Vec<OsString> = words.collect();
        if is_mawk(&program) {
            arguments.splice(0..0, ["-W".into(), "interactive".into()]);
        }
        let mut environment = Vec::new();
        let stdbuf = STDBUF.iter().map(Path::new).find(|path| path.exists());
        if let Some(library) = stdbuf {
            let mut preload = env::var_os("LD_PRELOAD").unwrap_or_default();
            if !preload.is_empty() {
                preload.push(":");
            }
            preload.push(library);
            environment.push(("LD_PRELOAD", preload));
            // Line buffering knows newlines only.
            environment.push(("_STDBUF_O", if null { "0" } else { "L" }.into()));
        }
        if env::var_os("PYTHONUNBUFFERED").is_none() {
            environment.push(("PYTHONUNBUFFERED", "1".into()));
        }
        Self { program, arguments, environment, has_stdbuf: stdbuf.is_some(), pty }
    }

    /// Starts copy `number`, which counts from 1.
    ///
    /// # Errors
    ///
    /// Why it cannot be started.
    pub(crate) fn start(&self, number: usize) -> io::Result<Process> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("PLIMSOLL_WORKER", number.to_string())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        if self.pty {
            // What is not found then is not COMMAND.
            let none = |error| io::Error::other(format!("no pseudo-terminal: {error}"));
            let (ours, theirs) = pty::open_pair().map_err(none)?;
            command.stdout(theirs);
            return Process::start(command, Some(ours));
        }
        command.stdout(Stdio::piped());
        Process::start(command, None)
    }

    /// COMMAND as the user may know it.
    pub(crate) fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// What to do when COMMAND seems to keep its answers back.
    pub(crate) fn advice(&self) -> String {
        let mut advice = String::from(
            "it may be busy, or it keeps its answers in a buffer. Let it flush after each line: \
             perl: $| = 1; python: print(…, flush=True); awk: fflush(); grep: --line-buffered; \
             sed: -u",
        );
        if !self.pty {
            advice.push_str(". Or let it write to a pseudo-terminal: plimsoll map --pty");
        }
        if !self.has_stdbuf {
            advice.push_str(
                ". (libstdbuf.so of GNU coreutils, which helps most programs, is not installed)",
            );
        }
        advice
    }
}

/// Whether the program is mawk, by whatever name: it keeps its input and its
/// output in buffers of its own unless it is told to be interactive.
fn is_mawk(program: &OsStr) -> bool {
    let name = Path::new(program).file_name();
    if name == Some(OsStr::new("mawk")) {
        return true;
    }
    name == Some(OsStr::new("awk"))
        && find(program)
            .and_then(|path| path.canonicalize().ok())
            .is_some_and(|path| path.file_name() == Some(OsStr::new("mawk")))
}

/// The file that is run for a program's name.
fn find(program: &OsStr) -> Option<PathBuf> {
    let name = Path::new(program);
    if name.components().count() > 1 {
        return Some(name.to_owned());
    }
    let is_executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(is_executable)
}
