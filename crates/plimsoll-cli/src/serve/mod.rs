//! `plimsoll serve`: HTTP servers as workers.

mod args;
mod check;
mod dns;
mod file;
mod kinds;
mod renewal;
mod settings;
mod site;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use plimsoll_admin::{Token, may_listen};
use plimsoll_proxy::{Admin, Config, Control, Listener, Listeners, More, Reload};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub(crate) use self::args::Args;
pub(crate) use self::check::{Args as CheckArgs, run as check};
use self::dns::Named;
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
    /// Whose backends DNS knows, by the pool.
    names: BTreeMap<String, Vec<Named>>,
    /// Who is asked for them.
    dns_server: Option<SocketAddr>,
}

impl Told {
    fn new(settings: &Settings) -> Result<Self, Wrong> {
        let told = Self {
            clients: settings.listen()?,
            config: settings.config()?,
            admin: settings.admin()?,
            token: settings.admin_token()?,
            names: settings.names(),
            dns_server: settings.dns_server.map(|server| server.0),
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
fn site(args: &Args, control: &Control) -> Result<(Told, Arc<Site>), String> {
    let (told, site) = if let Some(path) = &args.config {
        Site::open(path, control.clone())?
    } else {
        let told = Told::new(&args.settings()).map_err(|wrong| args::sentence(&wrong))?;
        Site::new(told, control.clone())
    };
    Ok((told, Arc::new(site)))
}

fn serve(args: &Args) -> Result<(), String> {
    allow_descriptors();
    let control = Control::new();
    let (told, site) = site(args, &control)?;
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
    let by_file = args.config.is_some();
    listen_to_signals(&control, by_file.then(|| Arc::clone(&site)))?;
    for (what, listener) in clients
        .iter()
        .map(|client| ("listening", &client.socket))
        .chain(admin.iter().map(|admin| ("admin", admin)))
    {
        let at = listener.local_addr().map_err(|error| error.to_string())?;
        eprintln!("plimsoll: {what} on {at}");
    }
    if args.watch {
        let site = Arc::clone(&site);
        thread::spawn(move || site.watch());
    }
    // A file may tell of names, or of TLS, later.
    if by_file || !told.names.is_empty() {
        dns::watch(Arc::clone(&site))
            .map_err(|error| format!("names cannot be asked for: {error}"))?;
    }
    if by_file || told.config.tls.is_some() {
        let control = control.clone();
        thread::spawn(move || renewal::watch(&control));
    }
    // Beyond this machine it must be.
    let is_near = |at: SocketAddr| at.ip().to_canonical().is_loopback();
    let tls = told.admin.is_some_and(|at| !is_near(at));
    let access = site.access();
    let seen = Arc::clone(&site);
    let more: More = Arc::new(move || seen.names().families(Instant::now()));
    let reload = by_file.then(|| -> Reload { Arc::new(move || site.reload()) });
    let admin = admin.map(|socket| Admin { socket, tls, access, reload, more: Some(more) });
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
