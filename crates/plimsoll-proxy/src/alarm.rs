//! A timer for limits that are seldom reached.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::coop::has_budget_remaining;
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
            // With its turn over, a task is put off to the next one, and the timer
            // not told whom to wake.
            let has_turn = has_budget_remaining();
            let is_pending = !timer.is_elapsed() && timer.as_mut().poll(cx).is_pending();
            if is_pending && has_turn {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            if is_pending {
                return Poll::Pending;
            }
            timer.as_mut().reset(due.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::task::coop::poll_proceed;

    use super::*;

    #[test]
    fn it_rings_though_it_was_set_when_a_turn_was_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut alarm = Alarm::default();
        let due = Instant::now() + Duration::from_millis(20);
        let mut first = true;
        let rings = poll_fn(|cx| {
            while first && let Poll::Ready(turn) = poll_proceed(cx) {
                turn.made_progress();
            }
            first = false;
            alarm.poll(cx, due)
        });
        let limit = Duration::from_secs(5);
        runtime.block_on(async { tokio::time::timeout(limit, rings).await }).unwrap();
        assert!(Instant::now() >= due);
    }
}
