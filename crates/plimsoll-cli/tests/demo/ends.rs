//! How the demo ends: exit statuses, signals, outputs that cannot be written.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::program::{finish, program};
use crate::running::{demo, read_until, run};

#[test]
fn usage_errors_are_2_and_one_sentence() {
    let cases: [(&[&str], &str); 14] = [
        (&["--workers", "0"], "from 1 to 1000"),
        (&["-w", "-1"], "from 1 to 1000"),
        (&["--requesters", "many"], "from 1 to 1000"),
        (&["--capacity", "0"], "from 1 to 1000000"),
        (&["--line", "-1"], "from 0 to 1000000"),
        (&["--load", "0"], "from 1 to 1000"),
        (&["--seconds", "0"], "such as 2.5"),
        (&["--seconds", "nan"], "such as 2.5"),
        (&["--policy", "fair"], "least-loaded, power-of-two, round-robin, random, all"),
        (&["--seed", "x"], "whole number"),
        (&["--slow", "9"], "--slow 9 is more than --workers 8"),
        (&["--wrokers", "4"], "did you mean --workers?"),
        (&["--seconds"], "needs a value"),
        (&["--seed", "1", "--seed", "2"], "given twice"),
    ];
    for (words, expected) in cases {
        let done = run(words).expect(2);
        assert!(done.stderr.contains(expected), "{words:?}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{words:?}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
}

#[test]
fn help_names_the_exit_statuses() {
    let done = run(&["--help"]).expect(0);
    for words in ["0 done or quit", "130 interrupted", "--policy all"] {
        assert!(done.stdout.contains(words), "{}", done.stdout);
    }
}

#[test]
fn a_signal_ends_it_with_the_table_and_130() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = demo(&["--seconds", "1000"]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        read_until(&mut stdout, " 1 s ");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let rest = read_until(&mut stdout, "invariants hold");
        assert!(rest.contains("wait until a worker began"), "{rest}");
        finish(child).expect(130);
    }
}

#[test]
fn a_reader_that_leaves_ends_it_with_0() {
    let mut child = demo(&["--seconds", "1000"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    read_until(&mut stdout, "seed");
    drop(stdout);
    let done = finish(child).expect(0);
    assert_eq!(done.stderr, "");
}

#[test]
fn a_full_disk_is_3() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = finish(demo(&["--seconds", "1"]).stdout(full).spawn().unwrap()).expect(3);
    assert!(done.stderr.contains("stdout cannot be written"), "{}", done.stderr);
}

#[test]
fn ctrl_c_ends_the_one_with_a_server_at_once() {
    let mut command = program("demo", &["--nats"]);
    // A terminal's Ctrl-C is for the whole group.
    let child = command.process_group(0).spawn().unwrap();
    let pid = Pid::from_child(&child);
    thread::sleep(Duration::from_secs(3));
    kill_process_group(pid, Signal::INT).unwrap();
    let before = Instant::now();
    let done = finish(child).expect(130);
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    assert!(done.stdout.contains(" 0 failed; wait p50 "), "{}", done.stdout);
}
