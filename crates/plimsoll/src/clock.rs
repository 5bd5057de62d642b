//! The monotonic clock, as the core wants to be told of it.

use std::time::Instant;

use plimsoll_core::Time;

/// Turns instants into the core's moments and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        self.time(Instant::now())
    }

    /// Instants before the start are the start.
    pub(crate) fn time(&self, at: Instant) -> Time {
        Time::ZERO + at.saturating_duration_since(self.origin)
    }

    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.origin + std::time::Duration::from_nanos(at.as_nanos())
    }
}
