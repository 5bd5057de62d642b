//! At the new process: takes over, and lends what the old one has still.

use std::env;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use plimsoll_proxy::{Control, Loans, Server};
use rustix::io::fcntl_dupfd_cloexec;

use super::link::Link;
use super::words::{Use, Word};
use super::{LOOK, PATIENCE, PREDECESSOR};
use crate::serve::say;

/// How often it is looked at whose turn it is, while requests of the old process stand in line.
const TURN: Duration = Duration::from_millis(1);

/// The process that this one takes over from.
#[derive(Debug)]
pub(in crate::serve) struct Predecessor {
    process: u32,
    link: Link,
}

/// The process that this one took over from, for as long as that one is there.
#[derive(Clone, Debug, Default)]
pub(in crate::serve) struct Finishing(Arc<AtomicU32>);

/// A socket that is handed over, where it was told to be and whose it was.
type Handed = (SocketAddr, Use, TcpListener);

impl Predecessor {
    /// The one that has started this process, if any, and its sockets.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub(in crate::serve) fn meet() -> Result<Option<(Self, Vec<Handed>)>, String> {
        if env::var_os(PREDECESSOR).is_none() {
            return Ok(None);
        }
        let link = link().map_err(|error| {
            format!("{PREDECESSOR} is set, and standard input leads to no process: {error}")
        })?;
        Self::hear_out(link).map(Some).map_err(|error| {
            format!("of the process to take over from nothing can be had: {error}")
        })
    }

    fn hear_out(mut link: Link) -> io::Result<(Self, Vec<Handed>)> {
        let not_that = || io::Error::new(io::ErrorKind::InvalidData, "it says something else");
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "it says nothing");
        let Word::Hello { process, sockets, .. } = link.hear(Some(PATIENCE))?.ok_or_else(silent)?
        else {
            return Err(not_that());
        };
        let mut handed = Vec::new();
        while handed.len() < sockets {
            let Word::Sockets(some) = link.hear(Some(PATIENCE))?.ok_or_else(silent)? else {
                return Err(not_that());
            };
            for socket in some {
                let descriptor = link.descriptor().ok_or_else(not_that)?;
                handed.push((socket.at, socket.of, descriptor.into()));
            }
        }
        Ok((Self { process, link }, handed))
    }

    /// Says that this process can serve, and waits until the other one does no more. What that one
    /// has still is lent.
    ///
    /// # Errors
    ///
    /// A sentence, also when this process is told to end meanwhile.
    pub(in crate::serve) fn take_over(
        mut self,
        server: &Server,
        control: &Control,
        finishing: &Finishing,
    ) -> Result<(), String> {
        let process = self.process;
        let mut loans = server.loans();
        let said = self.link.say(&Word::ready(server.places()));
        // For as long as it takes: only the other one knows whether it serves still. It says so,
        // ends this process, or has ended.
        let heard = said.and_then(|()| {
            loop {
                let heard = self.link.hear(Some(LOOK))?;
                if heard.is_some() || control.is_draining() {
                    return Ok(heard);
                }
            }
        });
        match heard {
            Ok(Some(Word::Over { has, drained })) => {
                for place in drained.into_iter().map(Into::into) {
                    loans.drain(&place);
                }
                for (place, count) in has.into_iter().map(Into::into) {
                    loans.lend(&place, count);
                }
                finishing.0.store(process, Ordering::Relaxed);
                let over = finishing.clone();
                thread::spawn(move || {
                    lend(self.link, loans);
                    over.0.store(0, Ordering::Relaxed);
                    say(&format!("process {process}, which this one took over from, ended"));
                });
            }
            // It has nothing any more, and nobody serves.
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {}
            Ok(None) => return Err(format!("it is to end, and process {process} serves still")),
            _ => return Err(format!("process {process} does not say what it has")),
        }
        say(&format!("took over from process {process}"));
        Ok(())
    }
}

impl Finishing {
    /// Its number.
    pub(super) fn process(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&process| process != 0)
    }
}

/// Standard input, which is the system's nothing from now on.
fn link() -> io::Result<Link> {
    let stdin = io::stdin();
    // Any other kind of file has no such address.
    let stream = UnixStream::from(fcntl_dupfd_cloexec(stdin.as_fd(), 3)?);
    stream.local_addr()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Link::new(stream)
}

/// Lends and takes back until the other process has ended, or is not understood.
fn lend(mut link: Link, mut loans: Loans) {
    loop {
        let granted = loans.take_turn();
        if !granted.is_empty() && link.say(&Word::granted(granted)).is_err() {
            return;
        }
        let wait = loans.is_asked().then_some(TURN);
        match link.hear(wait) {
            Ok(Some(Word::Turn { gives, waits, unused })) => {
                for (place, count) in gives.into_iter().map(Into::into) {
                    loans.give_back(&place, count);
                }
                for waits in waits {
                    loans.wait(&waits.into());
                }
                for place in unused {
                    loans.leave_out(&place.into());
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
