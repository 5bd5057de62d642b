//! The built program, bounded in time: what tests of several commands have in
//! common.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// No test's run takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What a finished run left.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Its exit status must be this.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}\nstdout: {}", self.stderr, self.stdout);
        self
    }
}

/// One of the program's commands with these words, without a terminal.
pub(crate) fn program(command: &str, words: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    program.arg(command).args(words).stdin(Stdio::null());
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

pub(crate) fn finish(child: Child) -> Done {
    let pid = Pid::from_child(&child);
    let (ended, end) = channel();
    // Reading to the end also waits for it.
    thread::spawn(move || ended.send(child.wait_with_output().expect("an exit status")));
    let output = end.recv_timeout(LIMIT).unwrap_or_else(|_| {
        let _ = kill_process(pid, Signal::KILL);
        panic!("not done after {LIMIT:?}");
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
