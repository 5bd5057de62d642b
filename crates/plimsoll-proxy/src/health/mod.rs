//! Health: checks of our own, what requests tell, and what follows.

mod ceiling;
mod check;
mod judge;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub(crate) use self::ceiling::Ceiling;
pub(crate) use self::judge::Judge;
use self::judge::Verdict;
use crate::config::{BackendConfig, HealthConfig};
use crate::pool::Books;
use crate::upstream::{Backend, Terms};
use plimsoll::{Health, Penalty, WorkerStats};
use plimsoll_admin::Order;

/// How many seconds are looked back on for a request's time.
const LATE: usize = 10;
/// How often the weight of a failure is set.
const WEIGHED: Duration = Duration::from_secs(1);
/// The bounds of a penalty's half-life.
const LEAST: Duration = Duration::from_millis(10);
const MOST: Duration = Duration::from_secs(10);

/// Notes how a request went that got its lease at `leased`.
pub(crate) fn served(
    books: &Arc<Books>,
    backend: &Arc<Backend>,
    good: bool,
    leased: Instant,
    now: Instant,
) {
    if !good && !backend.judge().settings().passive {
        return;
    }
    let may_eject = || books.ceiling.take();
    judge(books, backend, |judge| judge.served(good, may_eject, leased, now));
}

/// Tells the judge something, and does what it says. Its lock is held until
/// that is done: else another thread could do what it says next before. The
/// balancer, which has a lock of its own, calls nothing of this.
fn judge(
    books: &Arc<Books>,
    backend: &Arc<Backend>,
    tell: impl FnOnce(&mut Judge) -> Option<Verdict>,
) {
    let mut judge = backend.judge();
    if let Some(verdict) = tell(&mut judge) {
        carry_out(books, backend, judge.settings().slow_start, verdict);
    }
}

fn carry_out(books: &Arc<Books>, backend: &Arc<Backend>, slow_start: Duration, verdict: Verdict) {
    if backend.is_shared() {
        // A successor says what there is of it. What is counted here is still counted.
        return match verdict {
            Verdict::Ejected(until) => {
                drop(tokio::spawn(try_again(Arc::clone(books), Arc::clone(backend), until)));
            }
            Verdict::Trial => books.ceiling.give_back(),
            Verdict::Down | Verdict::Up => {}
        };
    }
    let balancer = &books.balancer;
    let id = backend.id();
    // All known until it is removed, and then nothing more is to be done.
    let _ = match verdict {
        Verdict::Down => balancer.set_health(id, Health::Down),
        Verdict::Ejected(until) => {
            backend.ejected.notify_waiters();
            tokio::spawn(try_again(Arc::clone(books), Arc::clone(backend), until));
            balancer.set_health(id, Health::Down)
        }
        Verdict::Trial => {
            let known = balancer
                .set_capacity(id, NonZeroU32::MIN)
                .and_then(|()| balancer.set_health(id, Health::Up));
            // Not before it is back: else another could go while it is still out.
            books.ceiling.give_back();
            known
        }
        Verdict::Up => balancer
            .set_capacity(id, backend.capacity())
            .and_then(|()| balancer.set_health(id, Health::Up))
            .and_then(|()| match slow_start {
                Duration::ZERO => Ok(()),
                over => balancer.start_ramp(id, over),
            }),
    };
}

/// Leaves a backend to a successor of this process's, or has all of it again. What is left gets
/// nothing new, but may be waited for.
pub(crate) fn share(books: &Books, backend: &Backend, is_shared: bool) {
    let (balancer, id) = (&books.balancer, backend.id());
    let judge = backend.judge();
    backend.set_shared(is_shared);
    // One that was removed gets nothing as it is, and is known no more.
    if is_shared {
        let _ = balancer.set_health(id, Health::Starting);
        let slow = |worker: &WorkerStats| worker.capacity_in_force < worker.capacity.get();
        if balancer.worker(id).as_ref().is_some_and(slow) {
            // A slow start would scale what is granted.
            let _ = balancer.start_ramp(id, Duration::ZERO);
        }
        return;
    }
    backend.set_most_open(backend.capacity().get());
    let capacity = if judge.is_on_trial() { NonZeroU32::MIN } else { backend.capacity() };
    let _ = balancer.set_capacity(id, capacity);
    let _ = balancer.set_draining(id, backend.drains());
    let health = match () {
        () if judge.is_out() => Health::Down,
        () if backend.is_promised() => Health::Starting,
        () => Health::Up,
    };
    let _ = balancer.set_health(id, health);
}

/// Ends an ejection.
async fn try_again(books: Arc<Books>, backend: Arc<Backend>, at: Instant) {
    tokio::time::sleep_until(at.into()).await;
    judge(&books, &backend, |judge| judge.tick(Instant::now()));
}

/// Has a failure weigh on its backend for about as long as a request takes, so
/// that one which fails fast looks as busy as those that answer. A request's
/// time is the median of late.
pub(crate) async fn weigh(books: Weak<Books>) {
    const STEP: Penalty = Penalty { step: 2, most: 1024, half_life: LEAST };
    let mut seconds = VecDeque::new();
    // Until the pool is gone.
    while let Some(books) = books.upgrade() {
        let snapshot = books.balancer.snapshot();
        let late =
            seconds.front().map_or_else(|| snapshot.run.clone(), |at| snapshot.run.since(at));
        seconds.push_back(snapshot.run);
        if seconds.len() > LATE {
            seconds.pop_front();
        }
        let median = late.quantile(0.5);
        if late.count() > 0 {
            let up = snapshot.workers.iter().filter(|worker| worker.health == Health::Up);
            let room: f64 = up.map(|worker| f64::from(worker.capacity_in_force)).sum();
            let a_second = room / median.as_secs_f64().max(1e-6);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
            books.pace.set_possible(a_second as u64);
        }
        // Two halve to one, and one to none.
        let half_life = (median / 2).clamp(LEAST, MOST);
        books.balancer.set_penalty(Penalty { half_life, ..STEP });
        if books.is_over() {
            return books.unweigh();
        }
        drop(books);
        tokio::time::sleep(WEIGHED).await;
    }
}

/// What was told of a backend has changed.
pub(crate) fn retune(
    books: &Arc<Books>,
    backend: &Arc<Backend>,
    told: &BackendConfig,
    health: &HealthConfig,
) {
    judge(books, backend, |judge| {
        backend.move_to(told);
        put_in_force(books, backend, judge, |terms| {
            terms.capacity.tell(told.capacity);
            terms.weight.tell(told.weight);
        });
        if !backend.is_shared() {
            // It may have been told no more in between.
            let _ = books.balancer.set_draining(backend.id(), backend.drains());
        }
        judge.set(health.clone())
    });
}

/// An operator wants something of a backend to be different.
pub(crate) fn steer(books: &Arc<Books>, backend: &Arc<Backend>, order: Order) {
    judge(books, backend, |judge| {
        put_in_force(books, backend, judge, |terms| match order {
            Order::Drain => terms.draining = true,
            Order::Resume => terms.draining = false,
            Order::Weight(weight) => terms.weight.steer(weight),
            Order::Capacity(capacity) => terms.capacity.steer(capacity),
        });
        None
    });
}

/// Changes what a backend may have, and tells the balancer.
fn put_in_force(books: &Books, backend: &Backend, judge: &Judge, change: impl FnOnce(&mut Terms)) {
    // A successor says what there is of it.
    if backend.is_shared() {
        return;
    }
    let (before, after) = backend.set_terms(change);
    let (balancer, id) = (&books.balancer, backend.id());
    // All known until it is removed, and then nothing more is to be done.
    if after.weight.in_force() != before.weight.in_force() {
        let _ = balancer.set_weight(id, after.weight.in_force());
    }
    let capacity = after.capacity.in_force();
    // On trial it has one place until that is over.
    if capacity != before.capacity.in_force() && !judge.is_on_trial() {
        let _ = balancer.set_capacity(id, capacity);
    }
    if after.draining != before.draining {
        let slow_start = judge.settings().slow_start;
        // It has idled, and may have been started anew: as one that comes back. First, so that the
        // line does not fill it at once.
        if !after.draining && judge.is_up() && slow_start > Duration::ZERO {
            let _ = balancer.start_ramp(id, slow_start);
        }
        let _ = balancer.set_draining(id, after.draining);
    }
}

/// Checks one backend until it is told of no more, or a successor uses it, or it is to be checked no
/// more.
pub(crate) async fn watch(books: Weak<Books>, backend: Weak<Backend>, thread: usize) {
    // Spread, so that not all are checked at once.
    let mut rest = fastrand::f64();
    loop {
        let interval = match backend.upgrade() {
            Some(backend) => backend.judge().settings().interval,
            None => return,
        };
        tokio::time::sleep(interval.mul_f64(rest)).await;
        let (Some(books), Some(backend)) = (books.upgrade(), backend.upgrade()) else { return };
        let settings = backend.judge().settings().clone();
        // A successor looks after it.
        if backend.is_retired() || !settings.active || backend.is_shared() {
            backend.unwatch();
            // It may have come back since it was looked at, and found to be watched.
            if backend.is_retired() || backend.is_shared() || !backend.wants_watch() {
                return;
            }
            rest = 1.0;
            continue;
        }
        let ejected = backend.ejected.notified();
        let mut ejected = std::pin::pin!(ejected);
        // From here on it is told.
        ejected.as_mut().enable();
        // One that is ejected is tried by a request, whose place a check would hold.
        if !backend.judge().awaits_request() {
            let checked = tokio::select! {
                checked = check::check(&books, &backend, &settings, thread) => checked,
                () = ejected => None,
            };
            if let Some(good) = checked {
                judge(&books, &backend, |judge| judge.checked(good));
            }
        }
        rest = 0.9 + 0.2 * fastrand::f64();
    }
}
