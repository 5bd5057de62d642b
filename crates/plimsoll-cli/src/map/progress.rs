//! How far the run is: a bar on a terminal, lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::When;
use super::machine::Counts;

/// Workers whose pending is shown; more would not fit in a line.
const SHOWN: usize = 16;

/// What is shown, as the event loop saw it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) counts: Counts,
    /// Lines pending per worker.
    pub(crate) pending: Vec<usize>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
    /// Lines done at some moment before, to tell the rate by.
    before: (Instant, u64),
    rate: f64,
    /// Within the first second, when the rate is that since the start.
    is_first: bool,
}

impl Progress {
    /// `None` when nothing is to be shown.
    pub(crate) fn new(when: When) -> Option<Self> {
        let terminal = std::io::stderr().is_terminal();
        let shown = match when {
            When::Never => false,
            When::Always => true,
            // Answers on the same terminal would run through the bar.
            When::Auto => terminal && !std::io::stdout().is_terminal(),
        };
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            // The template is a constant; the default style would do as well.
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        shown.then(|| Self { bar, before: (Instant::now(), 0), rate: 0.0, is_first: true })
    }

    /// How often to show it.
    pub(crate) fn every(&self) -> Duration {
        Duration::from_millis(if self.bar.is_some() { 100 } else { 1000 })
    }

    pub(crate) fn show(&mut self, snapshot: &Snapshot) {
        let done = snapshot.counts.answered + snapshot.counts.failed;
        let (at, before) = self.before;
        let passed = at.elapsed();
        let is_second_over = passed >= Duration::from_millis(900);
        if is_second_over || self.is_first {
            #[expect(clippy::cast_precision_loss, reason = "a rate for showing")]
            let lines = (done - before) as f64;
            self.rate = lines / passed.as_secs_f64();
        }
        if is_second_over {
            self.is_first = false;
            self.before = (Instant::now(), done);
        }
        let mut text = format!("{} done", HumanCount(done));
        if snapshot.counts.failed > 0 {
            let _ = write!(text, ", {} failed", HumanCount(snapshot.counts.failed));
        }
        let _ = write!(text, ", {:.0}/s, pending", self.rate);
        for pending in snapshot.pending.iter().take(SHOWN) {
            let _ = write!(text, " {pending}");
        }
        if snapshot.pending.len() > SHOWN {
            text.push_str(" …");
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            // There is nowhere to say that stderr cannot be written.
            None => drop(writeln!(std::io::stderr(), "plimsoll map: {text}")),
        }
    }

    /// Writes something else to stderr, beside the bar.
    pub(crate) fn aside(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    pub(crate) fn clear(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
