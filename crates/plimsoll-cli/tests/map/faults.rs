//! Copies that die, hang, babble, explode: no line is lost, none answered twice.

use crate::running::{map, numbers};

/// A worker in sh: `case` arms for single lines, everything else is echoed.
fn worker(arms: &str) -> String {
    format!("#!/bin/sh\nwhile read -r n; do\ncase $n in\n{arms}\nesac\necho $n\ndone\n")
}

/// The short form of the million lines in scripts/long/map-soak.
#[test]
fn no_line_is_lost_through_copies_killed_at_random() {
    let script = "import os, random, signal, sys\n\
        random.seed(os.getpid())\n\
        for line in sys.stdin:\n\
        \x20   if random.random() < 0.002: os.kill(os.getpid(), signal.SIGKILL)\n\
        \x20   sys.stdout.write(line)\n";
    for capacity in ["1", "50"] {
        let done = map([
            "-w",
            "4",
            "--capacity",
            capacity,
            "--retries",
            "20",
            "--",
            "python3",
            "./die.py",
        ])
        .script("die.py", script)
        .on(numbers(20_000))
        .expect(0);
        assert!(done.text() == numbers(20_000), "capacity {capacity}: lost, doubled or misplaced");
        assert!(done.stderr.contains("signal 9 (SIGKILL)"), "{}", done.stderr);
    }
}

#[test]
fn a_poisonous_line_fails_alone_after_its_tries() {
    for (workers, capacity, retries, tries) in
        [("1", "1", "2", 3), ("3", "8", "2", 3), ("2", "100", "0", 1), ("4", "4", "5", 6)]
    {
        let done = map(["-w", workers, "--capacity", capacity, "--retries", retries])
            .script("poison.sh", &worker("37) echo x >> tries; kill -9 $$;;"))
            .also(["--failed", "failed", "--", "./poison.sh"])
            .on(numbers(60))
            .expect(1);
        let answers: Vec<u64> = done.lines().iter().map(|line| line.parse().unwrap()).collect();
        assert!(answers.into_iter().eq((1..=60).filter(|&number| number != 37)));
        assert_eq!(done.file("tries").len(), 2 * tries);
        let s = if tries == 1 { "try" } else { "tries" };
        let record =
            format!("37\tdied: the worker was killed by signal 9 (SIGKILL) ({tries} {s})\t37\n");
        assert_eq!(String::from_utf8_lossy(&done.file("failed")), record);
    }
}

#[test]
fn the_very_first_line_may_be_the_poisonous_one() {
    let done = map(["-w", "1", "--", "./poison.sh"])
        .script("poison.sh", &worker("1) exit 3;;"))
        .on(numbers(5))
        .expect(1);
    assert_eq!(done.text(), "2\n3\n4\n5\n");
    assert!(
        done.stderr.contains("line 1 failed: died: the worker exited with status 3 (3 tries): 1")
    );
}

#[test]
fn a_copy_that_hangs_is_killed_after_the_timeout() {
    let done = map(["-w", "2", "--capacity", "4", "--timeout", "0.3", "--retries", "1"])
        .script("hang.sh", &worker("9) sleep 1000;;"))
        .also(["--failed", "failed", "--", "./hang.sh"])
        .on(numbers(20))
        .expect(1);
    let answers: Vec<u64> = done.lines().iter().map(|line| line.parse().unwrap()).collect();
    assert!(answers.into_iter().eq((1..=20).filter(|&number| number != 9)));
    let record = "9\ttimeout: no answer within 0.3 s (2 tries)\t9\n";
    assert_eq!(String::from_utf8_lossy(&done.file("failed")), record);
}

/// The time runs from when a line is at its copy's head: many lines that
/// together take longer than the timeout are no reason to kill.
#[test]
fn the_timeout_is_not_for_lines_that_wait_behind_others() {
    let done = map(["-w", "1", "--capacity", "30", "--timeout", "1", "--", "./slow.sh"])
        .script("slow.sh", &worker("*) sleep 0.06;;"))
        .on(numbers(30))
        .expect(0);
    assert_eq!(done.text(), numbers(30));
    assert!(done.stderr.is_empty(), "{}", done.stderr);
}

/// What it writes too much comes in one piece with the answer: apart, it could
/// be taken for the answer of the next line. Many lines follow, so that it is not the
/// last to answer, which ends the run otherwise.
#[test]
fn a_copy_that_writes_out_of_turn_is_replaced() {
    let done = map(["-w", "2", "--", "./chatty.sh"])
        .script("chatty.sh", &worker("4) printf '4\nand more\n'; continue;;"))
        .on(numbers(300))
        .expect(0);
    assert_eq!(done.text(), numbers(300));
    assert!(done.stderr.contains("an answer too many"), "{}", done.stderr);
}

#[test]
fn a_copy_that_writes_after_its_last_answer_is_told_of() {
    let done = map(["-w", "1", "--", "./sum.sh"])
        .script("sum.sh", &(worker("") + "echo that was all\n"))
        .on(numbers(3))
        .expect(1);
    assert_eq!(done.text(), numbers(3));
    assert!(done.stderr.contains("wrote more after its last answer"), "{}", done.stderr);
}

/// The second answer to the first line passes for the one to the second line.
#[test]
fn a_filter_that_doubles_lines_ends_the_run_with_1() {
    let script = "import sys\nprint(end=''.join(line * 2 for line in sys.stdin.readlines()))\n";
    let done = map(["-w", "1", "--capacity", "2", "--", "python3", "./double.py"])
        .script("double.py", script)
        .on("a\nb\n")
        .expect(1);
    assert_eq!(done.text(), "a\na\n");
    assert!(done.stderr.contains("may belong to other lines"), "{}", done.stderr);
}

#[test]
fn an_answer_that_never_ends_costs_its_line_and_no_memory() {
    let explode = "5) exec tr '\\0' x < /dev/zero;;";
    let mut running = map(["-w", "2", "--capacity", "4", "--failed", "failed", "--", "./burst.sh"])
        .script("burst.sh", &worker(explode))
        .start();
    running.write(b"1\n");
    running.stdout.wait_for(|so_far| so_far == b"1\n");
    // What the program itself takes, which is much without optimisation.
    let before = running.peak_kib();
    running.write(&numbers(10).as_bytes()[2..]);
    running.stdout.wait_for(|so_far| so_far.ends_with(b"10\n"));
    let grown = running.peak_kib() - before;
    assert!(grown < 8 * 1024, "{grown} KiB");
    let done = running.finish().expect(1);
    assert_eq!(done.text(), "1\n2\n3\n4\n6\n7\n8\n9\n10\n");
    let record = "5\tanswer-too-long: the answer is over --max-line (1 try)\t5\n";
    assert_eq!(String::from_utf8_lossy(&done.file("failed")), record);
}

#[test]
fn half_an_answer_from_a_dead_copy_is_none() {
    let half = "6) if mkdir once 2>/dev/null; then printf 'half'; exit 1; fi;;";
    let done = map(["-w", "2", "--", "./half.sh"])
        .script("half.sh", &worker(half))
        .on(numbers(10))
        .expect(0);
    assert_eq!(done.text(), numbers(10));
    assert!(done.stderr.contains("in the middle of an answer"), "{}", done.stderr);
}

#[test]
fn a_copy_that_ends_after_each_line_is_started_again() {
    // A line may come to a copy that is about to end, again and again.
    let often = ["-w", "2", "--capacity", "3", "--retries", "40"];
    let done = map([&often[..], &["--", "sh", "-c", "read -r n; echo $n"]].concat())
        .on(numbers(40))
        .expect(0);
    assert_eq!(done.text(), numbers(40));
}

#[test]
fn a_copy_that_closes_its_output_is_replaced() {
    let close = "3) if mkdir once 2>/dev/null; then exec >&-; sleep 1000; fi;;";
    let done = map(["-w", "2", "--", "./close.sh"])
        .script("close.sh", &worker(close))
        .on(numbers(10))
        .expect(0);
    assert_eq!(done.text(), numbers(10));
    assert!(done.stderr.contains("closed its output"), "{}", done.stderr);
}

#[test]
fn a_copy_that_closes_its_input_may_still_answer() {
    let script = "#!/bin/sh\nread -r n\nexec <&-\nsleep 0.2\necho $n\n";
    let done = map(["-w", "2", "--capacity", "2", "--", "./deaf.sh"])
        .script("deaf.sh", script)
        .on(numbers(8))
        .expect(0);
    assert_eq!(done.text(), numbers(8));
}

#[test]
fn a_copy_whose_child_keeps_its_pipes_is_killed_with_that_child() {
    let fork = "3) if mkdir once 2>/dev/null; then sleep 1000 & exit 1; fi;;";
    let done = map(["-w", "2", "--", "./fork.sh"])
        .script("fork.sh", &worker(fork))
        .on(numbers(10))
        .expect(0);
    assert_eq!(done.text(), numbers(10));
}

#[test]
fn copies_that_die_three_times_without_answering_stop_the_run() {
    for workers in ["1", "3"] {
        let done = map(["-w", workers, "--failed", "failed", "--", "sh", "-c", "exit 9"])
            .on(numbers(100_000))
            .expect(1);
        assert!(done.stdout.is_empty());
        assert!(done.stderr.contains("the run stops"), "{}", done.stderr);
        assert!(done.stderr.contains("exited with status 9"), "{}", done.stderr);
        let failed = String::from_utf8(done.file("failed")).unwrap();
        assert!(failed.lines().count() < 20, "it took its time: {failed}");
    }
}

#[test]
fn stderr_of_copies_passes_by_whole_lines() {
    let script = "#!/bin/sh\nwhile read -r n; do\n\
        printf 'note %s ' $n >&2; printf 'is whole\\n' >&2; echo $n\ndone\nprintf 'no newline' >&2\n";
    let done = map(["-w", "4", "--capacity", "5", "--", "./notes.sh"])
        .script("notes.sh", script)
        .on(numbers(200))
        .expect(0);
    let (notes, ends): (Vec<&str>, _) =
        done.stderr.lines().partition(|line| line.starts_with("note "));
    assert_eq!(ends, ["no newline"; 4]);
    let mut notes: Vec<u64> = notes
        .into_iter()
        .map(|note| note["note ".len()..].strip_suffix(" is whole").unwrap().parse().unwrap())
        .collect();
    notes.sort_unstable();
    assert!(notes.into_iter().eq(1..=200));
}
