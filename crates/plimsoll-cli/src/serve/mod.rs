//! `plimsoll serve`: HTTP servers as workers.

mod args;
mod check;
mod file;
mod kinds;
mod settings;

use std::net::SocketAddr;
use std::process::ExitCode;

use plimsoll_proxy::{Config, Listeners, Shutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub(crate) use self::args::Args;
pub(crate) use self::check::{Args as CheckArgs, run as check};
use self::file::File;
use self::settings::{Settings, Wrong};
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

/// What is to be served, and where.
struct Told {
    config: Config,
    clients: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Told {
    fn new(settings: &Settings) -> Result<Self, Wrong> {
        Ok(Self {
            clients: settings.listen()?,
            config: settings.config()?,
            admin: settings.admin()?,
        })
    }

    /// By a file, or by options.
    fn by(args: &Args) -> Result<Self, String> {
        match &args.config {
            Some(path) => {
                let file = File::read(path)?;
                Self::new(&file.settings).map_err(|wrong| file.sentence(&wrong))
            }
            None => Self::new(&args.settings()).map_err(|wrong| args::sentence(&wrong)),
        }
    }
}

fn serve(args: &Args) -> Result<(), String> {
    allow_descriptors();
    let Told { config, clients, admin } = Told::by(args)?;
    let clients: Vec<_> =
        clients.iter().map(|&at| listen::listener("--listen", at)).collect::<Result<_, _>>()?;
    let admin = admin.map(|at| listen::listener("--admin", at)).transpose()?;
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
