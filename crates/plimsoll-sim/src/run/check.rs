//! What must hold between events.

use super::Run;

impl Run {
    /// Checks everything that must hold between events: the invariants of each
    /// pool, the counts of workers, balancers and lines against the requests
    /// that there are, and Little's law, which is exact here: requests in the
    /// system, summed over time, are the times of all that were in it.
    ///
    /// It takes time in proportion to workers and requests.
    ///
    /// # Errors
    ///
    /// The first violation found.
    pub fn check_invariants(&self) -> Result<(), String> {
        let number = |balancer: usize, broken: String| format!("balancer {balancer}: {broken}");
        for (at, balancer) in self.balancers.iter().enumerate() {
            balancer.check().map_err(|broken| number(at, broken))?;
        }
        self.fleet.check()?;
        let lines: u64 = self.balancers.iter().map(|balancer| balancer.waiting() as u64).sum();
        if lines != self.in_lines {
            return Err(format!("{lines} requests in lines, counted {}", self.in_lines));
        }
        let mut charged = 0;
        let mut at_workers = 0;
        let mut present = 0;
        for job in self.fleet.jobs.iter() {
            charged += job.lease.as_ref().map_or(0, |lease| u64::from(lease.cost().get()));
            at_workers += u64::from(job.is_at_worker());
            present += u128::from(self.now - job.arrived);
        }
        let is_core = self.config.policy.core(self.config.with_replacement).is_some();
        let expected = if is_core { charged } else { at_workers };
        if self.pending() != expected {
            return Err(format!("balancers have {} pending, requests {expected}", self.pending()));
        }
        if at_workers + lines != u64::from(self.fleet.jobs.len()) {
            return Err(format!(
                "{at_workers} requests at workers and {lines} in lines, of {}",
                self.fleet.jobs.len()
            ));
        }
        if self.ended() + u64::from(self.fleet.jobs.len()) != self.came {
            return Err(format!("{} requests came, {} ended", self.came, self.ended()));
        }
        if self.area != self.spent + present {
            return Err(format!(
                "Little's law: {} in the system over time, {} spent in it",
                self.area,
                self.spent + present
            ));
        }
        Ok(())
    }
}
