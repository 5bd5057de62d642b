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

/// The weight of what was before, in the moving averages.
const OLD: f64 = 0.9;
/// Workers that could serve a request.
const GROUP: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct C3 {
    known: Vec<Averages>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Averages {
    latency: f64,
    ran: f64,
    queue: f64,
}

impl C3 {
    pub(super) fn new(known: u32) -> Self {
        Self { known: vec![Averages::default(); known as usize] }
    }

    pub(super) fn choose(&self, view: &View<'_>, rng: &mut Stream) -> u32 {
        let group = GROUP.min(view.known.count);
        let mut draws = Draws::new(group, false, view.known.count);
        let (mut best, mut least) = (0, f64::INFINITY);
        for _ in 0..group {
            let place = draws.next(rng);
            let Averages { latency, ran, queue } = self.known[place as usize];
            let own = f64::from(view.own[place as usize]);
            let queue = 1.0 + own * f64::from(view.balancers) + queue;
            let score = latency - ran + queue.powi(3) * ran;
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
            *old = if is_first { new } else { OLD * *old + (1.0 - OLD) * new };
        };
        mix(&mut of.latency, seconds(answer.latency));
        mix(&mut of.queue, f64::from(answer.pending));
        mix(&mut of.ran, seconds(answer.ran));
    }
}
