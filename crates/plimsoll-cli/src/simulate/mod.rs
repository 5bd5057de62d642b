//! `plimsoll simulate`: what a policy does, in virtual time, on the core that ships.
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the command line, and the simulations that it asks for |
//! | `size` | how many requests runs are of |
//! | `sweep` | a setting that takes several values |
//! | `trace` | requests from a file: CSV, JSON Lines, the access log of `serve` |
//! | `work` | runs spread over all cores |
//! | `progress` | how far they are |
//! | `table` | results as text, JSON and CSV |
//! | `plot`, `picture` | results as pictures: what is drawn, and into which format |

mod args;
mod picture;
mod plot;
mod progress;
mod size;
mod sweep;
mod table;
mod trace;
mod work;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use plimsoll_sim::Summary;
use signal_hook::consts::{SIGINT, SIGTERM};

pub(crate) use self::args::Args;
use self::args::{Form, Plan};

/// A check failed, or the system has not what it takes.
const FAILED: u8 = 1;
/// stdout, or the picture, cannot be written.
const UNWRITABLE: u8 = 3;
/// Ended by a signal, with what there was.
const INTERRUPTED: u8 = 130;

/// Simulates what is asked for and tells the exit status.
pub(crate) fn run(args: &Args) -> ExitCode {
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(sentence) => {
            eprintln!("plimsoll simulate: {sentence}");
            return ExitCode::from(crate::usage::STATUS);
        }
    };
    match show(&plan) {
        Ok(status) => ExitCode::from(status),
        Err((sentence, status)) => {
            eprintln!("plimsoll simulate: {sentence}");
            ExitCode::from(status)
        }
    }
}

/// The exit status; or a sentence and one.
fn show(plan: &Plan) -> Result<u8, (String, u8)> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let ends = i32::from(INTERRUPTED);
        // Once to stop with what there is, twice to stop at once.
        signal_hook::flag::register_conditional_shutdown(signal, ends, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| (format!("signals cannot be caught: {error}"), FAILED))?;
    }
    for note in &plan.notes {
        eprintln!("plimsoll simulate: {note}");
    }
    let done = work::work(plan, &stop).map_err(|sentence| (sentence, FAILED))?;
    let cut = done.interrupted.map(|cut| cut_short(&done.results, cut));
    if let Some(sentence) = &cut {
        eprintln!("plimsoll simulate: {sentence}");
    }
    if plan.form != Form::Text {
        for doubt in table::doubts(plan, &done.results) {
            eprintln!("plimsoll simulate: {doubt}");
        }
    }
    let text = match plan.form {
        Form::Text => table::text(plan, &done.results, cut.as_deref()),
        Form::Json => table::json(plan, &done.results),
        Form::Csv => table::csv(plan, &done.results),
    };
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = written {
        // Who reads the output has seen enough; the picture is for others.
        if error.kind() != ErrorKind::BrokenPipe {
            return Err((format!("stdout cannot be written: {error}"), UNWRITABLE));
        }
    }
    if let Some((path, kind)) = &plan.plot {
        let is_drawn =
            plot::plot(plan, &done.results, path, *kind).map_err(|error| (error, UNWRITABLE))?;
        if !is_drawn {
            eprintln!("plimsoll simulate: {}: there is nothing to draw", path.display());
        }
    }
    Ok(if done.interrupted.is_some() { INTERRUPTED } else { 0 })
}

/// How far it came, and what there is of it.
fn cut_short(results: &[Option<Summary>], (ended, total): (u64, u64)) -> String {
    let rows = results.iter().flatten().count();
    // Not 100 % of what was cut short.
    let percent = ended.saturating_mul(100) / total.max(1);
    format!(
        "interrupted after {ended} of {total} requests ({percent} %): {rows} of {} rows have \
         something to tell, of the requests that had ended",
        results.len()
    )
}
