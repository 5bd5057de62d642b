//! C3's replica ranking: a score of latency and the cube of the queue.
//!
//! Suresh et al., "C3: Cutting Tail Latency in Cloud Data Stores via Adaptive
//! Replica Selection", NSDI 2015, section 3.1: the smallest
//! R - 1/mu + q^3 / mu, with q = 1 + own pending × balancers + the queue that
//! workers tell with their answers, among the replicas of a group. A group is three
//! workers drawn, as in the paper's experiments: who scored all would never ask a
//! worker again that once told of a long queue. The rate control of section 3.2 is left
//! out: here nobody is held back.

use super::power::Draws;
use super::{Answer, View};
use crate::streams::Stream;
use crate::units::seconds;

/// The weight of what is new, in the moving averages: as in the authors' own simulator.
const NEW: f64 = 0.9;
/// Workers that could serve a request.
const GROUP: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct C3 {
    with_replacement: bool,
    known: Vec<Averages>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Averages {
    latency: f64,
    ran: f64,
    queue: f64,
}

impl Averages {
    /// The paper's equation for one worker: the smaller, the better.
    fn score(self, own: u32, balancers: u32) -> f64 {
        let queue = 1.0 + f64::from(own) * f64::from(balancers) + self.queue;
        self.latency - self.ran + queue.powi(3) * self.ran
    }
}

impl C3 {
    pub(super) fn new(known: u32, with_replacement: bool) -> Self {
        Self { with_replacement, known: vec![Averages::default(); known as usize] }
    }

    pub(super) fn choose(&self, view: &View<'_>, rng: &mut Stream) -> u32 {
        let group = if self.with_replacement { GROUP } else { GROUP.min(view.known.count) };
        let mut draws = Draws::new(group, self.with_replacement, view.known.count);
        let (mut best, mut least) = (0, f64::INFINITY);
        for _ in 0..group {
            let place = draws.next(rng);
            let score = self.known[place as usize].score(view.own[place as usize], view.balancers);
            if score < least {
                (best, least) = (place, score);
            }
        }
        best
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        let of = &mut self.known[answer.place as usize];
        let is_first = of.ran == 0.0;
        let mix = |old: &mut f64, new: f64| {
            *old = if is_first { new } else { (1.0 - NEW) * *old + NEW * new };
        };
        mix(&mut of.latency, seconds(answer.latency));
        mix(&mut of.queue, f64::from(answer.pending));
        mix(&mut of.ran, seconds(answer.ran));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_as_the_paper_has_them() {
        let worker = Averages { latency: 3.0, ran: 1.0, queue: 2.0 };
        // 3 - 1 + (1 + 1 × 2 + 2)³ × 1
        assert!((worker.score(1, 2) - 127.0).abs() < 1e-9);
        let slow = Averages { ran: 2.0, ..worker };
        assert!(slow.score(1, 2) > worker.score(1, 2), "a slower worker is worth a shorter queue");
    }

    #[test]
    fn answers_are_averaged() {
        let mut c3 = C3::new(2, false);
        let answer = |latency| Answer { place: 1, latency, ran: 1_000_000_000, pending: 4 };
        c3.answered(answer(2_000_000_000));
        c3.answered(answer(3_000_000_000));
        let known = c3.known[1];
        assert!((known.latency - 2.9).abs() < 1e-9 && (known.queue - 4.0).abs() < 1e-9);
        assert!(c3.known[0].ran.abs() < 1e-9, "the other has not answered");
    }
}
