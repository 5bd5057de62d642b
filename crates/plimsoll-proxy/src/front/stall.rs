//! Answers that a client does not take.
//!
//! On HTTP/1 the socket shows it: nothing can be written. On HTTP/2 the client
//! may take other streams' answers, or none, while a window stays shut.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Later than any moment.
const NOT_THE_CLIENT: u64 = u64::MAX;

/// When an answer was last asked for more, in ms since the connection began;
/// [`NOT_THE_CLIENT`] while it was, and there is none.
pub(crate) struct Progress {
    since: Instant,
    asked: AtomicU64,
}

impl Progress {
    /// It is asked for more.
    pub(crate) fn goes_on(&self) {
        self.asked.store(ms(self.since.elapsed()), Ordering::Relaxed);
    }

    /// It is asked for more than the backend has said: what passes from here on is
    /// not the client's time.
    pub(crate) fn waits_for_backend(&self) {
        self.asked.store(NOT_THE_CLIENT, Ordering::Relaxed);
    }
}

/// The answers under way on one connection.
pub(super) struct Answers {
    since: Instant,
    all: Mutex<Vec<Weak<Progress>>>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), all: Mutex::new(Vec::new()) }
    }

    pub(super) fn begin(&self) -> Arc<Progress> {
        let asked = AtomicU64::new(ms(self.since.elapsed()));
        let progress = Arc::new(Progress { since: self.since, asked });
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::downgrade(&progress));
        progress
    }

    /// Whether one has not been asked for more for this long; forgets those
    /// that are over.
    pub(super) fn stall(&self, limit: Duration) -> bool {
        let now = ms(self.since.elapsed());
        let limit = ms(limit);
        let mut stalled = false;
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|answer| match answer.upgrade() {
            None => false,
            Some(answer) => {
                let asked = answer.asked.load(Ordering::Relaxed);
                // It may have been asked since the clock was read.
                stalled |= now >= asked && now - asked >= limit;
                true
            }
        });
        stalled
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backends_silence_is_no_stall_of_the_clients() {
        let answers = Answers::new();
        let progress = answers.begin();
        assert!(answers.stall(Duration::ZERO));
        progress.waits_for_backend();
        assert!(!answers.stall(Duration::ZERO));
        progress.goes_on();
        assert!(answers.stall(Duration::ZERO));
        drop(progress);
        assert!(!answers.stall(Duration::ZERO), "it is over");
    }
}
