//! The line: bounded, first in first out, of requests no worker has room for.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::num::NonZeroU32;

use crate::{Request, Time, WorkerId};

/// One request in line.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    cost: NonZeroU32,
    excluded: Box<[WorkerId]>,
    pub(crate) deadline: Option<Time>,
    pub(crate) since: Time,
    pub(crate) tag: T,
}

impl<T> Waiting<T> {
    pub(crate) fn new(request: &Request<'_>, tag: T, since: Time) -> Self {
        Self {
            cost: request.cost,
            excluded: request.excluded.into(),
            deadline: request.deadline,
            since,
            tag,
        }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request { cost: self.cost, excluded: &self.excluded, deadline: self.deadline }
    }
}

/// Waiting requests by their sequence number, which is the order of arrival.
///
/// Nearly all join at the back and leave at the front. One that leaves from
/// the middle (cancelled, past its deadline, passed over) leaves a gap; one
/// that comes back to its old place (taken back) fills its gap or is pushed in.
#[derive(Debug)]
pub(crate) struct Line<T> {
    /// In ascending order of sequence; neither end is a gap.
    places: VecDeque<(u64, Option<Waiting<T>>)>,
    gaps: usize,
}

impl<T> Line<T> {
    pub(crate) fn new() -> Self {
        Self { places: VecDeque::new(), gaps: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.gaps
    }

    /// No gaps stand without requests, so it asks one thing only.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn insert(&mut self, sequence: u64, waiting: Waiting<T>) {
        let place = self.place(sequence);
        match self.places.get_mut(place) {
            Some((found, gap)) if *found == sequence => {
                debug_assert!(gap.is_none(), "sequence {sequence} waits twice");
                *gap = Some(waiting);
                self.gaps -= 1;
            }
            _ => self.places.insert(place, (sequence, Some(waiting))),
        }
    }

    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Waiting<T>> {
        let place = self.place(sequence);
        let (_, found) = self.places.get_mut(place).filter(|(found, _)| *found == sequence)?;
        let waiting = found.take()?;
        self.gaps += 1;
        while let Some((_, None)) = self.places.front() {
            self.places.pop_front();
            self.gaps -= 1;
        }
        while let Some((_, None)) = self.places.back() {
            self.places.pop_back();
            self.gaps -= 1;
        }
        // More gaps than requests: closing them costs less than making them did.
        if self.gaps * 2 > self.places.len() {
            self.places.retain(|(_, waiting)| waiting.is_some());
            self.gaps = 0;
        }
        Some(waiting)
    }

    pub(crate) fn head(&self) -> Option<(u64, &Waiting<T>)> {
        self.iter().next()
    }

    /// The first request whose sequence is `from` or later.
    pub(crate) fn at_or_after(&self, from: u64) -> Option<(u64, &Waiting<T>)> {
        self.waiting(self.place(from)).next()
    }

    /// In order, from the head.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Waiting<T>)> {
        self.waiting(0)
    }

    fn waiting(&self, from: usize) -> impl Iterator<Item = (u64, &Waiting<T>)> {
        let places = self.places.range(from..);
        places.filter_map(|(sequence, waiting)| Some((*sequence, waiting.as_ref()?)))
    }

    /// Where `sequence` stands or would stand.
    fn place(&self, sequence: u64) -> usize {
        // Most look at one of the ends.
        match (self.places.front(), self.places.back()) {
            (Some(&(front, _)), _) if sequence <= front => 0,
            (_, Some(&(back, _))) if sequence > back => self.places.len(),
            _ => self.places.partition_point(|&(at, _)| at < sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::collections::btree_map::Entry;
    use alloc::vec::Vec;

    use super::*;

    fn check(line: &Line<u64>, model: &BTreeMap<u64, u64>) {
        let entries: Vec<_> = line.iter().map(|(sequence, w)| (sequence, w.tag)).collect();
        assert!(entries.iter().copied().eq(model.iter().map(|(&s, &t)| (s, t))));
        assert_eq!(line.len(), model.len());
        assert_eq!(line.head().map(|(at, _)| at), model.keys().next().copied());
        let holes = line.places.iter().filter(|(_, waiting)| waiting.is_none()).count();
        assert_eq!(line.gaps, holes);
        let ends = [line.places.front(), line.places.back()];
        assert!(ends.into_iter().flatten().all(|(_, waiting)| waiting.is_some()));
        assert!(line.gaps * 2 <= line.places.len(), "gaps are never more than the requests");
    }

    #[test]
    fn behaves_as_an_ordered_map() {
        let mut draws = 1_u64;
        let mut draw = |bound: u64| {
            draws = draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(12_345);
            (draws >> 33) % bound
        };
        for _ in 0..20 {
            let (mut line, mut model) = (Line::new(), BTreeMap::new());
            let mut next = 0;
            for step in 0..400 {
                let kind = draw(8);
                if kind < 4 {
                    // Joins at the back, now and then with a place left out.
                    next += 1 + draw(2);
                    line.insert(next, Waiting::new(&Request::default(), step, Time::ZERO));
                    model.insert(next, step);
                } else if kind < 5 {
                    let back = draw(next + 1);
                    if let Entry::Vacant(entry) = model.entry(back) {
                        line.insert(back, Waiting::new(&Request::default(), step, Time::ZERO));
                        entry.insert(step);
                    }
                } else {
                    let leaves = draw(next + 2);
                    assert_eq!(line.remove(leaves).map(|w| w.tag), model.remove(&leaves));
                }
                let from = draw(next + 2);
                let expected = model.range(from..).next().map(|(&at, _)| at);
                assert_eq!(line.at_or_after(from).map(|(at, _)| at), expected);
                check(&line, &model);
            }
        }
    }

    #[test]
    fn a_request_that_comes_back_fills_its_gap() {
        let mut line = Line::new();
        for sequence in 0..5 {
            line.insert(sequence, Waiting::new(&Request::default(), sequence, Time::ZERO));
        }
        line.remove(2);
        assert_eq!((line.places.len(), line.gaps), (5, 1));
        line.insert(2, Waiting::new(&Request::default(), 2, Time::ZERO));
        assert_eq!((line.places.len(), line.gaps), (5, 0));
    }

    #[test]
    fn gaps_are_closed_when_they_are_the_most() {
        let mut line = Line::new();
        for sequence in 0..8 {
            line.insert(sequence, Waiting::new(&Request::default(), (), Time::ZERO));
        }
        for sequence in 1..5 {
            line.remove(sequence);
        }
        assert_eq!((line.places.len(), line.gaps), (8, 4));
        line.remove(5);
        assert_eq!((line.places.len(), line.gaps), (3, 0));
    }
}
