//! What the live view shows and what keys do to it: plain state, no terminal,
//! no clock.

use std::time::Duration;

use plimsoll::Policy;

use super::args::MOST_THREADS;
use super::keys::Key;
use super::reading::Reading;
use super::run::{Command, Ending};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) reading: Reading,
    /// The slot of the worker that `s` is for.
    pub(crate) chosen: usize,
    /// Why the last key did nothing.
    pub(crate) notice: Option<&'static str>,
    /// The policies that ran before this one.
    pub(crate) before: Vec<Before>,
}

/// What a policy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) policy: Policy,
    pub(crate) mean: Duration,
    pub(crate) p99: Duration,
}

impl View {
    pub(crate) fn new(reading: Reading) -> Self {
        Self { reading, chosen: 0, notice: None, before: Vec::new() }
    }

    /// Shows this from now on.
    pub(crate) fn update(&mut self, reading: Reading) {
        self.reading = reading;
        self.chosen = self.slot_at(self.place());
    }

    /// Shows at once what a key does, and tells what is to be done for it.
    pub(crate) fn press(&mut self, key: Key) -> Option<Command> {
        self.notice = None;
        let changes = matches!(key, Key::Add | Key::Remove | Key::Slow | Key::Policy);
        if changes && self.reading.nth.is_some() {
            return self.decline("a comparison runs undisturbed: leave out --policy all for that");
        }
        match key {
            Key::Quit => Some(Command::End(Ending::Quit)),
            Key::Interrupt => Some(Command::End(Ending::Interrupted)),
            Key::Pause => {
                self.reading.paused = !self.reading.paused;
                Some(Command::Pause(self.reading.paused))
            }
            Key::Add => match self.reading.staying() + 1 {
                workers if workers > MOST_THREADS as usize => {
                    self.decline("there are as many workers as there may be")
                }
                workers => Some(Command::Workers(workers)),
            },
            Key::Remove => match self.reading.staying() {
                0 | 1 => self.decline("the last worker stays"),
                workers => Some(Command::Workers(workers - 1)),
            },
            Key::Slow => {
                let place = self.place();
                let worker = self.reading.workers.get_mut(place)?;
                worker.slow = !worker.slow;
                Some(Command::Slow { slot: worker.slot, slow: worker.slow })
            }
            Key::Policy => {
                self.reading.policy = following(self.reading.policy);
                Some(Command::Policy(self.reading.policy))
            }
            Key::Up => {
                self.chosen = self.slot_at(self.place().checked_sub(1)?);
                None
            }
            Key::Down => {
                self.chosen = self.slot_at(self.place() + 1);
                None
            }
        }
    }

    /// Where the chosen worker stands in the list, or the next before it.
    pub(crate) fn place(&self) -> usize {
        let workers = &self.reading.workers;
        workers.iter().rposition(|worker| worker.slot <= self.chosen).unwrap_or_default()
    }

    /// The slot of the worker at this place of the list; of the last one
    /// beyond its end.
    fn slot_at(&self, place: usize) -> usize {
        let workers = &self.reading.workers;
        workers.get(place).or(workers.last()).map_or(self.chosen, |worker| worker.slot)
    }

    fn decline(&mut self, why: &'static str) -> Option<Command> {
        self.notice = Some(why);
        None
    }
}

fn following(policy: Policy) -> Policy {
    let place = Policy::ALL.iter().position(|&each| each == policy).unwrap_or_default();
    Policy::ALL[(place + 1) % Policy::ALL.len()]
}

/// A reading to test with: a worker for each of these pending.
#[cfg(test)]
pub(crate) fn sample(pending: &[u32]) -> Reading {
    use super::reading::WorkerReading;
    use super::record::Recent;

    let worker = |(slot, &pending)| WorkerReading {
        slot,
        pending,
        capacity: 64,
        slow: false,
        leaving: false,
    };
    let (p50, p99) = (Duration::from_micros(200), Duration::from_millis(61));
    Reading {
        policy: Policy::LeastLoaded,
        nth: None,
        elapsed: Duration::from_millis(12_345),
        length: None,
        paused: false,
        draining: false,
        workers: pending.iter().enumerate().map(worker).collect(),
        waiting: 3,
        line: 1024,
        recent: Recent { per_second: 1133.0, p50, p99 },
        regret: 0.25,
        answered: 13_987,
        refused: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(workers: usize) -> View {
        View::new(sample(&vec![1; workers]))
    }

    #[test]
    fn space_pauses_and_goes_on() {
        let mut view = view(3);
        assert_eq!(view.press(Key::Pause), Some(Command::Pause(true)));
        assert!(view.reading.paused);
        assert_eq!(view.press(Key::Pause), Some(Command::Pause(false)));
        assert!(!view.reading.paused);
    }

    #[test]
    fn workers_come_and_go_down_to_one() {
        let mut view = view(2);
        assert_eq!(view.press(Key::Add), Some(Command::Workers(3)));
        assert_eq!(view.press(Key::Remove), Some(Command::Workers(1)));
        view.reading.workers[1].leaving = true;
        assert_eq!(view.press(Key::Remove), None);
        assert_eq!(view.notice, Some("the last worker stays"));
        assert_eq!(view.press(Key::Add), Some(Command::Workers(2)));
        assert_eq!(view.notice, None);
    }

    #[test]
    fn workers_have_a_limit() {
        let mut view = view(MOST_THREADS as usize);
        assert_eq!(view.press(Key::Add), None);
        assert!(view.notice.is_some());
    }

    #[test]
    fn s_is_for_the_chosen_worker_and_is_undone_by_s() {
        let mut view = view(3);
        view.press(Key::Down);
        assert_eq!(view.press(Key::Slow), Some(Command::Slow { slot: 1, slow: true }));
        assert!(view.reading.workers[1].slow);
        assert_eq!(view.press(Key::Slow), Some(Command::Slow { slot: 1, slow: false }));
    }

    #[test]
    fn choosing_ends_at_both_ends() {
        let mut view = view(3);
        for (key, chosen) in [(Key::Up, 0), (Key::Down, 1), (Key::Down, 2), (Key::Down, 2)] {
            assert_eq!(view.press(key), None);
            assert_eq!(view.chosen, chosen);
        }
        view.press(Key::Up);
        assert_eq!(view.chosen, 1);
    }

    #[test]
    fn the_chosen_worker_may_go_away() {
        let mut view = view(3);
        view.press(Key::Down);
        view.press(Key::Down);
        view.update(sample(&[1, 1]));
        assert_eq!(view.chosen, 1);
        let mut gap = sample(&[1, 1, 1]);
        gap.workers.remove(1);
        view.update(gap);
        assert_eq!((view.chosen, view.place()), (0, 0));
    }

    #[test]
    fn p_goes_through_all_policies() {
        let mut view = view(1);
        for policy in [Policy::PowerOfTwo, Policy::RoundRobin, Policy::Random, Policy::LeastLoaded]
        {
            assert_eq!(view.press(Key::Policy), Some(Command::Policy(policy)));
            assert_eq!(view.reading.policy, policy);
        }
    }

    #[test]
    fn two_ways_to_end() {
        assert_eq!(view(1).press(Key::Quit), Some(Command::End(Ending::Quit)));
        assert_eq!(view(1).press(Key::Interrupt), Some(Command::End(Ending::Interrupted)));
    }

    #[test]
    fn a_comparison_is_not_disturbed() {
        let mut view = view(3);
        view.reading.nth = Some((1, 4));
        for key in [Key::Add, Key::Remove, Key::Slow, Key::Policy] {
            assert_eq!(view.press(key), None);
            assert!(view.notice.is_some());
        }
        assert_eq!(view.reading, Reading { nth: Some((1, 4)), ..sample(&[1, 1, 1]) });
        assert_eq!(view.press(Key::Pause), Some(Command::Pause(true)));
        assert_eq!(view.press(Key::Quit), Some(Command::End(Ending::Quit)));
    }
}
