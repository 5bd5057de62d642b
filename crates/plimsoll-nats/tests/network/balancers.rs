//! Balancers: one that leads, and what becomes of it.

use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use plimsoll_core::Time;
use plimsoll_nats::{Beat, Dispatcher, Output, Parcel, Terms};

use crate::workers::{Delivered, What};
use crate::world::{EPOCH, Event, Fate, HARM_ENDS, Message, Party, Told, World};

/// How long one that does not lead any more hears what has become of its deliveries.
const RETIRES: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It leads, or does not know yet that it does not.
    Leads,
    /// It dispatches nothing, and hears reports until then.
    Retires(Time),
    Dead,
}

pub(crate) struct Balancer {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) role: Role,
    pub(crate) attends: bool,
    /// Counts connections.
    pub(crate) connection: u64,
    pub(crate) is_connected: bool,
    /// What it says while it is cut off: its client sends it when it is back.
    queued: Vec<Message>,
    pub(crate) stopped_until: Option<Time>,
    /// Its client writes nothing until then.
    pub(crate) unwritten_until: Option<Time>,
    timeout_at: Option<Time>,
}

impl Balancer {
    pub(crate) fn new(dispatcher: Dispatcher) -> Self {
        Self {
            dispatcher,
            role: Role::Leads,
            attends: false,
            connection: 0,
            is_connected: true,
            queued: Vec::new(),
            stopped_until: None,
            unwritten_until: None,
            timeout_at: None,
        }
    }
}

impl World {
    pub(crate) fn leader(&self) -> &Balancer {
        self.balancers.last().unwrap()
    }

    pub(crate) fn reach_balancer(
        &mut self,
        nth: usize,
        connection: u64,
        worker: usize,
        told: Told,
    ) {
        let now = self.now;
        let balancer = &mut self.balancers[nth];
        if balancer.role == Role::Dead {
            return;
        }
        if balancer.connection != connection {
            return self.unheard(nth, &told);
        }
        if let Some(until) = balancer.stopped_until {
            return self.at(until, Event::AtBalancer(nth, connection, worker, told));
        }
        let name = &self.workers[worker].name;
        match (balancer.role, told) {
            (Role::Leads, Told::Request { request, terms }) => self.receive(nth, request, terms),
            (Role::Leads, Told::Beat(beat)) => {
                // As it goes over the wire.
                let beat = Beat::read(&beat.text()).unwrap();
                balancer.dispatcher.beat(name, &beat, now);
            }
            (Role::Leads, Told::Leave) => balancer.dispatcher.leave(&name.to_string(), now),
            (_, Told::Report { lease, end, .. }) => {
                balancer.dispatcher.done(&name.to_string(), lease, end, now);
            }
            // One that does not lead knows only what was its own.
            (Role::Retires(_) | Role::Dead, _) => {}
        }
        self.follow(nth);
    }

    /// A request is its own from here.
    fn receive(&mut self, nth: usize, request: u64, terms: Terms) {
        let fate = Fate {
            is_repeatable: terms.is_repeatable,
            cost: terms.cost,
            owner: nth,
            ..Fate::default()
        };
        self.fates.insert(request, fate);
        // What refuses it says so without its payload.
        let parcel = Parcel {
            inbox: Some(Subject::from(request.to_string())),
            headers: None,
            payload: Bytes::copy_from_slice(&request.to_be_bytes()),
        };
        self.balancers[nth].dispatcher.request(parcel, terms, self.now);
    }

    pub(crate) fn timeout(&mut self, nth: usize) {
        let balancer = &mut self.balancers[nth];
        if balancer.timeout_at != Some(self.now) || balancer.role != Role::Leads {
            return;
        }
        if let Some(until) = balancer.stopped_until {
            // Before what has come in the meantime.
            balancer.timeout_at = Some(until);
            return self.at(until, Event::Timeout(nth));
        }
        balancer.timeout_at = None;
        balancer.dispatcher.handle_timeout(self.now);
        self.follow(nth);
    }

    fn follow(&mut self, nth: usize) {
        while let Some(output) = self.balancers[nth].dispatcher.poll_output() {
            let message = match output {
                Output::Deliver { worker, to, lease, parcel } => {
                    let read = self.service.read_delivery(&to).unwrap();
                    assert_eq!(read.epoch, lease.epoch);
                    let request = number_of(&parcel);
                    let cost = self.fates[&request].cost;
                    let what = What::Request { lease, request, cost };
                    let delivered = Delivered { generation: read.generation, what };
                    Message::Deliver(self.nth(&worker), delivered)
                }
                Output::Answer { worker, generation, epoch, answer } => {
                    let what = What::Answer { epoch, answer };
                    Message::Deliver(self.nth(&worker), Delivered { generation, what })
                }
                Output::GiveUp { worker, generation, .. } => {
                    let what = What::GiveUp;
                    Message::Deliver(self.nth(&worker), Delivered { generation, what })
                }
                Output::Refuse { inbox, .. } => {
                    Message::Error(inbox.unwrap().as_str().parse().unwrap())
                }
                Output::Attend(attends) => {
                    self.balancers[nth].attends = attends;
                    continue;
                }
            };
            let balancer = &mut self.balancers[nth];
            let connection = balancer.connection;
            if balancer.is_connected {
                self.send(Party::Balancer(nth), connection, message);
            } else {
                balancer.queued.push(message);
            }
        }
        let balancer = &mut self.balancers[nth];
        if let Some(due) = balancer.dispatcher.poll_timeout() {
            let due = due.max(self.now + Duration::from_nanos(1));
            if balancer.timeout_at.is_none_or(|at| due < at) {
                balancer.timeout_at = Some(due);
                self.at(due, Event::Timeout(nth));
            }
        }
    }

    /// Something befalls the balancer that leads.
    pub(crate) fn trouble(&mut self) {
        if self.now > Time::ZERO + HARM_ENDS {
            return;
        }
        let nth = self.balancers.len() - 1;
        // On a rough network the one that leads is the only one.
        match self.draw.below(if self.is_rough { 2 } else { 5 }) {
            0 => {
                let away = self.draw.micros(1000, 4_500_000);
                let until = Some(self.now + away);
                let balancer = &mut self.balancers[nth];
                (balancer.stopped_until, balancer.unwritten_until) = (until, until);
                self.after(away, Event::Recover(nth));
            }
            1 => {
                self.cut(nth);
                let away = self.draw.micros(1000, 4_500_000);
                self.after(away, Event::Recover(nth));
            }
            2 => {
                self.balancers[nth].role = Role::Dead;
                self.deaths += 1;
                for fate in self.fates.values_mut() {
                    fate.is_excused |= fate.owner == nth && fate.answers + fate.errors == 0;
                }
                let after = self.draw.micros(1_000_000, 1_400_000);
                self.after(after, Event::TakeOver);
            }
            kind => {
                if kind == 3 {
                    self.cut(nth);
                }
                self.lose_lead(nth);
            }
        }
    }

    fn cut(&mut self, nth: usize) {
        let balancer = &mut self.balancers[nth];
        balancer.is_connected = false;
        balancer.connection += 1;
        self.cuts += 1;
    }

    /// It is stopped, with messages in its client, for so long that another takes over.
    fn lose_lead(&mut self, nth: usize) {
        let stops = self.draw.micros(0, 40_000);
        self.after(stops, Event::Stop(nth));
        let after = self.draw.micros(1_000_000, 1_400_000);
        self.after(after, Event::TakeOver);
        let away = after + self.draw.micros(1000, 2_000_000);
        self.balancers[nth].unwritten_until = Some(self.now + away);
        self.after(away, Event::Recover(nth));
        self.deaths += 1;
    }

    pub(crate) fn stop(&mut self, nth: usize) {
        let balancer = &mut self.balancers[nth];
        balancer.stopped_until = balancer.unwritten_until;
        for fate in self.fates.values_mut() {
            fate.is_orphan |= fate.owner == nth && fate.answers + fate.errors == 0;
        }
    }

    /// It goes on, and finds out whether it leads before it does anything.
    pub(crate) fn recover(&mut self, nth: usize) {
        let is_leader = nth == self.balancers.len() - 1;
        let balancer = &mut self.balancers[nth];
        (balancer.stopped_until, balancer.unwritten_until) = (None, None);
        balancer.is_connected = true;
        let connection = balancer.connection;
        for message in std::mem::take(&mut balancer.queued) {
            self.send(Party::Balancer(nth), connection, message);
        }
        if is_leader {
            self.trouble_later();
        } else {
            let balancer = &mut self.balancers[nth];
            balancer.role = Role::Retires(self.now + RETIRES);
            balancer.dispatcher.retire();
            self.follow(nth);
            self.after(RETIRES, Event::Retired(nth));
        }
    }

    /// Another leads.
    pub(crate) fn take_over(&mut self) {
        // Later than that of the one before, or not, where epochs began anew.
        let nth = self.balancers.len() as u64;
        let epoch = if self.draw.one_in(2) { nth } else { EPOCH + nth };
        let seed = self.draw.seed();
        let service = self.service.clone();
        self.balancers.push(Balancer::new(Dispatcher::new(service, self.settings, epoch, seed)));
        self.trouble_later();
    }

    pub(crate) fn trouble_later(&mut self) {
        let after = self.draw.micros(500_000, 2_500_000);
        self.after(after, Event::Trouble);
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
