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

/// What a run came to, warm-up left out where it is not said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether its warm-up is over: of a run that was stopped in it all is told.
    pub is_warm: bool,
    /// Why it did not go on to its end, where it gave up.
    pub gave_up: Option<String>,
    /// Its parts, in order, of as many requests that ended; a part that is not full only where
    /// there is no other. Empty when none was answered.
    pub batches: Vec<Batch>,
    /// The mean response time of all that were answered, in seconds.
    pub mean: f64,
    /// Their mean time until a worker began.
    pub waiting: f64,
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
    /// The most requests that were in one balancer's line, also in the warm-up.
    pub longest_line: u64,
    /// The most that a worker had pending, also in the warm-up.
    pub most_pending: u32,
    /// The load of the worker chosen minus the least load of those that its balancer could have
    /// chosen (workers that it knows, with room for the request), on average.
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

/// How many requests were answered, and their times, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: u64,
    response: u128,
    waiting: u128,
}

impl Sums {
    /// The mean response time and the mean wait, in seconds; 0 of none.
    fn means(self) -> (f64, f64) {
        let mean = |sum: u128| total_seconds(sum) / real(self.count.max(1));
        (mean(self.response), mean(self.waiting))
    }
}

/// Times as they come in.
#[derive(Debug)]
pub(crate) struct Times {
    /// Requests that end in a batch, whatever their end.
    size: u64,
    ended: u64,
    /// Of what is not yet a batch, and of all.
    part: Sums,
    whole: Sums,
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
            ended: 0,
            part: Sums::default(),
            whole: Sums::default(),
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
        self.part.count += 1;
        self.part.response += u128::from(response);
        self.part.waiting += u128::from(waiting);
        self.longest = self.longest.max(response);
        self.histogram.saturating_record(response);
    }

    /// A request has ended, and was noted if it was answered. A batch in which none was
    /// answered goes on until one is.
    #[inline]
    pub(crate) fn ended(&mut self) {
        self.ended += 1;
        if self.ended >= self.size && self.part.count > 0 {
            self.end_batch();
        }
    }

    fn end_batch(&mut self) {
        self.batches.push(self.batch());
        self.whole = self.sums();
        self.all.add(&self.histogram).expect("both have the same bounds");
        self.histogram.reset();
        (self.ended, self.part) = (0, Sums::default());
    }

    /// What is not yet a batch, as one.
    fn batch(&self) -> Batch {
        let (mean, waiting) = self.part.means();
        let quantiles = QUANTILES.map(|q| seconds(self.histogram.value_at_quantile(q)));
        Batch { mean, waiting, quantiles }
    }

    fn sums(&self) -> Sums {
        Sums {
            count: self.whole.count + self.part.count,
            response: self.whole.response + self.part.response,
            waiting: self.whole.waiting + self.part.waiting,
        }
    }

    /// The full batches, or what there is where there is none.
    pub(crate) fn batches(&self) -> Vec<Batch> {
        if self.batches.is_empty() && self.part.count > 0 {
            return vec![self.batch()];
        }
        self.batches.clone()
    }

    /// The mean response time and the mean wait of all that was noted, in seconds.
    pub(crate) fn means(&self) -> (f64, f64) {
        self.sums().means()
    }

    /// Forgets all: the warm-up is over.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.size);
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
            times.ended();
        }
        let sum = 2.0 * 500.5 + 0.5 * 250.5;
        assert!((times.means().0 - sum / 2500.0).abs() < 1e-9, "all that was noted");
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

    /// Of four requests one is answered.
    #[test]
    fn batches_are_of_requests_that_ended_however() {
        let mut times = Times::new(8);
        assert!(times.batches().is_empty());
        for nth in 1..=20_u64 {
            if nth % 4 == 0 {
                times.note(nth, 0);
            }
            times.ended();
            assert!(times.batches().len() as u64 == (nth / 8).max(u64::from(nth >= 4)), "{nth}");
        }
        let first = times.batches()[0].mean;
        assert!((first - seconds(6)).abs() < 1e-15, "what was not full has become so");
        assert_eq!(times.all().len(), 5);
    }
}
