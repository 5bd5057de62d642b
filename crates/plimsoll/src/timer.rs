//! One thread for all that is due, started when something is.
//!
//! Deadlines, ramps, penalties and the back-off of rebuilds of every pool and
//! balancer of the process share it. It ends when nothing is due any more.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// Something with deadlines.
pub(crate) trait Timed: Send + Sync {
    /// Called at or after a moment given to [`schedule`], on the timer thread.
    fn handle_timeout(&self);
}

struct Entry {
    at: Instant,
    /// Makes the order of entries total.
    number: u64,
    timed: Weak<dyn Timed>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Timer {
    entries: BinaryHeap<Reverse<Entry>>,
    numbered: u64,
    running: bool,
}

static TIMER: Mutex<Timer> =
    Mutex::new(Timer { entries: BinaryHeap::new(), numbered: 0, running: false });
static EARLIER: Condvar = Condvar::new();

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

fn lock() -> MutexGuard<'static, Timer> {
    TIMER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `whom` called at `at`, if it still exists then.
///
/// # Panics
///
/// When the system refuses to start a thread.
pub(crate) fn schedule(at: Instant, whom: Weak<dyn Timed>) {
    // A thread of its own is outside of what a model checker runs: time stands
    // still there.
    if cfg!(any(loom, shuttle)) {
        return;
    }
    let mut timer = lock();
    let number = timer.numbered;
    timer.numbered += 1;
    timer.entries.push(Reverse(Entry { at, number, timed: whom }));
    if timer.running {
        drop(timer);
        EARLIER.notify_one();
    } else {
        timer.running = true;
        drop(timer);
        let thread = std::thread::Builder::new().name("plimsoll-timer".into());
        thread.spawn(run).expect("the system starts the timer thread");
    }
}

/// Whether this is the timer thread, which must not wait for anything else.
pub(crate) fn is_here() -> bool {
    HERE.get()
}

fn run() {
    HERE.set(true);
    let mut timer = lock();
    while let Some(Reverse(next)) = timer.entries.peek() {
        let now = Instant::now();
        if next.at > now {
            let left = next.at - now;
            timer = EARLIER.wait_timeout(timer, left).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let due = timer.entries.pop();
        drop(timer);
        if let Some(timed) = due.and_then(|Reverse(entry)| entry.timed.upgrade()) {
            // What it drops and wakes is other people's: their panics must not
            // cost everybody the timer.
            let _ = catch_unwind(AssertUnwindSafe(move || timed.handle_timeout()));
        }
        timer = lock();
    }
    timer.running = false;
}
