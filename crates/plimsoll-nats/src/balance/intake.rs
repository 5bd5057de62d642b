//! Messages as they come: all that is there at a time, reports first.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Message, Subscriber, UnsubscribeError};
use futures_util::Stream;
use tokio::time::Instant;

/// The most messages that are taken at a time: what they cause is sent in between.
const MOST: usize = 256;

/// A message.
#[derive(Debug)]
pub(super) enum Came {
    Request(Message),
    Report(Message),
}

/// Requests, from when they are subscribed to until the last has come.
///
/// The client forgets a subscription as soon as it has said so to the server, and drops what is on
/// its way still. So the server is told to end it after some more requests, of which none is lost:
/// [`AHEAD`] times as many as came in the last [`PERIOD`], which is more than can be on their way.
/// When none come none is.
pub(super) struct Requests {
    subscriber: Subscriber,
    /// How many have come.
    count: u64,
    /// Whether that is all that the client has had, so far as was seen.
    is_all: bool,
    leaving: Option<Leaving>,
}

struct Leaving {
    /// What had come as the period began.
    since: u64,
    /// When it is over.
    until: Instant,
    /// How many are to come in all, where the server has been told.
    end: Option<u64>,
    has_left: bool,
}

/// Longer than what comes is on its way.
const PERIOD: Duration = Duration::from_millis(250);

/// They may come faster and faster meanwhile.
const AHEAD: u64 = 4;

impl Requests {
    pub(super) fn new(subscriber: Subscriber) -> Self {
        Self { subscriber, count: 0, is_all: true, leaving: None }
    }

    /// When [`leave`](Self::leave) has something to do again.
    pub(super) fn due(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().filter(|leaving| !leaving.has_left);
        leaving.map(|leaving| leaving.until)
    }

    /// Leaves, bit by bit: called again and again until the end has come.
    pub(super) async fn leave(&mut self, now: Instant) -> Result<(), UnsubscribeError> {
        let (count, until) = (self.count, now + PERIOD);
        let leaving =
            self.leaving.get_or_insert(Leaving { since: count, until, end: None, has_left: false });
        // What is here and not taken is not counted.
        if leaving.has_left || now < leaving.until || !self.is_all {
            return Ok(());
        }
        let came = count - leaving.since;
        (leaving.since, leaving.until) = (count, until);
        if came == 0 {
            leaving.has_left = true;
            return self.subscriber.drain().await;
        }
        // Sooner than was told, if they come more slowly now.
        let end = count + AHEAD * came;
        if leaving.end.is_none_or(|told| end < told) {
            leaving.end = Some(end);
            return self.subscriber.unsubscribe_after(end).await;
        }
        Ok(())
    }

    /// Stays, if it may still: else it is to be subscribed to again when the end has come.
    pub(super) fn stay(&mut self) {
        if self.leaving.as_ref().is_some_and(|leaving| leaving.end.is_none() && !leaving.has_left) {
            self.leaving = None;
        }
    }
}

/// Waits for at least one, or the end of requests, after which there are none; `false` when no
/// more reports come.
pub(super) async fn next(
    reports: &mut Subscriber,
    requests: &mut Option<Requests>,
    batch: &mut Vec<Came>,
) -> bool {
    poll_fn(|cx| {
        if !drain(reports, Came::Report, batch, cx) {
            return Poll::Ready(false);
        }
        let mut has_ended = false;
        if let Some(requests) = requests {
            let before = batch.len();
            has_ended = !drain(&mut requests.subscriber, Came::Request, batch, cx);
            requests.count += (batch.len() - before) as u64;
            requests.is_all = batch.len() < MOST;
        }
        if has_ended {
            *requests = None;
        }
        if batch.is_empty() && !has_ended { Poll::Pending } else { Poll::Ready(true) }
    })
    .await
}

/// `false` when no more come.
fn drain(
    from: &mut Subscriber,
    as_what: fn(Message) -> Came,
    batch: &mut Vec<Came>,
    cx: &mut Context<'_>,
) -> bool {
    while batch.len() < MOST {
        match Pin::new(&mut *from).poll_next(cx) {
            Poll::Ready(Some(message)) => batch.push(as_what(message)),
            Poll::Ready(None) => return false,
            Poll::Pending => return true,
        }
    }
    // There may be more: it is polled again before it would sleep.
    true
}
