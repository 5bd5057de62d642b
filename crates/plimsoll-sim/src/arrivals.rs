//! When requests come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::streams::Stream;
use crate::units::{nanos, parted, within};

/// One request of a trace, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it came, from the start of the trace.
    pub at: u64,
    /// How long a worker of speed 1 needs for it.
    pub service: u64,
}

/// How requests come. Where it is not a trace or a closed loop, the rate
/// follows from the load.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// Independent of each other: a Poisson process.
    Poisson,
    /// A Poisson process whose rate alternates between two values, each held
    /// for an exponential time (a Markov-modulated Poisson process).
    Bursts {
        /// The rate in a burst, as a multiple of the rate between bursts.
        factor: f64,
        /// How long each of the two lasts on average, in seconds.
        length: f64,
    },
    /// So many requesters, each of which sends a request, waits for the
    /// answer, thinks for an exponential time and begins again.
    Closed {
        /// How many.
        requesters: u32,
        /// How long one thinks on average, in seconds.
        think: f64,
    },
    /// These, in order of time; then no more.
    Trace(Arc<[Arrival]>),
}

impl Arrivals {
    /// Whether requests can come so.
    pub(crate) fn check(&self) -> Result<(), String> {
        match *self {
            Self::Bursts { factor, length } => within("the factor of bursts", factor, 1e-6, 1e6)
                .and_then(|()| within("the length of bursts", length, 1e-6, 1e9)),
            Self::Closed { requesters: 0, .. } => Err("a loop of no requesters".into()),
            Self::Closed { think, .. } => within("the time to think", think, 1e-6, 1e9),
            Self::Trace(ref requests) if requests.is_empty() => {
                Err("the trace has no requests".into())
            }
            Self::Trace(ref requests) if !requests.is_sorted_by_key(|request| request.at) => {
                Err("the trace is not in order of time".into())
            }
            Self::Poisson | Self::Trace(_) => Ok(()),
        }
    }
}

/// Requests to come, drawn as time passes.
#[derive(Debug)]
pub(crate) struct Source {
    stream: Stream,
    /// When the next one comes; never is the last moment.
    next: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The gap in nanoseconds, and the part of a nanosecond that the clock has left out.
    Open {
        gap: f64,
        left_out: f64,
    },
    Bursts {
        gaps: [f64; 2],
        length: f64,
        in_burst: bool,
        until: f64,
        at: f64,
    },
    Closed {
        think: f64,
        thinking: BinaryHeap<Reverse<u64>>,
    },
    Trace {
        requests: Arc<[Arrival]>,
        number: usize,
    },
}

impl Source {
    /// `rate` is in requests a second, where the arrivals do not tell it.
    pub(crate) fn new(arrivals: &Arrivals, rate: f64, mut stream: Stream) -> Self {
        let kind = match *arrivals {
            Arrivals::Poisson => Kind::Open { gap: 1e9 / rate, left_out: 0.0 },
            Arrivals::Bursts { factor, length } => {
                let quiet = 2.0 * rate / (1.0 + factor);
                let gaps = [1.0 / quiet, 1.0 / (quiet * factor)];
                let until = stream.exponential() * length;
                Kind::Bursts { gaps, length, in_burst: false, until, at: 0.0 }
            }
            Arrivals::Closed { requesters, think } => {
                let first = (0..requesters).map(|_| Reverse(nanos(stream.exponential() * think)));
                Kind::Closed { think, thinking: first.collect() }
            }
            Arrivals::Trace(ref requests) => {
                Kind::Trace { requests: Arc::clone(requests), number: 0 }
            }
        };
        let mut source = Self { stream, next: 0, kind };
        source.next = source.after(0);
        source
    }

    #[inline]
    pub(crate) fn next_at(&self) -> u64 {
        self.next
    }

    /// Lets the next request come; tells its service time where a trace does.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u64> {
        let service = match &mut self.kind {
            Kind::Trace { requests, number } => {
                *number += 1;
                Some(requests[*number - 1].service)
            }
            Kind::Closed { thinking, .. } => {
                thinking.pop();
                None
            }
            _ => None,
        };
        self.next = self.after(self.next);
        service
    }

    /// A request was answered or refused: in a closed loop its requester thinks.
    #[inline]
    pub(crate) fn answered(&mut self, now: u64) {
        if let Kind::Closed { think, thinking } = &mut self.kind {
            let until = now.saturating_add(nanos(self.stream.exponential() * *think));
            thinking.push(Reverse(until));
            self.next = thinking.peek().map_or(u64::MAX, |&Reverse(at)| at);
        }
    }

    /// When the request after one that comes at `now` comes.
    #[inline]
    fn after(&mut self, now: u64) -> u64 {
        match &mut self.kind {
            Kind::Open { gap, left_out } => {
                // Gaps each rounded by themselves would be too short on average where they are
                // some nanoseconds.
                let (whole, part) = parted(self.stream.exponential() * *gap + *left_out);
                *left_out = part;
                now.saturating_add(whole)
            }
            Kind::Bursts { gaps, length, in_burst, until, at } => {
                // What is left of the gap passes at the pace of each phase.
                let mut left = self.stream.exponential();
                loop {
                    let gap = gaps[usize::from(*in_burst)];
                    let fits = (*until - *at) / gap;
                    if left < fits {
                        *at += left * gap;
                        return nanos(*at);
                    }
                    left -= fits;
                    *at = *until;
                    *in_burst = !*in_burst;
                    *until += self.stream.exponential() * *length;
                }
            }
            Kind::Closed { thinking, .. } => thinking.peek().map_or(u64::MAX, |&Reverse(at)| at),
            Kind::Trace { requests, number } => {
                requests.get(*number).map_or(u64::MAX, |request| request.at)
            }
        }
    }

    /// No more requests come.
    pub(crate) fn stop(&mut self) {
        self.kind = Kind::Trace { requests: Arc::new([]), number: 0 };
        self.next = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Purpose;
    use crate::units::{real, seconds};

    fn source(arrivals: &Arrivals, rate: f64) -> Source {
        Source::new(arrivals, rate, Stream::new(5, 0, Purpose::Arrivals))
    }

    /// Arrivals in each of `spans` equal spans of time.
    fn counts(mut source: Source, spans: usize, span: f64) -> Vec<f64> {
        let mut counts = vec![0_u64; spans];
        loop {
            let at = seconds(source.next_at()) / span;
            let Some(count) = (0..spans).find(|&nth| at < real(nth as u64 + 1)) else { break };
            counts[count] += 1;
            source.take();
        }
        counts.into_iter().map(real).collect()
    }

    fn mean_and_variance(counts: &[f64]) -> (f64, f64) {
        let n = real(counts.len() as u64);
        let mean = counts.iter().sum::<f64>() / n;
        (mean, counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (n - 1.0))
    }

    #[test]
    fn a_poisson_process_has_its_rate_and_as_much_variance() {
        let (mean, variance) =
            mean_and_variance(&counts(source(&Arrivals::Poisson, 50.0), 1000, 1.0));
        assert!((mean - 50.0).abs() < 1.0, "{mean}");
        assert!((variance / mean - 1.0).abs() < 0.2, "{variance}");
    }

    /// Gaps of a nanosecond on average, each rounded, would be 4 % too short.
    #[test]
    fn a_rate_holds_where_gaps_are_of_the_clocks_own_size() {
        for per_nanosecond in [0.3, 1.0, 5.0] {
            let mut source = source(&Arrivals::Poisson, per_nanosecond * 1e9);
            let count = 200_000;
            (0..count).for_each(|_| assert_eq!(source.take(), None));
            let rate = f64::from(count) / real(source.next_at());
            assert!((rate / per_nanosecond - 1.0).abs() < 0.01, "{rate}, not {per_nanosecond}");
        }
    }

    #[test]
    fn bursts_have_the_rate_and_more_variance() {
        let bursts = Arrivals::Bursts { factor: 4.0, length: 2.0 };
        let (mean, variance) = mean_and_variance(&counts(source(&bursts, 50.0), 2000, 2.0));
        assert!((mean - 100.0).abs() < 3.0, "{mean}");
        assert!(variance / mean > 5.0, "{variance}");
    }

    #[test]
    fn a_closed_loop_never_has_more_out_than_requesters() {
        let mut closed = source(&Arrivals::Closed { requesters: 3, think: 1.0 }, 0.0);
        let mut last = 0;
        for _ in 0..3 {
            last = closed.next_at();
            assert_eq!(closed.take(), None);
        }
        assert_eq!(closed.next_at(), u64::MAX);
        closed.answered(last);
        assert!(closed.next_at() >= last && closed.next_at() < u64::MAX);
    }

    #[test]
    fn a_trace_is_as_given() {
        let requests = [Arrival { at: 3, service: 7 }, Arrival { at: 5, service: 1 }];
        let mut trace = source(&Arrivals::Trace(requests.into()), 0.0);
        assert_eq!((trace.next_at(), trace.take()), (3, Some(7)));
        assert_eq!((trace.next_at(), trace.take()), (5, Some(1)));
        assert_eq!(trace.next_at(), u64::MAX);
    }
}
