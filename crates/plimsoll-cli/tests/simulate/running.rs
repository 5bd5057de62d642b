//! Runs the built program, bounded in time.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// No test's run takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// What a finished run left.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `plimsoll simulate` with these words.
pub(crate) fn simulate(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.arg("simulate").args(words).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn run(words: &[&str]) -> Done {
    finish(simulate(words).spawn().expect("the program"))
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

impl Done {
    /// Its exit status must be this.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}\nstdout: {}", self.stderr, self.stdout);
        self
    }

    /// The objects of `--json`.
    pub(crate) fn objects(&self) -> Vec<Value> {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A figure of an object.
pub(crate) fn figure(object: &Value, name: &str) -> f64 {
    object[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {object}"))
}
