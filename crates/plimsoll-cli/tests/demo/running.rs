//! Runs the built program, bounded in time.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::program::{Done, LIMIT, finish, program};

/// `plimsoll demo` with these words, without a terminal.
pub(crate) fn demo(words: &[&str]) -> Command {
    program("demo", words)
}

/// Runs it to its end.
pub(crate) fn run(words: &[&str]) -> Done {
    finish(demo(words).spawn().expect("the program"))
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
    /// The row of the closing table for this policy, in words.
    pub(crate) fn row(&self, policy: &str) -> Vec<&str> {
        let table = self.stdout.split("wait until a worker began").nth(1).unwrap_or_default();
        let row = table.lines().find(|line| line.starts_with(policy));
        let words = row.map(|row| row.split_whitespace().collect()).unwrap_or_default();
        assert_ne!(words, [""; 0], "{policy} has no row in {}", self.stdout);
        words
    }
}
