//! Several runs of one configuration, with different numbers, as one.

use hdrhistogram::Histogram;

use crate::stats::QUANTILES;
use crate::theory::Expected;
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
    /// The load of the worker chosen minus the least load of those that its balancer could have
    /// chosen, by run.
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
    /// Whether the warm-up of all runs was over: of those that were stopped in it all is told.
    pub is_warm: bool,
    /// Why a run did not go on to its end, where one gave up.
    pub gave_up: Option<String>,
}

impl Summary {
    /// Of runs with different numbers: see [`Runs`].
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
        let mut runs = Runs::default();
        for outcome in outcomes {
            runs.add(outcome);
        }
        runs.summary().expect("a summary is of at least one run")
    }
}

/// Runs of one configuration, with different numbers, taken together as they end: of each
/// little is kept.
///
/// ```
/// use plimsoll_sim::{Config, Run, Runs};
///
/// let config = Config { jobs: 1000, ..Config::default() };
/// let mut runs = Runs::default();
/// assert!(runs.summary().is_none());
/// for number in 0..3 {
///     let mut run = Run::new(&config, number).unwrap();
///     while !run.advance(1000) {}
///     runs.add(&run.outcome());
/// }
/// assert_eq!(runs.summary().unwrap().answered, 3000);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Runs {
    batches: Vec<Batch>,
    each: Vec<One>,
    responses: Option<Histogram<u64>>,
    max: f64,
    longest_line: u64,
    most_pending: u32,
    answered: u64,
    failed: u64,
    refused: u64,
    events: u64,
    samples: Vec<Sample>,
    is_warm: bool,
    gave_up: Option<String>,
}

/// What is kept of one run.
#[derive(Clone, Copy, Debug)]
struct One {
    /// How many requests its means are of.
    noted: u64,
    mean: f64,
    waiting: f64,
    quantiles: [f64; 4],
    imbalance: f64,
    variation: f64,
    regret: f64,
    utilisation: f64,
    little: f64,
    rise: f64,
}

impl Runs {
    /// Adds a run.
    ///
    /// # Panics
    ///
    /// Never: all histograms have the same bounds.
    pub fn add(&mut self, outcome: &Outcome) {
        let halves = outcome.batches.split_at(outcome.batches.len() / 2);
        let mean = |half: &[Batch]| Estimate::of(half.iter().map(|batch| batch.mean)).value;
        self.is_warm = outcome.is_warm && (self.is_warm || self.each.is_empty());
        if self.each.is_empty() {
            self.samples.clone_from(&outcome.samples);
        }
        self.each.push(One {
            noted: outcome.responses.len(),
            mean: outcome.mean,
            waiting: outcome.waiting,
            quantiles: QUANTILES.map(|q| quantile(&outcome.responses, q, outcome.max)),
            imbalance: outcome.imbalance,
            variation: outcome.variation,
            regret: outcome.regret,
            utilisation: outcome.utilisation,
            little: outcome.throughput * outcome.mean / outcome.in_system.max(f64::MIN_POSITIVE),
            rise: if halves.0.is_empty() { 0.0 } else { mean(halves.1) - mean(halves.0) },
        });
        self.batches.extend(&outcome.batches);
        match &mut self.responses {
            None => self.responses = Some(outcome.responses.clone()),
            Some(all) => all.add(&outcome.responses).expect("both have the same bounds"),
        }
        self.max = self.max.max(outcome.max);
        self.longest_line = self.longest_line.max(outcome.longest_line);
        self.most_pending = self.most_pending.max(outcome.most_pending);
        self.answered += outcome.answered;
        self.failed += outcome.failed;
        self.refused += outcome.refused;
        self.events += outcome.events;
        self.gave_up = self.gave_up.take().or_else(|| outcome.gave_up.clone());
    }

    /// What they came to so far; `None` of no runs.
    ///
    /// A mean is of all requests; half of its interval is the wider of two: as batches have it,
    /// and as runs do, whose batches may be alike.
    pub fn summary(&self) -> Option<Summary> {
        let responses = self.responses.clone()?;
        let by_run = |of: &dyn Fn(&One) -> f64| Estimate::of(self.each.iter().map(of));
        let wider = |value: f64, batch: &dyn Fn(&Batch) -> f64, run: &dyn Fn(&One) -> f64| {
            let by_batch = Estimate::of(self.batches.iter().map(batch)).half_width;
            let by_run = by_run(run).half_width;
            let half_width = if by_run.is_finite() { by_batch.max(by_run) } else { by_batch };
            Estimate { value, half_width }
        };
        let noted = real(responses.len().max(1));
        let whole = |of: &dyn Fn(&One) -> f64| {
            self.each.iter().map(|run| of(run) * real(run.noted)).sum::<f64>() / noted
        };
        let mean = |run: &One| run.mean;
        let waiting = |run: &One| run.waiting;
        Some(Summary {
            mean: wider(whole(&mean), &|batch| batch.mean, &mean),
            quantiles: [0, 1, 2, 3].map(|nth| {
                let value = quantile(&responses, QUANTILES[nth], self.max);
                wider(value, &|batch| batch.quantiles[nth], &|run| run.quantiles[nth])
            }),
            max: self.max,
            waiting: wider(whole(&waiting), &|batch| batch.waiting, &waiting),
            imbalance: by_run(&|run| run.imbalance),
            variation: by_run(&|run| run.variation),
            regret: by_run(&|run| run.regret),
            utilisation: by_run(&|run| run.utilisation),
            little: by_run(&|run| run.little),
            rise: by_run(&|run| run.rise),
            longest_line: self.longest_line,
            most_pending: self.most_pending,
            answered: self.answered,
            failed: self.failed,
            refused: self.refused,
            events: self.events,
            responses,
            samples: self.samples.clone(),
            is_warm: self.is_warm,
            gave_up: self.gave_up.clone(),
        })
    }
}

/// A quantile in seconds: within a thousandth, and no longer than the longest.
fn quantile(responses: &Histogram<u64>, q: f64, longest: f64) -> f64 {
    seconds(responses.value_at_quantile(q)).min(longest)
}

impl Summary {
    /// Whether response times neither rose nor fell while they were measured,
    /// as far as several runs can tell: by more than the interval they do in 1 of 20
    /// steady simulations, and those are worth a longer look, too.
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
        self.rise.value.abs() <= self.rise.half_width
    }

    /// Whether the mean is farther from an exact closed form than its interval and a hundredth of
    /// the form: its runs were too short for it.
    ///
    /// ```
    /// use plimsoll_sim::{Config, Run, Summary, theory};
    ///
    /// let policy = "random".parse().unwrap();
    /// let config = Config { policy, load: 0.98, jobs: 100_000, ..Config::default() };
    /// let outcomes = [0, 1].map(|number| {
    ///     let mut run = Run::new(&config, number).unwrap();
    ///     while !run.advance(10_000) {}
    ///     run.outcome()
    /// });
    /// let expected = theory::expected(&config).unwrap();
    /// assert!(Summary::of(&outcomes).misses(&expected));
    /// ```
    pub fn misses(&self, expected: &Expected) -> bool {
        let off = (self.mean.value - expected.mean).abs();
        expected.is_exact && off > self.mean.half_width + 0.01 * expected.mean
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

    fn outcome(seconds: &[u64], batches: &[f64]) -> Outcome {
        let mut responses = Histogram::new_with_bounds(1, 1 << 62, 3).unwrap();
        for &one in seconds {
            responses.record(one * 1_000_000_000).unwrap();
        }
        let batch = |&mean: &f64| Batch { mean, waiting: 0.0, quantiles: [mean; 4] };
        let count = real(seconds.len() as u64);
        Outcome {
            mean: real(seconds.iter().sum()) / count,
            max: real(seconds.iter().copied().max().unwrap()),
            batches: batches.iter().map(batch).collect(),
            responses,
            ..empty()
        }
    }

    fn empty() -> Outcome {
        let config = crate::Config { jobs: 20, warm_up: 0.0, ..crate::Config::default() };
        crate::Run::new(&config, 0).unwrap().outcome()
    }

    #[test]
    fn a_mean_is_of_all_and_its_interval_the_wider() {
        // Alike within a run, and not between them: batches alone would say 1 of 3 ± 1.2.
        let runs = [outcome(&[2; 6], &[2.0; 3]), outcome(&[5; 2], &[5.0; 3])];
        let summary = Summary::of(&runs);
        assert!((summary.mean.value - 2.75).abs() < 1e-9, "{:?}", summary.mean);
        let by_run = Estimate::of([2.0, 5.0]).half_width;
        assert!((summary.mean.half_width - by_run).abs() < 1e-9, "{:?}", summary.mean);
        // Of one run the batches tell all that there is.
        let alone = Summary::of(&[outcome(&[1, 3], &[1.0, 3.0])]);
        assert_eq!(alone.mean, Estimate::of([1.0, 3.0]));
    }

    #[test]
    fn no_quantile_is_above_the_longest() {
        let summary = Summary::of(&[outcome(&[12_345, 1, 2], &[1.0])]);
        assert!(summary.quantiles.iter().all(|quantile| quantile.value <= 12_345.0));
        assert!(summary.quantiles[3].value > 12_344.0);
    }
}
