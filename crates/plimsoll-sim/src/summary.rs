//! Several runs of one configuration, with different numbers, as one.

use hdrhistogram::Histogram;

use crate::stats::QUANTILES;
use crate::units::{real, seconds};
use crate::{Batch, Outcome, Sample};

/// A figure, and how far the true one may be from it: with 95 % probability no
/// farther.
///
/// ```
/// use plimsoll_sim::Estimate;
///
/// let estimate = Estimate::of([1.0, 2.0, 3.0]);
/// assert_eq!(estimate.value, 2.0);
/// // Student's t for 2 degrees of freedom, over the root of 3.
/// assert!((estimate.half_width - 4.303 / 3.0_f64.sqrt()).abs() < 0.001);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Half of the interval; infinite where one sample says nothing of it.
    pub half_width: f64,
}

impl Estimate {
    /// The mean of independent samples; 0 of none.
    ///
    /// ```
    /// use plimsoll_sim::Estimate;
    ///
    /// assert_eq!(Estimate::of([7.0]).half_width, f64::INFINITY);
    /// ```
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let samples: Vec<f64> = samples.into_iter().collect();
        let count = real(samples.len() as u64);
        if samples.is_empty() {
            return Self { value: 0.0, half_width: f64::INFINITY };
        }
        let value = samples.iter().sum::<f64>() / count;
        let squares = samples.iter().map(|sample| (sample - value).powi(2)).sum::<f64>();
        let half_width = if samples.len() < 2 {
            f64::INFINITY
        } else {
            student(count - 1.0) * (squares / (count - 1.0) / count).sqrt()
        };
        Self { value, half_width }
    }
}

/// Student's t: the 0.975 quantile for this many degrees of freedom. Abramowitz
/// and Stegun, 1964, 26.7.5; below 3, where that is rough, the values themselves.
fn student(freedom: f64) -> f64 {
    if freedom < 1.5 {
        return 12.706;
    }
    if freedom < 2.5 {
        return 4.303;
    }
    let x = 1.959_964;
    let x2 = x * x;
    let terms = [
        (x2 + 1.0) / 4.0,
        ((5.0 * x2 + 16.0) * x2 + 3.0) / 96.0,
        (((3.0 * x2 + 19.0) * x2 + 17.0) * x2 - 15.0) / 384.0,
        ((((79.0 * x2 + 776.0) * x2 + 1482.0) * x2 - 1920.0) * x2 - 945.0) / 92_160.0,
    ];
    x * (1.0 + terms.iter().rev().fold(0.0, |sum, term| (sum + term) / freedom))
}

/// What runs of one configuration came to; times in seconds.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The mean response time.
    pub mean: Estimate,
    /// The 0.5, 0.9, 0.99 and 0.999 quantiles of the response time.
    pub quantiles: [Estimate; 4],
    /// The longest response time.
    pub max: f64,
    /// The mean time until a worker began.
    pub waiting: Estimate,
    /// The busiest worker's work over the mean, by run.
    pub imbalance: Estimate,
    /// The standard deviation of the workers' work over its mean, by run.
    pub variation: Estimate,
    /// The load chosen minus the least load, by run.
    pub regret: Estimate,
    /// Work done a second over what all workers can do, by run.
    pub utilisation: Estimate,
    /// Requests answered a second times the mean response time, over the
    /// requests in the system: 1, by Little's law.
    pub little: Estimate,
    /// How much longer response times were in the second half of what was
    /// measured than in the first, by run.
    pub rise: Estimate,
    /// The most requests that were in one balancer's line.
    pub longest_line: u64,
    /// The most that a worker had pending.
    pub most_pending: u32,
    /// Requests answered.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests refused.
    pub refused: u64,
    /// Arrivals and ends at workers.
    pub events: u64,
    /// All response times, in nanoseconds.
    pub responses: Histogram<u64>,
    /// Pending over time, of the first run.
    pub samples: Vec<Sample>,
}

impl Summary {
    /// Of runs with different numbers: their batches are taken together.
    ///
    /// # Panics
    ///
    /// When there are none.
    ///
    /// ```
    /// use plimsoll_sim::{Config, Run, Summary};
    ///
    /// let config = Config { jobs: 1000, ..Config::default() };
    /// let mut run = Run::new(&config, 0).unwrap();
    /// while !run.advance(1000) {}
    /// assert!(Summary::of(&[run.outcome()]).mean.value > 1.0);
    /// ```
    pub fn of(outcomes: &[Outcome]) -> Self {
        let first = outcomes.first().expect("a summary is of at least one run");
        let mut responses = first.responses.clone();
        for outcome in &outcomes[1..] {
            responses.add(&outcome.responses).expect("both have the same bounds");
        }
        let batches = || outcomes.iter().flat_map(|outcome| &outcome.batches);
        let by_batch = |of: &dyn Fn(&Batch) -> f64| Estimate::of(batches().map(of));
        let by_run = |of: &dyn Fn(&Outcome) -> f64| Estimate::of(outcomes.iter().map(of));
        let sum = |of: &dyn Fn(&Outcome) -> u64| outcomes.iter().map(of).sum();
        let quantile = |nth: usize| {
            let spread = by_batch(&|batch| batch.quantiles[nth]);
            let value = seconds(responses.value_at_quantile(QUANTILES[nth]));
            Estimate { value, ..spread }
        };
        let mean = by_batch(&|batch| batch.mean);
        Self {
            quantiles: [0, 1, 2, 3].map(quantile),
            max: outcomes.iter().map(|outcome| outcome.max).fold(0.0, f64::max),
            waiting: by_batch(&|batch| batch.waiting),
            imbalance: by_run(&|outcome| outcome.imbalance),
            variation: by_run(&|outcome| outcome.variation),
            regret: by_run(&|outcome| outcome.regret),
            utilisation: by_run(&|outcome| outcome.utilisation),
            little: by_run(&|outcome| {
                let means = Estimate::of(outcome.batches.iter().map(|batch| batch.mean));
                outcome.throughput * means.value / outcome.in_system
            }),
            rise: by_run(&|outcome| {
                let (first, second) = outcome.batches.split_at(outcome.batches.len() / 2);
                let mean = |half: &[Batch]| Estimate::of(half.iter().map(|batch| batch.mean)).value;
                mean(second) - mean(first)
            }),
            longest_line: outcomes.iter().map(|outcome| outcome.longest_line).max().unwrap_or(0),
            most_pending: outcomes.iter().map(|outcome| outcome.most_pending).max().unwrap_or(0),
            answered: sum(&|outcome| outcome.answered),
            failed: sum(&|outcome| outcome.failed),
            refused: sum(&|outcome| outcome.refused),
            events: sum(&|outcome| outcome.events),
            samples: first.samples.clone(),
            mean,
            responses,
        }
    }
}

impl Summary {
    /// Whether response times neither rose nor fell while they were measured,
    /// as far as several runs can tell: by more than twice the interval they did
    /// once in some thousand steady simulations.
    ///
    /// ```
    /// use plimsoll_sim::{Config, Run, Summary};
    ///
    /// // A worker at load 0.99 needs far more requests than these to fill its queue.
    /// let config = Config {
    ///     policy: "random".parse().unwrap(),
    ///     load: 0.99,
    ///     jobs: 20_000,
    ///     ..Config::default()
    /// };
    /// let outcomes: Vec<_> = (0..8)
    ///     .map(|number| {
    ///         let mut run = Run::new(&config, number).unwrap();
    ///         while !run.advance(10_000) {}
    ///         run.outcome()
    ///     })
    ///     .collect();
    /// assert!(!Summary::of(&outcomes).is_steady());
    /// ```
    pub fn is_steady(&self) -> bool {
        self.rise.value.abs() <= 2.0 * self.rise.half_width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the printed table (Abramowitz and Stegun, table 26.10).
    #[test]
    fn student_is_as_printed() {
        for (freedom, printed) in
            [(1.0, 12.706), (2.0, 4.303), (3.0, 3.182), (5.0, 2.571), (19.0, 2.093), (31.0, 2.040)]
        {
            assert!((student(freedom) - printed).abs() < 0.01, "{freedom}: {}", student(freedom));
        }
    }
}
