//! What the options say, and what is told on stderr.

use crate::running::{map, numbers, text};

const FUSSY: &str =
    "#!/bin/sh\nwhile read -r n; do\ncase $n in\n*bad*) exit 1;;\nesac\necho $n\ndone\n";

#[test]
fn keep_place_prints_an_empty_line_for_a_failed_one() {
    let input = "a\nbad 1\nc\nbad 2\n";
    let done = map(["-w", "2", "--retries", "0", "--keep-place", "--", "./fussy.sh"])
        .script("fussy.sh", FUSSY)
        .on(input)
        .expect(1);
    assert_eq!(done.text(), "a\n\nc\n\n");
    let done = map(["-w", "2", "--retries", "0", "--", "./fussy.sh"])
        .script("fussy.sh", FUSSY)
        .on(input)
        .expect(1);
    assert_eq!(done.text(), "a\nc\n");
}

#[test]
fn failed_records_are_unambiguous_also_with_nul() {
    let done = map(["-w", "1", "-0", "--retries", "0", "--failed", "failed", "--", "./fussy.py"])
        .script(
            "fussy.py",
            "#!/usr/bin/env python3\nimport sys\n\
            data = b''\n\
            while True:\n\
            \x20   piece = sys.stdin.buffer.read1(4096)\n\
            \x20   if not piece: break\n\
            \x20   data += piece\n\
            \x20   while b'\\0' in data:\n\
            \x20       line, data = data.split(b'\\0', 1)\n\
            \x20       if b'bad' in line: sys.exit(4)\n\
            \x20       sys.stdout.buffer.write(line + b'\\0'); sys.stdout.buffer.flush()\n",
        )
        .on("a\0bad\tline\nhere\0b\0")
        .expect(1);
    assert_eq!(done.text(), "a\0b\0");
    let record = b"2\tdied: the worker exited with status 4 (1 try)\tbad\tline\nhere\0";
    assert_eq!(done.file("failed"), record);
}

#[test]
fn failures_on_stderr_are_few_and_counted() {
    let input = text((0..30).map(|n| format!("good\nbad {n}")));
    let done = map(["-w", "2", "--retries", "0", "--", "./fussy.sh"])
        .script("fussy.sh", FUSSY)
        .on(input)
        .expect(1);
    assert_eq!(done.stderr.matches(" failed: died").count(), 10, "{}", done.stderr);
    assert!(done.stderr.contains("--failed FILE keeps them all"));
    assert!(done.stderr.contains("30 of 60 lines failed"));
    assert!(done.stderr.lines().count() < 25, "{}", done.stderr);
}

#[test]
fn summary_has_a_row_per_worker() {
    let done = map(["-w", "3", "--summary", "--", "cat"]).on(numbers(3000)).expect(0);
    let rows: Vec<Vec<&str>> =
        done.stderr.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["worker", "lines", "busy", "restarts", "p50", "p99"]);
    assert_eq!(
        rows.iter().skip(1).map(|row| row[0]).collect::<Vec<_>>(),
        ["1", "2", "3", "all", "3000"]
    );
    let lines: Vec<u64> = rows[1..5].iter().map(|row| row[1].parse().unwrap()).collect();
    assert_eq!(lines[..3].iter().sum::<u64>(), 3000);
    assert_eq!(lines[3], 3000);
    assert!(done.stderr.contains("3000 answered, 0 failed"), "{}", done.stderr);
}

/// Equal workers get about equal shares: ties go to the one idle longest. How
/// much a copy answers depends on the machine too, so that the bound is wide.
#[test]
fn lines_are_spread_over_all_copies() {
    let done =
        map(["-w", "4", "--", "sh", "-c", "while read -r n; do echo $PLIMSOLL_WORKER; done"])
            .on(numbers(4000))
            .expect(0);
    for worker in ["1", "2", "3", "4"] {
        let share = done.lines().iter().filter(|&&line| line == worker).count();
        assert!(share >= 200, "worker {worker} got {share} of 4000");
    }
}

#[test]
fn progress_as_lines_where_stderr_is_no_terminal() {
    let mut running = map(["-w", "2", "--progress", "always", "--", "cat"]).start();
    running.write(b"a\nb\n");
    running.stderr.wait_for_text("2 done");
    running.stderr.wait_for_text("pending 0 0");
    running.finish().expect(0);
    let done = map(["-w", "2", "--", "cat"]).on(numbers(10)).expect(0);
    assert!(done.stderr.is_empty(), "{}", done.stderr);
}

#[test]
fn verbose_tells_of_every_start_and_end() {
    let done =
        map(["-w", "2", "-v", "--", "sh", "-c", "echo hello >&2; cat"]).on(numbers(4)).expect(0);
    for words in ["worker 1 is process", "worker 2: hello", "worker 2 exited with status 0"] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
}

#[test]
fn the_environment_of_a_copy() {
    let script = "read -r n; echo \"$PLIMSOLL_WORKER $PYTHONUNBUFFERED\"";
    let done = map(["-w", "1", "--", "sh", "-c", script]).on("a\n").expect(0);
    assert_eq!(done.text(), "1 1\n");
    let done =
        map(["-w", "1", "--", "sh", "-c", script]).env("PYTHONUNBUFFERED", "x").on("a\n").expect(0);
    assert_eq!(done.text(), "1 x\n");
}

/// `--` may be left out where COMMAND is the first word that is no option;
/// COMMAND's own options are its own.
#[test]
fn the_dashes_before_command_may_be_left_out() {
    let done = map(["-w", "2", "grep", "-c", "a"]).on("a\n").expect(0);
    assert_eq!(done.text(), "1\n");
}
