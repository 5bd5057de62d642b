//! Without a terminal: a line a second and the closing table.

use crate::program::{finish, program};
use crate::running::run;

const AT_REST: &str = "At the end: 0 pending, 0 in line, invariants hold.";

#[test]
fn a_line_a_second_and_the_table() {
    let done = run(&["--seconds", "2", "--seed", "7"]).expect(0);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert!(lines[0].starts_with("least-loaded, seed 7: 8 workers of capacity 64"), "{lines:?}");
    for (line, second) in lines[1..].iter().zip(["   1 s ", "   2 s "]) {
        assert!(line.starts_with(second) && line.contains("req/s"), "{line}");
    }
    let row = done.row("least-loaded");
    assert_eq!(row.len(), 10, "{row:?}");
    assert_eq!(row[8], "0.00", "regret of least-loaded: {row:?}");
    assert!(done.stdout.ends_with(&format!("{AT_REST}\n")), "{}", done.stdout);
    assert_eq!(done.stderr, "");
}

#[test]
fn all_policies_get_the_same_requests() {
    let done = run(&["--policy", "all", "--seconds", "1", "--seed", "7"]).expect(0);
    let rows = ["least-loaded", "power-of-two", "round-robin", "random"].map(|name| done.row(name));
    let requests: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    assert!(requests.iter().all(|&number| number == requests[0]), "{requests:?}");
    assert_ne!(requests[0], "0");
    assert_eq!(rows[0][8], "0.00", "regret of least-loaded: {rows:?}");
    let regrets: Vec<f64> = rows[1..].iter().map(|row| row[8].parse().unwrap()).collect();
    assert!(regrets.iter().all(|&regret| regret > 0.0), "{regrets:?}");
    assert!(done.stdout.contains("mean wait against least-loaded's:"), "{}", done.stdout);
    assert!(done.stdout.contains(AT_REST), "{}", done.stdout);
}

#[test]
fn a_seed_is_drawn_and_told() {
    let seed = |stdout: &str| -> u64 {
        let rest = stdout.split("seed ").nth(1).unwrap();
        rest.split(':').next().unwrap().parse().unwrap()
    };
    let first = run(&["--seconds", "0.2"]).expect(0);
    let number = seed(&first.stdout);
    let again = run(&["--seconds", "0.2", "--seed", &number.to_string()]).expect(0);
    assert_eq!(seed(&again.stdout), number);
    assert_eq!(first.row("least-loaded")[1], again.row("least-loaded")[1]);
}

#[test]
fn slow_workers_are_told() {
    let done = run(&["--seconds", "0.5", "--slow", "1"]).expect(0);
    assert!(done.stdout.contains("(1 of them slow: 4 times as long)"), "{}", done.stdout);
    assert!(done.stdout.contains("Slow workers"), "{}", done.stdout);
}

/// Twice as much as the workers can do, and nowhere to wait: some are refused,
/// none is lost.
#[test]
fn what_is_refused_is_told() {
    let words =
        ["--seconds", "1", "--workers", "2", "--capacity", "1", "--line", "0", "--load", "200"];
    let done = run(&words).expect(0);
    assert!(done.stdout.contains(" refused, the line was full."), "{}", done.stdout);
    assert!(done.stdout.contains(AT_REST), "{}", done.stdout);
}

#[test]
fn machines_are_shown_with_a_server() {
    let done = finish(program("demo", &["--nats", "--seconds", "2.5"]).spawn().unwrap()).expect(0);
    let lines: Vec<_> = done.stdout.lines().collect();
    assert!(lines[0].starts_with("nats-server at nats://127.0.0.1:"), "{}", done.stdout);
    assert!(
        lines[2].contains("req/s  pending  big ") && lines[2].contains("/6  small "),
        "{}",
        done.stdout
    );
    assert!(lines[3].contains(" answered, 0 failed; wait p50 "), "{}", done.stdout);
    assert!(lines[3].ends_with("regret 0.00"), "{}", done.stdout);
    assert_eq!(done.stderr, "");
}
