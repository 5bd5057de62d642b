//! `plimsoll serve`: HTTP servers as workers.

mod args;

use std::fs::OpenOptions;
use std::process::ExitCode;

use plimsoll_proxy::{Listeners, Shutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub(crate) use self::args::Args;
use crate::{listen, usage};

/// Serves until a signal says otherwise.
pub(crate) fn run(args: &Args) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("plimsoll: {sentence}");
            ExitCode::from(usage::STATUS)
        }
    }
}

fn serve(args: &Args) -> Result<(), String> {
    allow_descriptors();
    let addresses = args.listen()?;
    let config = args.config()?;
    if let Some(file) = &config.log.file {
        // Before it is said where it listens.
        let opened = OpenOptions::new().create(true).append(true).open(file);
        opened.map_err(|error| format!("--log-file {}: {error}", file.display()))?;
    }
    let clients: Vec<_> =
        addresses.iter().map(|&at| listen::listener("--listen", at)).collect::<Result<_, _>>()?;
    let admin = args.admin()?.map(|at| listen::listener("--admin", at)).transpose()?;
    let shutdown = Shutdown::new();
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| format!("signals cannot be caught: {error}"))?;
    let told = shutdown.clone();
    let watcher = std::thread::spawn(move || {
        let mut times = signals.forever();
        if times.next().is_some() {
            told.drain();
        }
        if times.next().is_some() {
            told.stop();
        }
    });
    for (what, listener) in
        clients.iter().map(|l| ("listening", l)).chain(admin.iter().map(|l| ("admin", l)))
    {
        let at = listener.local_addr().map_err(|error| error.to_string())?;
        eprintln!("plimsoll: {what} on {at}");
    }
    let served = plimsoll_proxy::run(config, Listeners { clients, admin }, &shutdown);
    drop(watcher);
    served.map_err(|error| error.to_string())
}

/// Allows itself as many descriptors as it may have: every client takes one, and
/// every connection to a backend. What the soft limit protects, programs that
/// select, is none of this one's.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // With fewer it serves as well, until there are none.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
