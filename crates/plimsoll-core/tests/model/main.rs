//! The pool against a naive model: random operations, compared after each.
//!
//! `PLIMSOLL_MODEL_CASES` sets how many sequences of up to 400 operations run
//! and `PLIMSOLL_MODEL_SEED` which; `scripts/long/core-model` runs the long form.

mod naive;

use std::cell::Cell;
use std::collections::HashSet;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

use naive::{Answer, Ask, Charge, Event, Key, Model};
use plimsoll_core::{
    Blocked, Completion, Config, Dispatch, DispatchToError, Health, Lease, Outcome, Penalty,
    Policy, Pool, Request, StaleLease, Ticket, Time, UnknownWorker, WorkerId, WorkerSpec,
};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config as RunConfig, RngSeed, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

const OPERATIONS: usize = 400;

/// One call, with its workers, leases and tickets named by place among those
/// there are, so that every sequence is valid and shrinks well.
#[derive(Clone, Debug)]
enum Op {
    Add {
        capacity: u32,
        weight: u16,
        health: Health,
    },
    Change(Index, Change),
    Policy,
    Line(usize),
    Dispatch(Wish),
    TryDispatch(Wish),
    DispatchTo(Index, u32),
    Adopt(Index, u32),
    Completed(Index, bool),
    ForeignLease,
    /// The excluding of the worker that it is taken back from is the usual case.
    TakeBack(Index, Wish, bool),
    Reassign(Index, Index),
    Cancel(Index),
    ClearLine,
    /// Time passes, and the pool is not told.
    Pass(Duration),
    /// Time passes to what is due next, or so far, and the pool is told.
    Timeout(Option<Duration>),
}

/// A change to one worker.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Health(Health),
    Draining(bool),
    Weight(u16),
    Capacity(u32),
    Ramp(Duration),
}

#[derive(Clone, Debug)]
struct Wish {
    cost: u32,
    excluded: Vec<Index>,
    deadline: Option<Duration>,
}

struct Calls;

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn cost() -> impl Strategy<Value = u32> {
    prop_oneof![8 => Just(1), 4 => 1..4_u32, 1 => Just(u32::MAX), 1 => 4..12_u32]
}

fn capacity() -> impl Strategy<Value = u32> {
    prop_oneof![12 => 1..5_u32, 4 => 5..40_u32, 1 => Just(u32::MAX)]
}

fn weight() -> impl Strategy<Value = u16> {
    prop_oneof![6 => Just(1), 6 => 1..6_u16, 1 => Just(u16::MAX), 1 => any::<u16>().prop_map(|w| w.max(1))]
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![5 => Just(Health::Up), 1 => Just(Health::Starting), 1 => Just(Health::Down)]
}

fn wish() -> impl Strategy<Value = Wish> {
    let excluded = prop_oneof![3 => Just(0..1), 1 => Just(1..4), 1 => Just(2..9)]
        .prop_flat_map(|size| prop::collection::vec(any::<Index>(), size));
    let deadline = prop_oneof![3 => Just(None), 1 => millis(0..30).prop_map(Some)];
    (cost(), excluded, deadline).prop_map(|(cost, excluded, deadline)| Wish {
        cost,
        excluded,
        deadline,
    })
}

impl ReferenceStateMachine for Calls {
    type State = Config;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Config> {
        let penalty = (0..4_u16, 0..20_u16, millis(0..20), any::<bool>()).prop_map(
            |(step, most, half_life, extreme)| {
                if extreme && step == 3 {
                    Penalty { step: u16::MAX, most: u16::MAX, half_life }
                } else {
                    Penalty { step, most, half_life }
                }
            },
        );
        (0..8_usize, any::<u64>(), 0..4_u64, penalty)
            .prop_map(|(line, seed, audit_every, penalty)| Config {
                policy: Policy::LeastLoaded,
                line,
                seed,
                audit_every,
                penalty,
            })
            .boxed()
    }

    fn transitions(_: &Config) -> BoxedStrategy<Op> {
        thread_local! {
            static OPS: BoxedStrategy<Op> = ops();
        }
        OPS.with(Clone::clone)
    }

    fn apply(state: Config, _: &Op) -> Config {
        state
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => Just(Change::Remove),
        3 => health().prop_map(Change::Health),
        1 => prop::bool::weighted(0.3).prop_map(Change::Draining),
        1 => weight().prop_map(Change::Weight),
        2 => capacity().prop_map(Change::Capacity),
        1 => millis(0..60).prop_map(Change::Ramp),
    ]
}

fn ops() -> BoxedStrategy<Op> {
    let any = any::<Index>;
    prop_oneof![
        4 => (capacity(), weight(), health())
            .prop_map(|(capacity, weight, health)| Op::Add { capacity, weight, health }),
        10 => (any(), change()).prop_map(|(which, change)| Op::Change(which, change)),
        1 => Just(Op::Policy),
        1 => (0..8_usize).prop_map(Op::Line),
        30 => wish().prop_map(Op::Dispatch),
        4 => wish().prop_map(Op::TryDispatch),
        2 => (any(), cost()).prop_map(|(which, cost)| Op::DispatchTo(which, cost)),
        1 => (any(), cost()).prop_map(|(which, cost)| Op::Adopt(which, cost)),
        22 => (any(), prop::bool::weighted(0.2)).prop_map(|(which, failed)| Op::Completed(which, failed)),
        1 => Just(Op::ForeignLease),
        3 => (any(), wish(), prop::bool::ANY)
            .prop_map(|(which, wish, avoid)| Op::TakeBack(which, wish, avoid)),
        3 => (any(), any()).prop_map(|(which, to)| Op::Reassign(which, to)),
        3 => any().prop_map(Op::Cancel),
        1 => prop::bool::weighted(0.2).prop_map(|clear| {
            if clear { Op::ClearLine } else { Op::Pass(Duration::ZERO) }
        }),
        2 => millis(0..8).prop_map(Op::Pass),
        4 => prop_oneof![2 => Just(None), 1 => millis(0..40).prop_map(Some)].prop_map(Op::Timeout),
    ]
    .boxed()
}

/// A request that is out, and the lease that stands for it.
struct Out {
    lease: Lease,
    charge: Charge,
    tag: u32,
}

struct Twins {
    pool: Pool<u32>,
    model: Model,
    now: Time,
    /// Every id there ever was, by key.
    ids: Vec<WorkerId>,
    out: Vec<Out>,
    waiting: Vec<(Ticket, u32)>,
    tags: u32,
    /// The most workers that were there at a time.
    most: usize,
}

fn cost_of(cost: u32) -> NonZeroU32 {
    NonZeroU32::new(cost).unwrap()
}

impl Twins {
    /// One of the last few workers, removed ones among them.
    fn key(&self, index: Index) -> Option<Key> {
        let recent = self.ids.len().min(12);
        (recent > 0).then(|| self.ids.len() - 1 - index.index(recent))
    }

    fn key_of(&self, id: WorkerId) -> Key {
        self.ids.iter().position(|&known| known == id).expect("an id that the pool made")
    }

    /// The model's form and the pool's list of excluded workers.
    fn ask(&self, wish: &Wish, also: Option<Key>) -> (Ask, Vec<WorkerId>) {
        let chosen = wish.excluded.iter().filter_map(|&index| self.key(index));
        let keys: Vec<Key> = chosen.chain(also).collect();
        let ids = keys.iter().map(|&key| self.ids[key]).collect();
        let deadline = wish.deadline.map(|after| self.now + after);
        (Ask { cost: wish.cost, excluded: keys, deadline }, ids)
    }

    /// Says whom a call chose, at once and for the line, for the model to judge.
    fn tell(&mut self, lease: Option<&Lease>, outcomes: &[Outcome<u32>]) {
        let at_once = lease.map(Lease::worker);
        let served = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Assigned { lease, .. } => Some(lease.worker()),
            _ => None,
        });
        self.model.taken = at_once.into_iter().chain(served).map(|id| self.key_of(id)).collect();
    }

    fn outcomes(&mut self) -> Vec<Outcome<u32>> {
        std::iter::from_fn(|| self.pool.poll_outcome()).collect()
    }

    fn change(&mut self, key: Key, change: &Change) {
        let (id, now, pool) = (self.ids[key], self.now, &mut self.pool);
        let result = match *change {
            Change::Remove => pool.remove(id, now),
            Change::Health(health) => pool.set_health(id, health, now),
            Change::Draining(draining) => pool.set_draining(id, draining, now),
            Change::Weight(weight) => pool.set_weight(id, NonZeroU16::new(weight).unwrap(), now),
            Change::Capacity(capacity) => pool.set_capacity(id, cost_of(capacity), now),
            Change::Ramp(over) => pool.start_ramp(id, over, now),
        };
        let outcomes = self.outcomes();
        self.tell(None, &outcomes);
        if self.model.known(key) {
            assert_eq!(result, Ok(()));
            let model = &mut self.model;
            match *change {
                Change::Remove => model.remove(key, now),
                Change::Ramp(over) => model.start_ramp(key, over, now),
                Change::Health(health) => model.change(key, now, |ship| ship.health = health),
                Change::Draining(draining) => {
                    model.change(key, now, |ship| ship.draining = draining);
                }
                Change::Weight(weight) => model.change(key, now, |ship| ship.weight = weight),
                Change::Capacity(capacity) => {
                    model.change(key, now, |ship| ship.capacity = capacity);
                }
            }
        } else {
            assert_eq!(result, Err(UnknownWorker(id)));
        }
        self.settle(outcomes);
    }

    /// Compares what the pool told with what the model did.
    fn settle(&mut self, outcomes: Vec<Outcome<u32>>) {
        let mut events = std::mem::take(&mut self.model.events).into_iter();
        for outcome in outcomes {
            let event = events.next().expect("the pool told more than happened");
            match (outcome, event) {
                (Outcome::Assigned { ticket, lease, tag }, Event::Assigned(expected, charge)) => {
                    self.left_line(ticket, tag);
                    assert_eq!(tag, expected);
                    self.assigned(lease, charge, tag);
                }
                (Outcome::Refused { ticket, reason, tag }, event) => {
                    self.left_line(ticket, tag);
                    assert_eq!(event, Event::Refused(tag, reason));
                }
                (Outcome::Removed(id), event) => assert_eq!(event, Event::Removed(self.key_of(id))),
                (outcome, event) => panic!("{outcome:?}, but expected {event:?}"),
            }
        }
        assert_eq!(events.next(), None, "the pool did not tell all");
        assert!(self.model.taken.is_empty(), "the pool served more than it should");
    }

    fn left_line(&mut self, ticket: Ticket, tag: u32) {
        let place = self.waiting.iter().position(|&entry| entry == (ticket, tag));
        self.waiting.remove(place.expect("it waited under this ticket"));
    }

    fn assigned(&mut self, lease: Lease, charge: Charge, tag: u32) {
        assert_eq!(lease.worker(), self.ids[charge.key]);
        assert_eq!(lease.cost().get(), charge.cost);
        self.out.push(Out { lease, charge, tag });
    }

    fn apply(&mut self, op: Op) {
        let now = self.now;
        match op {
            Op::Add { capacity, weight, health } => {
                let mut spec = WorkerSpec::new(cost_of(capacity));
                spec.weight = NonZeroU16::new(weight).unwrap();
                spec.health = health;
                self.most = self.most.max(self.model.present().count() + 1);
                let id = self.pool.add(spec, now);
                assert!(!self.ids.contains(&id), "I6: {id} was used before");
                assert!(id.index() < self.most, "slots are used again");
                self.ids.push(id);
                let outcomes = self.outcomes();
                self.tell(None, &outcomes);
                self.model.add(id, capacity, weight, health, now);
                self.settle(outcomes);
            }
            Op::Change(index, change) => {
                if let Some(key) = self.key(index) {
                    self.change(key, &change);
                }
            }
            Op::Policy => {
                self.pool.set_policy(Policy::LeastLoaded);
                self.model.reshuffle();
            }
            Op::Line(line) => {
                self.pool.set_line(line);
                self.model.config.line = line;
            }
            Op::Dispatch(wish) => self.dispatch(&wish),
            Op::TryDispatch(wish) => self.try_dispatch(&wish),
            Op::DispatchTo(index, cost) => {
                let Some(key) = self.key(index) else { return };
                self.dispatch_to(key, cost);
            }
            Op::Adopt(index, cost) => {
                let Some(key) = self.key(index) else { return };
                self.adopt(key, cost);
            }
            Op::Completed(index, failed) => {
                if !self.out.is_empty() {
                    self.completed(index.index(self.out.len()), failed);
                }
            }
            Op::ForeignLease => self.foreign_lease(),
            Op::TakeBack(index, wish, avoid) => {
                if self.out.is_empty() {
                    return;
                }
                self.take_back(index.index(self.out.len()), &wish, avoid);
            }
            Op::Reassign(index, to) => {
                let Some(to) = self.key(to).filter(|_| !self.out.is_empty()) else { return };
                self.reassign(index.index(self.out.len()), to);
            }
            Op::ClearLine => {
                let waited: Vec<u32> = self.model.line.drain(..).map(|w| w.tag).collect();
                assert_eq!(self.pool.clear_line(), waited);
                self.waiting.clear();
                let outcomes = self.outcomes();
                self.settle(outcomes);
            }
            Op::Cancel(index) => {
                if self.waiting.is_empty() {
                    return;
                }
                let (ticket, tag) = self.waiting.swap_remove(index.index(self.waiting.len()));
                assert_eq!(self.pool.cancel(ticket, now), Some(tag));
                assert_eq!(self.pool.cancel(ticket, now), None);
                let outcomes = self.outcomes();
                self.tell(None, &outcomes);
                assert!(self.model.cancel(tag, now));
                self.settle(outcomes);
            }
            Op::Pass(time) => self.now = now + time,
            Op::Timeout(time) => {
                let next = self.pool.poll_timeout().unwrap_or(now);
                self.now = time.map_or(next.max(now), |time| now + time);
                self.pool.handle_timeout(self.now);
                let outcomes = self.outcomes();
                self.tell(None, &outcomes);
                self.model.handle_timeout(self.now);
                self.settle(outcomes);
            }
        }
    }

    fn dispatch(&mut self, wish: &Wish) {
        let (ask, excluded) = self.ask(wish, None);
        let request =
            Request { cost: cost_of(ask.cost), excluded: &excluded, deadline: ask.deadline };
        self.tags += 1;
        let tag = self.tags;
        let did = self.pool.dispatch(&request, tag, self.now);
        let outcomes = self.outcomes();
        let lease = if let Dispatch::Assigned(lease, _) = &did { Some(lease) } else { None };
        self.tell(lease, &outcomes);
        let expected = self.model.dispatch(&ask, tag, self.now);
        match (did, expected) {
            (Dispatch::Assigned(lease, back), Answer::Assigned(charge)) => {
                assert_eq!(back, tag);
                self.assigned(lease, charge, tag);
            }
            (Dispatch::InLine(ticket), Answer::InLine) => self.waiting.push((ticket, tag)),
            (Dispatch::Refused(reason, back), expected) => {
                assert_eq!((expected, back), (Answer::Refused(reason), tag));
            }
            (did, expected) => panic!("{did:?}, but expected {expected:?}"),
        }
        self.settle(outcomes);
    }

    fn try_dispatch(&mut self, wish: &Wish) {
        let (ask, excluded) = self.ask(wish, None);
        let request =
            Request { cost: cost_of(ask.cost), excluded: &excluded, deadline: ask.deadline };
        let did = self.pool.try_dispatch(&request, self.now);
        self.tell(did.as_ref().ok(), &[]);
        match (did, self.model.try_dispatch(&ask, self.now)) {
            (Ok(lease), Answer::Assigned(charge)) => {
                self.tags += 1;
                self.assigned(lease, charge, self.tags);
            }
            (Err(Blocked::WouldWait), Answer::InLine) => {}
            (Err(Blocked::Refused(reason)), expected) => {
                assert_eq!(expected, Answer::Refused(reason));
            }
            (did, expected) => panic!("{did:?}, but expected {expected:?}"),
        }
        self.settle(Vec::new());
    }

    fn dispatch_to(&mut self, key: Key, cost: u32) {
        let result = self.pool.dispatch_to(self.ids[key], cost_of(cost));
        let expected = self.model.dispatch_to(key, cost);
        match (result, expected) {
            (Ok(lease), Some(charge)) => {
                self.tags += 1;
                self.assigned(lease, charge, self.tags);
            }
            (Err(DispatchToError::Unknown(unknown)), None) => {
                assert!(!self.model.known(key));
                assert_eq!(unknown.0, self.ids[key]);
            }
            (Err(error), None) => {
                let ship = self.model.ships[key].as_ref().unwrap();
                let up = ship.health == Health::Up && !ship.draining;
                assert_eq!(error == DispatchToError::NoRoom, up);
            }
            (result, expected) => panic!("{result:?}, but expected {expected:?}"),
        }
    }

    fn adopt(&mut self, key: Key, cost: u32) {
        match (self.pool.adopt(self.ids[key], cost_of(cost)), self.model.adopt(key, cost)) {
            (Ok(lease), Some(charge)) => {
                self.tags += 1;
                self.assigned(lease, charge, self.tags);
            }
            (Err(DispatchToError::Unknown(unknown)), None) => {
                assert!(!self.model.known(key));
                assert_eq!(unknown.0, self.ids[key]);
            }
            (Err(DispatchToError::NoRoom), None) => assert!(self.model.known(key)),
            (result, expected) => panic!("{result:?}, but expected {expected:?}"),
        }
    }

    fn completed(&mut self, place: usize, failed: bool) {
        let Out { lease, charge, .. } = self.out.swap_remove(place);
        let how = if failed { Completion::Failed } else { Completion::Succeeded };
        assert_eq!(self.pool.completed(lease, how, self.now), Ok(()));
        let outcomes = self.outcomes();
        self.tell(None, &outcomes);
        self.model.completed(charge, failed, self.now);
        self.settle(outcomes);
    }

    fn take_back(&mut self, place: usize, wish: &Wish, avoid: bool) {
        let Out { lease, charge, tag } = self.out.swap_remove(place);
        let (ask, excluded) = self.ask(wish, avoid.then_some(charge.key));
        let request =
            Request { cost: cost_of(ask.cost), excluded: &excluded, deadline: ask.deadline };
        let ticket = self.pool.take_back(lease, &request, tag, self.now).unwrap();
        self.waiting.push((ticket, tag));
        let outcomes = self.outcomes();
        self.tell(None, &outcomes);
        self.model.take_back(charge, &ask, tag, self.now);
        self.settle(outcomes);
    }

    fn reassign(&mut self, place: usize, to: Key) {
        let Out { lease, charge, tag } = self.out.swap_remove(place);
        let did = self.pool.reassign(lease, self.ids[to], self.now);
        let outcomes = self.outcomes();
        self.tell(None, &outcomes);
        match (did, self.model.reassign(charge, to, self.now)) {
            (Ok(lease), Some(charge)) => self.assigned(lease, charge, tag),
            (Err(lease), None) => self.out.push(Out { lease, charge, tag }),
            (did, expected) => panic!("{did:?}, but expected {expected:?}"),
        }
        self.settle(outcomes);
    }

    /// A lease of another pool that looks like one of this pool's.
    fn foreign_lease(&mut self) {
        let Some(spec) = self.model.present().next().map(|(_, ship)| ship.capacity) else { return };
        let mut other: Pool<u32> = Pool::new(Config::default());
        other.add(WorkerSpec::new(cost_of(spec)), self.now);
        if let Ok(lease) = other.try_dispatch(&Request::default(), self.now) {
            let result = self.pool.completed(lease, Completion::Failed, self.now);
            let Err(StaleLease(lease)) = result else { panic!("{result:?}") };
            assert_eq!(other.completed(lease, Completion::Succeeded, self.now), Ok(()));
        }
        if let Ok(lease) = other.try_dispatch(&Request::default(), self.now) {
            let result = self.pool.take_back(lease, &Request::default(), 7, self.now);
            let Err((StaleLease(lease), 7)) = result else { panic!("{result:?}") };
            assert_eq!(other.completed(lease, Completion::Succeeded, self.now), Ok(()));
        }
    }

    fn check(&self) {
        let (pool, model) = (&self.pool, &self.model);
        pool.check_invariants().unwrap();
        assert_eq!(model.idle_while_waiting(), 0);
        assert_eq!(pool.idle_while_waiting(), 0);
        let audit = pool.audit();
        assert_eq!((audit.regretted, audit.regret, audit.idle_while_waiting), (0, 0.0, 0));
        assert_eq!(pool.pending(), model.pending());
        assert_eq!(pool.pending(), self.out.iter().map(|out| u64::from(out.charge.cost)).sum());
        assert_eq!(pool.waiting(), model.line.len());
        let longest = model.line.first().map(|head| self.now.since(head.since).unwrap());
        assert_eq!(pool.longest_wait(self.now), longest);
        assert_eq!(pool.poll_timeout(), model.next_due());
        assert_eq!(*pool.config(), model.config);
        assert_eq!(pool.workers().count(), model.present().count());
        for (key, ship) in model.ships.iter().enumerate() {
            let stats = pool.worker(self.ids[key]);
            let Some(ship) = ship else {
                assert_eq!(stats, None);
                continue;
            };
            let stats = stats.unwrap();
            assert_eq!(stats.id, ship.id);
            assert_eq!(u64::from(stats.pending), ship.pending);
            assert_eq!(u64::from(stats.penalty), ship.penalty);
            assert_eq!(u64::from(stats.capacity_in_force), ship.capacity_in_force());
            assert_eq!((stats.capacity.get(), stats.weight.get()), (ship.capacity, ship.weight));
            assert_eq!(stats.health, ship.health);
            assert_eq!(stats.draining, ship.draining || ship.removed);
            assert_eq!(stats.dispatched, ship.dispatched);
            assert_eq!((stats.completed, stats.failed), (ship.completed, ship.failed));
            let (sum, weight) = ship.load();
            #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance")]
            let load = sum as f64 / weight as f64;
            assert!((stats.load.as_f64() - load).abs() <= load * 1e-12);
        }
    }

    /// Every way ends: leases come back, the line runs dry, nothing is due.
    fn finish(&mut self) {
        let roomy = Op::Add { capacity: u32::MAX, weight: 1, health: Health::Up };
        for _ in 0..=self.waiting.len() {
            self.apply(roomy.clone());
            self.check();
            while !self.out.is_empty() {
                self.completed(0, false);
                self.check();
            }
        }
        assert_eq!((self.pool.waiting(), self.pool.pending()), (0, 0));
        for key in 0..self.ids.len() {
            if self.model.known(key) {
                self.pool.remove(self.ids[key], self.now).unwrap();
                assert_eq!(self.pool.poll_outcome(), Some(Outcome::Removed(self.ids[key])));
            }
        }
        let ids: HashSet<WorkerId> = self.pool.workers().map(|stats| stats.id).collect();
        assert!(ids.is_empty(), "{ids:?} are still there");
        while let Some(at) = self.pool.poll_timeout() {
            self.pool.handle_timeout(at);
        }
        self.pool.check_invariants().unwrap();
    }
}

struct Compare;

thread_local! {
    static APPLIED: Cell<u64> = const { Cell::new(0) };
}

impl StateMachineTest for Compare {
    type SystemUnderTest = Twins;
    type Reference = Calls;

    fn init_test(config: &Config) -> Twins {
        Twins {
            pool: Pool::new(*config),
            model: Model::new(*config),
            now: Time::ZERO,
            ids: Vec::new(),
            out: Vec::new(),
            waiting: Vec::new(),
            tags: 0,
            most: 0,
        }
    }

    fn apply(mut twins: Twins, _: &Config, op: Op) -> Twins {
        APPLIED.set(APPLIED.get() + 1);
        twins.apply(op);
        twins
    }

    fn check_invariants(twins: &Twins, _: &Config) {
        twins.check();
    }

    fn teardown(mut twins: Twins, _: Config) {
        twins.finish();
    }
}

#[test]
fn pool_and_model_agree() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let cases = number("PLIMSOLL_MODEL_CASES").unwrap_or(60);
    let seed = number("PLIMSOLL_MODEL_SEED").unwrap_or(1);
    // Shown when the test fails, and by `--nocapture`.
    println!("PLIMSOLL_MODEL_CASES={cases} PLIMSOLL_MODEL_SEED={seed}");
    let config = RunConfig {
        cases: u32::try_from(cases).unwrap(),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..RunConfig::default()
    };
    let started = Instant::now();
    let sequences = Calls::sequential_strategy(1..OPERATIONS);
    let result = TestRunner::new(config.clone()).run(&sequences, |(state, ops, seen)| {
        Compare::test_sequential(config.clone(), state, ops, seen);
        Ok(())
    });
    println!("{} operations in {:.1?}", APPLIED.get(), started.elapsed());
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
