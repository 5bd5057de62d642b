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
pub(super) struct Requests {
    subscriber: Subscriber,
    /// How many have come.
    count: u64,
    leaving: Leaving,
}

/// How a subscription ends. The client forgets one as soon as it has said so to the server, and
/// drops what is on its way still. So the server is told to end it after some more requests, of
/// which none is lost; and when they do not come, they are too few for one to be on its way.
enum Leaving {
    No,
    /// After [`SOME`] more, or then.
    Soon(Instant),
    /// It has been given up; what has come is still here.
    Now,
}

/// More than can be on their way at a time.
const SOME: u64 = 1024;

/// How long they may take to come.
const SOON: Duration = Duration::from_millis(250);

impl Requests {
    pub(super) fn new(subscriber: Subscriber) -> Self {
        Self { subscriber, count: 0, leaving: Leaving::No }
    }

    /// Begins to leave.
    pub(super) async fn leave(&mut self) -> Result<(), UnsubscribeError> {
        if matches!(self.leaving, Leaving::No) {
            self.leaving = Leaving::Soon(Instant::now() + SOON);
            self.subscriber.unsubscribe_after(self.count + SOME).await?;
        }
        Ok(())
    }

    /// When it is time to [`leave_now`](Self::leave_now).
    pub(super) fn due(&self) -> Option<Instant> {
        match self.leaving {
            Leaving::Soon(at) => Some(at),
            Leaving::No | Leaving::Now => None,
        }
    }

    /// Leaves without waiting for more, if it is leaving.
    pub(super) async fn leave_now(&mut self) -> Result<(), UnsubscribeError> {
        if self.due().is_some() {
            self.leaving = Leaving::Now;
            self.subscriber.drain().await?;
        }
        Ok(())
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
