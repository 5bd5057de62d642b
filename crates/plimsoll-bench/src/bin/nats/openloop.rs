//! Load that does not wait for answers: each request is sent when it is due. What counts is the
//! time from when it was due, so that a late generator hides nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use plimsoll_bench::precise::no_slack;

use crate::client::{self, Asker, Receiver};
use crate::clock::{nanos, now};
use crate::stream;
use crate::trace::Arrival;
use crate::worker::{Kind, PROBE};

/// From the call to the begin of the trace.
const LEAD: Duration = Duration::from_millis(50);
/// Between two probes.
const PROBES: Duration = Duration::from_millis(5);

/// What is known of a request; times are of the common clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Visit {
    pub(crate) due: u64,
    pub(crate) sent: u64,
    pub(crate) slot: usize,
    pub(crate) began: u64,
    pub(crate) ended: u64,
}

impl Visit {
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.began.saturating_sub(self.due))
    }

    pub(crate) fn late(&self) -> Duration {
        Duration::from_nanos(self.sent - self.due)
    }

    pub(crate) fn ran(&self) -> Duration {
        Duration::from_nanos(self.ended - self.began)
    }
}

/// Sends a trace. Tells what became of each request, and the round trips of probes meanwhile:
/// to the process of the workers and back, without a balancer.
pub(crate) fn run(
    port: u16,
    kind: Kind,
    subject: &str,
    trace: &[Arrival],
) -> io::Result<(Vec<Visit>, Vec<Duration>)> {
    let (mut sender, receiver) = client::connect(port)?;
    sender.subscribe("_INBOX.open.*")?;
    let mut prober = Asker::connect(port, "probe")?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| read(receiver, trace.len()));
        let prober = scope.spawn(|| {
            let mut trips = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let sent = Instant::now();
                prober.ask(PROBE, b"there and back")?;
                trips.push(sent.elapsed());
                thread::sleep(PROBES);
            }
            io::Result::Ok(trips)
        });
        no_slack();
        let begin = now() + nanos(LEAD);
        let mut times = Vec::with_capacity(trace.len());
        for (id, arrival) in trace.iter().enumerate() {
            let due = begin + nanos(arrival.at);
            while let Some(early) = due.checked_sub(now()).filter(|&early| early > 0) {
                thread::sleep(Duration::from_nanos(early));
            }
            let inbox = format!("_INBOX.open.{id}");
            let payload = format!("{id} {}", arrival.service.as_nanos());
            times.push((due, now()));
            match kind {
                Kind::JetStream => sender.publish(stream::SUBJECT, &inbox, payload.as_bytes()),
                _ => sender.request(subject, &inbox, payload.as_bytes()),
            }
            sender.flush()?;
        }
        is_over.store(true, Ordering::Relaxed);
        let mut visits = reader.join().expect("it does not panic")?;
        for (visit, (due, sent)) in visits.iter_mut().zip(times) {
            (visit.due, visit.sent) = (due, sent);
        }
        Ok((visits, prober.join().expect("it does not panic")?))
    })
}

/// Reads so many answers.
fn read(mut receiver: Receiver, count: usize) -> io::Result<Vec<Visit>> {
    let mut visits = vec![Visit::default(); count];
    for _ in 0..count {
        let message = receiver.next()?;
        let text = std::str::from_utf8(message.payload).unwrap_or_default();
        let numbers: Vec<u64> = text.split(' ').filter_map(|number| number.parse().ok()).collect();
        let &[id, slot, began, ended] = numbers.as_slice() else {
            return Err(io::Error::other("a request is refused"));
        };
        let [id, slot] = [id, slot].map(|number| usize::try_from(number).expect("it is small"));
        visits[id] = Visit { slot, began, ended, ..visits[id] };
    }
    Ok(visits)
}
