//! Time, the server between all, and what befalls whom.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::Time;
use plimsoll_nats::{Beat, Dispatcher, End, Hold, LeaseId, Service, Settings, Terms, WorkerName};

use crate::balancers::{Balancer, Role};
use crate::draw::Draw;
use crate::workers::{Delivered, What, Worker};

pub(crate) const WORKERS: usize = 5;
/// The first leader's.
pub(crate) const EPOCH: u64 = 100;
const REQUESTS: u64 = 2500;
pub(crate) const LINE: usize = 20;
/// All are well some time after this.
pub(crate) const HARM_ENDS: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(18);

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    Worker(usize),
    Balancer(usize),
}

/// What goes to the server.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// From a balancer: to a worker.
    Deliver(usize, Delivered),
    /// From a balancer: to the requester of this request.
    Error(u64),
    /// From a worker; with the answer, where it is the report on one.
    Told(usize, Told),
}

/// What a balancer hears: from workers, from requesters, or from the server that nobody was there.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Report { lease: LeaseId, request: u64, end: End },
    Beat(Beat),
    Leave,
    Request { request: u64, terms: Terms },
}

#[derive(Debug)]
pub(crate) enum Event {
    /// Somebody asks.
    Ask,
    /// A message reaches the server, over a connection that may have broken; or somebody that it
    /// was passed on to.
    AtServer(Party, u64, Message),
    AtWorker(usize, u64, Delivered),
    AtBalancer(usize, u64, usize, Told),
    /// A request has ended at a worker, in a life of it.
    Ended {
        worker: usize,
        life: u64,
        lease: LeaseId,
        request: u64,
    },
    /// A worker looks at its clock.
    Tick(usize, u64),
    /// A balancer looks at its own.
    Timeout(usize),
    /// A worker is cut off, killed, stopped or ended; and is well again.
    Harm(usize),
    Heal(usize, u64),
    /// The same to the balancer that leads; another takes over; one hears no more.
    Trouble,
    Stop(usize),
    Recover(usize),
    TakeOver,
    Retired(usize),
}

/// What became of a request that a balancer received.
#[derive(Debug)]
pub(crate) struct Fate {
    pub(crate) is_repeatable: bool,
    pub(crate) cost: NonZeroU32,
    pub(crate) owner: usize,
    pub(crate) begun: u32,
    pub(crate) answers: u32,
    pub(crate) errors: u32,
    /// Its balancer died with it, or what would have settled it was on its way when a balancer's
    /// connection broke.
    pub(crate) is_excused: bool,
    /// It was out, or in line, when another took over from its balancer, which lives.
    pub(crate) is_orphan: bool,
    /// How often it was answered, and its balancer, cut off, did not hear of that.
    pub(crate) torn: u32,
}

impl Default for Fate {
    fn default() -> Self {
        Self {
            is_repeatable: false,
            cost: NonZeroU32::MIN,
            owner: 0,
            begun: 0,
            answers: 0,
            errors: 0,
            is_excused: false,
            is_orphan: false,
            torn: 0,
        }
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each may be so whatever the others are")]
pub(crate) struct World {
    pub(crate) draw: Draw,
    pub(crate) now: Time,
    events: BinaryHeap<Reverse<(Time, u64, usize)>>,
    pending: Vec<Option<Event>>,
    /// The last one leads, or is to.
    pub(crate) balancers: Vec<Balancer>,
    pub(crate) service: Service,
    pub(crate) settings: Settings,
    pub(crate) workers: Vec<Worker>,
    pub(crate) fates: BTreeMap<u64, Fate>,
    /// When the last message over a connection, one way, arrives: it keeps its order.
    arrivals: HashMap<(Party, bool), Time>,
    pub(crate) is_rough: bool,
    pub(crate) is_calm: bool,
    /// Nothing befalls workers but that they end, and others begin.
    pub(crate) is_harmless: bool,
    /// Nothing befalls balancers.
    pub(crate) is_kind: bool,
    pub(crate) deaths: usize,
    pub(crate) cuts: usize,
    requests: u64,
}

impl World {
    pub(crate) fn new(seed: u64, is_rough: bool) -> Self {
        let mut draw = Draw::of(seed);
        let line_times = [Some(Duration::from_millis(200)), Some(Duration::from_secs(10)), None];
        let settings = Settings {
            line: LINE,
            line_time: draw.one_of(&line_times),
            keep_bytes: if draw.one_in(4) { 3000 } else { 64 << 20 },
            audit_every: 1,
            ..Settings::default()
        };
        let workers = (0..WORKERS).map(|nth| {
            let capacity = draw.capacity();
            Worker {
                name: format!("w{nth}").parse().unwrap(),
                hold: Hold::new(1, capacity, draw.weight()),
                capacity,
                life: 0,
                is_alive: true,
                connection: 0,
                is_connected: true,
                stopped_until: None,
                ends_at: None,
                unsent: Vec::new(),
                runs: 0,
            }
        });
        let workers = workers.collect();
        let service: Service = "resize".parse().unwrap();
        let leader = Dispatcher::new(service.clone(), settings, EPOCH, seed);
        let mut world = Self {
            now: Time::ZERO,
            events: BinaryHeap::new(),
            pending: Vec::new(),
            balancers: vec![Balancer::new(leader)],
            service,
            settings,
            workers,
            fates: BTreeMap::new(),
            arrivals: HashMap::new(),
            is_rough,
            is_calm: false,
            is_harmless: draw.one_in(3),
            is_kind: draw.one_in(3),
            deaths: 0,
            cuts: 0,
            requests: 0,
            draw,
        };
        for nth in 0..WORKERS {
            let after = world.draw.micros(0, 100_000);
            world.after(after, Event::Tick(nth, 0));
            let after = world.draw.micros(200_000, 4_000_000);
            world.after(after, Event::Harm(nth));
        }
        world.after(Duration::from_millis(1), Event::Ask);
        if !world.is_kind {
            world.trouble_later();
        }
        world
    }

    /// Whether a request may be without a reply.
    pub(crate) fn is_excused(&self, fate: &Fate) -> bool {
        // Nobody tells its balancer what becomes of the worker.
        fate.is_excused || fate.is_orphan && !self.is_harmless
    }

    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        let number = self.pending.len();
        self.pending.push(Some(event));
        self.events.push(Reverse((at, number as u64, number)));
    }

    pub(crate) fn nth(&self, name: &WorkerName) -> usize {
        self.workers.iter().position(|worker| worker.name == *name).unwrap()
    }

    pub(crate) fn run(&mut self) {
        self.run_until(LONG);
    }

    pub(crate) fn run_until(&mut self, until: Duration) {
        while let Some(&Reverse((at, _, number))) = self.events.peek()
            && at <= Time::ZERO + until
        {
            let _ = self.events.pop();
            self.now = at;
            let event = self.pending[number].take().unwrap();
            self.happen(event);
            for balancer in &self.balancers {
                if balancer.role != Role::Dead {
                    balancer.dispatcher.check_invariants().unwrap();
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ask => self.ask(),
            Event::AtServer(from, connection, message) => self.pass(from, connection, message),
            Event::AtWorker(nth, connection, what) => self.reach_worker(nth, connection, what),
            Event::AtBalancer(nth, connection, worker, told) => {
                self.reach_balancer(nth, connection, worker, told);
            }
            Event::Ended { worker, life, lease, request } => {
                self.ended(worker, life, lease, request);
            }
            Event::Tick(nth, life) => self.tick(nth, life),
            Event::Timeout(nth) => self.timeout(nth),
            Event::Harm(nth) => self.harm(nth),
            Event::Heal(nth, life) => self.heal(nth, life),
            Event::Trouble => self.trouble(),
            Event::Stop(nth) => self.stop(nth),
            Event::Recover(nth) => self.recover(nth),
            Event::TakeOver => self.take_over(),
            Event::Retired(nth) => self.balancers[nth].role = Role::Dead,
        }
    }

    fn ask(&mut self) {
        let request = self.requests;
        self.requests += 1;
        let cost = self.draw.one_of(&[1, 1, 1, 1, 1, 1, 1, 2, 2, 3]);
        let terms = Terms {
            cost: NonZeroU32::new(cost).unwrap(),
            timeout: self.draw.one_in(5).then(|| self.draw.micros(1000, 100_000)),
            is_repeatable: self.draw.one_in(2),
        };
        // Where nobody attends the server says so, and no balancer ever hears of it. One that does
        // not know that another leads has it, too, and leaves it when it knows.
        for nth in 0..self.balancers.len() {
            let balancer = &self.balancers[nth];
            if balancer.role == Role::Leads && balancer.attends && balancer.is_connected {
                self.hear(nth, 0, Told::Request { request, terms });
            }
        }
        if self.requests < REQUESTS {
            let gap = self.draw.micros(100, 6000);
            self.after(gap, Event::Ask);
        }
    }

    /// Over somebody's own connection, to the server.
    pub(crate) fn send(&mut self, from: Party, connection: u64, message: Message) {
        if let Some(at) = self.arrival((from, true)) {
            self.at(at, Event::AtServer(from, connection, message));
        }
    }

    /// When a message that is sent now arrives; on a rough network it may not.
    fn arrival(&mut self, over: (Party, bool)) -> Option<Time> {
        let delay = self.draw.micros(30, 400);
        if self.is_rough && !self.is_calm {
            if self.draw.one_in(100) {
                return None;
            }
            let late = if self.draw.one_in(60) { self.draw.micros(0, 30_000) } else { delay };
            return Some(self.now + late);
        }
        let last = self.arrivals.entry(over).or_insert(Time::ZERO);
        *last = (self.now + delay).max(*last + Duration::from_nanos(1));
        Some(*last)
    }

    /// Whether a message comes once more, some time later.
    fn copied(&mut self) -> Option<Time> {
        let is_copied = self.is_rough && !self.is_calm && self.draw.one_in(50);
        is_copied.then(|| self.now + self.draw.micros(50, 20_000))
    }

    /// Whether it is a balancer that is about to lose the lead, or has lost it.
    fn is_leaving(&self, from: Party) -> bool {
        let Party::Balancer(nth) = from else { return false };
        let balancer = &self.balancers[nth];
        balancer.unwritten_until.is_some() || nth + 1 < self.balancers.len()
    }

    /// The server passes a message on.
    fn pass(&mut self, from: Party, connection: u64, message: Message) {
        let is_there = match from {
            Party::Worker(nth) => self.workers[nth].connection == connection,
            Party::Balancer(nth) => {
                let balancer = &self.balancers[nth];
                if let (Some(until), true) = (balancer.unwritten_until, balancer.is_connected) {
                    // It is still in its client.
                    return self.at(until, Event::AtServer(from, connection, message));
                }
                balancer.connection == connection && balancer.role != Role::Dead
            }
        };
        match message {
            Message::Error(request) => {
                let fate = self.fates.get_mut(&request).unwrap();
                if is_there { fate.errors += 1 } else { fate.is_excused = true }
            }
            Message::Deliver(nth, delivered) if is_there => self.deliver(nth, delivered),
            Message::Deliver(_, Delivered { what: What::Request { request, .. }, .. }) => {
                // One that does not lead any more does not find out.
                let is_leaving = self.is_leaving(from);
                let fate = self.fates.get_mut(&request).unwrap();
                fate.is_excused |= is_leaving;
            }
            Message::Told(nth, told) if is_there => self.hear_all(nth, &told),
            Message::Deliver(..) | Message::Told(..) => {}
        }
    }

    fn deliver(&mut self, nth: usize, delivered: Delivered) {
        let worker = &self.workers[nth];
        let connection = worker.connection;
        if worker.is_subscribed(delivered.generation) {
            if let Some(at) = self.copied() {
                self.at(at, Event::AtWorker(nth, connection, delivered.clone()));
            }
            if let Some(at) = self.arrival((Party::Worker(nth), false)) {
                self.at(at, Event::AtWorker(nth, connection, delivered));
            }
        } else if let What::Request { lease, request, .. } = delivered.what {
            self.hear_all(nth, &Told::Report { lease, request, end: End::Vanished });
        }
    }

    /// All balancers hear what workers say.
    fn hear_all(&mut self, worker: usize, told: &Told) {
        if let Told::Report { request, end: End::Finished | End::Failed, .. } = *told {
            self.fates.get_mut(&request).unwrap().answers += 1;
        }
        for nth in 0..self.balancers.len() {
            self.hear(nth, worker, told.clone());
        }
    }

    fn hear(&mut self, nth: usize, worker: usize, told: Told) {
        let balancer = &self.balancers[nth];
        let connection = balancer.connection;
        if balancer.role == Role::Dead {
            return;
        }
        if !balancer.is_connected {
            return self.unheard(nth, &told);
        }
        // A request that comes twice is two.
        if !matches!(told, Told::Request { .. })
            && let Some(at) = self.copied()
        {
            self.at(at, Event::AtBalancer(nth, connection, worker, told.clone()));
        }
        if let Some(at) = self.arrival((Party::Balancer(nth), false)) {
            self.at(at, Event::AtBalancer(nth, connection, worker, told));
        }
    }

    /// A balancer that is cut off does not hear of this.
    pub(crate) fn unheard(&mut self, nth: usize, told: &Told) {
        if let Told::Report { request, end, .. } = *told {
            let is_leaving = self.is_leaving(Party::Balancer(nth));
            let fate = self.fates.get_mut(&request).unwrap();
            if fate.owner == nth {
                fate.torn += u32::from(matches!(end, End::Finished | End::Failed));
                // That nobody began it, which one that does not lead any more is told once.
                fate.is_excused |= is_leaving;
            }
        }
    }
}
