//! A thread per core, each with a runtime of its own, and the connections
//! that come to them.
//!
//! Whichever thread accepts a connection gives it to the one that has the
//! fewest: threads are workers of a balancer, too, and connections its leases.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::WorkerSpec;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::front;
use crate::health;
use crate::proxy::{Arrival, Proxy, Seat, SeatWorker};
use crate::shutdown::Phase;

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
            proxy.seats.add(SeatWorker { arrivals: sender }, WorkerSpec::new(share));
        }
        arrivals.push(receiver);
    }
    let closed = Arc::new(Barrier::new(arrivals.len()));
    let mut started = Vec::new();
    for (index, arrivals) in arrivals.into_iter().enumerate() {
        let listeners: Vec<_> =
            listeners.iter().map(TcpListener::try_clone).collect::<Result<_, _>>()?;
        let seat = Arc::new(Seat { proxy: Arc::clone(proxy), index });
        let closed = Arc::clone(&closed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(format!("serve-{index}"));
        started.push(
            thread.spawn(move || runtime.block_on(serve(seat, listeners, arrivals, closed)))?,
        );
    }
    // What is left of them is the threads': they close the ports when they drain.
    drop(listeners);
    for thread in started {
        thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    Ok(())
}

async fn serve(
    seat: Arc<Seat>,
    listeners: Vec<TcpListener>,
    mut arrivals: UnboundedReceiver<Arrival>,
    closed: Arc<Barrier>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    let mut accepting = JoinSet::new();
    let mut watching = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accepting.spawn(accept(Arc::clone(&seat), listener));
    }
    if seat.index == 0 {
        watching.spawn(health::weigh(Arc::clone(&seat.proxy)));
    }
    for (nth, (_, backend)) in seat.proxy.backends.iter().enumerate() {
        if nth % seat.proxy.config.threads == seat.index {
            let (proxy, backend) = (Arc::clone(&seat.proxy), Arc::clone(backend));
            watching.spawn(health::watch(proxy, backend, seat.index));
        }
    }
    let phase = seat.proxy.shutdown.watch();
    let mut draining = None;
    // Until then another thread may give this one a connection.
    let mut closed_everywhere = false;
    let mut closing = pin!(closed.wait());
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            Some(arrival) = arrivals.recv() => {
                let Arrival { stream, peer, lease } = arrival;
                let Ok(stream) = TcpStream::from_std(stream) else { continue };
                let seat = Arc::clone(&seat);
                connections.spawn(async move {
                    front::serve(seat, stream, peer).await;
                    drop(lease);
                });
            }
            Some(_) = connections.join_next() => {}
            _ = sweep.tick() => {
                let oldest = Instant::now().checked_sub(seat.proxy.config.times.backend_idle);
                for (_, backend) in &seat.proxy.backends {
                    if let Some(oldest) = oldest {
                        backend.sweep(seat.index, oldest);
                    }
                }
            }
            () = phase.reached(Phase::Draining), if draining.is_none() => {
                draining = Some(tokio::time::Instant::now() + seat.proxy.config.times.drain);
                accepting.shutdown().await;
            }
            _ = &mut closing, if draining.is_some() && !closed_everywhere => {
                closed_everywhere = true;
            }
            () = phase.reached(Phase::Stopped), if draining.is_some() => break,
            () = over(draining) => break,
        }
        if closed_everywhere && connections.is_empty() && arrivals.is_empty() {
            break;
        }
    }
    connections.shutdown().await;
    Ok(())
}

/// Ready when the drain's time is over.
async fn over(drain: Option<tokio::time::Instant>) {
    match drain {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

async fn accept(seat: Arc<Seat>, listener: tokio::net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => give(&seat, stream, peer).await,
            // One connection that was gone again, or no descriptors: neither
            // is a reason to spin.
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

/// Gives a connection to the thread that has the fewest.
async fn give(seat: &Seat, mut stream: TcpStream, peer: SocketAddr) {
    let Ok(lease) = seat.proxy.seats.try_acquire() else {
        seat.proxy.stats.refused_connection();
        // Best effort: the client is over the limit.
        let _ = tokio::time::timeout(ACCEPT_REST, stream.write_all(TOO_MANY)).await;
        return;
    };
    if let Ok(stream) = stream.into_std() {
        let to = lease.worker().arrivals.clone();
        // A thread that is gone takes no more: the process ends.
        let _ = to.send(Arrival { stream, peer, lease });
    }
}
