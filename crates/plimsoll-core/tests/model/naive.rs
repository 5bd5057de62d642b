//! The rules of the pool said again, as plainly as possible: vectors, linear
//! scans, no order, no index, no generation.
//!
//! Where the rules leave a choice open (the random place among its equals of a
//! worker that is new, or up after it was starting) the model computes the set of allowed workers, and takes the one
//! that the pool took.

use std::collections::VecDeque;
use std::time::Duration;

use plimsoll_core::{Config, Health, Refusal, Time, WorkerId};

/// A worker's number, never used again.
pub(crate) type Key = usize;

#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) cost: u32,
    pub(crate) excluded: Vec<Key>,
    pub(crate) deadline: Option<Time>,
}

#[derive(Clone, Debug)]
pub(crate) struct Ship {
    pub(crate) id: WorkerId,
    pub(crate) capacity: u32,
    pub(crate) weight: u16,
    pub(crate) health: Health,
    pub(crate) draining: bool,
    pub(crate) removed: bool,
    /// Sixteenths of weight and capacity in force.
    pub(crate) step: u32,
    ramp: Option<(Time, Duration, Time)>,
    pub(crate) pending: u64,
    pub(crate) penalty: u64,
    halve_at: Option<Time>,
    pub(crate) leases: u32,
    pub(crate) dispatched: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// When it last moved, and whether that put it at a random place among
    /// its equals.
    moved: u64,
    shuffled: bool,
}

impl Ship {
    pub(crate) fn capacity_in_force(&self) -> u64 {
        (u64::from(self.capacity) * u64::from(self.step) / 16).max(1)
    }

    /// Numerator and denominator.
    pub(crate) fn load(&self) -> (u128, u128) {
        let sum = u128::from(self.pending + self.penalty + 1) * 16;
        (sum, u128::from(self.weight) * u128::from(self.step))
    }

    fn live(&self) -> bool {
        !self.draining && !self.removed && self.health != Health::Down
    }

    fn room_for(&self, cost: u32) -> bool {
        self.live()
            && self.health == Health::Up
            && self.pending + u64::from(cost) <= self.capacity_in_force()
    }

    fn less_loaded_than(&self, other: &Self) -> bool {
        let ((a, b), (c, d)) = (self.load(), other.load());
        a * d < c * b
    }

    fn surely_idle_longer_than(&self, other: &Self) -> bool {
        self.moved < other.moved && !other.shuffled
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) sequence: u64,
    pub(crate) tag: u32,
    pub(crate) since: Time,
    pub(crate) ask: Ask,
}

/// A charge, as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) key: Key,
    pub(crate) cost: u32,
    pub(crate) sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Assigned(u32, Charge),
    Refused(u32, Refusal),
    Removed(Key),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Assigned(Charge),
    InLine,
    Refused(Refusal),
}

/// Something due at a moment; of those due at the same moment, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Deadline(u64),
    RampStep(WorkerId),
    Halve(WorkerId),
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) config: Config,
    /// By key; `None` once the last lease of a removed worker is back.
    pub(crate) ships: Vec<Option<Ship>>,
    pub(crate) line: Vec<Waiter>,
    /// Halvings of workers that are gone: due, and without effect.
    void: Vec<(Time, WorkerId)>,
    sequence: u64,
    stamp: u64,
    pub(crate) events: Vec<Event>,
    /// The workers that the pool took, in order, for the choices left open.
    pub(crate) taken: VecDeque<Key>,
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            ships: Vec::new(),
            line: Vec::new(),
            void: Vec::new(),
            sequence: 0,
            stamp: 0,
            events: Vec::new(),
            taken: VecDeque::new(),
        }
    }

    /// A worker that is there and not removed.
    pub(crate) fn known(&self, key: Key) -> bool {
        self.ships[key].as_ref().is_some_and(|ship| !ship.removed)
    }

    pub(crate) fn present(&self) -> impl Iterator<Item = (Key, &Ship)> {
        self.ships.iter().enumerate().filter_map(|(key, ship)| Some((key, ship.as_ref()?)))
    }

    pub(crate) fn pending(&self) -> u64 {
        self.present().map(|(_, ship)| ship.pending).sum()
    }

    // Control.

    pub(crate) fn add(
        &mut self,
        id: WorkerId,
        capacity: u32,
        weight: u16,
        health: Health,
        now: Time,
    ) {
        self.stamp += 1;
        self.ships.push(Some(Ship {
            id,
            capacity,
            weight,
            health,
            draining: false,
            removed: false,
            step: 16,
            ramp: None,
            pending: 0,
            penalty: 0,
            halve_at: None,
            leases: 0,
            dispatched: 0,
            completed: 0,
            failed: 0,
            moved: self.stamp,
            shuffled: true,
        }));
        self.serve(now);
    }

    pub(crate) fn change(&mut self, key: Key, now: Time, with: impl FnOnce(&mut Ship)) {
        let was_starting = self.ship(key).health == Health::Starting;
        with(self.ship(key));
        self.touch(key);
        let ship = self.ship(key);
        ship.shuffled = was_starting && ship.room_for(1);
        let hopeless: Vec<(u32, Refusal)> = self
            .line
            .iter()
            .filter_map(|waiter| Some((waiter.tag, self.hopeless(&waiter.ask)?)))
            .collect();
        for (tag, reason) in hopeless {
            self.line.retain(|waiter| waiter.tag != tag);
            self.events.push(Event::Refused(tag, reason));
        }
        self.serve(now);
    }

    pub(crate) fn remove(&mut self, key: Key, now: Time) {
        self.change(key, now, |ship| {
            ship.removed = true;
            ship.ramp = None;
        });
        self.bury_if_done(key);
    }

    pub(crate) fn start_ramp(&mut self, key: Key, over: Duration, now: Time) {
        self.change(key, now, |ship| {
            ship.step = 1;
            ship.ramp = Some((now, over, now + over / 16));
        });
    }

    /// Any order of equals is allowed afterwards.
    pub(crate) fn reshuffle(&mut self) {
        for key in 0..self.ships.len() {
            if self.ships[key].is_some() {
                self.touch(key);
                self.ship(key).shuffled = true;
            }
        }
    }

    // Data.

    pub(crate) fn dispatch(&mut self, ask: &Ask, tag: u32, now: Time) -> Answer {
        let answer = self.try_dispatch(ask, now);
        if answer != Answer::InLine {
            return answer;
        }
        if self.line.len() >= self.config.line {
            return Answer::Refused(Refusal::LineFull);
        }
        let sequence = self.next_sequence();
        self.line.push(Waiter { sequence, tag, since: now, ask: ask.clone() });
        Answer::InLine
    }

    /// `InLine` stands for "would wait".
    pub(crate) fn try_dispatch(&mut self, ask: &Ask, now: Time) -> Answer {
        if ask.deadline.is_some_and(|deadline| deadline <= now) {
            return Answer::Refused(Refusal::DeadlinePassed);
        }
        let stopped = self.line.iter().any(|waiter| !self.any_room_for(waiter.ask.cost));
        if !stopped && let Some(key) = self.choose(ask) {
            let sequence = self.next_sequence();
            return Answer::Assigned(self.charge(key, ask.cost, sequence));
        }
        match self.hopeless(ask) {
            Some(reason) => Answer::Refused(reason),
            None => Answer::InLine,
        }
    }

    /// `None` when the worker takes no request of this cost.
    pub(crate) fn dispatch_to(&mut self, key: Key, cost: u32) -> Option<Charge> {
        if !self.known(key) || !self.ship(key).room_for(cost) {
            return None;
        }
        let sequence = self.next_sequence();
        Some(self.charge(key, cost, sequence))
    }

    pub(crate) fn adopt(&mut self, key: Key, cost: u32) -> Option<Charge> {
        let fits = |pending: u64| u32::try_from(pending + u64::from(cost)).is_ok();
        if !self.known(key) || !fits(self.ship(key).pending) {
            return None;
        }
        let sequence = self.next_sequence();
        Some(self.charge(key, cost, sequence))
    }

    pub(crate) fn completed(&mut self, charge: Charge, failed: bool, now: Time) {
        let rule = self.config.penalty;
        let ship = self.ship(charge.key);
        ship.pending -= u64::from(charge.cost);
        ship.leases -= 1;
        ship.completed += 1;
        if failed {
            ship.failed += 1;
            let weight = u64::from(ship.weight);
            let most = u64::from(rule.most) * weight;
            let step = u64::from(rule.step) * weight;
            if step > 0 && most > 0 {
                if ship.penalty == 0 {
                    ship.halve_at = Some(now + rule.half_life.max(Duration::from_millis(1)));
                }
                ship.penalty = most.min(ship.penalty + step);
            }
        }
        self.touch(charge.key);
        self.serve(now);
        self.bury_if_done(charge.key);
    }

    pub(crate) fn take_back(&mut self, charge: Charge, ask: &Ask, tag: u32, now: Time) {
        let ship = self.ship(charge.key);
        ship.pending -= u64::from(charge.cost);
        ship.leases -= 1;
        ship.dispatched -= 1;
        self.touch(charge.key);
        if let Some(reason) = self.hopeless(ask) {
            self.events.push(Event::Refused(tag, reason));
        } else {
            let waiter = Waiter { sequence: charge.sequence, tag, since: now, ask: ask.clone() };
            self.line.push(waiter);
            self.line.sort_by_key(|waiter| waiter.sequence);
        }
        self.serve(now);
        self.bury_if_done(charge.key);
    }

    /// `None` when the other worker takes no request of this cost.
    pub(crate) fn reassign(&mut self, charge: Charge, to: Key, now: Time) -> Option<Charge> {
        if !self.known(to) || !self.ship(to).room_for(charge.cost) {
            return None;
        }
        let ship = self.ship(charge.key);
        ship.pending -= u64::from(charge.cost);
        ship.leases -= 1;
        ship.dispatched -= 1;
        let moved = self.charge(to, charge.cost, charge.sequence);
        self.touch(charge.key);
        self.serve(now);
        self.bury_if_done(charge.key);
        Some(moved)
    }

    pub(crate) fn cancel(&mut self, tag: u32, now: Time) -> bool {
        let before = self.line.len();
        self.line.retain(|waiter| waiter.tag != tag);
        let waited = self.line.len() < before;
        if waited {
            self.serve(now);
        }
        waited
    }

    // Time.

    pub(crate) fn next_due(&self) -> Option<Time> {
        self.due().map(|(at, _)| at)
    }

    fn due(&self) -> Option<(Time, Due)> {
        let deadlines = self
            .line
            .iter()
            .filter_map(|waiter| Some((waiter.ask.deadline?, Due::Deadline(waiter.sequence))));
        let ramps =
            self.present().filter_map(|(_, ship)| Some((ship.ramp?.2, Due::RampStep(ship.id))));
        let halvings =
            self.present().filter_map(|(_, ship)| Some((ship.halve_at?, Due::Halve(ship.id))));
        let void = self.void.iter().map(|&(at, id)| (at, Due::Halve(id)));
        deadlines.chain(ramps).chain(halvings).chain(void).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        while let Some((at, due)) = self.due().filter(|&(at, _)| at <= now) {
            match due {
                Due::Deadline(sequence) => {
                    let place = self.line.iter().position(|w| w.sequence == sequence).unwrap();
                    let tag = self.line.remove(place).tag;
                    self.events.push(Event::Refused(tag, Refusal::DeadlinePassed));
                }
                Due::RampStep(id) => {
                    let key = self.key_of(id).unwrap();
                    self.change(key, now, |ship| {
                        ship.step += 1;
                        let (started, over, _) = ship.ramp.unwrap();
                        let next = started + over / 16 * ship.step;
                        ship.ramp = (ship.step < 16).then_some((started, over, next));
                    });
                }
                Due::Halve(id) => {
                    let half_life = self.config.penalty.half_life.max(Duration::from_millis(1));
                    let Some(key) = self.key_of(id) else {
                        self.void.retain(|&entry| entry != (at, id));
                        continue;
                    };
                    self.ship(key).halve_at = None;
                    if self.known(key) {
                        self.change(key, now, |ship| {
                            ship.penalty /= 2;
                            if ship.penalty > 0 {
                                ship.halve_at = Some(at + half_life);
                            }
                        });
                    }
                }
            }
        }
        self.serve(now);
    }

    // The rules.

    /// I5, said as a count: waiting requests before the point where the line
    /// stops that some worker is eligible for.
    pub(crate) fn idle_while_waiting(&self) -> usize {
        self.line
            .iter()
            .take_while(|waiter| self.any_room_for(waiter.ask.cost))
            .filter(|waiter| !self.eligible(&waiter.ask).is_empty())
            .count()
    }

    fn serve(&mut self, now: Time) {
        let mut place = 0;
        while place < self.line.len() {
            let Waiter { tag, ask, sequence, .. } = self.line[place].clone();
            if ask.deadline.is_some_and(|deadline| deadline <= now) {
                self.line.remove(place);
                self.events.push(Event::Refused(tag, Refusal::DeadlinePassed));
            } else if let Some(key) = self.choose(&ask) {
                self.line.remove(place);
                let charge = self.charge(key, ask.cost, sequence);
                self.events.push(Event::Assigned(tag, charge));
            } else if self.any_room_for(ask.cost) {
                place += 1;
            } else {
                break;
            }
        }
    }

    fn choose(&mut self, ask: &Ask) -> Option<Key> {
        let eligible = self.eligible(ask);
        let ship = |key: Key| self.ships[key].as_ref().unwrap();
        let least: Vec<Key> = eligible
            .iter()
            .copied()
            .filter(|&key| !eligible.iter().any(|&k| ship(k).less_loaded_than(ship(key))))
            .collect();
        let allowed: Vec<Key> = least
            .iter()
            .copied()
            .filter(|&key| !least.iter().any(|&k| ship(k).surely_idle_longer_than(ship(key))))
            .collect();
        if eligible.is_empty() {
            return None;
        }
        let taken = self.taken.pop_front().expect("the pool left a request waiting");
        assert!(
            allowed.contains(&taken),
            "{taken} was taken for {ask:?}, allowed are {allowed:?} of {least:?} in\n{:#?}",
            self.ships
        );
        Some(taken)
    }

    fn eligible(&self, ask: &Ask) -> Vec<Key> {
        self.present()
            .filter(|(key, ship)| ship.room_for(ask.cost) && !ask.excluded.contains(key))
            .map(|(key, _)| key)
            .collect()
    }

    fn any_room_for(&self, cost: u32) -> bool {
        self.present().any(|(_, ship)| ship.room_for(cost))
    }

    fn hopeless(&self, ask: &Ask) -> Option<Refusal> {
        let live: Vec<Key> =
            self.present().filter(|(_, ship)| ship.live()).map(|(key, _)| key).collect();
        let large: Vec<Key> = live
            .iter()
            .copied()
            .filter(|&key| self.ships[key].as_ref().unwrap().capacity >= ask.cost)
            .collect();
        if live.is_empty() {
            Some(Refusal::NoWorker)
        } else if large.is_empty() {
            Some(Refusal::CostTooLarge)
        } else if large.iter().all(|key| ask.excluded.contains(key)) {
            Some(Refusal::EveryWorkerExcluded)
        } else {
            None
        }
    }

    fn charge(&mut self, key: Key, cost: u32, sequence: u64) -> Charge {
        let ship = self.ship(key);
        ship.pending += u64::from(cost);
        ship.leases += 1;
        ship.dispatched += 1;
        self.touch(key);
        Charge { key, cost, sequence }
    }

    fn bury_if_done(&mut self, key: Key) {
        let ship = self.ship(key);
        if ship.removed && ship.leases == 0 {
            assert_eq!(ship.pending, 0);
            let id = ship.id;
            if let Some(at) = ship.halve_at {
                self.void.push((at, id));
            }
            self.ships[key] = None;
            self.events.push(Event::Removed(key));
        }
    }

    fn touch(&mut self, key: Key) {
        self.stamp += 1;
        let stamp = self.stamp;
        let ship = self.ship(key);
        ship.moved = stamp;
        ship.shuffled = false;
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn key_of(&self, id: WorkerId) -> Option<Key> {
        self.present().find(|(_, ship)| ship.id == id).map(|(key, _)| key)
    }

    fn ship(&mut self, key: Key) -> &mut Ship {
        self.ships[key].as_mut().expect("the worker is there")
    }
}
