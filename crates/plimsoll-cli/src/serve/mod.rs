//! `plimsoll serve`: HTTP servers as workers.

mod args;
mod check;
mod dns;
mod file;
mod inherited;
mod kinds;
mod manager;
mod renewal;
mod restart;
mod settings;
mod site;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use plimsoll_admin::{Token, is_near, may_listen};
use plimsoll_proxy::{Admin, Config, Control, Listener, Listeners, More, Reload, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

pub(crate) use self::args::Args;
pub(crate) use self::check::{Args as CheckArgs, run as check};
use self::dns::Named;
use self::file::File;
use self::inherited::Inherited;
use self::restart::{Finishing, Program, Restart, Use};
use self::settings::{Settings, Wrong};
use self::site::Site;
use crate::usage;

/// Serves until a signal says otherwise.
pub(crate) fn run(args: &Args) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            say(&sentence);
            ExitCode::from(usage::STATUS)
        }
    }
}

/// Tells the operator, in one piece: another process may speak at the same time.
fn say(sentence: &str) {
    // Nobody may be there.
    let _ = io::stderr().write_all(format!("plimsoll: {sentence}\n").as_bytes());
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
    let mut inherited = Inherited::take()?;
    let program = Program::of_this();
    allow_descriptors();
    let control = Control::new();
    let (told, site) = site(args, &control)?;
    if inherited.predecessor.is_some() {
        // What serves must not give way to what does not know its backends.
        site.is_answered()?;
    }
    if let Some(file) = &told.config.log.file {
        // Before it is said where it listens.
        let opened = OpenOptions::new().create(true).append(true).open(file);
        opened.map_err(|error| format!("--log-file '{}': {error}", file.display()))?;
    }
    let client = |&(at, tls): &(SocketAddr, bool)| {
        Ok(Listener { at, socket: inherited.listener("--listen", at, Use::Clients)?, tls })
    };
    let clients = told.clients.iter().map(client).collect::<Result<Vec<_>, String>>()?;
    let admin = told.admin.map(|at| inherited.listener("--admin", at, Use::Operators));
    let admin = admin.transpose()?;
    inherited.close_others();
    let tells_tls = told.config.tls.is_some();
    let server = Server::new(told.config, &control).map_err(|error| error.to_string())?;
    let twin = |(at, socket): (SocketAddr, &TcpListener)| Ok((at, socket.try_clone()?));
    let twin = told.admin.zip(admin.as_ref()).map(twin).transpose();
    let twin = twin.map_err(|error: io::Error| format!("--admin: {error}"))?;
    let finishing = Finishing::default();
    let restart = Restart::new(program, control.clone(), twin, finishing.clone());
    let restart = Arc::new(restart);
    let by_file = args.config.is_some();
    listen_to_signals(&control, by_file.then(|| Arc::clone(&site)), Arc::clone(&restart))?;
    // Nothing can go wrong after this that did not before.
    let takes_over = inherited.predecessor.is_some();
    if let Some(predecessor) = inherited.predecessor {
        predecessor.take_over(&server, &control, &finishing)?;
    }
    for (what, listener) in clients
        .iter()
        .map(|client| ("listening", &client.socket))
        .chain(admin.iter().map(|admin| ("admin", admin)))
    {
        let at = listener.local_addr().map_err(|error| error.to_string())?;
        say(&format!("{what} on {at}"));
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
    if by_file || tells_tls {
        let control = control.clone();
        thread::spawn(move || renewal::watch(&control));
    }
    // Beyond this machine it must be.
    let tls = told.admin.is_some_and(|at| !is_near(at));
    let access = site.access();
    let seen = Arc::clone(&site);
    let more: More = Arc::new(move || seen.names().families(Instant::now()));
    let reload = by_file.then(|| -> Reload { Arc::new(move || site.reload()) });
    let admin = admin.map(|socket| Admin { socket, tls, access, reload, more: Some(more) });
    manager::tell_ready(takes_over);
    let ended = server.run(Listeners { clients, admin });
    restart.part();
    ended.map_err(|error| error.to_string())
}

/// Ends gently at the first signal, and at once at the second; a hangup has the file read again,
/// where there is one, and SIGUSR2 has another process serve.
fn listen_to_signals(
    control: &Control,
    site: Option<Arc<Site>>,
    restart: Arc<Restart>,
) -> Result<(), String> {
    let hangup = site.as_ref().map(|_| SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR2].into_iter().chain(hangup))
        .map_err(|error| format!("signals cannot be caught: {error}"))?;
    let control = control.clone();
    thread::spawn(move || {
        let mut is_told = false;
        for signal in signals.forever() {
            match (signal, &site) {
                (SIGUSR2, _) => {
                    let restart = Arc::clone(&restart);
                    thread::spawn(move || restart.run());
                }
                (SIGHUP, Some(site)) => {
                    // It may take its time, and the next signal is heard meanwhile.
                    let site = Arc::clone(site);
                    thread::spawn(move || site.reload_and_say());
                }
                _ if is_told => control.stop(),
                _ => {
                    is_told = true;
                    // Another process goes on where this one drains already.
                    if !control.is_draining() {
                        manager::tell(&[NotifyState::Stopping]);
                    }
                    control.drain();
                }
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
