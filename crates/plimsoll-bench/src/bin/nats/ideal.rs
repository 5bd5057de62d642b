//! How long each request of a trace waits in one line before slots, with no time lost between.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_sim::{Arrivals, Config, Run, Service};

use crate::clock::nanos;
use crate::trace::Arrival;

/// The waits, whose mean is the simulator's: it tells the waits' mean, and no part of them.
///
/// # Panics
///
/// When the simulator sees it otherwise.
pub(crate) fn waits(trace: &[Arrival], slots: u32) -> Vec<Duration> {
    let mut free: BinaryHeap<Reverse<Duration>> =
        (0..slots).map(|_| Reverse(Duration::ZERO)).collect();
    let mut waits = Vec::with_capacity(trace.len());
    for arrival in trace {
        let Reverse(free_at) = free.pop().expect("there are slots");
        let begins = free_at.max(arrival.at);
        free.push(Reverse(begins + arrival.service));
        waits.push(begins.saturating_sub(arrival.at));
    }
    let mean = waits.iter().sum::<Duration>().as_secs_f64() / f64::from(count(trace));
    let simulated = simulated(trace, slots);
    assert!((mean - simulated).abs() < 1e-6 + mean / 1e4, "{mean} s, and simulated {simulated}");
    waits
}

fn count(trace: &[Arrival]) -> u32 {
    u32::try_from(trace.len()).expect("some hundred thousand")
}

/// The mean wait, by the simulator's central queue, in seconds.
fn simulated(trace: &[Arrival], slots: u32) -> f64 {
    let arrival =
        |it: &Arrival| plimsoll_sim::Arrival { at: nanos(it.at), service: nanos(it.service) };
    let requests: Arc<[plimsoll_sim::Arrival]> = trace.iter().map(arrival).collect();
    let config = Config {
        policy: "central-queue".parse().expect("it is a policy"),
        workers: slots,
        slots: NonZeroU32::MIN,
        arrivals: Arrivals::Trace(requests),
        service: Service::Exponential,
        warm_up: 0.0,
        batches: 1,
        most_present: u32::MAX,
        ..Config::default()
    };
    let mut run = Run::new(&config, 0).expect("the trace is sound");
    while !run.advance(1 << 20) {}
    run.outcome().batches[0].waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_before_two_slots() {
        let ms = Duration::from_millis;
        let arrival = |at, service| Arrival { at: ms(at), service: ms(service) };
        let trace = [arrival(1, 10), arrival(2, 2), arrival(3, 5), arrival(4, 1)];
        assert_eq!(waits(&trace, 2), [ms(0), ms(0), ms(1), ms(5)]);
    }
}
