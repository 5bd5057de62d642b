//! A timer for limits that are seldom reached.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::time::Sleep;

/// Rings at the moment that it was last asked for. It is set again only when it
/// has run out: a limit that moves on with every request, or every byte, then
/// costs a look and no work of the runtime's.
#[derive(Default)]
pub(crate) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer will wake.
    waker: Option<Waker>,
}

impl Alarm {
    /// Ready when it is `due`, or later.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let Self { timer, waker } = self;
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        let told = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if told && timer.deadline() <= due.into() && !timer.is_elapsed() {
            return Poll::Pending;
        }
        *waker = None;
        loop {
            // Never later than it should be: a limit may be shorter than the last.
            if timer.deadline() > due.into() {
                timer.as_mut().reset(due.into());
            }
            // Asked only when it has not run out: it may be put off by the runtime,
            // time and again, where much else is done in one turn.
            if !timer.is_elapsed() && timer.as_mut().poll(cx).is_pending() {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due.into());
        }
    }
}
