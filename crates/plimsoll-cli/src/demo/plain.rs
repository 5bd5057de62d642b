//! Watching a run where there is no terminal: a line a second.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use super::reading::Reading;
use super::run::{Ending, Fault, Run, TICK};
use super::stop::Stop;
use super::words::time;

/// Workers whose pending is shown; more would not fit in a line.
const SHOWN: usize = 16;

/// Prints a line for each second until the run is over or a signal came.
///
/// # Errors
///
/// When the output cannot be written.
pub(crate) fn watch(run: &mut Run, stop: &Stop, out: &mut impl Write) -> Result<Ending, Fault> {
    let mut second = Duration::from_secs(1);
    let mut is_named = false;
    loop {
        let reading = run.look();
        if let Some(name) = policy_of(&reading).filter(|_| !is_named) {
            writeln!(out, "{name}")?;
        }
        is_named = true;
        if reading.elapsed >= second {
            second += Duration::from_secs(1);
            write_line(out, &reading)?;
        }
        if stop.is_asked() {
            return Ok(Ending::Interrupted);
        }
        if run.is_over() {
            return Ok(Ending::Over);
        }
        thread::sleep(TICK);
    }
}

fn write_line(out: &mut impl Write, reading: &Reading) -> io::Result<()> {
    writeln!(out, "{}", line(reading))?;
    // Who reads it wants it now.
    out.flush()
}

/// Which of the policies runs, when they are compared.
fn policy_of(reading: &Reading) -> Option<String> {
    reading.nth.map(|(nth, of)| format!("{} ({nth} of {of})", reading.policy))
}

fn line(reading: &Reading) -> String {
    let recent = reading.recent;
    let mut text = format!(
        "{:>4} s {:>5.0} req/s  wait p50 {:>7} p99 {:>7}  regret {:.2}  line {}  pending",
        reading.elapsed.as_secs(),
        recent.per_second,
        time(recent.p50),
        time(recent.p99),
        reading.regret,
        reading.waiting,
    );
    for worker in reading.workers.iter().take(SHOWN) {
        let _ = write!(text, " {}", worker.pending);
    }
    if reading.workers.len() > SHOWN {
        let _ = write!(text, " … and {} more", reading.workers.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::view::sample;
    use super::*;

    #[test]
    fn a_line_says_it_all() {
        let expected = "  12 s  1133 req/s  wait p50  0.2 ms p99 61.0 ms  regret 0.25  line 3  \
            pending 2 0 64";
        assert_eq!(line(&sample(&[2, 0, 64])), expected);
    }

    #[test]
    fn many_workers_are_counted() {
        assert!(line(&sample(&[1; 20])).ends_with(" 1 1 … and 4 more"));
    }
}
