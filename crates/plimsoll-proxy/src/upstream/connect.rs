//! Getting a connection for a request that holds a lease, or for a check.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use rustix::io::Errno;
use tokio::net::TcpStream;

use super::connections::{Found, Opened};
use super::{Backend, Connection};
use crate::alarm::before;
use crate::stream::tune;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    Refused,
    TimedOut,
    /// The system gives this process no socket: no fault of the backend's.
    NoSocket,
}

impl Backend {
    /// A sound connection and whether it was used before, by `due` at the latest.
    pub(crate) async fn connection(
        &self,
        thread: usize,
        now: Instant,
        due: Instant,
    ) -> Result<(Box<Connection>, bool), ConnectError> {
        loop {
            // The common case needs no timer.
            let found = match self.connections.find_now(thread) {
                Some(Found::Idle(own)) if own.thread() == thread => {
                    if own.is_sound(now) {
                        return Ok((own, true));
                    }
                    continue;
                }
                Some(found) => found,
                None => Box::pin(before(due, self.connections.find(thread)))
                    .await
                    // Of its capacity, which has been lowered, others have all: no fault of its.
                    .ok_or(ConnectError::NoSocket)?,
            };
            // Seldom, and large.
            let used = Box::pin(self.use_found(thread, found, now, due));
            if let Some(connected) = used.await {
                return connected;
            }
        }
    }

    /// As [`connection`](Self::connection), if there is one, or room for one,
    /// without waiting for others.
    pub(crate) async fn connection_now(
        &self,
        thread: usize,
        due: Instant,
    ) -> Option<Result<(Box<Connection>, bool), ConnectError>> {
        loop {
            let found = self.connections.find_now(thread)?;
            let now = Instant::now();
            if let Some(connected) = self.use_found(thread, found, now, due).await {
                return Some(connected);
            }
        }
    }

    /// Whether it takes connections: opens one for no request, where there is
    /// room, or else looks at an idle one. `None` when all are at work.
    pub(crate) async fn accepts(
        &self,
        thread: usize,
        due: Instant,
    ) -> Option<Result<(), ConnectError>> {
        loop {
            if let Some(opened) = self.connections.room() {
                let stream = reach(&self.addresses(), due).await;
                // The socket goes first, and then its place.
                let accepted = stream.map(drop);
                drop(opened);
                return Some(accepted);
            }
            let idle = self.connections.idle(thread)?;
            if idle.is_quiet() {
                self.connections.keep(idle);
                return Some(Ok(()));
            }
        }
    }

    /// `None` when it is an idle one that serves no more.
    async fn use_found(
        &self,
        thread: usize,
        found: Found,
        now: Instant,
        due: Instant,
    ) -> Option<Result<(Box<Connection>, bool), ConnectError>> {
        match found {
            Found::Idle(idle) if !idle.is_sound(now) => None,
            Found::Idle(own) if own.thread() == thread => Some(Ok((own, true))),
            Found::Idle(other) => other.move_to(thread).await.map(|moved| Ok((moved, true))),
            Found::Room(opened) => {
                let opened = self.open_one(thread, opened, due).await;
                if opened.as_ref().is_err_and(|&error| error == ConnectError::NoSocket)
                    && let Some(idle) = self.connections.idle(thread)
                {
                    // Another thread's: there is no socket for one of its own.
                    return Box::pin(self.use_found(thread, Found::Idle(idle), now, due)).await;
                }
                Some(opened.map(|opened| (opened, false)))
            }
        }
    }

    async fn open_one(
        &self,
        thread: usize,
        opened: Opened,
        due: Instant,
    ) -> Result<Box<Connection>, ConnectError> {
        let stream = reach(&self.addresses(), due).await?;
        tune(&stream).map_err(|_| ConnectError::Refused)?;
        Connection::start(stream, thread, opened).await.map_err(|_| ConnectError::Refused)
    }
}

/// A connection to the first of these that takes one. Each has its share of
/// the time that is left, so that one which says nothing leaves the others
/// theirs.
async fn reach(addresses: &[SocketAddr], due: Instant) -> Result<TcpStream, ConnectError> {
    let mut failed = ConnectError::NoSocket;
    for (address, others) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let left = due.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(others).unwrap_or(1);
        match before(Instant::now() + share, TcpStream::connect(address)).await {
            Some(Ok(stream)) => return Ok(stream),
            // What another address has said tells more.
            Some(Err(error)) if is_ours(&error) => {}
            Some(Err(_)) => failed = ConnectError::Refused,
            None => failed = ConnectError::TimedOut,
        }
    }
    Err(failed)
}

/// Whether there are no descriptors, no ports or no memory on this side.
fn is_ours(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|error| ours.contains(&error))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::config::{BackendConfig, HealthConfig};

    /// A listener whose queue is full answers no SYN; what fills it comes with it.
    fn deaf() -> (SocketAddr, impl Sized) {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
        let deaf = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&deaf, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&deaf, 0).unwrap();
        let silent = SocketAddr::try_from(getsockname(&deaf).unwrap()).unwrap();
        let short = Duration::from_millis(200);
        let connect = |_| std::net::TcpStream::connect_timeout(&silent, short).ok();
        let filled: Vec<_> = (0..8).map_while(connect).collect();
        assert!(filled.len() < 8, "its queue is full");
        (silent, (deaf, filled))
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    fn after(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[test]
    fn an_address_that_says_nothing_leaves_time_for_the_next() {
        let (silent, _filled) = deaf();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let live = listener.local_addr().unwrap();
        block_on(async {
            let reached = reach(&[silent, live], after(600)).await;
            assert_eq!(reached.unwrap().peer_addr().unwrap(), live);
            let reached = reach(&[silent, silent], after(100)).await;
            assert_eq!(reached.unwrap_err(), ConnectError::TimedOut);
        });
    }

    /// Waiting for a place and connecting have one limit together.
    #[test]
    fn a_wait_for_a_place_leaves_less_time_to_connect() {
        let (silent, _filled) = deaf();
        let mut config = BackendConfig::new("silent", vec![silent]);
        config.capacity = NonZeroU32::MIN;
        let backend = Backend::new(&config, &HealthConfig::default(), 1);
        let begun = Instant::now();
        let connected = block_on(async {
            let place = backend.connections.room().unwrap();
            let freed = async {
                tokio::time::sleep(Duration::from_millis(800)).await;
                drop(place);
            };
            tokio::join!(backend.connection(0, begun, begun + Duration::from_secs(1)), freed).0
        });
        assert_eq!(connected.err(), Some(ConnectError::TimedOut));
        assert!(begun.elapsed() < Duration::from_millis(1600), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_this_side_lacks_is_no_refusal() {
        assert!(is_ours(&Errno::MFILE.into()) && is_ours(&Errno::ADDRNOTAVAIL.into()));
        assert!(!is_ours(&Errno::CONNREFUSED.into()) && !is_ours(&io::ErrorKind::TimedOut.into()));
    }
}
