//! Who asks when for how much: drawn from the seed alone, so that every policy
//! can be given the same requests at the same moments.
//!
//! Each requester is an open-loop source: it sends when its next moment has
//! come, answered or not. One that held its next request back until the last
//! was answered would ask less the longer it waits, and so hide the waiting
//! (coordinated omission).

use std::time::Duration;

use fastrand::Rng;

/// One request in this many is long, and this many times as long as the others.
const TAIL: u32 = 20;

/// The service time of the average request, in seconds.
const MEAN_SERVICE: f64 = 0.006;

/// With many workers requests become longer instead of more: requests a second
/// that a small machine sends without being late.
const MOST_PER_SECOND: f64 = 4000.0;

/// What all requesters together ask for.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    seed: u64,
    requesters: u32,
    /// Between two requests of one requester, on average, in seconds.
    gap: f64,
    /// The service time of the average short request, in seconds.
    short: f64,
}

/// One request to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When it is to be sent, from the start of the run.
    pub(crate) at: Duration,
    /// How long a worker is busy with it.
    pub(crate) service: Duration,
}

/// One requester's requests, without end.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    rng: Rng,
    at: Duration,
    gap: f64,
    short: f64,
}

impl Workload {
    /// Requests that keep `busy` workers busy on average.
    pub(crate) fn new(seed: u64, requesters: u32, busy: f64) -> Self {
        let service = MEAN_SERVICE.max(busy / MOST_PER_SECOND);
        let tail = f64::from(TAIL);
        // The mean of `tail - 1` short ones and one `tail` times as long.
        let short = service * tail / (tail - 1.0 + tail);
        Self { seed, requesters, gap: service * f64::from(requesters) / busy, short }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn requesters(&self) -> u32 {
        self.requesters
    }

    /// A stream for each requester.
    pub(crate) fn streams(&self) -> impl Iterator<Item = Stream> {
        let mut seeds = Rng::with_seed(self.seed);
        let (gap, short) = (self.gap, self.short);
        (0..self.requesters).map(move |_| {
            let rng = Rng::with_seed(seeds.u64(..));
            Stream { rng, at: Duration::ZERO, gap, short }
        })
    }
}

impl Iterator for Stream {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        // Exponential gaps: the requests of all together are a Poisson process.
        let gap = -(1.0 - self.rng.f64()).ln() * self.gap;
        self.at += Duration::from_secs_f64(gap);
        let longer = if self.rng.u32(..TAIL) == 0 { f64::from(TAIL) } else { 1.0 };
        let service = self.short * longer * (0.5 + self.rng.f64());
        Some(Arrival { at: self.at, service: Duration::from_secs_f64(service) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8 workers at 85 %.
    const BUSY: f64 = 6.8;

    fn first(seed: u64, requests: usize) -> Vec<Vec<Arrival>> {
        let workload = Workload::new(seed, 100, BUSY);
        workload.streams().map(|stream| stream.take(requests).collect()).collect()
    }

    #[test]
    fn the_same_seed_is_the_same_work() {
        assert_eq!(first(7, 50), first(7, 50));
        assert_ne!(first(7, 50), first(8, 50));
    }

    #[test]
    fn requesters_differ() {
        let streams = first(7, 50);
        assert_ne!(streams[0], streams[1]);
        assert!(streams.iter().all(|stream| stream.is_sorted_by_key(|arrival| arrival.at)));
    }

    /// The work asked for in a time is what keeps that many workers busy.
    #[test]
    fn load_is_as_asked() {
        for busy in [0.5, BUSY, 500.0] {
            let workload = Workload::new(1, 100, busy);
            let (mut asked, mut span) = (0.0, 0.0);
            for stream in workload.streams() {
                let arrivals: Vec<Arrival> = stream.take(2000).collect();
                asked += arrivals.iter().map(|arrival| arrival.service.as_secs_f64()).sum::<f64>();
                span += arrivals.last().unwrap().at.as_secs_f64();
            }
            let measured = asked / (span / 100.0);
            assert!((measured / busy - 1.0).abs() < 0.03, "{measured} for {busy}");
        }
    }

    #[test]
    fn most_are_short_and_few_are_long() {
        let services: Vec<Duration> =
            first(3, 1000).into_iter().flatten().map(|arrival| arrival.service).collect();
        let long = services.iter().filter(|&&service| service > Duration::from_millis(10)).count();
        let part = f64::from(u32::try_from(long).unwrap()) / 100_000.0;
        assert!((part - 0.05).abs() < 0.005, "{part}");
        assert!(services.iter().max().unwrap() > &Duration::from_millis(80));
    }

    #[test]
    fn many_workers_get_longer_requests_not_more() {
        let gap = |busy| Workload::new(1, 100, busy).gap;
        assert!((gap(1000.0) - gap(500.0)).abs() < 1e-12);
        assert!((100.0 / gap(1000.0) - MOST_PER_SECOND).abs() < 1e-6);
    }
}
