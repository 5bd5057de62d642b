//! The table of `--summary`.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::machine::{Counts, Stats};

/// One row per worker and one for all; times are from given to answered.
pub(crate) fn table<'a>(
    stats: impl Iterator<Item = &'a Stats>,
    counts: Counts,
    ran: Duration,
) -> String {
    let mut text = row(
        "worker",
        ["lines".into(), "busy".into(), "restarts".into(), "p50".into(), "p99".into()],
    );
    let mut all = Stats { lines: 0, restarts: 0, busy: Duration::ZERO, times: None };
    let mut workers = 0_u32;
    for (nth, worker) in stats.enumerate() {
        text.push_str(&row(&(nth + 1).to_string(), cells(worker, ran)));
        workers += 1;
        all.lines += worker.lines;
        all.restarts += worker.restarts;
        all.busy += worker.busy;
        match (&mut all.times, &worker.times) {
            // All histograms are made alike, so that they always add up.
            (Some(sum), Some(times)) => drop(sum.add(times)),
            (sum, times) => sum.clone_from(times),
        }
    }
    text.push_str(&row("all", cells(&all, ran * workers)));
    let rate = per_second(counts.answered, ran);
    let _ = writeln!(
        text,
        "{} lines: {} answered, {} failed, in {} ({rate:.0} lines/s)",
        counts.lines,
        counts.answered,
        counts.failed,
        duration(ran)
    );
    text
}

fn row(name: &str, [lines, busy, restarts, p50, p99]: [String; 5]) -> String {
    format!("{name:>6} {lines:>12} {busy:>6} {restarts:>8} {p50:>9} {p99:>9}\n")
}

fn cells(stats: &Stats, ran: Duration) -> [String; 5] {
    let share = if ran.is_zero() { 0.0 } else { stats.busy.as_secs_f64() / ran.as_secs_f64() };
    let at = |quantile| stats.times.as_ref().map_or_else(|| "-".into(), |t| time(t, quantile));
    let busy = format!("{:.0} %", share * 100.0);
    [stats.lines.to_string(), busy, stats.restarts.to_string(), at(0.5), at(0.99)]
}

fn time(times: &Histogram<u64>, quantile: f64) -> String {
    if times.is_empty() {
        return "-".into();
    }
    duration(Duration::from_micros(times.value_at_quantile(quantile)))
}

fn duration(time: Duration) -> String {
    let micros = time.as_micros();
    let seconds = time.as_secs_f64();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for showing")]
fn per_second(lines: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { lines as f64 / time.as_secs_f64() }
}
