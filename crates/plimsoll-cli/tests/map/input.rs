//! Lines are bytes, of any number and any length, in constant memory.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::running::{map, numbers};

#[test]
fn empty_input_is_answered_by_nothing() {
    let done = map(["-w", "2", "--", "cat"]).on("").expect(0);
    assert!(done.stdout.is_empty());
}

#[test]
fn empty_lines_are_lines() {
    let done = map(["-w", "3", "--", "cat"]).on("\n\n\na\n\n").expect(0);
    assert_eq!(done.text(), "\n\n\na\n\n");
}

#[test]
fn a_last_line_without_newline_counts() {
    let done = map(["-w", "2", "--", "cat"]).on("a\nb").expect(0);
    assert_eq!(done.text(), "a\nb\n");
}

#[test]
fn bytes_that_are_no_text_pass_unchanged() {
    let line: Vec<u8> = (0..=255_u8).rev().filter(|&byte| byte != b'\n').collect();
    let mut input = Vec::new();
    for _ in 0..50 {
        input.extend_from_slice(&line);
        input.push(b'\n');
    }
    let done = map(["-w", "2", "--capacity", "5", "--", "cat"]).on(input.clone()).expect(0);
    assert_eq!(done.stdout, input);
}

#[test]
fn order_is_kept_at_every_capacity() {
    for (workers, capacity) in [("1", "1"), ("2", "3"), ("4", "64"), ("7", "1000")] {
        let done =
            map(["-w", workers, "--capacity", capacity, "--", "cat"]).on(numbers(5_000)).expect(0);
        assert!(done.text() == numbers(5_000), "{workers} workers of capacity {capacity}");
    }
}

#[test]
fn order_is_kept_when_copies_take_their_time() {
    let script = "#!/bin/sh\nwhile read -r n; do [ $((n % 7)) = 0 ] && sleep 0.02; echo $n; done\n";
    let done = map(["-w", "4", "--capacity", "3", "--", "./slow.sh"])
        .script("slow.sh", script)
        .on(numbers(300))
        .expect(0);
    assert_eq!(done.text(), numbers(300));
}

#[test]
fn unordered_answers_are_the_same_answers() {
    let script = "#!/bin/sh\nwhile read -r n; do [ $((n % 7)) = 0 ] && sleep 0.02; echo $n; done\n";
    let done = map(["-w", "4", "--unordered", "--", "./slow.sh"])
        .script("slow.sh", script)
        .on(numbers(300))
        .expect(0);
    let mut answers: Vec<u64> = done.lines().iter().map(|line| line.parse().unwrap()).collect();
    // A slow line must not hold up those after it.
    assert!(!answers.is_sorted());
    answers.sort_unstable();
    assert!(answers.into_iter().eq(1..=300));
}

#[test]
fn a_line_that_is_too_long_fails_by_its_number() {
    let input = format!("a\n{}\nb\n{}\nc\n{}", "x".repeat(11), "y".repeat(10), "z".repeat(50_000));
    let done =
        map(["-w", "2", "--max-line", "10", "--failed", "failed", "--", "cat"]).on(input).expect(1);
    assert_eq!(done.text(), "a\nb\nyyyyyyyyyy\nc\n");
    let why = "line-too-long: the line is over --max-line";
    assert_eq!(String::from_utf8_lossy(&done.file("failed")), format!("2\t{why}\n6\t{why}\n"));
}

/// The short form of the gibibyte in scripts/long/map-soak.
#[test]
fn a_line_of_64_mib_is_never_held() {
    let mut running = map(["-w", "2", "--max-line", "1KiB", "--", "cat"]).start();
    running.write(b"before\n");
    running.stdout.wait_for(|so_far| so_far == b"before\n");
    // What the program itself takes, which is much without optimisation.
    let before = running.peak_kib();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        running.write(&piece);
    }
    running.write(b"\nafter\n");
    running.stdout.wait_for(|so_far| so_far == b"before\nafter\n");
    let grown = running.peak_kib() - before;
    assert!(grown < 8 * 1024, "{grown} KiB");
    running.finish().expect(1);
}

/// They need no copy and no room: nothing but the buffer bounds them, in the
/// window where the first line has no answer yet, and nowhere where there is
/// none before them. The run still hears signals.
#[test]
fn lines_that_are_too_long_take_no_memory_and_no_ear() {
    let script = "#!/bin/sh\nread -r line\nwhile [ ! -e go ]; do sleep 0.01; done\necho go\n";
    for (first, buffer) in [("", "32MiB"), ("a\n", "1MiB")] {
        let map = map(["-w", "1", "--max-line", "2", "--buffer", buffer, "--", "./keep.sh"])
            .script("keep.sh", script);
        let folder = map.path();
        let mut running = map.start();
        let mut stdin = running.stdin.take().unwrap();
        let lines = "aaaaaaaa\n".repeat(100_000);
        stdin.write_all(first.as_bytes()).unwrap();
        let written = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&written);
        let feeder = thread::spawn(move || {
            while stdin.write_all(lines.as_bytes()).is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        running.stderr.wait_for_text("--failed FILE keeps them all");
        if first.is_empty() {
            while written.load(Ordering::SeqCst) < 50 {
                thread::yield_now();
            }
        }
        running.signal(Signal::INT);
        running.stderr.wait_for_text("stopping");
        let peak = running.peak_kib();
        // Of which the unoptimised program itself is more than half.
        assert!(peak < 32 * 1024, "{peak} KiB");
        std::fs::write(folder.join("go"), "").unwrap();
        running.finish().expect(130);
        feeder.join().unwrap();
    }
}

/// One copy keeps the first line; the other answers until the buffer is full.
/// Then reading stops, and memory with it.
#[test]
fn early_answers_stay_within_the_buffer() {
    let script = "#!/bin/sh\nread -r line\ncase $line in\n\
        1*) while [ ! -e go ]; do sleep 0.01; done;;\nesac\necho \"$line\"\nexec cat\n";
    let map = map(["-w", "2", "--capacity", "16", "--buffer", "4MiB", "--", "./keep.sh"])
        .script("keep.sh", script);
    let folder = map.path();
    let mut running = map.start();
    let mut stdin = running.stdin.take().unwrap();
    let line = |number: usize| format!("{number} {}\n", "x".repeat(1000));
    let lines = 20_000;
    let feeder = thread::spawn(move || {
        for number in 1..=lines {
            stdin.write_all(line(number).as_bytes()).expect("a reader");
        }
        // Until the test has looked at the memory.
        stdin
    });
    std::fs::write(folder.join("go"), "").unwrap();
    let expected: usize = (1..=lines).map(|number| line(number).len()).sum();
    running.stdout.wait_for(|so_far| so_far.len() == expected);
    let peak = running.peak_kib();
    // Of which the unoptimised program itself is more than half.
    assert!(peak < 32 * 1024, "{peak} KiB");
    drop(feeder.join());
    let done = running.finish().expect(0);
    assert!(done.text().lines().eq((1..=lines).map(|number| line(number).trim_end().to_owned())));
}
