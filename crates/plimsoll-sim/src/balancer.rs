//! One balancer: the core's pool, or another policy with its own counts.

use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;
use std::time::Duration;

use plimsoll_core::{
    self as core, Completion, Dispatch, Health, Lease, Outcome, Pool, Request, Time,
};

use crate::Config;
use crate::fleet::Fleet;
use crate::policy::{Answer, Choice, Known, Replica, View};
use crate::streams::Stream;
use crate::units::index;

/// What becomes of a request that comes.
#[derive(Debug)]
pub(crate) enum Given {
    /// This worker gets it.
    To(u32, Option<Lease>),
    InLine,
    Refused,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Balancer {
    known: Known,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Core {
        /// Its tags are numbers of requests.
        pool: Box<Pool<u32>>,
        /// Whose each slot is, by place among the known.
        slots: Vec<u32>,
    },
    Own {
        choice: Box<Choice>,
        /// What it has pending at each known worker.
        pending: Vec<u32>,
    },
}

impl Balancer {
    pub(crate) fn new(config: &Config, number: u32, seed: u64) -> Self {
        // Balancers begin at even distances on the ring.
        let all = config.workers;
        let first = u64::from(number) * u64::from(all) / u64::from(config.balancers);
        let first = u32::try_from(first).expect("it is below the number of workers");
        let known = Known { first, count: config.known(), all };
        let kind = match config.policy.core(config.with_replacement) {
            Some(policy) => {
                let penalty = core::Penalty::default();
                let step = if config.penalty { penalty.step } else { 0 };
                let mut pool = Pool::new(core::Config {
                    policy,
                    line: config.line.map_or(usize::MAX, |line| line as usize),
                    seed,
                    audit_every: u64::from(config.audit),
                    penalty: core::Penalty { step, ..penalty },
                });
                let mut slots = vec![0; known.count as usize];
                for place in 0..known.count {
                    let id = pool.add(spec(config, known.worker(place)), Time::ZERO);
                    slots[id.index()] = place;
                }
                Kind::Core { pool: Box::new(pool), slots }
            }
            None => Kind::Own {
                choice: Box::new(config.policy.choice(known.count, config.with_replacement)),
                pending: vec![0; known.count as usize],
            },
        };
        Self { known, kind }
    }

    /// A request comes, which needs `service` of a worker of speed 1.
    #[inline]
    pub(crate) fn dispatch(
        &mut self,
        number: u32,
        cost: NonZeroU32,
        service: u64,
        around: &mut Around<'_>,
    ) -> Given {
        match &mut self.kind {
            Kind::Core { pool, slots } => {
                let request = Request { cost, ..Request::default() };
                match pool.dispatch(&request, number, Time::from_nanos(around.now)) {
                    Dispatch::Assigned(lease, _) => {
                        let place = slots[lease.worker().index()];
                        Given::To(self.known.worker(place), Some(lease))
                    }
                    Dispatch::InLine(_) => Given::InLine,
                    Dispatch::Refused(..) => Given::Refused,
                }
            }
            Kind::Own { choice, pending } => {
                let view = View {
                    known: self.known,
                    own: pending,
                    fleet: around.fleet,
                    replicas: around.replicas,
                    balancers: around.balancers,
                    now: around.now,
                    service,
                };
                let place = choice.choose(&view, around.rng);
                pending[place as usize] += 1;
                Given::To(self.known.worker(place), None)
            }
        }
    }

    /// A request has ended at `worker`; what follows for those in line is told
    /// by [`poll`](Self::poll).
    #[inline]
    pub(crate) fn completed(
        &mut self,
        worker: u32,
        lease: Option<Lease>,
        failed: bool,
        now: u64,
        answer: impl FnOnce(u32) -> Answer,
    ) {
        match &mut self.kind {
            Kind::Core { pool, .. } => {
                let how = if failed { Completion::Failed } else { Completion::Succeeded };
                let lease = lease.expect("the core's balancer charged for it");
                let taken = pool.completed(lease, how, Time::from_nanos(now));
                debug_assert!(taken.is_ok(), "a request comes back to its own balancer");
            }
            Kind::Own { choice, pending } => {
                let place = self.known.place(worker);
                pending[place as usize] -= 1;
                choice.answered(answer(place));
            }
        }
    }

    /// What has become of a request in line: its worker and its charge, or
    /// nothing when it is refused.
    #[inline]
    pub(crate) fn poll(&mut self) -> Option<(u32, Option<(u32, Lease)>)> {
        let Kind::Core { pool, slots } = &mut self.kind else { return None };
        loop {
            match pool.poll_outcome()? {
                Outcome::Assigned { lease, tag, .. } => {
                    let worker = self.known.worker(slots[lease.worker().index()]);
                    return Some((tag, Some((worker, lease))));
                }
                Outcome::Refused { tag, .. } => return Some((tag, None)),
                Outcome::Removed(_) => {}
            }
        }
    }

    /// These workers go: they are removed for good.
    pub(crate) fn remove(&mut self, workers: &RangeInclusive<u32>, now: u64) {
        let known = self.known;
        if let Kind::Core { pool, slots } = &mut self.kind {
            let goes = |worker: &core::WorkerStats| {
                // One that is removed and waits for its last lease is there, too.
                let number = known.worker(slots[worker.id.index()]);
                !worker.draining && workers.contains(&number)
            };
            let ids: Vec<_> = pool.workers().filter(goes).map(|worker| worker.id).collect();
            for id in ids {
                let removed = pool.remove(id, Time::from_nanos(now));
                debug_assert!(removed.is_ok(), "it is there");
            }
        }
    }

    /// The load of the worker that has just been given a request of this cost, before that, and
    /// the least load of those that could have taken it: as the core defines load, of what all
    /// balancers have `charged` each worker.
    pub(crate) fn loads(&self, chosen: u32, cost: u32, charged: impl Fn(u32) -> f64) -> (f64, f64) {
        let (mut own, mut least) = (f64::INFINITY, f64::INFINITY);
        let mut see = |worker: u32, has_room: bool, load: f64| {
            if worker == chosen {
                own = load;
            }
            if worker == chosen || has_room {
                least = least.min(load);
            }
        };
        match &self.kind {
            Kind::Core { pool, slots } => {
                for stats in pool.workers().filter(|stats| !stats.draining) {
                    let worker = self.known.worker(slots[stats.id.index()]);
                    let penalty = f64::from(stats.penalty) + 1.0;
                    // A load is a sum over a weight, which is less while a worker is eased in.
                    let weight = (f64::from(stats.pending) + penalty) / stats.load.as_f64();
                    let after = u64::from(stats.pending) + u64::from(cost);
                    let has_room = after <= u64::from(stats.capacity_in_force);
                    see(worker, has_room, (charged(worker) + penalty) / weight);
                }
            }
            Kind::Own { pending, .. } => {
                for place in 0..index(pending.len()) {
                    let worker = self.known.worker(place);
                    see(worker, true, charged(worker) + 1.0);
                }
            }
        }
        (own, least)
    }

    /// A worker comes back, as a new one.
    pub(crate) fn add(&mut self, config: &Config, worker: u32, now: u64) {
        let place = self.known.place(worker);
        let now = Time::from_nanos(now);
        if let Kind::Core { pool, slots } = &mut self.kind
            && place < self.known.count
        {
            // What waits in line would fill it at once, before its ramp begins: so it is up last.
            let spec = core::WorkerSpec { health: Health::Starting, ..spec(config, worker) };
            let id = pool.add(spec, now);
            if slots.len() <= id.index() {
                slots.resize(id.index() + 1, 0);
            }
            slots[id.index()] = place;
            if config.slow_start > 0.0 {
                let over = Duration::from_secs_f64(config.slow_start);
                let known = pool.start_ramp(id, over, now);
                debug_assert!(known.is_ok(), "it was just added");
            }
            let known = pool.set_health(id, Health::Up, now);
            debug_assert!(known.is_ok(), "it was just added");
        }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        match &self.kind {
            Kind::Core { pool, .. } => pool.poll_timeout().map(Time::as_nanos),
            Kind::Own { .. } => None,
        }
    }

    pub(crate) fn timeout(&mut self, now: u64) {
        if let Kind::Core { pool, .. } = &mut self.kind {
            pool.handle_timeout(Time::from_nanos(now));
        }
    }

    pub(crate) fn idle(&mut self, worker: u32) {
        if let Kind::Own { choice, .. } = &mut self.kind {
            choice.idle(self.known.place(worker));
        }
    }

    pub(crate) fn told(&mut self, fleet: &Fleet) {
        if let Kind::Own { choice, .. } = &mut self.kind {
            choice.told(self.known, fleet);
        }
    }

    /// Requests in its line.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        match &self.kind {
            Kind::Core { pool, .. } => pool.waiting(),
            Kind::Own { .. } => 0,
        }
    }

    /// What it has pending, in requests or in cost.
    pub(crate) fn pending(&self) -> u64 {
        match &self.kind {
            Kind::Core { pool, .. } => pool.pending(),
            Kind::Own { pending, .. } => pending.iter().map(|&count| u64::from(count)).sum(),
        }
    }

    /// What must hold between events.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.kind {
            Kind::Core { pool, .. } => {
                let audit = pool.audit();
                if pool.policy() == core::Policy::LeastLoaded && audit.regretted > 0 {
                    return Err(format!("I3: {} dispatches are regretted", audit.regretted));
                }
                if audit.idle_while_waiting > 0 {
                    return Err(format!(
                        "I5: {} waited while a worker idled",
                        audit.idle_while_waiting
                    ));
                }
                pool.check_invariants().map_err(|broken| broken.to_string())
            }
            Kind::Own { .. } => Ok(()),
        }
    }
}

/// What a balancer sees around it.
pub(crate) struct Around<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) replicas: &'a [Replica],
    pub(crate) balancers: u32,
    pub(crate) rng: &'a mut Stream,
    pub(crate) now: u64,
}

fn spec(config: &Config, worker: u32) -> core::WorkerSpec {
    let capacity = config.capacity_in_force().unwrap_or(NonZeroU32::MAX);
    let mut spec = core::WorkerSpec::new(capacity);
    spec.weight = NonZeroU16::new(config.weight(worker)).unwrap_or(NonZeroU16::MIN);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Purpose;

    /// A balancer that dispatches at one moment.
    struct Alone {
        config: Config,
        fleet: Fleet,
        rng: Stream,
        balancer: Balancer,
    }

    impl Alone {
        fn new(config: &Config, seed: u64) -> Self {
            Self {
                config: config.clone(),
                fleet: Fleet::new(config),
                rng: Stream::new(seed, 0, Purpose::Choices),
                balancer: Balancer::new(config, 0, seed),
            }
        }

        /// Who gets a request of this cost.
        fn dispatch(&mut self, cost: u32) -> u32 {
            let cost = NonZeroU32::new(cost).unwrap();
            let (fleet, rng) = (&self.fleet, &mut self.rng);
            let mut around = Around { fleet, replicas: &[], balancers: 1, rng, now: 0 };
            match self.balancer.dispatch(0, cost, 0, &mut around) {
                Given::To(worker, _) => worker,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Balancers do not move in step when a worker comes back.
    #[test]
    fn a_worker_that_is_back_has_another_place_in_each_balancer() {
        let config = Config { workers: 10, ..Config::default() };
        let mut turns: Vec<usize> = (0..100)
            .map(|seed| {
                let mut alone = Alone::new(&config, seed);
                alone.balancer.remove(&(3..=3), 0);
                assert_eq!(alone.balancer.poll(), None);
                alone.balancer.add(&alone.config, 3, 0);
                let given: Vec<u32> = (0..10).map(|_| alone.dispatch(1)).collect();
                given.iter().position(|&worker| worker == 3).unwrap()
            })
            .collect();
        turns.sort_unstable();
        let last = turns.iter().filter(|&&turn| turn == 9).count();
        turns.dedup();
        assert_eq!(turns.len(), 10, "any place");
        assert!((1..30).contains(&last), "it is last in {last} of 100");
    }

    /// A worker that is full is none that could have been chosen, however little its load is, also
    /// where what is pending and the cost do not fit in 32 bits together.
    #[test]
    fn the_least_load_is_of_the_workers_that_have_room() {
        let (million, all) = (1_000_000, 4_294_000_000.0);
        let costs = (1, million);
        let config = Config { workers: 2, weights: vec![65_535, 1], costs, ..Config::default() };
        let mut alone = Alone::new(&config, 1);
        // By its weight the first gets all but one, until it is full.
        let given: Vec<u32> = (0..4295).map(|_| alone.dispatch(million)).collect();
        assert_eq!(given.iter().filter(|&&worker| worker == 1).count(), 1);
        assert_eq!(alone.dispatch(million), 1);
        let charged = |worker| if worker == 0 { all } else { 1e6 };
        let is = |loads: (f64, f64), own: f64, least: f64| {
            let is_near = |told: f64, load: f64| (told / load - 1.0).abs() < 1e-9;
            assert!(
                is_near(loads.0, own) && is_near(loads.1, least),
                "{loads:?}, not {own}, {least}"
            );
        };
        let (first, second) = ((all + 1.0) / 65_535.0, 1e6 + 1.0);
        is(alone.balancer.loads(1, million, charged), second, second);
        // A request of this cost fits beside all that it has.
        is(alone.balancer.loads(1, 967_295, charged), second, first);
        is(alone.balancer.loads(1, 967_296, charged), second, second);
        is(alone.balancer.loads(0, million, charged), first, first);
    }
}
