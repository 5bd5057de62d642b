//! Sleeping to a tenth of a millisecond, by a thread of its own: tokio's timers
//! are exact to 1 ms, and late rather than early, which is much of a service
//! time of some milliseconds.

use std::collections::BTreeMap;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// The longest that the thread sleeps while there is nothing to wake for.
const NOTHING: Duration = Duration::from_secs(60);

/// Who sleeps, by when they are due; the number tells equals apart.
#[derive(Default)]
struct Sleepers {
    next: u64,
    due: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
}

#[derive(Default)]
struct Clock {
    sleepers: Mutex<Sleepers>,
    /// Told when there is a new first one.
    earlier: Condvar,
}

static CLOCK: LazyLock<&'static Clock> = LazyLock::new(|| {
    let clock: &'static Clock = Box::leak(Box::default());
    std::thread::spawn(|| {
        no_slack();
        clock.run();
    });
    clock
});

/// Lets this thread's sleeps end when they are due: the system else adds 50 µs, to wake many
/// at once.
pub fn no_slack() {
    // Without it sleeps are longer, and that is measured.
    let _ = rustix::thread::set_current_timer_slack(Some(std::num::NonZeroU64::MIN));
}

/// Returns when `due` has come; at once when it has passed.
pub async fn until(due: Instant) {
    if due <= Instant::now() {
        return;
    }
    let woken = CLOCK.add(due);
    // The thread never ends.
    let _ = woken.await;
}

impl Clock {
    fn add(&self, due: Instant) -> oneshot::Receiver<()> {
        let (sender, woken) = oneshot::channel();
        let mut sleepers = self.lock();
        let number = sleepers.next;
        sleepers.next += 1;
        let is_first = sleepers.due.keys().next().is_none_or(|&(first, _)| due < first);
        sleepers.due.insert((due, number), sender);
        drop(sleepers);
        if is_first {
            self.earlier.notify_one();
        }
        woken
    }

    fn run(&self) {
        let mut sleepers = self.lock();
        loop {
            let now = Instant::now();
            let later = sleepers.due.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut sleepers.due, later);
            if due.is_empty() {
                let first = sleepers.due.keys().next();
                let time = first.map_or(NOTHING, |&(first, _)| first - now);
                let waited = self.earlier.wait_timeout(sleepers, time);
                sleepers = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                drop(sleepers);
                for sender in due.into_values() {
                    // Who has gone need not be woken.
                    let _ = sender.send(());
                }
                sleepers = self.lock();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
