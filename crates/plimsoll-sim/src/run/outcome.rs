//! What a run has come to.

use super::Run;
use crate::Outcome;
use crate::stats::total_seconds;
use crate::units::{real, seconds};

impl Run {
    /// What it has come to so far.
    pub fn outcome(&self) -> Outcome {
        let mark = self.mark;
        let (mean_response, waiting) = self.times.means();
        let span = seconds(self.now - mark.at).max(f64::MIN_POSITIVE);
        let work: Vec<f64> = self.fleet.work().collect();
        let sum: f64 = work.iter().sum();
        let count = f64::from(self.fleet.len());
        let mean = (sum / count).max(f64::MIN_POSITIVE);
        let squares = work.iter().map(|work| (work - mean).powi(2)).sum::<f64>();
        let speeds = (0..self.fleet.len()).map(|worker| 1.0 / self.fleet.pace(worker)).sum::<f64>();
        let able = speeds * f64::from(self.config.slots.get());
        Outcome {
            is_warm: self.is_warm,
            gave_up: self.gave_up.clone(),
            batches: self.times.batches(),
            mean: mean_response,
            waiting,
            responses: self.times.all(),
            max: seconds(self.times.longest()),
            imbalance: work.iter().copied().fold(0.0, f64::max) / mean,
            variation: (squares / count).sqrt() / mean,
            utilisation: sum / span / able,
            throughput: real(self.answered - mark.answered) / span,
            in_system: total_seconds(self.area - mark.area) / span,
            longest_line: self.longest_line,
            most_pending: self.most_pending,
            regret: self.regrets.mean(),
            answered: self.answered,
            failed: self.failed,
            refused: self.refused,
            events: self.events,
            samples: self.samples.clone(),
        }
    }
}
