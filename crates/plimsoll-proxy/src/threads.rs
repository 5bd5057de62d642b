//! A thread per core, each with a runtime of its own, and the connections
//! that come to them.
//!
//! Whichever thread accepts a connection gives it to the one that has the
//! fewest: threads are workers of a balancer, too, and connections its leases.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use plimsoll::WorkerSpec;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::sync::Barrier;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, channel, unbounded_channel};
use tokio::task::JoinSet;

use crate::front;
use crate::health;
use crate::proxy::{Arrival, Proxy, Seat, SeatWorker};
use crate::shutdown::{Phase, Shutdown};

/// How often idle connections to backends are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// The rest after an accept that failed, as when there are no descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What a client beyond the limit on connections is told.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 34\r\n\r\n503 there are too many connections";

/// Serves until the shutdown is over.
pub(crate) fn run(proxy: &Arc<Proxy>, listeners: Vec<TcpListener>) -> io::Result<()> {
    let mut connections = proxy.config.limits.connections.get();
    let mut arrivals = Vec::new();
    for left in (1..=proxy.config.threads.get()).rev() {
        let (sender, receiver) = unbounded_channel();
        let share = connections.div_ceil(u32::try_from(left).unwrap_or(u32::MAX));
        connections -= share;
        // With fewer connections than threads, some have none.
        if let Some(share) = NonZeroU32::new(share) {
            proxy.seats.add(
                SeatWorker { index: arrivals.len(), arrivals: sender },
                WorkerSpec::new(share),
            );
        }
        arrivals.push(receiver);
    }
    let closed = Arc::new(Barrier::new(arrivals.len()));
    let mut started = Vec::new();
    let all = arrivals.len();
    for (index, arrivals) in arrivals.into_iter().enumerate() {
        let cannot = |error: io::Error| {
            let nth = index + 1;
            io::Error::other(format!("of {all} threads number {nth} cannot be started: {error}"))
        };
        let copies = listeners.iter().map(TcpListener::try_clone);
        let listeners: Vec<_> = copies.collect::<Result<_, _>>().map_err(cannot)?;
        let seat = Arc::new(Seat { proxy: Arc::clone(proxy), index, ends: AtomicBool::new(false) });
        let closed = Arc::clone(&closed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(cannot)?;
        let thread = std::thread::Builder::new().name(format!("serve-{index}"));
        let others = Others(Some(proxy.shutdown.clone()));
        let thread = thread.spawn(move || {
            let served = runtime.block_on(serve(seat, listeners, arrivals, closed));
            others.unless_all_is_well(served)
        });
        started.push(thread.map_err(cannot)?);
    }
    // What is left of them is the threads': they close the ports when they drain.
    drop(listeners);
    for thread in started {
        thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    Ok(())
}

/// The other threads: what ends one too early ends all. Without it its seat would
/// stay, with the fewest connections, and get every new one.
struct Others(Option<Shutdown>);

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
        if let Some(shutdown) = &self.0 {
            shutdown.stop();
        }
    }
}

async fn serve(
    seat: Arc<Seat>,
    listeners: Vec<TcpListener>,
    mut arrivals: UnboundedReceiver<Arrival>,
    closed: Arc<Barrier>,
) -> io::Result<()> {
    // Each connection has a copy, and who accepts them: those end when the drain
    // begins, and when all copies are gone, so are the connections.
    let (alive, mut gone) = channel(1);
    let mut accepting = JoinSet::new();
    let mut watching = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        // As a stream, of which the runtime tells when it can be read. Its listener
        // would take what it accepts into this runtime, and its way for descriptors
        // of all kinds is `unsafe`.
        let listener = tokio::net::TcpStream::from_std(OwnedFd::from(listener).into())?;
        accepting.spawn(accept(Arc::clone(&seat), alive.clone(), listener));
    }
    let mut nth = 0..;
    for pool in &seat.proxy.pools {
        if seat.index == 0 {
            watching.spawn(health::weigh(Arc::clone(pool)));
        }
        for (backend, nth) in pool.backends.iter().zip(nth.by_ref()) {
            if pool.config.health.active && nth % seat.proxy.config.threads.get() == seat.index {
                let (pool, backend) = (Arc::clone(pool), Arc::clone(backend));
                watching.spawn(health::watch(pool, backend, seat.index));
            }
        }
    }
    let phase = seat.proxy.shutdown.watch();
    let mut draining = None;
    // Until all threads have closed their ports, another may give this one a connection.
    let mut alive = Some(alive);
    let mut closing = pin!(closed.wait());
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            Some(arrival) = arrivals.recv() => {
                if let Some(alive) = &alive {
                    begin(&seat, alive, arrival);
                }
            }
            _ = sweep.tick() => {
                let now = Instant::now();
                for pool in &seat.proxy.pools {
                    if let Some(oldest) = now.checked_sub(pool.config.times.backend_idle) {
                        pool.backends.iter().for_each(|backend| backend.sweep(seat.index, oldest));
                    }
                }
            }
            () = phase.reached(Phase::Draining), if draining.is_none() => {
                draining = Some(tokio::time::Instant::now() + seat.proxy.config.times.drain);
                accepting.shutdown().await;
            }
            _ = &mut closing, if draining.is_some() && alive.is_some() => {
                if let Some(alive) = alive.take() {
                    while let Ok(arrival) = arrivals.try_recv() {
                        begin(&seat, &alive, arrival);
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

/// Serves a connection in a task of its own, on this thread.
fn begin(seat: &Arc<Seat>, alive: &Sender<Infallible>, arrival: Arrival) {
    let Arrival { stream, peer, lease } = arrival;
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
    let (seat, alive) = (Arc::clone(seat), alive.clone());
    tokio::spawn(async move {
        front::serve(seat, stream, peer).await;
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
async fn accept(seat: Arc<Seat>, alive: Sender<Infallible>, listener: tokio::net::TcpStream) {
    let next = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (stream, peer) = acceptfrom_with(&listener, flags)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((TcpStream::from(stream), peer.ok_or(io::ErrorKind::AddrNotAvailable)?))
    };
    loop {
        match listener.async_io(Interest::READABLE, next).await {
            Ok((stream, peer)) => give(&seat, &alive, stream, peer),
            // One connection that was gone again, or no descriptors: neither
            // is a reason to spin.
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

/// Gives a connection to the thread that has the fewest.
fn give(seat: &Arc<Seat>, alive: &Sender<Infallible>, mut stream: TcpStream, peer: SocketAddr) {
    let Ok(lease) = seat.proxy.seats.try_acquire() else {
        seat.proxy.stats.refused_connection();
        // There is room for it; and if there is none, the client is over the limit.
        let _ = stream.write(TOO_MANY);
        return;
    };
    let to = lease.worker();
    if to.index == seat.index {
        begin(seat, alive, Arrival { stream, peer, lease });
    } else {
        let arrivals = to.arrivals.clone();
        // A thread that is gone takes no more: the process ends.
        let _ = arrivals.send(Arrival { stream, peer, lease });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_fails_or_panics_ends_all() {
        let ends = |serve: fn() -> io::Result<()>| {
            let shutdown = Shutdown::new();
            let others = Others(Some(shutdown.clone()));
            // What it comes to is asked of the shutdown.
            let _ = std::thread::spawn(move || others.unless_all_is_well(serve())).join();
            shutdown.is_draining()
        };
        assert!(!ends(|| Ok(())));
        assert!(ends(|| Err(io::ErrorKind::Other.into())));
        assert!(ends(|| panic!("as a thread might")));
    }
}
