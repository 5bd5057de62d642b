//! How it ends: exit statuses, signals, outputs that cannot be written.

use std::fs::OpenOptions;
use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::finish;
use crate::running::{run, simulate};
use crate::terminal::terminal;

#[test]
fn usage_errors_are_2_and_one_sentence() {
    let cases: [(&[&str], &str); 33] = [
        (&["--load", "1"], "load 1 is 1 or more"),
        (&["--load", "1.2", "--capacity", "4"], "bound it by a capacity and a line"),
        (&["--load", "0"], "a number above 0"),
        (&["--load", "nan"], "a number above 0"),
        (&["--workers", "0"], "from 1 to 10000000"),
        (&["--policy", "fair"], "least-loaded, power-of-D"),
        (&["--policy", "power-of-5", "-w", "3"], "draws from 1 to 3 workers"),
        (&["--policy", "power-of-3", "--capacity", "4"], "has no line"),
        (&["--service", "gamma"], "exponential, deterministic"),
        (&["--service", "lognormal:-1"], "the sigma -1 is not from 0 to 10"),
        (&["--arrivals", "bursts:x:1"], "bursts:FACTOR:SECONDS"),
        (&["--arrivals", "bursts:0:1"], "the factor of bursts 0 is not"),
        (&["--fault", "gone:100:1:2"], "they are counted from 0 to 99"),
        (&["--fault", "gone:1:2:1"], "ends before it begins"),
        (&["--sweep", "speed=1..2"], "load=, workers=, balancers= or capacity="),
        (&["--sweep", "load=0.5..1.5"], "is 1 or more"),
        (&["--policy", "join-idle-queue", "--subset", "5"], "a worker's load is 18 "),
        (&["--policy", "central-queue", "--costs", "1..4"], "more than any worker's capacity"),
        (&["--line", "5"], "a line needs a capacity"),
        (&["--warm-up", "1"], "a share from 0"),
        (&["--plot", "x.gif"], "FILE.svg or a FILE.png"),
        (&["--plot", "x.svg", "--plot-kind", "latency"], "what --sweep says"),
        (&["--trace", "/nonexistent"], "/nonexistent: No such file"),
        (&["--trace", "x", "--load", "0.5"], "excludes it"),
        (&["--jobs", "10"], "over 8 runs it makes 1 in each, and it takes 8 in each, 64 in all"),
        (&["--subset", "200"], "a subset of 200: it is from 1 to the 100 workers"),
        (&["--trace", "x", "--costs", "1..4"], "excludes it"),
        (&["--arrivals", "closed:9:1", "--sweep", "load=0.1,0.2"], "not go with a closed loop"),
        (
            &["--arrivals", "closed:9:1", "--fault", "stuck:0:1:2", "--plot", "x.svg"],
            "not known beforehand",
        ),
        (&["--sweep", "load=0.99..1.00001:3"], "load 1.0"),
        (&["--balancers", "1000000"], "a smaller subset"),
        // It once took minutes.
        (&["--sweep", "workers=4294967295"], "it is a whole number from 1 to 10000000"),
        (&["--wrokers", "4"], "did you mean --workers?"),
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
    for words in ["0 done", "130 interrupted", "--trace", "--sweep"] {
        assert!(done.stdout.contains(words), "{}", done.stdout);
    }
}

/// It tells nothing before its end, so that only time can pass here. Of many small
/// runs some have ended by then, and by far not all.
#[test]
fn a_signal_prints_what_there_is_and_130() {
    let words = ["--runs", "1000", "--jobs", "50000000", "--workers", "2", "--threads", "1"];
    for signal in [Signal::INT, Signal::TERM] {
        let child = simulate(&[&words[..], &["--policy", "random", "--json"]].concat());
        let child = { child }.spawn().unwrap();
        sleep(Duration::from_secs(2));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let objects = finish(child).expect(130).objects();
        let answered = objects.iter().map(|object| object["answered"].as_u64());
        let answered: Option<u64> = answered.sum();
        assert!(objects.len() == 1 && answered < Some(50_000_000), "{objects:?}");
    }
}

/// The one run has then not come far, which is told; and a picture is no reason for another status.
#[test]
fn one_long_run_is_interrupted_with_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("a.svg");
    let words = ["--jobs", "4000000000", "--policy", "random", "--json", "--load", "0.5"];
    let plot = ["--plot", picture.to_str().unwrap()];
    let child = simulate(&[&words[..], &plot].concat()).spawn().unwrap();
    sleep(Duration::from_secs(2));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = finish(child).expect(130);
    assert!(done.stderr.contains("interrupted after"), "{}", done.stderr);
    assert!(done.stderr.contains("of 4000000000 requests (0 %)"), "{}", done.stderr);
    let answered = done.objects()[0]["answered"].as_u64();
    assert!((1..4_000_000_000).contains(&answered.unwrap_or_default()), "{}", done.stdout);
    assert!(picture.exists());
}

/// Who keeps the table alone must see that it is not of all that was asked for.
#[test]
fn a_table_that_was_cut_short_says_so_in_its_head() {
    let words = ["--jobs", "4000000000", "--policy", "random", "--load", "0.5"];
    let child = simulate(&words).spawn().unwrap();
    sleep(Duration::from_secs(2));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let done = finish(child).expect(130);
    let head = done.stdout.lines().nth(1).unwrap_or_default();
    assert!(head.starts_with("interrupted after"), "{}", done.stdout);
    assert!(done.stderr.contains(head), "{}", done.stderr);
}

#[test]
fn what_is_too_short_is_told() {
    let words = ["--policy", "random", "--workers", "10", "--jobs", "8000", "--load"];
    let done = run(&[&words[..], &["0.98"]].concat()).expect(0);
    assert!(done.stderr.contains("too short for random"), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    let done = run(&[&words[..], &["0.2"]].concat()).expect(0);
    assert_eq!(done.stderr, "");
}

/// A queue that is still filling, and what chance does to those that are not.
#[test]
fn a_row_that_is_not_steady_is_told_with_how_sure_that_is() {
    let words = ["--policy", "random", "--workers", "10", "--jobs", "80000", "--load", "0.99"];
    let done = run(&[&words[..], &["--seed", "1", "--warm-up", "0"]].concat()).expect(0);
    let told = "not steady, as 1 steady row in 20 seems by chance; more --jobs or a longer \
        --warm-up will tell more: random";
    assert!(done.stdout.contains(told), "{}", done.stdout);
}

#[test]
fn a_mean_that_misses_its_closed_form_is_told() {
    let words = ["--policy", "random", "--workers", "10", "--jobs", "80000", "--load", "0.98"];
    let words = [&words[..], &["--seed", "1", "--warm-up", "0"]].concat();
    let told = "away from an exact closed form, so that more --jobs will tell more: random";
    let done = run(&words).expect(0);
    assert!(done.stdout.contains(told), "{}", done.stdout);
    let done = run(&[&words[..], &["--csv"]].concat()).expect(0);
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

#[test]
fn a_fault_that_no_measured_request_meets_is_told() {
    let words = ["--workers", "10", "--jobs", "40000", "--load", "0.5", "--policy", "random"];
    let before = "is over before measuring begins, at about 200 s: only what it left behind, and \
        the counts, show it";
    for (fault, told) in [("stuck:0:1:2", before), ("stuck:0:9000:9001", "after the end")] {
        let done = run(&[&words[..], &["--fault", fault]].concat()).expect(0);
        assert!(done.stderr.contains(told), "{fault}: {}", done.stderr);
    }
    let done = run(&[&words[..], &["--fault", "stuck:0:500:510"]].concat()).expect(0);
    assert_eq!(done.stderr, "");
    // A picture of what is pending shows the warm-up.
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("a.svg");
    let plot = ["--fault", "stuck:0:1:2", "--plot", picture.to_str().unwrap()];
    let done = run(&[&words[..], &plot].concat()).expect(0);
    let told = "only what it left behind, the counts and the picture show it";
    assert!(done.stderr.contains(told), "{}", done.stderr);
}

/// The warm-up of a trace is a share of its requests, most of which may come early.
#[test]
fn a_fault_in_a_trace_is_told_by_when_its_requests_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    std::fs::write(&path, "0,1\n1,1\n2,1\n3,1\n4,1\n5,1\n6,1\n7,1\n90,1\n100,1\n").unwrap();
    let words = ["--trace", path.to_str().unwrap(), "--workers", "2", "--policy", "random"];
    let words = [&words[..], &["--warm-up", "0.5", "--json", "--fault"]].concat();
    let done = run(&[&words[..], &["stuck:0:1:4"]].concat()).expect(0);
    assert!(done.stderr.contains("before measuring begins, at about 5 s"), "{}", done.stderr);
    let done = run(&[&words[..], &["stuck:0:6:9"]].concat()).expect(0);
    assert!(!done.stderr.contains("before measuring begins"), "{}", done.stderr);
}

/// Requests of a trace go on after the last has come, and a fault meets them.
#[test]
fn a_fault_after_the_last_arrival_of_a_trace_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    std::fs::write(&path, "0,5\n1,5\n").unwrap();
    let words = ["--trace", path.to_str().unwrap(), "--workers", "2", "--policy", "random"];
    let words = [&words[..], &["--fault", "failing:0-1:2:1000", "--json"]].concat();
    let done = run(&words).expect(0);
    assert!(done.stderr.contains("it meets only what is left then"), "{}", done.stderr);
    assert!(!done.stderr.contains("no figure"), "{}", done.stderr);
}

#[test]
fn a_reader_that_leaves_ends_it_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("a.svg");
    let words = ["--workers", "2", "--jobs", "20000", "--load", "0.5", "--plot"];
    let words = [&words[..], &[picture.to_str().unwrap()]].concat();
    let mut child = simulate(&words).spawn().unwrap();
    drop(child.stdout.take());
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((child.wait().unwrap().code(), told.as_str()), (Some(0), ""));
    assert!(picture.exists(), "the picture is for others");
}

#[test]
fn a_full_disk_is_3() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let few = ["--workers", "2", "--jobs", "20000"];
    let done = finish(simulate(&few).stdout(full()).spawn().unwrap()).expect(3);
    assert!(done.stderr.contains("stdout cannot be written"), "{}", done.stderr);
    let done = run(&[&few[..], &["--plot", "/nonexistent/a.svg"]].concat()).expect(3);
    assert!(done.stderr.contains("/nonexistent/a.svg cannot be written"), "{}", done.stderr);
}

#[test]
fn a_terminal_shows_how_far_it_is() {
    let (mut screen, slave) = terminal();
    let mut command = simulate(&["--jobs", "1000000", "--workers", "20", "--policy", "random"]);
    command.env("TERM", "xterm").stderr(slave);
    let child = command.spawn().unwrap();
    // Else this process holds the terminal open, and reading never ends.
    drop(command);
    let mut shown = Vec::new();
    // A terminal whose last user has gone cannot be read.
    let _ = screen.read_to_end(&mut shown);
    let done = finish(child).expect(0);
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("% of 1,000,000 requests") && shown.contains("left"), "{shown}");
    assert!(done.stdout.contains("random"), "{}", done.stdout);
}
