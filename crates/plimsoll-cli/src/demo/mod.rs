//! `plimsoll demo`: the system made visible. Requesters send random fake work
//! to a real [`ThreadPool`](plimsoll::ThreadPool); its workers sleep for as long
//! as each request says.
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the command line |
//! | `workload` | who asks when for how much: seeded and pure |
//! | `floor` | the workers' fake work, some of them slow |
//! | `requesters` | a thread each, sending its part of the workload |
//! | `record` | waits, as they are told by the requesters |
//! | `run` | one run: the pool, its requesters, commands, the closing check |
//! | `reading` | a run at one moment, and what it came to |
//! | `view`, `keys`, `draw` | the live view: model, keys, drawing |
//! | `live`, `plain` | drives runs on a terminal, and elsewhere |
//! | `nats` | `--nats`: the same on a NATS server |
//! | `table`, `words` | the closing table, and how figures are written |
//! | `stop` | signals |

mod args;
mod draw;
mod floor;
mod keys;
mod live;
mod nats;
mod plain;
mod reading;
mod record;
mod requesters;
mod run;
mod stop;
mod table;
mod view;
mod words;
mod workload;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

pub(crate) use self::args::Args;
use self::args::Settings;
use self::reading::Row;
use self::run::{Ending, Fault, Run};
use self::stop::Stop;

/// All went well, or whoever read the output has left.
const DONE: u8 = 0;
/// The system has not what a run needs, or a closing check failed.
const FAILED: u8 = 1;
/// stdout cannot be written.
const UNWRITABLE: u8 = 3;
/// A signal, or Ctrl-C in the live view, ended the demo.
const INTERRUPTED: u8 = 130;

/// Runs the demo and tells the exit status.
#[expect(clippy::needless_pass_by_value, reason = "the options are used up")]
pub(crate) fn run(args: Args) -> ExitCode {
    let live = live::is_possible();
    let settings = match args.settings(live) {
        Ok(settings) => settings,
        Err(sentence) => {
            eprintln!("plimsoll demo: {sentence}");
            return ExitCode::from(crate::usage::STATUS);
        }
    };
    let shown = if args.nats { nats::show(args.seconds) } else { show(&settings, live) };
    match shown {
        Ok(Ending::Interrupted) => ExitCode::from(INTERRUPTED),
        Ok(Ending::Over | Ending::Quit) => ExitCode::from(DONE),
        // Who reads the output has seen enough.
        Err(Fault::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(DONE),
        Err(fault) => {
            eprintln!("plimsoll demo: {fault}");
            ExitCode::from(if matches!(fault, Fault::Output(_)) { UNWRITABLE } else { FAILED })
        }
    }
}

/// Runs each policy asked for, then closes with the table.
fn show(settings: &Settings, live: bool) -> Result<Ending, Fault> {
    let stop = Stop::catch().map_err(Fault::System)?;
    let mut out = io::stdout();
    let mut rows: Vec<Row> = Vec::new();
    let mut ending = Ending::Over;
    let mut share = None;
    writeln!(out, "{settings}")?;
    let mut screen = if live { Some(live::Screen::open()?) } else { None };
    for nth in 0..settings.policies.len() {
        let mut run = Run::start(settings, nth)?;
        ending = match &mut screen {
            Some(screen) => screen.watch(&mut run, &stop, &rows)?,
            None => plain::watch(&mut run, &stop, &mut out)?,
        };
        if ending != Ending::Over {
            stop.end_at_once();
        }
        let result = run.finish(ending)?;
        rows.extend(result.rows);
        share = Some(result.share);
        if ending != Ending::Over {
            break;
        }
    }
    drop(screen);
    let share = share.filter(|_| settings.policies.len() == 1);
    out.write_all(table::table(&rows, share.as_ref()).as_bytes())?;
    out.flush()?;
    Ok(ending)
}
