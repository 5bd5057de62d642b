//! Workers ordered by load, then by how long ago they moved.
//!
//! One *level* stands for each distinct load in use. Levels form a list in
//! ascending order, and each holds its workers in a first-in-first-out list:
//! the head of the lowest level is the least-loaded worker that has been idle
//! longest, so ties rotate without any extra work.
//!
//! Few loads are in use at a time, and a worker's load changes by little, so
//! its next level is nearly always a neighbour of its last one: a move is a
//! few link changes, whatever the number of workers. Where levels are many, an
//! index takes over from a walk that does not end soon. It knows only some of
//! the levels: those that such walks found too far from one that it knew. So
//! it is empty in the common case. Where all loads are distinct it makes a move
//! some O(log levels) steps, as measured; a pattern of moves that keeps missing it
//! may walk further.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::Load;
use crate::rng::Rng;

/// No slot, no level.
const NONE: u32 = u32::MAX;
/// Levels walked before the index is asked, and from the one that it tells
/// before it learns another.
const WALK: u32 = 4;

/// A worker's place: its level and its neighbours there.
#[derive(Clone, Copy, Debug)]
struct Node {
    level: u32,
    previous: u32,
    next: u32,
}

const APART: Node = Node { level: NONE, previous: NONE, next: NONE };

/// One distinct load, and the list of the workers that have it.
#[derive(Clone, Copy, Debug)]
struct Level {
    load: Load,
    head: u32,
    tail: u32,
    lower: u32,
    higher: u32,
    indexed: bool,
}

/// The structure of this module's title.
#[derive(Debug)]
pub(crate) struct Levels {
    nodes: Vec<Node>,
    /// A slab of levels; `vacant` lists its free places.
    slab: Vec<Level>,
    vacant: Vec<u32>,
    lowest: u32,
    highest: u32,
    /// Some of the levels.
    index: BTreeMap<Load, u32>,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            slab: Vec::new(),
            vacant: Vec::new(),
            lowest: NONE,
            highest: NONE,
            index: BTreeMap::new(),
        }
    }
}

/// Where a load belongs.
enum Place {
    At(u32),
    /// Between this level, or the bottom, and the next.
    Above(u32),
}

impl Levels {
    /// Inserts a slot that is not here at a random place among its equals.
    ///
    /// Uniform while the slots filled so far share one level, as when a pool
    /// is first filled; else it may fall to the end.
    pub(crate) fn insert_shuffled(&mut self, slot: u32, load: Load, rng: &mut Rng) {
        self.insert(slot, load);
        let level = self.nodes[slot as usize].level;
        // One that is used again is drawn among all, too, however low its number.
        #[expect(clippy::cast_possible_truncation, reason = "a slot is below 2^32 - 1")]
        let slots = self.nodes.len() as u32;
        let drawn = rng.below(slots);
        if drawn != slot && self.nodes[drawn as usize].level == level {
            self.unlink(slot);
            self.link_before(slot, drawn);
        }
    }

    /// Puts a slot, here or not, last among the slots of this load.
    #[inline]
    pub(crate) fn put(&mut self, slot: u32, load: Load) {
        if self.contains(slot) {
            self.shift(slot, load);
        } else {
            self.insert(slot, load);
        }
    }

    /// Moves a slot that is here to this load, last among its equals.
    #[inline(never)]
    fn shift(&mut self, slot: u32, load: Load) {
        let from = self.nodes[slot as usize].level;
        let target = match self.find(from, load) {
            Place::At(level) => level,
            Place::Above(below) => {
                let Level { head, tail, lower, .. } = self.slab[from as usize];
                if head == tail && (below == from || below == lower) {
                    // Alone on its level and passing none: the level moves with it.
                    self.reload(from, load);
                    return;
                }
                self.insert_level(load, below)
            }
        };
        self.unlink(slot);
        self.push(slot, target);
        if self.slab[from as usize].head == NONE {
            self.remove_level(from);
        }
    }

    /// Does nothing for a slot that is not here.
    #[inline]
    pub(crate) fn remove(&mut self, slot: u32) {
        if !self.contains(slot) {
            return;
        }
        let from = self.nodes[slot as usize].level;
        self.unlink(slot);
        self.nodes[slot as usize] = APART;
        if self.slab[from as usize].head == NONE {
            self.remove_level(from);
        }
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.nodes.get(slot as usize).is_some_and(|node| node.level != NONE)
    }

    /// The least loaded slot, of those the one idle longest.
    #[inline]
    pub(crate) fn first(&self) -> Option<u32> {
        Some(self.slab.get(self.lowest as usize)?.head)
    }

    /// Slots from the least loaded up; among equals, idle longest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        let after = |&slot: &u32| {
            let Node { level, next, .. } = self.nodes[slot as usize];
            if next == NONE {
                // A level is never empty.
                let higher = self.slab[level as usize].higher;
                self.slab.get(higher as usize).map(|level| level.head)
            } else {
                Some(next)
            }
        };
        core::iter::successors(self.first(), after)
    }

    #[inline]
    fn insert(&mut self, slot: u32, load: Load) {
        if self.nodes.len() <= slot as usize {
            self.nodes.resize(slot as usize + 1, APART);
        }
        // A worker that comes back from being full is among the most loaded.
        let target = match self.find(self.highest, load) {
            Place::At(level) => level,
            Place::Above(below) => self.insert_level(load, below),
        };
        self.push(slot, target);
    }

    // Lists of slots.

    #[inline]
    fn push(&mut self, slot: u32, id: u32) {
        let level = &mut self.slab[id as usize];
        let tail = core::mem::replace(&mut level.tail, slot);
        if tail == NONE {
            level.head = slot;
        } else {
            self.nodes[tail as usize].next = slot;
        }
        self.nodes[slot as usize] = Node { level: id, previous: tail, next: NONE };
    }

    fn link_before(&mut self, slot: u32, other: u32) {
        let Node { level, previous, .. } = self.nodes[other as usize];
        self.nodes[other as usize].previous = slot;
        if previous == NONE {
            self.slab[level as usize].head = slot;
        } else {
            self.nodes[previous as usize].next = slot;
        }
        self.nodes[slot as usize] = Node { level, previous, next: other };
    }

    /// Leaves the slot's own node as it was, for the caller to fill.
    #[inline]
    fn unlink(&mut self, slot: u32) {
        let Node { level, previous, next } = self.nodes[slot as usize];
        let level = &mut self.slab[level as usize];
        if previous == NONE {
            level.head = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next == NONE {
            level.tail = previous;
        } else {
            self.nodes[next as usize].previous = previous;
        }
    }

    // The list of levels.

    /// Finds the place of `load`, starting from level `from` (or [`NONE`]
    /// when there is no level).
    #[inline]
    fn find(&mut self, from: u32, load: Load) -> Place {
        let Some(level) = self.slab.get(from as usize) else { return Place::Above(NONE) };
        let direction = level.load.cmp(&load);
        if direction.is_eq() { Place::At(from) } else { self.walk(from, direction, load) }
    }

    /// As [`find`](Self::find), from a level that compares like this with `load`.
    #[inline(never)]
    fn walk(&mut self, from: u32, direction: Ordering, load: Load) -> Place {
        let compare = |level: u32| self.slab[level as usize].load.cmp(&load);
        let upward = direction.is_lt();
        let mut at = from;
        for _ in 0..WALK {
            let Level { lower, higher, .. } = self.slab[at as usize];
            let next = if upward { higher } else { lower };
            if next == NONE || compare(next) == direction.reverse() {
                // Passed: the load lies between the two.
                return Place::Above(if upward { at } else { next });
            }
            if compare(next).is_eq() {
                return Place::At(next);
            }
            at = next;
        }
        self.find_by_index(load)
    }

    /// Finds the place of `load`, upward from the nearest indexed level.
    fn find_by_index(&mut self, load: Load) -> Place {
        let nearest = self.index.range(..=load).next_back();
        let mut at = nearest.map_or(self.lowest, |(_, &level)| level);
        let mut walked = 0;
        let found = loop {
            let level = self.slab[at as usize];
            match level.load.cmp(&load) {
                Ordering::Equal => break Place::At(at),
                // Only the lowest level is above the load before a step is taken.
                Ordering::Greater => break Place::Above(level.lower),
                Ordering::Less if level.higher == NONE => break Place::Above(at),
                Ordering::Less => at = level.higher,
            }
            walked += 1;
        };
        let end = &mut self.slab[at as usize];
        if walked > WALK && !end.indexed {
            end.indexed = true;
            self.index.insert(end.load, at);
        }
        found
    }

    /// Makes an empty level above `below`, or lowest of all.
    fn insert_level(&mut self, load: Load, below: u32) -> u32 {
        let above = if below == NONE { self.lowest } else { self.slab[below as usize].higher };
        let (head, tail, indexed) = (NONE, NONE, false);
        let level = Level { load, head, tail, lower: below, higher: above, indexed };
        let id = if let Some(id) = self.vacant.pop() {
            self.slab[id as usize] = level;
            id
        } else {
            self.slab.push(level);
            // There are at most as many levels as slots, plus one in a move.
            #[expect(clippy::cast_possible_truncation)]
            {
                (self.slab.len() - 1) as u32
            }
        };
        self.join_neighbours(id, id, below, above);
        id
    }

    fn remove_level(&mut self, id: u32) {
        let Level { load, lower, higher, indexed, .. } = self.slab[id as usize];
        self.join_neighbours(higher, lower, lower, higher);
        self.vacant.push(id);
        if indexed {
            self.index.remove(&load);
        }
    }

    /// Makes `up` what stands above `lower`, and `down` what stands below `higher`.
    fn join_neighbours(&mut self, up: u32, down: u32, lower: u32, higher: u32) {
        if lower == NONE {
            self.lowest = up;
        } else {
            self.slab[lower as usize].higher = up;
        }
        if higher == NONE {
            self.highest = down;
        } else {
            self.slab[higher as usize].lower = down;
        }
    }

    /// Changes a level's load to one between its neighbours'.
    fn reload(&mut self, id: u32, load: Load) {
        let level = &mut self.slab[id as usize];
        let old = core::mem::replace(&mut level.load, load);
        if level.indexed {
            self.index.remove(&old);
            self.index.insert(load, id);
        }
    }

    fn ascending(&self) -> impl Iterator<Item = u32> {
        let existing = |id: u32| (id != NONE).then_some(id);
        core::iter::successors(existing(self.lowest), move |&id| {
            existing(self.slab[id as usize].higher)
        })
    }

    /// Checks every link, the ascending order, the index, and that each slot
    /// stands at the load that `load_of` tells.
    pub(crate) fn check(&self, load_of: impl Fn(u32) -> Load) -> Result<(), String> {
        let (mut seen, mut indexed) = (0, 0);
        let mut below = NONE;
        for id in self.ascending() {
            let level = &self.slab[id as usize];
            if level.lower != below || level.head == NONE {
                return Err(format!("level {id} is empty or misses its lower neighbour"));
            }
            if below != NONE && self.slab[below as usize].load >= level.load {
                return Err(format!("level {id} does not ascend"));
            }
            if level.indexed != (self.index.get(&level.load) == Some(&id)) {
                return Err(format!("level {id} is in the index, or not, against its word"));
            }
            indexed += usize::from(level.indexed);
            let (mut slot, mut previous) = (level.head, NONE);
            while slot != NONE {
                let node = self.nodes[slot as usize];
                if node.level != id || node.previous != previous || load_of(slot) != level.load {
                    return Err(format!("slot {slot} stands wrong in level {id}"));
                }
                seen += 1;
                (previous, slot) = (slot, node.next);
            }
            if level.tail != previous {
                return Err(format!("level {id} misses its tail"));
            }
            below = id;
        }
        let here = self.nodes.iter().filter(|node| node.level != NONE).count();
        if self.highest != below || seen != here || indexed != self.index.len() {
            return Err(format!("{here} slots are here, {seen} linked; {indexed} levels indexed"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots 0 to 11 with slot / 2 pending: six levels of two.
    fn sound() -> Levels {
        let mut levels = Levels::default();
        for slot in 0..12 {
            levels.put(slot, load_of(slot));
        }
        assert_eq!(levels.check(load_of), Ok(()));
        levels
    }

    fn load_of(slot: u32) -> Load {
        Load::new(slot / 2, 0, 1)
    }

    fn indexed(levels: &Levels) -> usize {
        levels.index.len()
    }

    #[test]
    fn iterates_by_load_then_by_arrival() {
        let mut levels = sound();
        assert!(levels.iter().eq(0..12));
        levels.put(0, load_of(0));
        levels.put(7, load_of(0));
        levels.remove(4);
        levels.remove(4);
        assert!(levels.iter().eq([1, 0, 7, 2, 3, 5, 6, 8, 9, 10, 11]));
        assert!(!levels.contains(4) && !levels.contains(99));
    }

    #[test]
    fn a_level_is_indexed_where_a_walk_was_long_and_only_there() {
        let mut levels = sound();
        assert_eq!(indexed(&levels), 0, "a few levels need no index");
        for slot in 12..400 {
            levels.put(slot, load_of(slot));
        }
        assert_eq!(indexed(&levels), 0, "nor do many, when moves are short");
        // From end to end, again and again: the walks grow short.
        let mut far = |slot: u32, pending: u32| {
            let load = Load::new(pending, 0, 1);
            let place = levels.find(levels.nodes[slot as usize].level, load);
            let Place::At(level) = place else { panic!("every load has its level") };
            assert_eq!(levels.slab[level as usize].load, load);
        };
        for _ in 0..200 {
            for pending in 0..200 {
                far(0, pending);
                far(399, pending);
            }
        }
        let known = indexed(&levels);
        assert!((200 / 8..=200 / 4).contains(&known), "{known} of 200 levels are indexed");
        levels.check(load_of).unwrap();
        for slot in 0..400 {
            levels.remove(slot);
        }
        assert_eq!((indexed(&levels), levels.lowest, levels.highest), (0, NONE, NONE));
        assert_eq!(levels.vacant.len(), levels.slab.len());
    }

    #[test]
    fn a_walk_is_long_beyond_four_levels() {
        for (steps, learned) in [(3, 0), (4, 0), (5, 1), (6, 1), (9, 1)] {
            let mut levels = Levels::default();
            for slot in 0..12 {
                levels.put(slot, Load::new(slot, 0, 1));
            }
            levels.find_by_index(Load::new(steps, 0, 1));
            assert_eq!(indexed(&levels), learned, "{steps} steps from the lowest level");
        }
    }

    #[test]
    fn an_indexed_level_that_moves_stays_indexed() {
        let mut levels = Levels::default();
        for slot in 0..100 {
            levels.put(slot, Load::new(slot * 10, 0, 1));
        }
        for slot in 0..100 {
            levels.find(levels.highest, Load::new(slot * 10, 0, 1));
        }
        let before = indexed(&levels);
        assert!(before > 10);
        for slot in 0..100 {
            levels.put(slot, Load::new(slot * 10 + 3, 0, 1));
            let now = |other: u32| Load::new(other * 10 + if other <= slot { 3 } else { 0 }, 0, 1);
            levels.check(now).unwrap();
        }
        assert_eq!((indexed(&levels), levels.slab.len()), (before, 100));
    }

    #[test]
    fn loads_between_and_beyond_find_their_place() {
        let mut levels = Levels::default();
        assert!(matches!(levels.find(NONE, load_of(0)), Place::Above(NONE)));
        for slot in 0..100 {
            levels.put(slot, Load::new(10 + slot * 10, 0, 1));
        }
        for _ in 0..2 {
            for from in [levels.lowest, levels.highest, levels.nodes[50].level] {
                for pending in 0..=1020 {
                    let load = Load::new(pending, 0, 1);
                    let below = (pending / 10).min(100);
                    match levels.find(from, load) {
                        Place::At(level) => {
                            assert!(pending % 10 == 0 && (1..=100).contains(&(pending / 10)));
                            assert_eq!(levels.slab[level as usize].load, load);
                        }
                        Place::Above(NONE) => assert_eq!(below, 0),
                        Place::Above(level) => {
                            let expected = Load::new(below * 10, 0, 1);
                            assert_eq!(levels.slab[level as usize].load, expected);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn check_finds_every_corruption() {
        type Case = (&'static str, fn(&mut Levels));
        let cases: [Case; 13] = [
            ("lower neighbour", |levels| levels.slab[2].lower = NONE),
            ("is empty", |levels| levels.slab[2].head = NONE),
            ("does not ascend", |levels| levels.slab[2].load = levels.slab[1].load),
            ("does not ascend", |levels| levels.slab[2].load = levels.slab[0].load),
            ("against its word", |levels| levels.slab[2].indexed = true),
            ("against its word", |levels| {
                levels.index.insert(levels.slab[2].load, 2);
            }),
            ("1 levels indexed", |levels| {
                levels.slab[2].indexed = true;
                levels.index.insert(levels.slab[2].load, 2);
                levels.index.insert(Load::new(77, 0, 1), 2);
            }),
            ("slot 5 stands wrong", |levels| levels.nodes[5].level = 1),
            ("slot 5 stands wrong", |levels| levels.nodes[5].previous = NONE),
            ("slot 4 stands wrong", |levels| levels.slab[2].load = Load::new(6, 0, 2)),
            ("misses its tail", |levels| levels.slab[2].tail = 4),
            ("11 linked", |levels| {
                levels.nodes[4].next = NONE;
                levels.slab[2].tail = 4;
            }),
            ("12 linked", |levels| levels.highest = 1),
        ];
        for (expected, corrupt) in cases {
            let mut levels = sound();
            corrupt(&mut levels);
            let violation = levels.check(load_of).unwrap_err();
            assert!(violation.contains(expected), "{violation}, but expected {expected}");
        }
    }
}
