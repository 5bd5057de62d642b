//! Regret: what was chosen, compared with what could have been.

use super::Run;
use crate::streams::Stream;
use crate::units::real;

/// Regret, looked at every so many dispatches on average, so that a plain scan of all
/// workers costs little.
#[derive(Debug)]
pub(super) struct Regrets {
    /// Draws when.
    draws: Stream,
    every: u32,
    until: u64,
    looks: u64,
    sum: f64,
}

impl Regrets {
    pub(super) fn new(workers: u32, draws: Stream) -> Self {
        Self { draws, every: workers * 4 + 93, until: 0, looks: 0, sum: 0.0 }
    }

    /// Whether this dispatch is to be looked at.
    #[inline]
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.until == 0;
        if is_due {
            // Drawn, so that it falls in with no turn that policies take.
            self.until = 1 + u64::from(self.draws.below(2 * self.every - 1));
        }
        self.until -= 1;
        is_due
    }

    /// The mean of all looks; 0 of none.
    pub(super) fn mean(&self) -> f64 {
        self.sum / real(self.looks.max(1))
    }
}

impl Run {
    /// What choosing this worker is regretted by: in load, of all balancers'
    /// requests together.
    #[cold]
    pub(super) fn look_at(&mut self, worker: u32, number: u32) {
        let job = self.fleet.jobs.get(number);
        let charged = |worker: u32| match self.charged.get(worker as usize) {
            Some(&charged) => real(charged),
            None => f64::from(self.fleet.pending(worker)),
        };
        let balancer = &self.balancers[job.balancer as usize];
        let (load, least) = balancer.loads(worker, job.cost(), charged);
        self.regrets.looks += 1;
        self.regrets.sum += load - least;
    }
}
