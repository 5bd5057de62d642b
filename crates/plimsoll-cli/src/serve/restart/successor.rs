//! At the old process: starts the new one, hands over, and finishes beside it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_proxy::{Control, Listener, Place, Rest, Turn};
use sd_notify::NotifyState;

use super::link::{Link, MOST};
use super::predecessor::Finishing;
use super::program::Program;
use super::words::{Socket, Use, Word};
use super::{LOOK, PATIENCE, PREDECESSOR};
use crate::serve::{manager, say};

/// How often it is looked at what is free, and who waits, while two processes serve.
const TURN: Duration = Duration::from_millis(1);

/// The longest that a process takes to end that ends.
const ENDING: Duration = Duration::from_secs(1);

/// What a restart needs to know.
pub(in crate::serve) struct Restart {
    program: Program,
    control: Control,
    /// Where operators come.
    admin: Mutex<Option<(SocketAddr, TcpListener)>>,
    finishing: Finishing,
    /// Held while one is under way.
    one: Mutex<()>,
    /// Held from when this process may end, having nothing to finish, until it has said all that it
    /// must.
    parting: Mutex<()>,
}

/// A process that serves in this one's place.
struct Successor {
    child: Child,
    link: Link,
}

impl Restart {
    pub(in crate::serve) fn new(
        program: Program,
        control: Control,
        admin: Option<(SocketAddr, TcpListener)>,
        finishing: Finishing,
    ) -> Self {
        let (admin, one, parting) = (Mutex::new(admin), Mutex::default(), Mutex::default());
        Self { program, control, admin, finishing, one, parting }
    }

    /// Waits until this process may end.
    pub(in crate::serve) fn part(&self) {
        drop(self.parting.lock());
    }

    /// Has another process serve in the place of this one, or says why it does not. Returns when
    /// that process ends before this one has finished.
    pub(in crate::serve) fn run(&self) {
        let _one = match self.one.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                say("not handed over again: another process serves, or is about to");
                return;
            }
        };
        match self.hand_over() {
            Ok((successor, rest)) => successor.finish_beside(rest),
            Err(sentence) => say(&format!("not handed over: {sentence}")),
        }
    }

    fn hand_over(&self) -> Result<(Successor, Rest), String> {
        if self.control.is_draining() {
            return Err("it stops already".into());
        }
        if let Some(process) = self.finishing.process() {
            return Err(format!("process {process} has not finished yet what it had"));
        }
        if std::process::id() == 1 {
            return Err("it is process 1, with which all others of its container end".into());
        }
        // What is served stays the same meanwhile.
        let _held = self.control.hold();
        // An end of this process waits until it is known which of the two serves.
        let _parting = self.parting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut successor = self.start().map_err(|error| {
            format!("another process cannot be started: {}: {error}", self.program.path().display())
        })?;
        let ready = successor.ready(&self.control);
        let rest = match ready.and_then(|places| self.control.hand_over(&places)) {
            Ok(rest) => rest,
            Err(sentence) => {
                successor.end();
                return Err(sentence);
            }
        };
        let process = successor.child.id();
        // Before that one says that it is ready, and this one ends.
        manager::tell(&[NotifyState::MainPid(process)]);
        say(&format!("handed over to process {process}"));
        *self.admin.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // One that has ended is noticed by who finishes beside it.
        let _ = successor.link.say(&Word::over(rest.has(), rest.drained()));
        Ok((successor, rest))
    }

    /// Starts it, and hands it the sockets.
    fn start(&self) -> io::Result<Successor> {
        let clients = self.control.listeners()?;
        let admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = clients.iter().map(|Listener { at, socket, .. }| (*at, Use::Clients, socket));
        let admin = admin.iter().map(|(at, socket)| (*at, Use::Operators, socket));
        let sockets: Vec<_> = clients.chain(admin).collect();
        let (here, there) = UnixStream::pair()?;
        let mut link = Link::new(here)?;
        let mut command = self.program.again();
        command.env(PREDECESSOR, std::process::id().to_string()).stdin(OwnedFd::from(there));
        let child = command.spawn()?;
        // It holds the other end.
        drop(command);
        // One that does not take them is found out as it says nothing.
        let _ = link.say(&Word::hello(sockets.len()));
        for some in sockets.chunks(MOST) {
            let told = some.iter().map(|&(at, of, _)| Socket { at, of }).collect();
            let descriptors: Vec<_> = some.iter().map(|(_, _, socket)| socket.as_fd()).collect();
            let _ = link.hand(&Word::Sockets(told), &descriptors);
        }
        Ok(Successor { child, link })
    }
}

impl Successor {
    /// The backends that it uses, when it can serve.
    fn ready(&mut self, control: &Control) -> Result<Vec<Place>, String> {
        let process = self.child.id();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waited = PATIENCE.as_secs();
                return Err(format!("process {process} was not ready to serve within {waited} s"));
            }
            if control.is_draining() {
                return Err("it stops already".into());
            }
            let heard = self.link.hear(Some(left.min(LOOK)));
            if let Some(Word::Ready { places }) = heard.map_err(|error| self.why_not(&error))? {
                // Not one that has ended since it said so: then nobody would serve.
                self.link.hear(Some(Duration::ZERO)).map_err(|error| self.why_not(&error))?;
                return Ok(places.into_iter().map(Place::from).collect());
            }
        }
    }

    /// Why it does not serve, by what is heard of it.
    fn why_not(&mut self, heard: &io::Error) -> String {
        let process = self.child.id();
        if heard.kind() == io::ErrorKind::InvalidData {
            return format!("process {process} is not understood: {heard}");
        }
        let how = match self.ended() {
            Some(status) => status.to_string(),
            None => "without a word".into(),
        };
        format!("process {process} ended before it could serve: {how}")
    }

    /// Gives back what is free, and asks for what is wanted, until one of the two ends.
    fn finish_beside(mut self, mut rest: Rest) {
        let ended = loop {
            let turn = rest.take_turn();
            if turn != Turn::default()
                && let Err(error) = self.link.say(&Word::turn(turn))
            {
                break error;
            }
            match self.link.hear(Some(TURN)) {
                Ok(Some(Word::Granted(places))) => {
                    for place in places {
                        rest.grant(place.into());
                    }
                }
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        rest.alone();
        let process = self.child.id();
        match self.ended() {
            Some(status) => say(&format!("process {process}, which serves, ended: {status}")),
            None => {
                say(&format!("process {process}, which serves, is not heard of: {ended}"));
            }
        }
    }

    /// How it has ended, if it has or is about to.
    fn ended(&mut self) -> Option<std::process::ExitStatus> {
        let until = Instant::now() + ENDING;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < until => thread::sleep(TURN),
                ended => return ended.ok().flatten(),
            }
        }
    }

    /// Ends it, which serves nobody.
    fn end(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
