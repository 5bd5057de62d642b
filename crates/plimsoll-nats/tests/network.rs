//! The balancer and its workers on a simulated network, in virtual time, with seeds.
//!
//! A connection keeps its order, as TCP does, and what it loses it loses with all that follows:
//! a worker is cut off, killed or stopped, and comes back. There all must hold, exactly one
//! answer or error to each request included. On a worse network (messages lost alone, repeated
//! and out of order) what must hold is that nothing runs twice that may not, and that the books
//! are right in the end.
//!
//! `PLIMSOLL_SEED` runs one seed, `PLIMSOLL_SEEDS` so many (32).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use plimsoll_core::Time;
use plimsoll_nats::{
    Answer, Beat, Dispatcher, End, Hold, LeaseId, Output, Parcel, Settings, Taken, Terms,
    WorkerName,
};

/// What is drawn from a seed.
struct Draw(fastrand::Rng);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.u64(..bound)
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn capacity(&mut self) -> u32 {
        self.0.u32(1..=4)
    }

    fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.below(to - from))
    }
}

/// What a balancer sends a worker, in a generation of the worker's.
#[derive(Clone, Debug)]
struct Delivered {
    generation: u64,
    what: What,
    /// Made behind the server, which says of a message once that nobody is there.
    is_copy: bool,
}

#[derive(Clone, Debug)]
enum What {
    Request { lease: LeaseId, request: u64, cost: NonZeroU32 },
    Answer { epoch: u64, answer: Answer },
    GiveUp,
}

/// What a worker tells, or the server for it.
#[derive(Clone, Debug)]
enum Told {
    Report { lease: LeaseId, end: End },
    Beat(Beat),
}

#[derive(Debug)]
enum Event {
    /// A request comes to the balancer.
    Request,
    /// A message reaches a worker, or the balancer.
    ToWorker(usize, Delivered),
    ToBalancer(usize, Told),
    /// A request has ended at a worker, in a life of it.
    Ended {
        worker: usize,
        life: u64,
        lease: LeaseId,
        request: u64,
    },
    /// A worker looks at its clock.
    Tick(usize, u64),
    /// The balancer looks at its own.
    Timeout,
    /// A worker is cut off, killed, stopped; and is well again.
    Harm(usize),
    Heal(usize, u64),
    /// Another balancer takes over.
    Takeover,
}

struct Worker {
    name: WorkerName,
    hold: Hold,
    /// Counts deaths: what belongs to an earlier life is nothing any more.
    life: u64,
    is_alive: bool,
    is_connected: bool,
    /// Stopped: it does nothing until then, and then all at once.
    stopped_until: Option<Time>,
    /// What was sent within one write and not yet flushed.
    runs: u64,
}

#[derive(Default)]
struct Fate {
    is_repeatable: bool,
    begun: u32,
    answers: u32,
    errors: u32,
    /// Something of it was on its way when a connection broke, or a balancer died with it.
    is_excused: bool,
}

struct World {
    draw: Draw,
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64, usize)>>,
    pending: Vec<Option<Event>>,
    dispatcher: Dispatcher,
    settings: Settings,
    attends: bool,
    workers: Vec<Worker>,
    fates: BTreeMap<u64, Fate>,
    /// When the last message between two arrives: a connection keeps its order.
    arrivals: HashMap<(usize, bool), Time>,
    is_rough: bool,
    is_calm: bool,
    requests: u64,
    timeout_at: Option<Time>,
}

const WORKERS: usize = 5;
const REQUESTS: u64 = 1500;
const LONG: Duration = Duration::from_secs(12);

impl World {
    fn new(seed: u64, is_rough: bool) -> Self {
        let mut draw = Draw(fastrand::Rng::with_seed(seed));
        let settings = Settings {
            line: 20,
            line_time: Some(Duration::from_millis(200)),
            keep_bytes: if draw.one_in(4) { 3000 } else { 64 << 20 },
            audit_every: 1,
            ..Settings::default()
        };
        let workers = (0..WORKERS)
            .map(|nth| Worker {
                name: format!("w{nth}").parse().unwrap(),
                hold: Hold::new(1, draw.capacity(), NonZeroU16::MIN),
                life: 0,
                is_alive: true,
                is_connected: true,
                stopped_until: None,
                runs: 0,
            })
            .collect();
        let mut world = Self {
            draw,
            now: Time::ZERO,
            events: BinaryHeap::new(),
            pending: Vec::new(),
            dispatcher: Dispatcher::new(settings, 2, seed),
            settings,
            attends: false,
            workers,
            fates: BTreeMap::new(),
            arrivals: HashMap::new(),
            is_rough,
            is_calm: false,
            requests: 0,
            timeout_at: None,
        };
        for nth in 0..WORKERS {
            let after = world.draw.micros(0, 100_000);
            world.after(after, Event::Tick(nth, 0));
            let after = world.draw.micros(200_000, 4_000_000);
            world.after(after, Event::Harm(nth));
        }
        world.after(Duration::from_millis(1), Event::Request);
        if !is_rough {
            let after = world.draw.micros(500_000, 2_500_000);
            world.after(after, Event::Takeover);
        }
        world
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    fn at(&mut self, at: Time, event: Event) {
        let number = self.pending.len();
        self.pending.push(Some(event));
        self.events.push(Reverse((at, number as u64, number)));
    }

    /// To a worker, over its own connection.
    fn deliver(&mut self, worker: usize, generation: u64, what: What) {
        let delivered = Delivered { generation, what, is_copy: false };
        let copy = Event::ToWorker(worker, Delivered { is_copy: true, ..delivered.clone() });
        self.send((worker, true), Event::ToWorker(worker, delivered), copy);
    }

    /// To the balancer, over the worker's connection; the balancer's own is never cut.
    fn tell(&mut self, worker: usize, told: Told) {
        let copy = Event::ToBalancer(worker, told.clone());
        self.send((worker, false), Event::ToBalancer(worker, told), copy);
    }

    fn send(&mut self, over: (usize, bool), event: Event, copy: Event) {
        let delay = self.draw.micros(50, 800);
        if self.is_rough && !self.is_calm {
            if self.draw.one_in(50) {
                return;
            }
            if self.draw.one_in(50) {
                let again = self.draw.micros(50, 20_000);
                self.after(again, copy);
            }
            let late = if self.draw.one_in(30) { self.draw.micros(0, 30_000) } else { delay };
            return self.after(late, event);
        }
        let last = self.arrivals.entry(over).or_insert(Time::ZERO);
        let at = (self.now + delay).max(*last + Duration::from_nanos(1));
        *last = at;
        self.at(at, event);
    }

    fn run(&mut self) {
        while let Some(Reverse((at, _, number))) = self.events.pop() {
            self.now = at;
            let event = self.pending[number].take().unwrap();
            self.happen(event);
            self.dispatcher.check_invariants().unwrap();
            if self.now > Time::ZERO + LONG {
                break;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request => self.request(),
            Event::ToWorker(nth, delivered) => self.reach_worker(nth, delivered),
            Event::ToBalancer(nth, told) => self.reach_balancer(nth, told),
            Event::Ended { worker, life, lease, request } => {
                self.ended(worker, life, lease, request);
            }
            Event::Tick(nth, life) => self.tick(nth, life),
            Event::Timeout => {
                if self.timeout_at == Some(self.now) {
                    self.timeout_at = None;
                    self.dispatcher.handle_timeout(self.now);
                    self.follow();
                }
            }
            Event::Harm(nth) => self.harm(nth),
            Event::Heal(nth, life) => self.heal(nth, life),
            Event::Takeover => self.takeover(),
        }
    }

    fn request(&mut self) {
        let number = self.requests;
        self.requests += 1;
        let is_repeatable = self.draw.one_in(2);
        let timeout = self.draw.one_in(5).then(|| self.draw.micros(1000, 100_000));
        // Nobody attends: the server says so, and the balancer never hears of it.
        if self.attends {
            self.fates.insert(number, Fate { is_repeatable, ..Fate::default() });
            let parcel = Parcel {
                inbox: Some(Subject::from("inbox")),
                headers: None,
                payload: Bytes::copy_from_slice(&number.to_be_bytes()),
            };
            let cost = NonZeroU32::new(1 + u32::from(self.draw.one_in(10))).unwrap();
            let terms = Terms { cost, timeout, is_repeatable };
            // What refuses it says so without its payload.
            let inbox = Some(Subject::from(number.to_string()));
            self.dispatcher.request(Parcel { inbox, ..parcel }, terms, self.now);
            self.follow();
        }
        if self.requests < REQUESTS {
            let gap = self.draw.micros(100, 6000);
            self.after(gap, Event::Request);
        }
    }

    fn follow(&mut self) {
        while let Some(output) = self.dispatcher.poll_output() {
            match output {
                Output::Deliver { worker, generation, lease, parcel, .. } => {
                    let request = number_of(&parcel);
                    let cost = NonZeroU32::MIN;
                    let nth = self.nth(&worker);
                    self.deliver(nth, generation, What::Request { lease, request, cost });
                }
                Output::Refuse { parcel, .. } => {
                    self.fates.get_mut(&number_of(&parcel)).unwrap().errors += 1;
                }
                Output::Answer { worker, generation, epoch, answer } => {
                    let nth = self.nth(&worker);
                    self.deliver(nth, generation, What::Answer { epoch, answer });
                }
                Output::GiveUp { worker, generation, .. } => {
                    let nth = self.nth(&worker);
                    self.deliver(nth, generation, What::GiveUp);
                }
                Output::Attend(attends) => self.attends = attends,
            }
        }
        if let Some(due) = self.dispatcher.poll_timeout() {
            let due = due.max(self.now + Duration::from_nanos(1));
            if self.timeout_at.is_none_or(|at| due < at) {
                self.timeout_at = Some(due);
                self.at(due, Event::Timeout);
            }
        }
    }

    fn nth(&self, name: &WorkerName) -> usize {
        self.workers.iter().position(|worker| worker.name == *name).unwrap()
    }

    fn reach_worker(&mut self, nth: usize, delivered: Delivered) {
        let worker = &self.workers[nth];
        let is_subscribed = worker.is_alive
            && worker.is_connected
            && worker.hold.generation() == delivered.generation;
        if !is_subscribed {
            if let (What::Request { lease, .. }, false) = (delivered.what, delivered.is_copy) {
                // The server says so, over the balancer's own connection.
                let end = End::Vanished;
                let delay = self.draw.micros(50, 800);
                self.after(delay, Event::ToBalancer(nth, Told::Report { lease, end }));
            }
            return;
        }
        if let Some(until) = worker.stopped_until {
            // In its order, before what its clock says then.
            return self.at(until, Event::ToWorker(nth, delivered));
        }
        let now = self.now;
        let worker = &mut self.workers[nth];
        match delivered.what {
            What::Request { lease, request, cost } => {
                match worker.hold.take(lease.epoch, lease, cost, now) {
                    Taken::Yes => self.begin(nth, lease, request),
                    Taken::No => self.tell(nth, Told::Report { lease, end: End::Refused }),
                    Taken::Twice => {}
                }
            }
            What::Answer { epoch, answer } => worker.hold.answered(epoch, &answer, now),
            What::GiveUp => worker.hold.begin_anew(0),
        }
    }

    fn begin(&mut self, nth: usize, lease: LeaseId, request: u64) {
        let worker = &mut self.workers[nth];
        worker.runs += 1;
        assert!(worker.hold.filled() <= 4, "never above its capacity");
        let life = worker.life;
        let fate = self.fates.get_mut(&request).unwrap();
        fate.begun += 1;
        assert!(fate.is_repeatable || fate.begun == 1, "request {request} began twice");
        let time = self.draw.micros(500, 40_000);
        self.after(time, Event::Ended { worker: nth, life, lease, request });
    }

    fn reach_balancer(&mut self, nth: usize, told: Told) {
        let name = self.workers[nth].name.clone();
        match told {
            Told::Report { lease, end } => {
                self.dispatcher.done(&name.to_string(), lease, end, self.now);
            }
            Told::Beat(beat) => {
                // As it goes over the wire.
                let beat = Beat::read(&beat.text()).unwrap();
                self.dispatcher.beat(&name, &beat, self.now);
            }
        }
        self.follow();
    }

    fn ended(&mut self, nth: usize, life: u64, lease: LeaseId, request: u64) {
        let worker = &mut self.workers[nth];
        if !worker.is_alive || worker.life != life {
            return;
        }
        if let Some(until) = worker.stopped_until {
            return self.at(until, Event::Ended { worker: nth, life, lease, request });
        }
        // Its clock is looked at before anything is sent.
        let _ = worker.hold.handle_timeout(self.now);
        if !worker.hold.finished(lease) {
            return;
        }
        if !worker.is_connected {
            // Answer and report are lost alike.
            return;
        }
        // One write: both arrive or neither does. The answer goes straight to the requester.
        self.fates.get_mut(&request).unwrap().answers += 1;
        let end = if self.draw.one_in(20) { End::Failed } else { End::Finished };
        self.tell(nth, Told::Report { lease, end });
    }

    fn tick(&mut self, nth: usize, life: u64) {
        let now = self.now;
        let worker = &mut self.workers[nth];
        if !worker.is_alive || worker.life != life {
            return;
        }
        if let Some(until) = worker.stopped_until {
            return self.at(until, Event::Tick(nth, life));
        }
        if worker.hold.handle_timeout(now) {
            let beat = worker.hold.beat(now);
            if worker.is_connected {
                self.tell(nth, Told::Beat(beat));
            }
        }
        let due = self.workers[nth].hold.poll_timeout().max(now + Duration::from_micros(100));
        self.at(due, Event::Tick(nth, life));
    }

    fn harm(&mut self, nth: usize) {
        if self.now > Time::ZERO + Duration::from_secs(5) {
            return;
        }
        let worker = &mut self.workers[nth];
        let away = self.draw.micros(1000, 4_500_000);
        match self.draw.below(3) {
            0 => {
                worker.is_alive = false;
                worker.life += 1;
            }
            1 => worker.is_connected = false,
            _ => worker.stopped_until = Some(self.now + away),
        }
        let life = worker.life;
        self.after(away, Event::Heal(nth, life));
    }

    fn heal(&mut self, nth: usize, life: u64) {
        let worker = &mut self.workers[nth];
        worker.stopped_until = None;
        worker.is_connected = true;
        if !worker.is_alive {
            worker.is_alive = true;
            let capacity = self.draw.capacity();
            // Its process began anew: the time is its generation.
            let generation = 1_000_000 + self.now.as_nanos() / 1000;
            worker.hold = Hold::new(generation, capacity, NonZeroU16::MIN);
            self.after(Duration::ZERO, Event::Tick(nth, life));
        }
        let after = self.draw.micros(100_000, 3_000_000);
        self.after(after, Event::Harm(nth));
    }

    /// The balancer dies, and after some time another takes over.
    fn takeover(&mut self) {
        // Later than that of the one before, or not, where epochs began anew.
        let epoch = 1 + 2 * self.draw.below(2);
        let dispatcher = Dispatcher::new(self.settings, epoch, self.draw.0.u64(..));
        let before = std::mem::replace(&mut self.dispatcher, dispatcher);
        self.attends = false;
        self.timeout_at = None;
        drop(before);
        for fate in self.fates.values_mut() {
            fate.is_excused |= fate.answers + fate.errors == 0;
        }
    }
}

/// The number is in the inbox, which is always there, and in the payload.
fn number_of(parcel: &Parcel) -> u64 {
    let number = parcel.inbox.as_ref().unwrap().as_str().parse().unwrap();
    if let Ok(payload) = <[u8; 8]>::try_from(&parcel.payload[..]) {
        assert_eq!(u64::from_be_bytes(payload), number);
    }
    number
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("PLIMSOLL_SEED"), number("PLIMSOLL_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, many) => (1..=many.unwrap_or(32)).collect(),
    }
}

#[test]
fn each_request_has_one_answer_or_error_whatever_becomes_of_workers() {
    for seed in seeds() {
        println!("seed {seed}");
        let mut world = World::new(seed, false);
        world.run();
        settled(&world);
        let mut unanswered = 0;
        for (number, fate) in &world.fates {
            let replies = fate.answers + fate.errors;
            if fate.is_excused {
                // What a balancer had as it died is lost, or was adopted with its worker.
                assert!(replies <= 1, "request {number} has {replies} replies");
                unanswered += 1 - replies;
            } else {
                assert_eq!(replies, 1, "request {number} began {} times", fate.begun);
            }
        }
        // A line, and what its workers had.
        assert!(unanswered <= 20 + 20, "{unanswered} requests were lost with a balancer");
        assert!(world.workers.iter().map(|worker| worker.runs).sum::<u64>() > REQUESTS / 5);
    }
}

#[test]
fn nothing_runs_twice_that_may_not_on_a_rough_network() {
    for seed in seeds() {
        println!("seed {seed}");
        let mut world = World::new(seed, true);
        while world.now < Time::ZERO + Duration::from_secs(6) {
            let Some(Reverse((at, _, number))) = world.events.pop() else { break };
            world.now = at;
            let event = world.pending[number].take().unwrap();
            world.happen(event);
            world.dispatcher.check_invariants().unwrap();
        }
        world.is_calm = true;
        world.run();
        settled(&world);
    }
}

/// All workers are well: nothing is out, nobody waits, and audits found nothing.
fn settled(world: &World) {
    let audit = world.dispatcher.audit();
    assert_eq!((world.dispatcher.pending(), world.dispatcher.waiting()), (0, 0));
    assert_eq!((audit.regretted, audit.idle_while_waiting), (0, 0));
    assert_eq!(world.dispatcher.workers().count(), WORKERS);
    assert!(audit.audits > 0, "{:?}", world.dispatcher.counts());
}
