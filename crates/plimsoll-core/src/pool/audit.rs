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
///
/// ```
/// use plimsoll_core::{Config, Policy, Pool, Request, Time, WorkerSpec};
/// use core::num::{NonZeroU16, NonZeroU32};
///
/// let config = Config { policy: Policy::RoundRobin, audit_every: 1, ..Config::default() };
/// let mut pool: Pool<()> = Pool::new(config);
/// let small = WorkerSpec::new(NonZeroU32::new(9).unwrap());
/// let large = WorkerSpec { weight: NonZeroU16::new(9).unwrap(), ..small };
/// pool.add(small, Time::ZERO);
/// pool.add(large, Time::ZERO);
/// let _leases = [(); 2].map(|()| pool.try_dispatch(&Request::default(), Time::ZERO).unwrap());
/// let audit = pool.audit(); // one of the two went to the small worker
/// assert_eq!((audit.audits, audit.regretted, audit.idle_while_waiting), (2, 1, 0));
/// assert_eq!(audit.mean_regret(), audit.regret / 2.0);
/// ```
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
    ///
    /// ```
    /// use plimsoll_core::{Config, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config { audit_every: 1, ..Config::default() });
    /// pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// let _lease = pool.try_dispatch(&Request::default(), Time::ZERO).unwrap();
    /// assert_eq!((pool.audit().audits, pool.audit().mean_regret()), (1, 0.0));
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "a mean for showing")]
    pub fn mean_regret(&self) -> f64 {
        if self.audits == 0 { 0.0 } else { self.regret / self.audits as f64 }
    }
}

/// An invariant that does not hold: a bug in this crate.
///
/// ```
/// use plimsoll_core::{Config, Pool, Violation};
///
/// let pool: Pool<()> = Pool::new(Config::default());
/// let checked: Result<(), Violation> = pool.check_invariants();
/// assert_eq!(checked, Ok(()));
/// ```
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
    ///
    /// ```
    /// use plimsoll_core::{Config, Dispatch, Health, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool = Pool::new(Config::default());
    /// let spec = WorkerSpec::new(NonZeroU32::MIN);
    /// pool.add(WorkerSpec { health: Health::Starting, ..spec }, Time::ZERO);
    /// assert!(matches!(pool.dispatch(&Request::default(), (), Time::ZERO), Dispatch::InLine(_)));
    /// assert_eq!((pool.waiting(), pool.idle_while_waiting()), (1, 0));
    /// ```
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
    /// ```
    /// use plimsoll_core::{Config, Pool, Request, Time, WorkerSpec};
    /// use core::num::NonZeroU32;
    ///
    /// let mut pool: Pool<()> = Pool::new(Config::default());
    /// pool.add(WorkerSpec::new(NonZeroU32::MIN), Time::ZERO);
    /// let _lease = pool.try_dispatch(&Request::default(), Time::ZERO).unwrap();
    /// assert_eq!(pool.check_invariants(), Ok(()));
    /// ```
    ///
    /// # Errors
    ///
    /// The first [`Violation`] found.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        let fail = |what: String| Err(Violation(what));
        self.order.check(&self.workers).or_else(|what| fail(format!("order: {what}")))?;
        let mut pending = 0;
        let mut live = 0;
        for (slot, worker) in (0..).zip(&self.workers) {
            if !worker.present {
                if self.order.contains(slot) || worker.pending != 0 {
                    return fail(format!("I6: free slot {slot} is in use"));
                }
                continue;
            }
            pending += u64::from(worker.pending);
            live += u32::from(worker.is_live());
            self.check_worker(slot, worker)?;
        }
        if pending != self.pending {
            return fail(format!("I2: workers have {pending} pending, the pool {}", self.pending));
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
        if worker.completed > worker.dispatched || u64::from(worker.pending) < worker.leases() {
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

    /// Looks at every so many dispatches, before the charge.
    #[inline]
    pub(super) fn audit_dispatch(&mut self, chosen: u32, request: &Request<'_>) {
        if self.config.audit_every > 0 {
            self.since_audit += 1;
            if self.since_audit >= self.config.audit_every {
                self.since_audit = 0;
                self.look_at(chosen, request);
            }
        }
    }

    #[cold]
    fn look_at(&mut self, chosen: u32, request: &Request<'_>) {
        self.line_unaudited = true;
        let load = self.workers[chosen as usize].load();
        let smallest = self.smallest_load(request).unwrap_or(load);
        self.audit.audits += 1;
        if load > smallest {
            self.audit.regretted += 1;
            self.audit.regret += load.as_f64() - smallest.as_f64();
        }
    }

    /// Looks at the line, now at rest, when a dispatch has been looked at.
    #[inline]
    pub(super) fn audit_line(&mut self) {
        if core::mem::take(&mut self.line_unaudited) {
            self.audit.idle_while_waiting += self.idle_while_waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use core::num::NonZeroU32;

    use super::*;
    use crate::line::Waiting;
    use crate::{Config, Dispatch, Time, WorkerSpec};

    /// Two workers with capacity 2: one full, the other with one pending, and
    /// a request in line that excludes the other one.
    fn sound() -> Pool<u8> {
        let mut pool = Pool::new(Config { audit_every: 1, ..Config::default() });
        let spec = WorkerSpec::new(NonZeroU32::new(2).unwrap());
        let ids = [pool.add(spec, Time::ZERO), pool.add(spec, Time::ZERO)];
        for id in [ids[0], ids[0], ids[1]] {
            let _charge = pool.dispatch_to(id, NonZeroU32::MIN).unwrap();
        }
        let request = Request { excluded: &ids[1..], ..Request::default() };
        assert!(matches!(pool.dispatch(&request, 0, Time::ZERO), Dispatch::InLine(_)));
        assert_eq!(pool.check_invariants(), Ok(()));
        pool
    }

    fn found(corrupt: fn(&mut Pool<u8>)) -> String {
        let mut pool = sound();
        corrupt(&mut pool);
        pool.check_invariants().unwrap_err().to_string()
    }

    fn waiting(cost: u32, tag: u8) -> Waiting<u8> {
        let cost = NonZeroU32::new(cost).unwrap();
        Waiting::new(&Request { cost, ..Request::default() }, tag, Time::ZERO)
    }

    #[test]
    fn every_violation_is_found() {
        type Case = (&'static str, fn(&mut Pool<u8>));
        let cases: [Case; 15] = [
            ("order: slot 1", |pool| pool.workers[1].penalty = 1),
            ("I6: free slot 1", |pool| pool.workers[1].present = false),
            ("I6: free slot 0", |pool| pool.workers[0].present = false),
            ("I2: workers have 3 pending, the pool 4", |pool| pool.pending = 4),
            ("2 workers live", |pool| pool.live.clear()),
            ("I7: a request waits", |pool| pool.line.insert(99, waiting(3, 1))),
            ("I5: 1 wait", |pool| pool.line.insert(99, waiting(1, 1))),
            ("I2: fewer", |pool| pool.workers[0].dispatched = 3),
            ("I2: fewer", |pool| pool.workers[0].completed = 3),
            ("I2: pending without", |pool| pool.workers[0].completed = 2),
            ("I6: removed", |pool| {
                let idle = &mut pool.workers[1];
                (idle.pending, idle.dispatched, idle.removed) = (0, 0, true);
                pool.order.changed(1, idle);
            }),
            ("I1: capacity", |pool| pool.workers[0].capacity = 0),
            ("I1: capacity", |pool| pool.workers[0].capacity = 3),
            ("I3: in order", |pool| pool.workers[1].capacity = 1),
            ("I3: in order", |pool| {
                (pool.workers[0].pending, pool.workers[0].dispatched) = (1, 1);
            }),
        ];
        for (expected, corrupt) in cases {
            let violation = found(corrupt);
            assert!(violation.contains(expected), "{violation}, but expected {expected}");
        }
    }

    #[test]
    fn idle_counts_what_the_line_stops_before() {
        let mut pool = sound();
        pool.line.insert(97, waiting(1, 1));
        assert_eq!(pool.idle_while_waiting(), 1);
        // No worker has room for 2: what stands behind is not held up by this pool.
        pool.line.insert(98, waiting(2, 2));
        pool.line.insert(99, waiting(1, 3));
        assert_eq!(pool.idle_while_waiting(), 1);
    }

    #[test]
    fn audits_add_up() {
        let mut pool = sound();
        pool.line.insert(98, waiting(1, 1));
        pool.line.insert(99, waiting(1, 2));
        for audits in 1..=3 {
            pool.audit_dispatch(0, &Request::default());
            pool.audit_line();
            pool.audit_line();
            let audit = pool.audit();
            assert_eq!((audit.audits, audit.regretted), (audits, audits));
            assert_eq!(audit.idle_while_waiting, 2 * audits);
            // Slot 0 has 2 pending, slot 1 has 1.
            assert!((audit.mean_regret() - 1.0).abs() < 1e-12);
        }
    }
}
