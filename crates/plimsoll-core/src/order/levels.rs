//! Workers ordered by load, then by how long ago they moved.
//!
//! One *level* stands for each distinct load in use. Levels form a list in
//! ascending order, and each holds its workers in a first-in-first-out list:
//! the head of the lowest level is the least-loaded worker that has been idle
//! longest, so ties rotate without any extra work.
//!
//! Few loads are in use at a time, and a worker's load changes by little, so
//! its next level is nearly always a neighbour of its last one: a move is a
//! few link changes, whatever the number of workers. While levels are many,
//! an ordered index finds the level that a short walk does not, so that a move
//! costs O(log levels) at worst.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Load;
use crate::rng::Rng;

/// No slot, no level.
const NONE: u32 = u32::MAX;
/// The index is made when there are more levels than this…
const INDEX_ABOVE: u32 = 32;
/// … and dropped when there are fewer than this, so that it does not flicker.
const INDEX_BELOW: u32 = 16;
/// Levels looked at before the index is asked.
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
    count: u32,
    index: Option<BTreeMap<Load, u32>>,
}

impl Default for Levels {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            slab: Vec::new(),
            vacant: Vec::new(),
            lowest: NONE,
            highest: NONE,
            count: 0,
            index: None,
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
        let drawn = rng.below(slot + 1);
        if drawn != slot && self.nodes[drawn as usize].level == level {
            self.unlink(slot);
            self.link_before(slot, drawn);
        }
    }

    /// Puts a slot, here or not, last among the slots of this load.
    pub(crate) fn put(&mut self, slot: u32, load: Load) {
        if self.contains(slot) {
            self.shift(slot, load);
        } else {
            self.insert(slot, load);
        }
    }

    /// Moves a slot that is here to this load, last among its equals.
    pub(crate) fn shift(&mut self, slot: u32, load: Load) {
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

    /// Takes out a slot that is here.
    pub(crate) fn remove(&mut self, slot: u32) {
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

    /// Slots from the least loaded up; among equals, idle longest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        let mut level = self.lowest;
        let mut slot = self.slab.get(level as usize).map_or(NONE, |level| level.head);
        core::iter::from_fn(move || {
            if slot == NONE {
                return None;
            }
            let yielded = slot;
            slot = self.nodes[slot as usize].next;
            if slot == NONE {
                level = self.slab[level as usize].higher;
                slot = self.slab.get(level as usize).map_or(NONE, |level| level.head);
            }
            Some(yielded)
        })
    }

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

    fn push(&mut self, slot: u32, level: u32) {
        let tail = core::mem::replace(&mut self.slab[level as usize].tail, slot);
        if tail == NONE {
            self.slab[level as usize].head = slot;
        } else {
            self.nodes[tail as usize].next = slot;
        }
        self.nodes[slot as usize] = Node { level, previous: tail, next: NONE };
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
    fn unlink(&mut self, slot: u32) {
        let Node { level, previous, next } = self.nodes[slot as usize];
        if previous == NONE {
            self.slab[level as usize].head = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next == NONE {
            self.slab[level as usize].tail = previous;
        } else {
            self.nodes[next as usize].previous = previous;
        }
    }

    // The list of levels.

    /// Finds the place of `load`, starting from level `from` (or [`NONE`]
    /// when there is no level).
    fn find(&self, from: u32, load: Load) -> Place {
        if from == NONE {
            return Place::Above(NONE);
        }
        let upward = self.slab[from as usize].load <= load;
        let mut at = from;
        let mut steps = 0;
        while self.index.is_none() || steps < WALK {
            let level = &self.slab[at as usize];
            let next = if upward { level.higher } else { level.lower };
            if level.load == load {
                return Place::At(at);
            }
            if upward && (next == NONE || self.slab[next as usize].load > load) {
                return Place::Above(at);
            }
            if !upward && level.load < load {
                return Place::Above(at);
            }
            if next == NONE {
                return Place::Above(NONE);
            }
            at = next;
            steps += 1;
        }
        let below = self.index.as_ref().and_then(|index| index.range(..=load).next_back());
        match below {
            Some((&found, &level)) if found == load => Place::At(level),
            Some((_, &level)) => Place::Above(level),
            None => Place::Above(NONE),
        }
    }

    /// Makes an empty level above `below`, or lowest of all.
    fn insert_level(&mut self, load: Load, below: u32) -> u32 {
        let above = if below == NONE { self.lowest } else { self.slab[below as usize].higher };
        let level = Level { load, head: NONE, tail: NONE, lower: below, higher: above };
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
        self.count += 1;
        if let Some(index) = &mut self.index {
            index.insert(load, id);
        } else if self.count > INDEX_ABOVE {
            self.index =
                Some(self.ascending().map(|id| (self.slab[id as usize].load, id)).collect());
        }
        id
    }

    fn remove_level(&mut self, id: u32) {
        let Level { load, lower, higher, .. } = self.slab[id as usize];
        self.join_neighbours(higher, lower, lower, higher);
        self.vacant.push(id);
        self.count -= 1;
        if let Some(index) = &mut self.index {
            index.remove(&load);
            if self.count < INDEX_BELOW {
                self.index = None;
            }
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
        let old = core::mem::replace(&mut self.slab[id as usize].load, load);
        if let Some(index) = &mut self.index {
            index.remove(&old);
            index.insert(load, id);
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
        let mut seen = 0;
        let mut below = NONE;
        for id in self.ascending() {
            let level = &self.slab[id as usize];
            if level.lower != below || level.head == NONE {
                return Err(format!("level {id} is empty or misses its lower neighbour"));
            }
            if below != NONE && self.slab[below as usize].load >= level.load {
                return Err(format!("level {id} does not ascend"));
            }
            if self.index.as_ref().is_some_and(|index| index.get(&level.load) != Some(&id)) {
                return Err(format!("level {id} is not in the index"));
            }
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
        let indexed = self.index.as_ref().is_none_or(|index| index.len() == self.count as usize);
        let counted = self.ascending().count() == self.count as usize;
        if self.highest != below || seen != here || !indexed || !counted {
            return Err(format!("{here} slots and {} levels, {seen} slots linked", self.count));
        }
        Ok(())
    }
}
