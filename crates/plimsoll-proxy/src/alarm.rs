//! A timer for limits that are seldom reached.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::coop::has_budget_remaining;
use tokio::time::Sleep;

/// What rings later than this has not been able to: the process was stopped, or the machine was
/// busy with others.
const LATE: Duration = Duration::from_millis(100);

/// How much longer it then waits. What the limit is for may have come long ago, and the runtime
/// has not heard of it: going on after a stop interrupts its wait for that.
const MOMENT: Duration = Duration::from_millis(20);

/// Rings at the moment that it was last asked for. It is set again only when it
/// has run out: a limit that moves on with every request, or every byte, then
/// costs a look and no work of the runtime's.
#[derive(Default)]
pub(crate) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer will wake.
    waker: Option<Waker>,
    /// For what it would have rung too late, and when it does instead.
    excused: Option<(Instant, Instant)>,
}

impl Alarm {
    /// Ready when it is `due`, or later.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let told_for = due;
        let due = match self.excused {
            Some((of, until)) if of == due => until,
            _ => due,
        };
        let Self { timer, waker, excused } = &mut *self;
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
            let now = Instant::now();
            if now >= due {
                if due == told_for && now - due > LATE {
                    *excused = Some((due, now + MOMENT));
                    return self.poll(cx, due);
                }
                return Poll::Ready(());
            }
            if is_pending {
                return Poll::Pending;
            }
            timer.as_mut().reset(due.into());
        }
    }
}

/// What becomes of a future until then, if it comes to an end.
pub(crate) async fn before<F: Future>(due: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut alarm = Alarm::default();
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => alarm.poll(cx, due).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_came_while_nothing_ran_comes_before_the_limit() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sender, came) = tokio::sync::oneshot::channel();
            let due = Instant::now() + Duration::from_millis(20);
            let limited = tokio::spawn(before(due, came));
            tokio::task::yield_now().await;
            // Nothing runs for a while, and what comes then is heard of in a moment.
            std::thread::sleep(Duration::from_millis(200));
            std::thread::spawn(|| sender.send(()));
            assert!(limited.await.unwrap().is_some_and(|came| came.is_ok()));
        });
    }

    #[test]
    fn what_does_not_come_is_not_waited_for_longer_than_a_moment() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let due = Instant::now() + Duration::from_millis(20);
            let limited = tokio::spawn(before(due, std::future::pending::<()>()));
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_millis(200));
            assert!(limited.await.unwrap().is_none());
        });
    }
}
