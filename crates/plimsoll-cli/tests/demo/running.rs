//! Runs the built program, bounded in time.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// No test's run takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What a finished run left.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `plimsoll demo` with these words, without a terminal.
pub(crate) fn demo(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.arg("demo").args(words).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn run(words: &[&str]) -> Done {
    finish(demo(words).spawn().expect("the program"))
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

/// Reads until these words have come, and tells what came.
pub(crate) fn read_until(from: &mut (impl Read + AsFd), words: &str) -> String {
    let limit = Timespec::try_from(LIMIT).expect("a limit of minutes");
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    loop {
        let so_far = String::from_utf8_lossy(&bytes).into_owned();
        if so_far.contains(words) {
            return so_far;
        }
        let ready = poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&limit)).expect("a poll");
        assert_ne!(ready, 0, "'{words}' did not come in time: {so_far}");
        match from.read(&mut some) {
            Ok(read @ 1..) => bytes.extend(&some[..read]),
            _ => panic!("'{words}' did not come: {so_far}"),
        }
    }
}

impl Done {
    /// Its exit status must be this.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr: {}\nstdout: {}", self.stderr, self.stdout);
        self
    }

    /// The row of the closing table for this policy, in words.
    pub(crate) fn row(&self, policy: &str) -> Vec<&str> {
        let table = self.stdout.split("wait until a worker began").nth(1).unwrap_or_default();
        let row = table.lines().find(|line| line.starts_with(policy));
        let words = row.map(|row| row.split_whitespace().collect()).unwrap_or_default();
        assert_ne!(words, [""; 0], "{policy} has no row in {}", self.stdout);
        words
    }
}
