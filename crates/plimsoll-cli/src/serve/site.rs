//! What is served, and how it becomes another: its file is read again, its names are asked for
//! again.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_proxy::{Access, Change, Config, Control, Listener};

use super::dns::{Answer, Names, Question, ask_all};
use super::{Told, manager};
use crate::listen;

/// How often a file is looked at that is watched.
const LOOK: Duration = Duration::from_millis(500);

/// The longest that names are asked for that were not told before.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);

/// What is served, and what it is told by.
pub(super) struct Site {
    /// A file, where it is not told by options.
    path: Option<PathBuf>,
    control: Control,
    access: Access,
    /// Held through every change: there is one at a time.
    serves: Mutex<Serves>,
    names: Mutex<Names>,
    /// What the file was like as it was begun with.
    stamp: Option<Stamp>,
}

/// Which file it is, its length, and since when it is so. Some who copy files keep the times that
/// they were written at.
type Stamp = (u64, u64, [i64; 2]);

fn stamp(path: &Path) -> Option<Stamp> {
    let known = path.metadata().ok()?;
    Some((known.ino(), known.len(), [known.ctime(), known.ctime_nsec()]))
}

/// What must be known of what is served, to tell what is different.
struct Serves {
    clients: Vec<(SocketAddr, bool)>,
    admin: Option<SocketAddr>,
    threads: usize,
}

impl Serves {
    fn new(told: &Told) -> Self {
        Self {
            clients: told.clients.clone(),
            admin: told.admin,
            threads: told.config.threads.get(),
        }
    }
}

impl Site {
    /// By options. What is told has the backends, then, that names stand for now; those that are
    /// not answered in time are asked for again while it serves.
    pub(super) fn new(mut told: Told, control: Control) -> (Told, Self) {
        let access = Access::default();
        access.set(told.token.clone());
        let mut names = names(&told, &Names::default());
        for (question, found) in first_answers(&names) {
            say(names.note(&question, found, Instant::now()).say);
        }
        put(&mut told.config, &names);
        let (serves, names) = (Mutex::new(Serves::new(&told)), Mutex::new(names));
        (told, Self { path: None, control, access, serves, names, stamp: None })
    }

    /// By a file.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub(super) fn open(path: &Path, control: Control) -> Result<(Told, Self), String> {
        // Before it is read: what changes meanwhile is seen.
        let stamp = stamp(path);
        let (told, site) = Self::new(Told::by_file(path)?, control);
        Ok((told, Self { path: Some(path.to_owned()), stamp, ..site }))
    }

    /// Who may steer it.
    pub(super) fn access(&self) -> Access {
        self.access.clone()
    }

    /// What is known of its names. It must not be held for long.
    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves by what a question was answered by this server.
    pub(super) fn note(
        &self,
        question: &Question,
        server: Option<SocketAddr>,
        found: Result<Answer, String>,
    ) {
        // One at a time.
        let _serves = self.serves.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = self.names().clone();
        if names.server != server {
            // Another is asked by now.
            return;
        }
        let noted = names.note(question, found, Instant::now());
        if noted.differs && self.control.change_backends(names.backends()).is_err() {
            // Nothing is served yet: it is asked for again.
            self.names().postpone(question, Instant::now());
            return;
        }
        *self.names() = names;
        say(noted.say);
    }

    /// Whether it is known what all its names stand for.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub(super) fn is_answered(&self) -> Result<(), String> {
        match self.names().unanswered().first() {
            Some(question) => Err(format!("dns '{question}' is not answered")),
            None => Ok(()),
        }
    }

    /// Reads the file again, and serves by it from now on. Tells what there is now.
    ///
    /// # Errors
    ///
    /// A sentence; then nothing has changed.
    pub(super) fn reload(&self) -> Result<String, String> {
        // One that stops is not about to be ready.
        if self.control.is_draining() {
            return self.read_again();
        }
        manager::tell_reloading();
        let reloaded = self.read_again();
        // By what was told before, if not by this.
        manager::tell_ready(false);
        reloaded
    }

    fn read_again(&self) -> Result<String, String> {
        let path = self.path.as_ref().ok_or("there is no file")?;
        // One at a time.
        let mut serves = self.serves.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = Told::by_file(path)?;
        let before = self.names().clone();
        let mut names = names(&told, &before);
        for (question, found) in first_answers(&names) {
            // One that nothing was known of before must not take the place of what serves.
            if let (Err(why), false) = (&found, before.knows(&question)) {
                return Err(format!("{}: dns '{question}': {why}", path.display()));
            }
            say(names.note(&question, found, Instant::now()).say);
        }
        // Names are summed up as they are told.
        let summary = told.summary();
        put(&mut told.config, &names);
        let mut now = Serves::new(&told);
        let mut said = format!("{}: {summary}", path.display());
        if (now.admin, now.threads) != (serves.admin, serves.threads) {
            said += "; admin and threads stay as they were until it is started anew";
            (now.admin, now.threads) = (serves.admin, serves.threads);
        }
        // Where it is heard still, whatever is told.
        now.admin.map_or(Ok(()), |at| {
            told.may_hear_at(at).map_err(|sentence| format!("admin {at}: {sentence}"))
        })?;
        let is_new = |client: &&(SocketAddr, bool)| !serves.clients.contains(client);
        let is_gone = |client: &&(SocketAddr, bool)| !now.clients.contains(client);
        let closes: Vec<_> = serves.clients.iter().filter(is_gone).map(|&(at, _)| at).collect();
        let open = |&(at, tls): &(SocketAddr, bool)| {
            let opened = listen::listener("listen", at).map_err(|sentence| {
                match closes.iter().find(|old| old.port() == at.port()) {
                    // Both at a time cannot be.
                    Some(old) => {
                        format!("{sentence}: {old} has its port until a reload without either")
                    }
                    None => sentence,
                }
            });
            Ok(Listener { at, socket: opened?, tls })
        };
        let opens = now.clients.iter().filter(is_new).map(open).collect::<Result<_, String>>()?;
        self.control.change(Change { config: told.config, opens, closes })?;
        self.access.set(told.token);
        *self.names() = names;
        *serves = now;
        Ok(said)
    }

    /// The same, and tells the operator.
    pub(super) fn reload_and_say(&self) {
        match self.reload() {
            Ok(said) => super::say(&format!("reloaded {said}")),
            Err(sentence) => super::say(&format!("not reloaded: {sentence}")),
        }
    }

    /// Reads the file again whenever it has changed, until the process stops: another may serve
    /// then, and reads it.
    pub(super) fn watch(&self) {
        let Some(path) = &self.path else { return };
        let mut seen = self.stamp;
        loop {
            thread::sleep(LOOK);
            if self.control.is_draining() {
                return;
            }
            let now = stamp(path);
            // While it is written anew it may be away, or grow still.
            if now.is_some() && now != seen {
                thread::sleep(LOOK / 5);
                if stamp(path) == now {
                    seen = now;
                    self.reload_and_say();
                }
            }
        }
    }
}

/// Tells an operator.
fn say(sentence: Option<String>) {
    if let Some(sentence) = sentence {
        super::say(&sentence);
    }
}

/// The names that are told, with what was known of them.
fn names(told: &Told, before: &Names) -> Names {
    Names::new(told.dns_server, &told.names, &told.config, before)
}

/// Asks for those that were never answered, all at once.
fn first_answers(names: &Names) -> Vec<(Question, Result<Answer, String>)> {
    let questions = names.unanswered();
    if questions.is_empty() {
        return vec![];
    }
    let found = ask_all(names.server, &questions, FIRST_ANSWERS);
    questions.into_iter().zip(found).collect()
}

/// Tells pools the backends that their names stand for.
fn put(config: &mut Config, names: &Names) {
    let mut backends = names.backends();
    for pool in &mut config.pools {
        if let Some(backends) = backends.remove(&pool.name) {
            pool.backends = backends;
        }
    }
}
