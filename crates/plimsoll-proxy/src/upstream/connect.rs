//! Getting a connection for a request that holds a lease.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connections::{Found, Opened};
use super::{Backend, Connection};

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Refused,
    TimedOut,
}

impl Backend {
    /// A sound connection and whether it was used before; at most `within` is
    /// spent on it.
    pub(crate) async fn connection(
        &self,
        thread: usize,
        within: Duration,
    ) -> Result<(Connection, bool), ConnectError> {
        // The common case needs no timer.
        loop {
            let found = match self.connections.find_now(thread) {
                Some(found) => found,
                None => timeout(within, self.connections.find(thread))
                    .await
                    .map_err(|_| ConnectError::TimedOut)?,
            };
            match found {
                Found::Idle(idle) if idle.is_sound() => return Ok((idle, true)),
                Found::Idle(closed) => drop(closed),
                Found::Room(opened) => {
                    return Ok((self.open_within(thread, opened, within).await?, false));
                }
            }
        }
    }

    /// As [`connection`](Self::connection), if there is one, or room for one,
    /// without waiting for others.
    pub(crate) async fn connection_now(
        &self,
        thread: usize,
        within: Duration,
    ) -> Option<Result<Connection, ConnectError>> {
        loop {
            match self.connections.find_now(thread)? {
                Found::Idle(idle) if idle.is_sound() => return Some(Ok(idle)),
                Found::Idle(closed) => drop(closed),
                Found::Room(opened) => return Some(self.open_within(thread, opened, within).await),
            }
        }
    }

    async fn open_within(
        &self,
        thread: usize,
        opened: Opened,
        within: Duration,
    ) -> Result<Connection, ConnectError> {
        let open = timeout(within, self.open_one(thread, opened)).await;
        open.map_err(|_| ConnectError::TimedOut)?.map_err(|_| ConnectError::Refused)
    }

    async fn open_one(&self, thread: usize, opened: Opened) -> io::Result<Connection> {
        let stream = TcpStream::connect(&*self.addresses).await?;
        stream.set_nodelay(true)?;
        Connection::start(stream, thread, opened).await.map_err(io::Error::other)
    }
}
