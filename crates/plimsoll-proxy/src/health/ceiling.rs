//! How many backends may be out at a time for what requests say of them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The ejected ones, counted as they go and come.
pub(crate) struct Ceiling {
    out: AtomicUsize,
    most: AtomicUsize,
}

impl Ceiling {
    /// At most this share of so many.
    pub(crate) fn new(percent: u8, backends: usize) -> Self {
        let ceiling = Self { out: AtomicUsize::new(0), most: AtomicUsize::new(0) };
        ceiling.set(percent, backends);
        ceiling
    }

    /// Of other backends. Those that are out stay so.
    pub(crate) fn set(&self, percent: u8, backends: usize) {
        self.most.store(backends * usize::from(percent) / 100, Ordering::Relaxed);
    }

    /// Counts one more, if it may go.
    pub(super) fn take(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed);
        let more = |out| (out < most).then_some(out + 1);
        self.out.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// One that went has come back.
    pub(super) fn give_back(&self) {
        self.out.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_go_than_may_also_at_once() {
        let ceiling = Ceiling::new(50, 7);
        let go = || (0..7).filter(|_| ceiling.take()).count();
        let gone: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(go)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(gone, 3);
        ceiling.give_back();
        assert!(ceiling.take() && !ceiling.take());
        assert!(!Ceiling::new(0, 7).take());
    }
}
