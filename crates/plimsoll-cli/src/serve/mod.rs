//! `plimsoll serve`: HTTP servers as workers.

mod args;
mod check;
mod file;
mod kinds;
mod renewal;
mod settings;
mod site;

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use plimsoll_admin::{Token, may_listen};
use plimsoll_proxy::{Access, Admin, Config, Control, Listener, Listeners, Reload};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub(crate) use self::args::Args;
pub(crate) use self::check::{Args as CheckArgs, run as check};
use self::file::File;
use self::settings::{Settings, Wrong};
use self::site::Site;
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
    /// Where, and whether in TLS.
    clients: Vec<(SocketAddr, bool)>,
    admin: Option<SocketAddr>,
    token: Option<Token>,
}

impl Told {
    fn new(settings: &Settings) -> Result<Self, Wrong> {
        let told = Self {
            clients: settings.listen()?,
            config: settings.config()?,
            admin: settings.admin()?,
            token: settings.admin_token()?,
        };
        let heard = told.admin.map_or(Ok(()), |at| told.may_hear_at(at));
        let address = || settings.admin.clone().unwrap_or_default();
        heard.map_err(|sentence| Wrong::new("admin", address(), sentence))?;
        Ok(told)
    }

    /// Whether operators may be heard there.
    fn may_hear_at(&self, at: SocketAddr) -> Result<(), String> {
        may_listen(at, self.token.is_some(), self.config.tls.is_some())
    }

    fn by_file(path: &Path) -> Result<Self, String> {
        let file = File::read(path)?;
        Self::new(&file.settings).map_err(|wrong| file.sentence(&wrong))
    }
}

/// By a file, which may be read again, or by options.
fn told(
    args: &Args,
    control: &Control,
    access: &Access,
) -> Result<(Told, Option<Arc<Site>>), String> {
    if let Some(path) = &args.config {
        let (site, told) = Site::open(path, control.clone(), access.clone())?;
        return Ok((told, Some(Arc::new(site))));
    }
    let told = Told::new(&args.settings()).map_err(|wrong| args::sentence(&wrong))?;
    access.set(told.token.clone());
    Ok((told, None))
}

fn serve(args: &Args) -> Result<(), String> {
    allow_descriptors();
    let control = Control::new();
    let access = Access::default();
    let (told, site) = told(args, &control, &access)?;
    if let Some(file) = &told.config.log.file {
        // Before it is said where it listens.
        let opened = OpenOptions::new().create(true).append(true).open(file);
        opened.map_err(|error| format!("--log-file '{}': {error}", file.display()))?;
    }
    let client = |&(at, tls): &(SocketAddr, bool)| {
        Ok(Listener { at, socket: listen::listener("--listen", at)?, tls })
    };
    let clients = told.clients.iter().map(client).collect::<Result<Vec<_>, String>>()?;
    let admin = told.admin.map(|at| listen::listener("--admin", at)).transpose()?;
    listen_to_signals(&control, site.clone())?;
    for (what, listener) in clients
        .iter()
        .map(|client| ("listening", &client.socket))
        .chain(admin.iter().map(|admin| ("admin", admin)))
    {
        let at = listener.local_addr().map_err(|error| error.to_string())?;
        eprintln!("plimsoll: {what} on {at}");
    }
    if let (true, Some(site)) = (args.watch, site.clone()) {
        thread::spawn(move || site.watch());
    }
    // A file may tell of TLS later.
    if site.is_some() || told.config.tls.is_some() {
        let control = control.clone();
        thread::spawn(move || renewal::watch(&control));
    }
    let reload = site.map(|site| -> Reload { Arc::new(move || site.reload()) });
    // Beyond this machine it must be.
    let is_near = |at: SocketAddr| at.ip().to_canonical().is_loopback();
    let tls = told.admin.is_some_and(|at| !is_near(at));
    let admin = admin.map(|socket| Admin { socket, tls, access, reload });
    let served = plimsoll_proxy::run(told.config, Listeners { clients, admin }, &control);
    served.map_err(|error| error.to_string())
}

/// Ends gently at the first signal, and at once at the second; a hangup has the file read again,
/// where there is one.
fn listen_to_signals(control: &Control, site: Option<Arc<Site>>) -> Result<(), String> {
    let hangup = site.as_ref().map(|_| SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))
        .map_err(|error| format!("signals cannot be caught: {error}"))?;
    let control = control.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            match (signal, &site) {
                (SIGHUP, Some(site)) => {
                    // It may take its time, and the next signal is heard meanwhile.
                    let site = Arc::clone(site);
                    thread::spawn(move || site.reload_and_say());
                }
                _ if control.is_draining() => control.stop(),
                _ => control.drain(),
            }
        }
    });
    Ok(())
}

/// Allows itself as many descriptors as it may have: every client takes one, and
/// every connection to a backend. What the soft limit protects, programs that
/// select, is none of this one's.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // With fewer it serves as well, until there are none.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
