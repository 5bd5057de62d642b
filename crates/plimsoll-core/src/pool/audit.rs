//! Audits: plain scans that do not trust the order they check.

use alloc::format;
use alloc::string::String;
use core::fmt;

use super::Pool;
use crate::worker::{Worker, may_take};
use crate::{Load, Request};

/// What the audits at run time have found: see
/// [`Config::audit_every`](crate::Config::audit_every).
///
/// Under least-loaded everything but `audits` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Audit {
    /// Dispatches looked at.
    pub audits: u64,
    /// Those that another eligible worker with a smaller load existed for.
    pub regretted: u64,
    /// The sum over those of the load chosen minus the smallest there was.
    pub regret: f64,
    /// Waiting requests that an eligible worker had room for, summed over the
    /// audits.
    pub idle_while_waiting: u64,
}

impl Audit {
    /// The regret of the average dispatch.
    #[expect(clippy::cast_precision_loss, reason = "a mean for showing")]
    pub fn mean_regret(&self) -> f64 {
        if self.audits == 0 { 0.0 } else { self.regret / self.audits as f64 }
    }
}

/// An invariant that does not hold: a bug in this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Violation {}

impl<T> Pool<T> {
    /// How many waiting requests stand before the point where the line stops
    /// although a worker is eligible for them; 0 at any time.
    pub fn idle_while_waiting(&self) -> u64 {
        let mut idle = 0;
        for (_, waiting) in self.line.iter() {
            let request = waiting.request();
            if self.smallest_load(&request).is_some() {
                idle += 1;
            } else if !self.workers.iter().any(|worker| worker.has_room_for(request.cost)) {
                break;
            }
        }
        idle
    }

    /// Checks everything that must hold between calls, by plain scans.
    ///
    /// It takes time in proportion to workers and line: for tests, and for a
    /// shell that wants to know.
    ///
    /// # Errors
    ///
    /// The first [`Violation`] found.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        let fail = |what: String| Err(Violation(what));
        self.order.check(&self.workers).or_else(|what| fail(format!("order: {what}")))?;
        let mut pending = 0;
        let mut eligible = 0;
        let mut live = 0;
        for (slot, worker) in (0..).zip(&self.workers) {
            if !worker.present {
                if self.order.contains(slot) || worker.pending != 0 {
                    return fail(format!("I6: free slot {slot} is in use"));
                }
                continue;
            }
            pending += u64::from(worker.pending);
            eligible += usize::from(worker.is_eligible());
            live += u32::from(worker.is_live());
            self.check_worker(slot, worker)?;
        }
        if pending != self.pending {
            return fail(format!("I2: workers have {pending} pending, the pool {}", self.pending));
        }
        if eligible != self.order.len() {
            return fail(format!("{eligible} workers eligible, {} in order", self.order.len()));
        }
        if live != self.live.values().sum::<u32>() {
            return fail(format!("{live} workers live, counted {:?}", self.live));
        }
        if self.idle_while_waiting() != 0 {
            return fail(format!("I5: {} wait while a worker idles", self.idle_while_waiting()));
        }
        let hopeless = self.line.iter().find_map(|(_, waiting)| self.hopeless(&waiting.request()));
        if let Some(reason) = hopeless {
            return fail(format!("I7: a request waits for ever: {reason}"));
        }
        Ok(())
    }

    fn check_worker(&self, slot: u32, worker: &Worker) -> Result<(), Violation> {
        let fail = |what: &str| Err(Violation(format!("{what}: slot {slot}, {worker:?}")));
        // Each lease costs at least 1.
        if u64::from(worker.pending) < worker.leases() || worker.completed > worker.dispatched {
            return fail("I2: fewer pending than leases");
        }
        if worker.leases() == 0 && worker.pending != 0 {
            return fail("I2: pending without a lease");
        }
        if worker.removed && worker.leases() == 0 {
            return fail("I6: removed, done and still here");
        }
        if worker.capacity == 0 || worker.capacity > worker.spec.capacity.get() {
            return fail("I1: capacity in force out of range");
        }
        if self.order.contains(slot) != worker.is_eligible() {
            return fail("I3: in order, or not, against its eligibility");
        }
        Ok(())
    }

    /// The smallest load among the workers eligible for `request`.
    fn smallest_load(&self, request: &Request<'_>) -> Option<Load> {
        (0..)
            .zip(&self.workers)
            .filter(|&(slot, worker)| may_take(worker, slot, request))
            .map(|(_, worker)| worker.load())
            .min()
    }

    /// Looks at every so many dispatches, before the charge; tells whether it
    /// looked at this one, so that the line is looked at too.
    pub(super) fn audit_dispatch(&mut self, chosen: u32, request: &Request<'_>) -> bool {
        if self.config.audit_every == 0 {
            return false;
        }
        self.since_audit += 1;
        if self.since_audit < self.config.audit_every {
            return false;
        }
        self.since_audit = 0;
        let load = self.workers[chosen as usize].load();
        let smallest = self.smallest_load(request).unwrap_or(load);
        self.audit.audits += 1;
        if load > smallest {
            self.audit.regretted += 1;
            self.audit.regret += load.as_f64() - smallest.as_f64();
        }
        true
    }

    /// Looks at the line, which must be at rest: served as far as it goes.
    pub(super) fn audit_line(&mut self) {
        self.audit.idle_while_waiting += self.idle_while_waiting();
    }
}
