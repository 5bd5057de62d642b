//! Counts that are old: all workers tell what they have pending at the same
//! moments, and a balancer knows nothing newer, but for what it gave itself.
//!
//! Mitzenmacher, "How Useful Is Old Information?", 2000 (the periodic bulletin
//! board). Ties are drawn.

use super::Known;
use super::power::Draws;
use crate::fleet::Fleet;
use crate::streams::Stream;
use crate::units::index;

/// What is made of the counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// The least pending.
    Least,
    /// The less pending of two drawn.
    Two { with_replacement: bool },
    /// The least of the counts plus what was given since.
    Own,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Snapshot {
    with: Use,
    /// Workers by what they have pending.
    levels: Vec<Vec<u32>>,
    /// The lowest level that may have a worker.
    lowest: usize,
    /// What each had.
    told: Vec<u32>,
}

impl Snapshot {
    /// All workers are idle.
    pub(super) fn new(known: u32, with: Use) -> Self {
        let told = vec![0; known as usize];
        Self { with, levels: vec![(0..known).collect()], lowest: 0, told }
    }

    pub(super) fn told(&mut self, known: Known, fleet: &Fleet) {
        self.levels.iter_mut().for_each(Vec::clear);
        self.lowest = 0;
        for place in 0..known.count {
            let pending = fleet.pending(known.worker(place));
            self.told[place as usize] = pending;
            self.file(place, pending as usize);
        }
    }

    fn file(&mut self, place: u32, level: usize) {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Vec::new());
        }
        self.levels[level].push(place);
    }

    pub(super) fn choose(&mut self, rng: &mut Stream) -> u32 {
        if let Use::Two { with_replacement } = self.with {
            let mut draws = Draws::new(2, with_replacement, index(self.told.len()));
            let (first, second) = (draws.next(rng), draws.next(rng));
            let is_less = self.told[second as usize] < self.told[first as usize];
            return if is_less { second } else { first };
        }
        while self.levels[self.lowest].is_empty() {
            self.lowest += 1;
        }
        let level = &mut self.levels[self.lowest];
        let drawn = rng.below(index(level.len())) as usize;
        if matches!(self.with, Use::Least) {
            return level[drawn];
        }
        let place = level.swap_remove(drawn);
        self.file(place, self.lowest + 1);
        place
    }
}
