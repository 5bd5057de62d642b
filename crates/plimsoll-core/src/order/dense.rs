//! Workers in no order, drawn from uniformly: for the policies that draw.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::rng::Rng;

const ABSENT: u32 = u32::MAX;

/// A set of slots with constant-time insert, remove and uniform draw.
#[derive(Debug, Default)]
pub(crate) struct Dense {
    slots: Vec<u32>,
    /// Where each slot stands in `slots`, or [`ABSENT`].
    places: Vec<u32>,
}

impl Dense {
    /// Rejected draws before a full scan takes over; it bounds the steps.
    const DRAWS: u32 = 16;

    /// Does nothing for a slot that is there.
    pub(crate) fn insert(&mut self, slot: u32) {
        if self.contains(slot) {
            return;
        }
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, ABSENT);
        }
        self.places[slot as usize] = self.count();
        self.slots.push(slot);
    }

    /// Does nothing for a slot that is not there.
    pub(crate) fn remove(&mut self, slot: u32) {
        if !self.contains(slot) {
            return;
        }
        let place = core::mem::replace(&mut self.places[slot as usize], ABSENT);
        self.slots.swap_remove(place as usize);
        if let Some(&moved) = self.slots.get(place as usize) {
            self.places[moved as usize] = place;
        }
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.places.get(slot as usize).is_some_and(|&place| place != ABSENT)
    }

    /// One of the slots that `takes` accepts, each with the same probability.
    pub(crate) fn draw(&self, takes: impl Fn(u32) -> bool, rng: &mut Rng) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        for _ in 0..Self::DRAWS {
            let slot = self.slots[rng.below(self.count()) as usize];
            if takes(slot) {
                return Some(slot);
            }
        }
        let accepted: Vec<u32> = self.slots.iter().copied().filter(|&slot| takes(slot)).collect();
        let count = u32::try_from(accepted.len()).ok().filter(|&count| count > 0)?;
        Some(accepted[rng.below(count) as usize])
    }

    /// Two distinct slots that `takes` accepts, each pair with the same
    /// probability, or the only one.
    pub(crate) fn draw_two(
        &self,
        takes: impl Fn(u32) -> bool,
        rng: &mut Rng,
    ) -> Option<(u32, Option<u32>)> {
        let first = self.draw(&takes, rng)?;
        if self.slots.len() == 1 {
            return Some((first, None));
        }
        Some((first, self.draw(|slot| slot != first && takes(slot), rng)))
    }

    /// Slots are 32 bits wide, so their number is.
    #[expect(clippy::cast_possible_truncation)]
    fn count(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let placed = self.places.iter().filter(|&&place| place != ABSENT).count();
        let sound = placed == self.slots.len()
            && (0..).zip(&self.slots).all(|(place, &slot)| self.places[slot as usize] == place);
        if sound { Ok(()) } else { Err("a slot is not at its place".to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_finds_what_is_not_at_its_place() {
        let sound = || {
            let mut dense = Dense::default();
            for slot in [3, 0, 5, 1] {
                dense.insert(slot);
            }
            dense.remove(0);
            dense.remove(0);
            dense.insert(3);
            assert_eq!(dense.slots, [3, 1, 5]);
            assert_eq!(dense.check(), Ok(()));
            dense
        };
        let cases: [fn(&mut Dense); 3] = [
            |dense| dense.places[0] = 0,
            |dense| dense.places.swap(1, 3),
            |dense| dense.slots.truncate(2),
        ];
        for corrupt in cases {
            let mut dense = sound();
            corrupt(&mut dense);
            assert!(dense.check().is_err());
        }
    }
}
