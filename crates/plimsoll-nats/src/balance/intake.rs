//! Messages as they come: all that is there at a time, reports first.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, Stream, StreamExt};

/// The most messages that are taken at a time: what they cause is sent in between.
const MOST: usize = 256;

/// A message.
#[derive(Debug)]
pub(super) enum Came {
    Request(Message),
    Report(Message),
}

/// See the module.
pub(super) struct Intake;

impl Intake {
    /// Waits for at least one; `false` when no more come.
    pub(super) async fn next(
        reports: &mut Subscriber,
        mut requests: Option<&mut Subscriber>,
        batch: &mut Vec<Came>,
    ) -> bool {
        poll_fn(|cx| {
            if !drain(reports, Came::Report, batch, cx) {
                return Poll::Ready(false);
            }
            if let Some(requests) = &mut requests {
                // It ends when it is given up, and another comes for it.
                let _ = drain(requests, Came::Request, batch, cx);
            }
            if batch.is_empty() { Poll::Pending } else { Poll::Ready(true) }
        })
        .await
    }

    /// What is there of a subscription that has ended.
    pub(super) fn rest(requests: &mut Subscriber) -> Vec<Message> {
        let mut rest = Vec::new();
        while let Some(Some(message)) = requests.next().now_or_never() {
            rest.push(message);
        }
        rest
    }
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
