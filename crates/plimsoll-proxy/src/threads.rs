//! A thread per core, each with a runtime of its own, and the connections
//! that come to them.
//!
//! Whichever thread accepts a connection gives it to the one that has the
//! fewest: threads are workers of a balancer, too, and connections its leases.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use plimsoll::WorkerSpec;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::sync::Barrier;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, channel, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};

use crate::control::{Control, Listener, Phase};
use crate::front;
use crate::health;
use crate::pool::Pool;
use crate::proxy::{Arrival, Errand, Proxy, Seat, SeatWorker, shares};

/// How often idle connections to backends are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// The rest after an accept that failed, as when there are no descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What a client beyond the limit on connections is told.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 34\r\n\r\n503 there are too many connections";

/// Serves until the shutdown is over.
pub(crate) fn run(proxy: &Arc<Proxy>, listeners: Vec<Listener>) -> io::Result<()> {
    let all = proxy.threads;
    let limits = proxy.live().config.limits;
    let (mut errands, mut receivers) = (Vec::new(), Vec::new());
    for (index, share) in shares(limits.connections.get(), all).enumerate() {
        let (sender, receiver) = unbounded_channel();
        // With fewer connections than threads, some have none.
        if let Some(share) = NonZeroU32::new(share) {
            let worker = SeatWorker { index, errands: sender.clone() };
            proxy.seats.add(worker, WorkerSpec::new(share));
        }
        errands.push(sender);
        receivers.push(receiver);
    }
    // Once: a proxy runs once.
    let _ = proxy.errands.set(errands);
    let closed = Arc::new(Barrier::new(all));
    let mut started = Vec::new();
    for (index, errands) in receivers.into_iter().enumerate() {
        let cannot = |error: io::Error| {
            let nth = index + 1;
            io::Error::other(format!("of {all} threads number {nth} cannot be started: {error}"))
        };
        let listeners = listeners.iter().map(Listener::twin);
        let listeners = listeners.collect::<io::Result<_>>().map_err(cannot)?;
        let seat = Arc::new(Seat::new(Arc::clone(proxy), index));
        let closed = Arc::clone(&closed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(cannot)?;
        let thread = std::thread::Builder::new().name(format!("serve-{index}"));
        let others = Others(Some(proxy.control.clone()));
        let thread = thread.spawn(move || {
            let served = runtime.block_on(serve(seat, listeners, errands, closed));
            others.unless_all_is_well(served)
        });
        started.push(thread.map_err(cannot)?);
    }
    // The threads close the ports when they drain, these with theirs.
    *proxy.sockets() = listeners;
    proxy.control.is_of(proxy);
    for thread in started {
        thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    Ok(())
}

/// The other threads: what ends one too early ends all. Without it its seat would
/// stay, with the fewest connections, and get every new one.
struct Others(Option<Control>);

impl Others {
    fn unless_all_is_well(mut self, served: io::Result<()>) -> io::Result<()> {
        if served.is_ok() {
            self.0 = None;
        }
        served
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        if let Some(control) = &self.0 {
            control.stop();
        }
    }
}

async fn serve(
    seat: Arc<Seat>,
    listeners: Vec<Listener>,
    mut errands: UnboundedReceiver<Errand>,
    closed: Arc<Barrier>,
) -> io::Result<()> {
    // Each connection has a copy, and who accepts them: those end when the drain
    // begins, and when all copies are gone, so are the connections.
    let (alive, mut gone) = channel(1);
    let mut accepting = Accepting::default();
    for listener in listeners {
        accepting.begin(&seat, &alive, listener)?;
    }
    let mut watching = JoinSet::new();
    watch_all(&seat, &mut watching);
    let phase = seat.proxy.control.watch();
    let mut draining = None;
    // Until all threads have closed their ports, another may give this one a connection.
    let mut alive = Some(alive);
    let mut closing = pin!(closed.wait());
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            Some(errand) = errands.recv() => match errand {
                Errand::Client(arrival) => {
                    if let Some(alive) = &alive {
                        begin(&seat, alive, arrival);
                    }
                }
                Errand::Serve(live) => {
                    seat.set_live(*live);
                    watch_all(&seat, &mut watching);
                }
                Errand::Listen(listener) => {
                    if let (Some(alive), None) = (&alive, draining) {
                        // The others have it where this thread cannot.
                        let _ = accepting.begin(&seat, alive, listener);
                    }
                }
                Errand::Close(at) => accepting.end(at).await,
            },
            _ = sweep.tick() => {
                // Those that have ended are noticed.
                while watching.try_join_next().is_some() {}
                if seat.index == 0 {
                    seat.proxy.let_go();
                }
                let now = Instant::now();
                let sweep = |pool: &Arc<Pool>| {
                    if let Some(oldest) = now.checked_sub(pool.config.times.backend_idle) {
                        pool.backends.iter().for_each(|backend| backend.sweep(seat.index, oldest));
                    }
                };
                seat.live().pools.iter().for_each(sweep);
                let leaving = seat.proxy.leaving().clone();
                leaving.iter().for_each(sweep);
            }
            () = phase.reached(Phase::Draining), if draining.is_none() => {
                draining = Some(tokio::time::Instant::now() + seat.live().config.times.drain);
                seat.proxy.sockets().clear();
                accepting.end_all().await;
            }
            _ = &mut closing, if draining.is_some() && alive.is_some() => {
                if let Some(alive) = alive.take() {
                    while let Ok(errand) = errands.try_recv() {
                        if let Errand::Client(arrival) = errand {
                            begin(&seat, &alive, arrival);
                        }
                    }
                }
            }
            _ = gone.recv(), if alive.is_none() => break,
            () = phase.reached(Phase::Stopped), if draining.is_some() => break,
            () = over(draining) => break,
        }
    }
    // What is left of the connections ends with the thread's runtime.
    seat.ends.store(true, Ordering::Relaxed);
    Ok(())
}

/// What accepts connections, by the listener.
#[derive(Default)]
struct Accepting {
    tasks: JoinSet<()>,
    by: Vec<(SocketAddr, AbortHandle)>,
}

impl Accepting {
    fn begin(
        &mut self,
        seat: &Arc<Seat>,
        alive: &Sender<Infallible>,
        Listener { at, socket, tls }: Listener,
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        // As a stream, of which the runtime tells when it can be read. Its listener
        // would take what it accepts into this runtime, and its way for descriptors
        // of all kinds is `unsafe`.
        let socket = tokio::net::TcpStream::from_std(OwnedFd::from(socket).into())?;
        let task = self.tasks.spawn(accept(Arc::clone(seat), alive.clone(), socket, tls));
        self.by.push((at, task));
        Ok(())
    }

    /// Accepts no more there.
    async fn end(&mut self, at: SocketAddr) {
        let Some(which) = self.by.iter().position(|(listens, _)| *listens == at) else { return };
        let (_, task) = self.by.remove(which);
        task.abort();
        // Its socket is closed when it has ended.
        while !task.is_finished() {
            self.tasks.join_next().await;
        }
    }

    async fn end_all(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Watches what nobody does yet: of each pool how long requests take, and each backend's health.
fn watch_all(seat: &Arc<Seat>, watching: &mut JoinSet<()>) {
    let live = seat.live();
    let mut nth = 0..;
    for pool in &live.pools {
        let books = || Arc::downgrade(&pool.books);
        if seat.index == 0 && pool.books.wants_weighing() {
            watching.spawn(health::weigh(books()));
        }
        for (backend, nth) in pool.backends.iter().zip(nth.by_ref()) {
            if nth % seat.proxy.threads == seat.index && backend.wants_watch() {
                watching.spawn(health::watch(books(), Arc::downgrade(backend), seat.index));
            }
        }
    }
}

/// Serves a connection in a task of its own, on this thread.
fn begin(seat: &Arc<Seat>, alive: &Sender<Infallible>, arrival: Arrival) {
    let Arrival { stream, peer, tls, lease } = arrival;
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
    let (seat, alive) = (Arc::clone(seat), alive.clone());
    tokio::spawn(async move {
        front::serve(seat, stream, peer, tls).await;
        drop(lease);
        drop(alive);
    });
}

/// Ready when the drain's time is over.
async fn over(drain: Option<tokio::time::Instant>) {
    match drain {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Takes connections, which are in no runtime yet: their thread may be another.
async fn accept(
    seat: Arc<Seat>,
    alive: Sender<Infallible>,
    listener: tokio::net::TcpStream,
    tls: bool,
) {
    let next = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (stream, peer) = acceptfrom_with(&listener, flags)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((TcpStream::from(stream), peer.ok_or(io::ErrorKind::AddrNotAvailable)?))
    };
    loop {
        match listener.async_io(Interest::READABLE, next).await {
            Ok((stream, peer)) => give(&seat, &alive, stream, peer, tls),
            // One connection that was gone again, or no descriptors: neither
            // is a reason to spin.
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

/// Gives a connection to the thread that has the fewest.
fn give(
    seat: &Arc<Seat>,
    alive: &Sender<Infallible>,
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: bool,
) {
    let Ok(lease) = seat.proxy.seats.try_acquire() else {
        seat.proxy.stats.refused_connection();
        // There is room for it; and if there is none, the client is over the limit.
        if !tls {
            let _ = stream.write(TOO_MANY);
        }
        return;
    };
    let to = lease.worker();
    if to.index == seat.index {
        begin(seat, alive, Arrival { stream, peer, tls, lease });
    } else {
        let errands = to.errands.clone();
        // A thread that is gone takes no more: the process ends.
        let _ = errands.send(Errand::Client(Arrival { stream, peer, tls, lease }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_fails_or_panics_ends_all() {
        let ends = |serve: fn() -> io::Result<()>| {
            let control = Control::new();
            let others = Others(Some(control.clone()));
            // What it comes to is asked of the control.
            let _ = std::thread::spawn(move || others.unless_all_is_well(serve())).join();
            control.is_draining()
        };
        assert!(!ends(|| Ok(())));
        assert!(ends(|| Err(io::ErrorKind::Other.into())));
        assert!(ends(|| panic!("as a thread might")));
    }
}
