//! `plimsoll nats`: past one machine, on a NATS server.
//!
//! | file | what it is |
//! |---|---|
//! | `connect` | the server, and who we are there |
//! | `balance` | the balancer |
//! | `work` | this machine's workers, `child` one process of them, `groups` what kills them |
//! | `request` | requests from lines and files |

mod balance;
mod child;
mod connect;
mod groups;
mod request;
mod work;

use std::process::ExitCode;

use clap::Subcommand;

use crate::map::is_ignored;
use crate::usage;

/// Balances requests over machines, by way of a NATS server.
///
/// Requesters are any NATS client's: they send an ordinary request to an ordinary subject. The
/// balancer gives it to the least-loaded worker, which answers the requester itself.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    face: Face,
}

#[derive(Subcommand, Clone, Debug)]
enum Face {
    Balance(Box<balance::Args>),
    Work(Box<work::Args>),
    Request(Box<request::Args>),
}

/// Why it ends otherwise than asked.
#[derive(Debug)]
enum Ended {
    /// The command line is wrong.
    Usage(String),
    /// The server, or the system, would not.
    Failed(String),
    /// COMMAND cannot be run: this is the shell's status for why.
    Command(String, u8),
}

/// Something failed.
const FAILED: u8 = 1;

/// Runs until it is told to end, or has the answers.
pub(crate) fn run(args: Args) -> ExitCode {
    let ended = match args.face {
        Face::Balance(args) => balance::run(&args),
        Face::Work(args) => work::run(&args),
        Face::Request(args) => request::run(&args),
    };
    let (sentence, status) = match ended {
        Ok(status) => return status,
        Err(Ended::Usage(sentence)) => (sentence, usage::STATUS),
        Err(Ended::Failed(sentence)) => (sentence, FAILED),
        Err(Ended::Command(sentence, status)) => (sentence, status),
    };
    eprintln!("plimsoll nats: {sentence}");
    ExitCode::from(status)
}

/// One thread, on which everything waits.
fn runtime() -> Result<tokio::runtime::Runtime, Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Ended::Failed(format!("it cannot wait for the network: {error}")))
}

/// Over at the first SIGINT, SIGTERM or SIGHUP; a second one ends the program, after `at_once`.
fn asked_to_end(
    at_once: impl FnOnce() + Send + 'static,
) -> Result<impl Future<Output = ()>, Ended> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let failed = |error| Ended::Failed(format!("signals cannot be caught: {error}"));
    let asking = [SIGINT, SIGTERM, SIGHUP];
    // nohup means it.
    let caught = asking.into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(SIGHUP));
    let mut signals = signal_hook::iterator::Signals::new(caught).map_err(failed)?;
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut times = signals.forever();
        if times.next().is_some() {
            // It may be over by itself.
            let _ = tell.send(());
        }
        if let Some(signal) = times.next() {
            at_once();
            std::process::exit(128 + signal);
        }
    });
    Ok(async {
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
