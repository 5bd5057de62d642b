//! What is scheduled: faults, what balancers do by the clock, and what they are told.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use super::Run;
use crate::FaultKind;
use crate::fleet::Ended;
use crate::units::nanos;

/// What happens at a moment known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// A fault ends, or begins.
    Fault { number: usize, begins: bool },
    /// A balancer's penalties and ramps.
    Timeout(u32),
    /// All balancers are told what workers have pending.
    Tell,
}

impl Run {
    pub(super) fn schedule(&mut self) {
        for (number, fault) in self.config.faults.iter().enumerate() {
            for (at, begins) in [(fault.from, true), (fault.to, false)] {
                self.changes.push(Reverse((nanos(at), Change::Fault { number, begins })));
            }
        }
        if let Some(age) = self.config.policy.age() {
            self.changes.push(Reverse((nanos(age), Change::Tell)));
        }
    }

    /// Notes when a balancer's penalties or ramps are due next.
    pub(super) fn arm(&mut self, balancer: u32) {
        if let Some(at) = self.balancers[balancer as usize].next_timeout() {
            self.changes.push(Reverse((at, Change::Timeout(balancer))));
        }
    }

    /// When what is scheduled happens next.
    #[inline]
    pub(super) fn next_change_at(&self) -> u64 {
        self.changes.peek().map_or(u64::MAX, |&Reverse((at, _))| at)
    }

    /// What was scheduled happens.
    pub(super) fn change(&mut self) {
        let Some(Reverse((at, change))) = self.changes.pop() else { return };
        match change {
            Change::Timeout(balancer) => {
                // Several may stand for one moment: what is not due does nothing.
                if self.balancers[balancer as usize].next_timeout().is_some_and(|due| due <= at) {
                    self.balancers[balancer as usize].timeout(at);
                    self.arm(balancer);
                    self.settle(balancer);
                }
            }
            Change::Tell => {
                for balancer in &mut self.balancers {
                    balancer.told(&self.fleet);
                }
                // Until something else happens they would be told the same, and time would go by
                // with it.
                let age = nanos(self.config.policy.age().unwrap_or(f64::INFINITY));
                let next = self.fleet.events.next_at().min(self.source.next_at());
                let ages = next.min(self.next_change_at()).saturating_sub(at).div_ceil(age).max(1);
                let told_again = at.saturating_add(ages.saturating_mul(age));
                self.changes.push(Reverse((told_again, Change::Tell)));
            }
            Change::Fault { number, begins } => {
                let fault = &self.config.faults[number];
                self.fault(&fault.workers.clone(), fault.kind, begins);
            }
        }
    }

    fn fault(&mut self, workers: &RangeInclusive<u32>, kind: FaultKind, begins: bool) {
        // What they lose comes back only when their balancers no longer know them.
        if kind == FaultKind::Gone && begins {
            for balancer in &mut self.balancers {
                balancer.remove(workers, self.now);
            }
        }
        let lost = self.fleet.change(workers, kind, begins, self.now);
        for job in lost {
            self.end(Ended { job, failed: true });
        }
        if kind == FaultKind::Gone && !begins {
            for balancer in &mut self.balancers {
                for worker in workers.clone().filter(|&worker| !self.fleet.is_gone(worker)) {
                    balancer.add(&self.config, worker, self.now);
                }
            }
        }
        for balancer in 0..self.config.balancers {
            self.arm(balancer);
            self.settle(balancer);
        }
    }
}
