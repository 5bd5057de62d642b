//! What a run measures: times in batches, counts, pending over time.

use hdrhistogram::Histogram;

use crate::units::{real, seconds};

/// The quantiles that are told.
pub(crate) const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// One part of a run: times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch {
    /// The mean response time, from arrival to answer.
    pub mean: f64,
    /// The mean time until a worker began.
    pub waiting: f64,
    /// The 0.5, 0.9, 0.99 and 0.999 quantiles of the response time.
    pub quantiles: [f64; 4],
}

/// The system at one moment of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When, in seconds.
    pub at: f64,
    /// Requests at workers.
    pub pending: u32,
    /// Requests in lines.
    pub waiting: u32,
}

/// What a run came to, warm-up left out.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its parts, in order.
    pub batches: Vec<Batch>,
    /// All response times, in nanoseconds, within a thousandth.
    pub responses: Histogram<u64>,
    /// The longest response time, in seconds.
    pub max: f64,
    /// The busiest worker's work over the mean.
    pub imbalance: f64,
    /// The standard deviation of the workers' work over its mean.
    pub variation: f64,
    /// Work done a second, over what all workers can do.
    pub utilisation: f64,
    /// Requests answered a second.
    pub throughput: f64,
    /// Requests at workers and in lines, on average.
    pub in_system: f64,
    /// The most requests that were in one balancer's line.
    pub longest_line: u64,
    /// The most that a worker had pending.
    pub most_pending: u32,
    /// The load chosen minus the least load of all workers, on average.
    pub regret: f64,
    /// Requests answered, also in the warm-up; the next two, too.
    pub answered: u64,
    /// Requests that failed at a worker.
    pub failed: u64,
    /// Requests refused.
    pub refused: u64,
    /// Arrivals and ends at workers.
    pub events: u64,
    /// Pending over time, where it was asked for.
    pub samples: Vec<Sample>,
}

/// Times as they come in.
#[derive(Debug)]
pub(crate) struct Times {
    /// Requests in a batch.
    size: u64,
    count: u64,
    response: u128,
    waiting: u128,
    histogram: Histogram<u64>,
    all: Histogram<u64>,
    longest: u64,
    batches: Vec<Batch>,
}

impl Times {
    pub(crate) fn new(size: u64) -> Self {
        // From a nanosecond to a century: none has to grow.
        let histogram = || Histogram::new_with_bounds(1, 1 << 62, 3).expect("these are bounds");
        Self {
            size,
            count: 0,
            response: 0,
            waiting: 0,
            histogram: histogram(),
            all: histogram(),
            longest: 0,
            batches: Vec::new(),
        }
    }

    /// Notes a request: nanoseconds from its arrival to its answer, and until a
    /// worker began it.
    #[inline]
    pub(crate) fn note(&mut self, response: u64, waiting: u64) {
        self.count += 1;
        self.response += u128::from(response);
        self.waiting += u128::from(waiting);
        self.longest = self.longest.max(response);
        self.histogram.saturating_record(response);
        if self.count == self.size {
            self.end_batch();
        }
    }

    fn end_batch(&mut self) {
        let mean = |sum: u128| total_seconds(sum) / real(self.count);
        self.batches.push(Batch {
            mean: mean(self.response),
            waiting: mean(self.waiting),
            quantiles: QUANTILES.map(|q| seconds(self.histogram.value_at_quantile(q))),
        });
        self.all.add(&self.histogram).expect("both have the same bounds");
        self.histogram.reset();
        (self.count, self.response, self.waiting) = (0, 0, 0);
    }

    pub(crate) fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// All that was noted, what is not yet a batch included.
    pub(crate) fn all(&self) -> Histogram<u64> {
        let mut all = self.all.clone();
        all.add(&self.histogram).expect("both have the same bounds");
        all
    }

    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }
}

/// A sum of nanoseconds, in seconds.
#[expect(clippy::cast_precision_loss, reason = "for measuring: 53 bits are enough")]
pub(crate) fn total_seconds(nanos: u128) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_their_means_and_quantiles() {
        let mut times = Times::new(1000);
        for nth in 0..2500_u64 {
            times.note((nth % 1000 + 1) * 1_000_000, 5_000_000);
        }
        assert_eq!(times.batches().len(), 2);
        for batch in times.batches() {
            assert!((batch.mean - 0.5005).abs() < 1e-9);
            assert!((batch.waiting - 0.005).abs() < 1e-12);
            for (told, expected) in batch.quantiles.iter().zip([0.5, 0.9, 0.99, 0.999]) {
                assert!((told / expected - 1.0).abs() < 0.002, "{told} for {expected}");
            }
        }
        assert_eq!((times.all().len(), times.longest()), (2500, 1_000_000_000));
    }
}
