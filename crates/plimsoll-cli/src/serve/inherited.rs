//! Sockets that this process has from the start: from one that it takes over from, or from a service
//! manager.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

use super::restart::{Predecessor, Use};
use super::say;
use crate::listen;

/// What is there before anything is opened.
#[derive(Debug)]
pub(super) struct Inherited {
    pub(super) predecessor: Option<Predecessor>,
    sockets: Vec<Known>,
    /// Whether a service manager gave them.
    by_manager: bool,
}

#[derive(Debug)]
struct Known {
    /// What it was told to be; a service manager tells where it is alone.
    at: SocketAddr,
    of: Option<Use>,
    socket: TcpListener,
}

impl Inherited {
    /// Asked once, before there is a second thread: what the environment says of it is taken out.
    ///
    /// # Errors
    ///
    /// A sentence.
    pub(super) fn take() -> Result<Self, String> {
        let mut given = ListenFd::from_env();
        if let Some((predecessor, handed)) = Predecessor::meet()? {
            let known = |(at, of, socket)| Known { at, of: Some(of), socket };
            let sockets = handed.into_iter().map(known).collect();
            return Ok(Self { predecessor: Some(predecessor), sockets, by_manager: false });
        }
        let mut sockets = Vec::new();
        for nth in 0..given.len() {
            let taken = given.take_tcp_listener(nth).and_then(|socket| {
                let with = |socket: TcpListener| Ok((socket.local_addr()?, socket));
                socket.map(with).transpose()
            });
            let taken = taken.map_err(|error| format!("LISTEN_FDS has no TCP socket: {error}"))?;
            sockets.extend(taken.map(|(at, socket)| Known { at, of: None, socket }));
        }
        let by_manager = !sockets.is_empty();
        Ok(Self { predecessor: None, sockets, by_manager })
    }

    /// What listens there, or opens it.
    ///
    /// # Errors
    ///
    /// The sentence to print.
    pub(super) fn listener(
        &mut self,
        option: &str,
        at: SocketAddr,
        of: Use,
    ) -> Result<TcpListener, String> {
        let find = |is_it: &dyn Fn(&Known) -> bool| self.sockets.iter().position(is_it);
        let same = find(&|socket| socket.at == at && socket.of == Some(of));
        // Of another use, or of none that is told. Port 0 is of no one place.
        let other = || find(&|socket| socket.at == at && (at.port() != 0 || socket.of.is_none()));
        if let Some(nth) = same.or_else(other) {
            return Ok(self.sockets.swap_remove(nth).socket);
        }
        if self.by_manager {
            say(&format!("{option} {at}: it is none of LISTEN_FDS, and is opened"));
        }
        listen::listener(option, at)
    }

    /// Closes those that nothing told of.
    pub(super) fn close_others(&mut self) {
        for Known { at, .. } in self.sockets.drain(..) {
            if self.by_manager {
                say(&format!("{at} of LISTEN_FDS is closed: nothing tells to listen there"));
            }
        }
    }
}
