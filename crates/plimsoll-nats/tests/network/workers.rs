//! Workers: what they take, tell, and go through.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::Time;
use plimsoll_nats::{Answer, End, Hold, LeaseId, Taken, WorkerName};

use crate::world::{Event, HARM_ENDS, Message, Party, Told, World};

/// What a balancer sends a worker, in a generation of the worker's.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) generation: u64,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Request { lease: LeaseId, request: u64, cost: NonZeroU32 },
    Answer { epoch: u64, answer: Answer },
    GiveUp,
}

pub(crate) struct Worker {
    pub(crate) name: WorkerName,
    pub(crate) hold: Hold,
    pub(crate) capacity: u32,
    /// Counts deaths: what belongs to an earlier life is nothing any more.
    pub(crate) life: u64,
    pub(crate) is_alive: bool,
    /// Counts connections.
    pub(crate) connection: u64,
    pub(crate) is_connected: bool,
    /// Stopped: it does nothing until then, and then all at once.
    pub(crate) stopped_until: Option<Time>,
    /// It ends, at the latest then.
    pub(crate) ends_at: Option<Time>,
    /// What has ended while it was cut off.
    pub(crate) unsent: Vec<(LeaseId, u64)>,
    pub(crate) runs: u64,
}

impl Worker {
    /// Whether the server has somebody for this.
    pub(crate) fn is_subscribed(&self, generation: u64) -> bool {
        self.is_alive && self.is_connected && self.hold.generation() == generation
    }
}

impl World {
    pub(crate) fn reach_worker(&mut self, nth: usize, connection: u64, delivered: Delivered) {
        let worker = &mut self.workers[nth];
        if worker.connection != connection || !worker.is_subscribed(delivered.generation) {
            // It was on its way when nobody was there any more: the server does not know.
            return;
        }
        if let Some(until) = worker.stopped_until {
            // In its order, before what its clock says then.
            return self.at(until, Event::AtWorker(nth, connection, delivered));
        }
        let now = self.now;
        match delivered.what {
            What::Request { lease, request, cost } => {
                match worker.hold.take(lease.epoch, lease, cost, now) {
                    Taken::Yes => self.begin(nth, lease, request),
                    Taken::No => self.report(nth, lease, request, End::Refused),
                    Taken::Twice => {}
                }
            }
            What::Answer { epoch, answer } => worker.hold.answered(epoch, &answer, now),
            What::GiveUp => worker.hold.begin_anew(0),
        }
        self.leave_if_done(nth);
    }

    fn begin(&mut self, nth: usize, lease: LeaseId, request: u64) {
        let worker = &mut self.workers[nth];
        worker.runs += 1;
        assert!(worker.hold.filled() <= worker.capacity.into(), "never above its capacity");
        let life = worker.life;
        let fate = self.fates.get_mut(&request).unwrap();
        fate.begun += 1;
        assert!(fate.is_repeatable || fate.begun == 1, "request {request} began twice");
        assert!(fate.begun <= 2, "request {request} began {} times", fate.begun);
        // Some are there still when another balancer takes over, or their worker ends.
        let most = if self.draw.one_in(60) { 3_000_000 } else { 40_000 };
        let time = self.draw.micros(500, most);
        self.after(time, Event::Ended { worker: nth, life, lease, request });
    }

    pub(crate) fn ended(&mut self, nth: usize, life: u64, lease: LeaseId, request: u64) {
        let worker = &mut self.workers[nth];
        if !worker.is_alive || worker.life != life {
            return;
        }
        if let Some(until) = worker.stopped_until {
            return self.at(until, Event::Ended { worker: nth, life, lease, request });
        }
        worker.unsent.push((lease, request));
        self.answer_all(nth);
    }

    /// Answers what has ended, unless it is cut off.
    fn answer_all(&mut self, nth: usize) {
        let worker = &mut self.workers[nth];
        // Its clock is looked at before anything is sent.
        let _ = worker.hold.handle_timeout(self.now);
        if !worker.is_connected {
            return;
        }
        for (lease, request) in std::mem::take(&mut worker.unsent) {
            if self.workers[nth].hold.finished(lease) {
                let end = if self.draw.one_in(20) { End::Failed } else { End::Finished };
                self.report(nth, lease, request, end);
            }
        }
        self.leave_if_done(nth);
    }

    /// One write with the answer: both arrive at the server or neither does.
    fn report(&mut self, nth: usize, lease: LeaseId, request: u64, end: End) {
        self.tell(nth, Told::Report { lease, request, end });
    }

    fn tell(&mut self, nth: usize, told: Told) {
        let worker = &self.workers[nth];
        if worker.is_connected {
            let connection = worker.connection;
            self.send(Party::Worker(nth), connection, Message::Told(nth, told));
        }
    }

    fn beat(&mut self, nth: usize) {
        let beat = self.workers[nth].hold.beat(self.now);
        self.tell(nth, Told::Beat(beat));
    }

    pub(crate) fn tick(&mut self, nth: usize, life: u64) {
        let now = self.now;
        let worker = &mut self.workers[nth];
        if !worker.is_alive || worker.life != life {
            return;
        }
        if let Some(until) = worker.stopped_until {
            return self.at(until, Event::Tick(nth, life));
        }
        self.answer_all(nth);
        if self.workers[nth].life != life {
            return;
        }
        if self.workers[nth].hold.handle_timeout(now) {
            self.beat(nth);
        }
        let due = self.workers[nth].hold.poll_timeout().max(now + Duration::from_micros(100));
        self.at(due, Event::Tick(nth, life));
    }

    fn leave_if_done(&mut self, nth: usize) {
        let now = self.now;
        let worker = &self.workers[nth];
        let is_late = worker.ends_at.is_some_and(|at| now >= at);
        if !worker.is_alive || !(is_late || worker.hold.may_leave(now)) {
            return;
        }
        self.tell(nth, Told::Leave);
        // What it said before is still sent.
        let worker = &mut self.workers[nth];
        worker.is_alive = false;
        worker.life += 1;
        self.heal_later(nth);
    }

    pub(crate) fn harm(&mut self, nth: usize) {
        if self.now > Time::ZERO + HARM_ENDS {
            return;
        }
        let kind = if self.is_harmless { 0 } else { self.draw.below(4) };
        let away = self.draw.micros(2000, 4_500_000);
        let worker = &mut self.workers[nth];
        match kind {
            0 => {
                worker.hold.end();
                worker.ends_at = Some(self.now + Duration::from_secs(5));
                self.beat(nth);
                return self.leave_if_done(nth);
            }
            1 => {
                worker.is_alive = false;
                worker.life += 1;
                worker.connection += 1;
            }
            2 => {
                worker.is_connected = false;
                worker.connection += 1;
            }
            _ => worker.stopped_until = Some(self.now + away),
        }
        let life = worker.life;
        self.after(away, Event::Heal(nth, life));
    }

    fn heal_later(&mut self, nth: usize) {
        let away = self.draw.micros(2000, 1_000_000);
        let life = self.workers[nth].life;
        self.after(away, Event::Heal(nth, life));
    }

    pub(crate) fn heal(&mut self, nth: usize, life: u64) {
        let (capacity, weight) = (self.draw.capacity(), self.draw.weight());
        let worker = &mut self.workers[nth];
        worker.stopped_until = None;
        worker.is_connected = true;
        if worker.is_alive {
            self.answer_all(nth);
        } else {
            worker.is_alive = true;
            worker.connection += 1;
            worker.capacity = capacity;
            worker.unsent.clear();
            worker.ends_at = None;
            // Its process began anew: the time is its generation.
            let generation = 1_000_000 + self.now.as_nanos() / 1000;
            worker.hold = Hold::new(generation, capacity, weight);
            self.after(Duration::ZERO, Event::Tick(nth, life));
        }
        let after = self.draw.micros(100_000, 3_000_000);
        self.after(after, Event::Harm(nth));
    }
}
