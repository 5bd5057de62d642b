//! What is served by a file, and how it is read again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use plimsoll_proxy::{Access, Change, Control, Listener};

use super::Told;
use crate::listen;

/// How often a file is looked at that is watched.
const LOOK: Duration = Duration::from_millis(500);

/// A file, and what is served by it.
pub(super) struct Site {
    path: PathBuf,
    control: Control,
    access: Access,
    serves: Mutex<Serves>,
    /// What the file was like as it was begun with.
    stamp: Option<Stamp>,
}

/// When a file was written, and its length.
type Stamp = (SystemTime, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let known = path.metadata().ok()?;
    Some((known.modified().ok()?, known.len()))
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
    /// Reads it, and notes what is served by it.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub(super) fn open(
        path: &Path,
        control: Control,
        access: Access,
    ) -> Result<(Self, Told), String> {
        // Before it is read: what changes meanwhile is seen.
        let stamp = stamp(path);
        let told = Told::by_file(path)?;
        access.set(told.token.clone());
        let serves = Mutex::new(Serves::new(&told));
        Ok((Self { path: path.to_owned(), control, access, serves, stamp }, told))
    }

    /// Reads the file again, and serves by it from now on. Tells what there is now.
    ///
    /// # Errors
    ///
    /// A sentence; then nothing has changed.
    pub(super) fn reload(&self) -> Result<String, String> {
        // One at a time.
        let mut serves = self.serves.lock().unwrap_or_else(PoisonError::into_inner);
        let told = Told::by_file(&self.path)?;
        let mut now = Serves::new(&told);
        let mut said = format!("{}: {}", self.path.display(), told.summary());
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
        *serves = now;
        Ok(said)
    }

    /// The same, and tells the operator.
    pub(super) fn reload_and_say(&self) {
        match self.reload() {
            Ok(said) => eprintln!("plimsoll: reloaded {said}"),
            Err(sentence) => eprintln!("plimsoll: not reloaded: {sentence}"),
        }
    }

    /// Reads the file again whenever it has changed, until the process ends.
    pub(super) fn watch(&self) {
        let mut seen = self.stamp;
        loop {
            thread::sleep(LOOK);
            let now = stamp(&self.path);
            // While it is written anew it may be away, or grow still.
            if now.is_some() && now != seen {
                thread::sleep(LOOK / 5);
                if stamp(&self.path) == now {
                    seen = now;
                    self.reload_and_say();
                }
            }
        }
    }
}
