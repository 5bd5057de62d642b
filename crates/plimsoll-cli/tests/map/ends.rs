//! How a run ends: exit statuses, signals, outputs that cannot be written.

use std::fs::{self, OpenOptions};

use crate::running::{map, numbers};
use rustix::process::Signal;

/// Answers each line; the line `slow` only when the file `go` is there.
const SLOW: &str = "#!/bin/sh\nsleep 1000 &\nwhile read -r n; do\n\
    [ $n = slow ] && while [ ! -e go ]; do sleep 0.01; done\necho $n\ndone\n";

#[test]
fn a_command_that_is_not_there_is_127() {
    let done = map(["--", "no-such-program-at-all"]).on("").expect(127);
    assert!(done.stderr.contains("'no-such-program-at-all' was not found"), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1);
}

#[test]
fn a_command_that_cannot_be_run_is_126() {
    let map = map(["--", "./text"]);
    fs::write(map.path().join("text"), "text").unwrap();
    let done = map.on("a\n").expect(126);
    assert!(done.stderr.contains("'./text' cannot be run"), "{}", done.stderr);
}

#[test]
fn usage_errors_are_2_and_one_sentence() {
    let cases: [(&[&str], &str); 16] = [
        (&[], "COMMAND"),
        (&["-w", "0", "--", "cat"], "from 1 to 4096"),
        (&["-w", "x", "--", "cat"], "from 1 to 4096"),
        (&["--workers=-1", "--", "cat"], "from 1 to 4096"),
        (&["--capacity", "0", "--", "cat"], "from 1 to 1000000"),
        (&["--retries", "-1", "--", "cat"], "--retries"),
        (&["--timeout", "0", "--", "cat"], "from 0.001"),
        (&["--timeout", "nan", "--", "cat"], "such as 2.5"),
        (&["--max-line", "0", "--", "cat"], "from 1 byte to 1GiB"),
        (&["--buffer", "32 apples", "--", "cat"], "such as 4096, 64KiB or 32MiB"),
        (&["--max-line", "2MiB", "--buffer", "1MiB", "--", "cat"], "a line must fit"),
        (&["--progress", "perhaps", "--", "cat"], "auto, always, never"),
        (&["--failed", "no/such/folder/file", "--", "cat"], "cannot be created"),
        (&["--wrokers", "4", "--", "cat"], "did you mean --workers?"),
        (&["--timeout"], "needs a value"),
        (&["-w", "2", "-w", "3", "--", "cat"], "given twice"),
    ];
    for (words, expected) in cases {
        let done = map(words).on("").expect(2);
        assert!(done.stderr.contains(expected), "{words:?}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{words:?}: {}", done.stderr);
        assert!(done.stdout.is_empty());
    }
}

#[test]
fn help_names_the_exit_statuses() {
    let done = map(["--help"]).on("").expect(0);
    for words in ["0 all lines answered", "127 COMMAND not found", "--keep-place"] {
        assert!(done.text().contains(words), "{}", done.text());
    }
}

#[test]
fn a_full_disk_is_3() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut running = map(["-w", "2", "--", "cat"]).start_with(full);
    running.feed(numbers(100_000).into());
    let done = running.finish().expect(3);
    assert!(done.stderr.contains("stdout cannot be written"), "{}", done.stderr);
}

#[test]
fn a_failed_file_on_a_full_disk_is_3() {
    let done =
        map(["--max-line", "2", "--failed", "/dev/full", "--", "cat"]).on(numbers(1000)).expect(3);
    assert!(done.stderr.contains("--failed cannot be written"), "{}", done.stderr);
}

#[test]
fn a_closed_stdout_is_3() {
    let program = env!("CARGO_BIN_EXE_plimsoll");
    for (to, code, told) in [(">&-", 3, "stdout is closed"), ("> /dev/null", 0, "")] {
        let pipe = format!("seq 1000 | '{program}' map -w 2 -- cat {to}");
        let output = std::process::Command::new("sh").args(["-c", &pipe]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{to}: {stderr}");
        assert!(stderr.contains(told), "{to}: {stderr}");
        assert_eq!(stderr.lines().count(), usize::from(code == 3), "{to}: {stderr}");
    }
}

#[test]
fn a_reader_that_leaves_ends_the_run_with_0() {
    let program = env!("CARGO_BIN_EXE_plimsoll");
    let pipe = format!("yes | '{program}' map -w 2 --capacity 10 -- cat; echo $? >&2");
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("({pipe}) | head -n 1")])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"y\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "0\n");
}

#[test]
fn one_signal_finishes_what_runs() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let map = map(["-w", "2", "--", "./slow.sh"]).script("slow.sh", SLOW);
        let go = map.path().join("go");
        let mut running = map.start();
        running.write(b"first\n");
        running.stdout.wait_for(|so_far| so_far == b"first\n");
        running.write(b"slow\nslow\nnot begun\nnot begun\n");
        running.signal(signal);
        running.stderr.wait_for_text("stopping");
        fs::write(go, "").unwrap();
        let done = running.finish().expect(130);
        // Which of the lines had been begun is a race; what is told is not.
        let answered = done.lines().len();
        let told = format!("{answered} lines answered, 0 failed; line {} and all", answered + 1);
        assert!(done.stderr.contains(&told), "{}", done.stderr);
        assert!(!done.text().contains("not begun"), "{}", done.text());
    }
}

/// The copies sleep for ever, each with a child that does too: all must be
/// gone, which `finish` checks.
#[test]
fn a_second_signal_ends_at_once_with_no_child_left() {
    let mut running = map(["-w", "3", "--", "./slow.sh"]).script("slow.sh", SLOW).start();
    running.write(b"first\n");
    running.stdout.wait_for(|so_far| so_far == b"first\n");
    running.write(b"slow\nslow\nslow\nslow\n");
    running.signal(Signal::INT);
    running.stderr.wait_for_text("stopping");
    running.signal(Signal::INT);
    let stdin = running.stdin.take();
    let done = running.finish().expect(130);
    assert_eq!(done.text(), "first\n");
    drop(stdin);
}

#[test]
fn a_signal_ends_a_run_that_waits_for_input() {
    let mut running = map(["-w", "2", "--", "cat"]).start();
    running.write(b"a\nhalf");
    running.stdout.wait_for(|so_far| so_far == b"a\n");
    running.signal(Signal::TERM);
    let stdin = running.stdin.take();
    let done = running.finish().expect(130);
    assert!(done.stderr.contains("1 lines answered, 0 failed; line 2"), "{}", done.stderr);
    drop(stdin);
}

/// The copies go on after the end of their input; they are given some seconds.
#[test]
fn a_copy_that_does_not_end_is_killed() {
    let script = "#!/bin/sh\nwhile read -r n; do echo $n; done\nsleep 1000\n";
    let done = map(["-w", "2", "--", "./stay.sh"]).script("stay.sh", script).on("a\nb\n").expect(0);
    assert_eq!(done.text(), "a\nb\n");
    assert_eq!(done.stderr.matches("is sent SIGTERM").count(), 1, "{}", done.stderr);
}

/// It saves what it has learned, or whatever it does after its input.
#[test]
fn a_copy_that_works_on_is_asked_to_end_before_it_is_killed() {
    let script = "#!/bin/sh\ntrap 'echo saved > saved; exit 0' TERM\n\
        while read -r n; do echo $n; done\nwhile :; do sleep 0.05; done\n";
    let done = map(["-w", "1", "--", "./save.sh"]).script("save.sh", script).on("a\n").expect(0);
    assert_eq!(done.text(), "a\n");
    assert_eq!(done.file("saved"), b"saved\n");
}

/// What it keeps back behind lines that wait would never come otherwise.
#[test]
fn a_signal_ends_a_run_whose_filter_drops_lines() {
    let mut running = map(["-w", "2", "--capacity", "8", "--", "grep", "5"]).start();
    running.write(numbers(100).as_bytes());
    // The first answer: from here on nothing more will come.
    running.stdout.wait_for(|so_far| so_far.starts_with(b"5\n"));
    running.signal(Signal::INT);
    running.stderr.wait_for_text("stopping");
    let stdin = running.stdin.take();
    running.finish().expect(130);
    drop(stdin);
}
