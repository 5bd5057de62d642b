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
