//! One clock for all processes of a run.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine began.
pub(crate) fn now() -> u64 {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic));
    nanos(now.expect("the clock is past its begin"))
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a run is shorter than centuries")
}
