//! Load that does not wait for answers: each request is sent when it is due,
//! on a connection that has none, or else a new one. What counts is the time
//! from when it was due, so that neither a slow proxy nor a late generator
//! hides anything.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::{Client, target};
use crate::trace::Arrival;
use plimsoll_bench::precise::until;

/// From the call to the first request.
const LEAD: Duration = Duration::from_millis(50);

/// How a request ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Status(u16),
    /// The client had no more patience and closed its connection.
    GaveUp,
    /// The connection could not be made or broke.
    Broke,
}

/// What a client knows of its request; the place in the list is its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) due: Instant,
    /// When it began to be written; when it was due if there was no connection.
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    pub(crate) ending: Ending,
}

impl Outcome {
    pub(crate) fn served(&self) -> bool {
        self.ending == Ending::Status(200)
    }

    pub(crate) fn latency(&self) -> Duration {
        self.ended - self.due
    }

    pub(crate) fn late(&self) -> Duration {
        self.sent - self.due
    }
}

/// Sends a trace from addresses of this machine's by turns; clients give up
/// `patience` after a request was due. Returns when the run began, and how each
/// request ended; an answer that is another request's is an error.
pub(crate) fn run(
    from: &[IpAddr],
    to: SocketAddr,
    trace: &[Arrival],
    patience: Duration,
) -> io::Result<(Instant, Vec<Outcome>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let idle: Vec<_> = from.iter().map(|&from| (from, Idle::default())).collect();
        let begin = Instant::now() + LEAD;
        let mut asked = Vec::with_capacity(trace.len());
        for ((id, arrival), (from, idle)) in (0..).zip(trace).zip(idle.iter().cycle()) {
            let due = begin + arrival.at;
            until(due).await;
            let gives_up = due + patience;
            let (from, idle, target) = (*from, idle.clone(), target(id, arrival.service));
            asked.push(tokio::spawn(async move {
                let mut sent = due;
                let asking = ask(&idle, from, to, &target, &mut sent);
                let ending = tokio::time::timeout_at(gives_up.into(), asking).await;
                let ended = Instant::now();
                let ending = match ending {
                    Err(_) => Ending::GaveUp,
                    Ok(Err(_)) => Ending::Broke,
                    Ok(Ok((status, body))) => {
                        let own = status != 200 || body == id.to_string().as_bytes();
                        assert!(own, "the answer is another request's");
                        Ending::Status(status)
                    }
                };
                Outcome { due, sent, ended, ending }
            }));
        }
        let mut outcomes = Vec::with_capacity(asked.len());
        for asked in asked {
            outcomes.push(asked.await.map_err(io::Error::other)?);
        }
        Ok((begin, outcomes))
    })
}

/// Connections of one address without a request; the most recently used last.
#[derive(Clone, Default)]
struct Idle(Arc<Mutex<Vec<Client>>>);

impl Idle {
    fn take(&self) -> Option<Client> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(client) = idle.pop() {
            if client.is_sound() {
                return Some(client);
            }
        }
        None
    }

    fn keep(&self, client: Client) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    }
}

/// Dropped before it is ready, it closes its connection.
async fn ask(
    idle: &Idle,
    from: IpAddr,
    to: SocketAddr,
    target: &str,
    sent: &mut Instant,
) -> io::Result<(u16, Vec<u8>)> {
    let mut client = match idle.take() {
        Some(client) => client,
        None => Client::connect(from, to).await?,
    };
    *sent = Instant::now();
    let reply = client.ask(target).await?;
    if reply.keep {
        idle.keep(client);
    }
    Ok((reply.status, reply.body))
}
