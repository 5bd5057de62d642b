//! Events a second on one core, and memory.

use std::process::Command;
use std::time::Instant;

use plimsoll_bench::{Report, System};
use plimsoll_sim::{Config, Run, theory};

/// The word by which this program runs one simulation in a process of its own.
pub(crate) const CHILD: &str = "simulate";

/// Requests of the peer, which is slow.
const FEW: u64 = 200_000;

/// How far a mean of so few requests may be from the closed form.
const NEAR: f64 = 0.03;

/// M/M/100 here and in `SimPy`, least-loaded at both sizes, and peak memory.
pub(crate) fn measure(report: &mut Report) {
    let mut systems: Vec<System<'_>> = vec![
        ("plimsoll", Box::new(|| events_per_second(&config("central-queue", 100, 4_000_000)))),
        ("SimPy", Box::new(simpy)),
    ];
    report.measure("M/M/100, load 0.9", "events/s", "1/s", &mut systems);
    let mut systems: Vec<System<'_>> =
        vec![("plimsoll", Box::new(|| events_per_second(&config("least-loaded", 100, 4_000_000))))];
    report.measure("least-loaded, 100 workers", "events/s", "1/s", &mut systems);
    let mut systems: Vec<System<'_>> = vec![(
        "plimsoll",
        Box::new(|| events_per_second(&config("least-loaded", 1_000_000, 4_000_000))),
    )];
    report.measure("least-loaded, 1,000,000 workers", "events/s", "1/s", &mut systems);
    // A process that simulates next to nothing shows what is not the workers'.
    let bytes = peak_bytes(1_000_000, 4_000_000) - peak_bytes(100, 100_000);
    report.add("1,000,000 workers", "plimsoll", "memory a worker", bytes / 1e6, "bytes");
}

fn config(policy: &str, workers: u32, jobs: u64) -> Config {
    let policy = policy.parse().expect("it is a policy");
    Config { policy, workers, jobs, load: 0.9, ..Config::default() }
}

/// From an empty system that was made beforehand.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn events_per_second(config: &Config) -> f64 {
    let mut run = Run::new(config, 0).expect("it is sound");
    let begun = Instant::now();
    while !run.advance(1 << 20) {}
    run.outcome().events as f64 / begun.elapsed().as_secs_f64()
}

fn simpy() -> f64 {
    let python = std::env::var("PLIMSOLL_BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(python)
        .arg("crates/plimsoll-bench/peers/sim/mmn.py")
        .args(["100", "0.9", &FEW.to_string()])
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it prints figures");
    let figures: Vec<f64> =
        text.split_whitespace().map(|it| it.parse().expect("a figure")).collect();
    let (mean, expected) = (figures[1], theory::central_queue(100, 0.9));
    assert!((mean / expected - 1.0).abs() < NEAR, "not the same model: {mean}, not {expected}");
    figures[0]
}

/// One simulation, and the most memory that it took on stdout.
pub(crate) fn child(workers: &str, jobs: &str) {
    let number = |text: &str| text.parse().expect("a number");
    let workers = u32::try_from(number(workers)).expect("so many workers");
    let config = config("least-loaded", workers, number(jobs));
    let _ = events_per_second(&config);
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("{}", peak.expect("Linux tells").trim().trim_end_matches(" kB"));
}

fn peak_bytes(workers: u32, jobs: u64) -> f64 {
    let program = std::env::current_exe().expect("this program has a path");
    let arguments = [CHILD, &workers.to_string(), &jobs.to_string()];
    let output = Command::new(program).args(arguments).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("it prints a figure");
    text.trim().parse::<f64>().expect("a figure") * 1024.0
}
