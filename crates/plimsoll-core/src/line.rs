//! The line: bounded, first in first out, of requests no worker has room for.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
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
/// An ordered map, and not a queue, because requests leave from the middle
/// (cancelled, past their deadline, passed over) and come back to their old
/// place (taken back).
#[derive(Debug)]
pub(crate) struct Line<T> {
    waiting: BTreeMap<u64, Waiting<T>>,
}

impl<T> Line<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn insert(&mut self, sequence: u64, waiting: Waiting<T>) {
        let earlier = self.waiting.insert(sequence, waiting);
        debug_assert!(earlier.is_none(), "sequence {sequence} waits twice");
    }

    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Waiting<T>> {
        self.waiting.remove(&sequence)
    }

    /// The first request whose sequence is `from` or later.
    pub(crate) fn at_or_after(&self, from: u64) -> Option<(u64, &Waiting<T>)> {
        self.waiting.range(from..).next().map(|(&sequence, waiting)| (sequence, waiting))
    }

    /// In order, from the head.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Waiting<T>)> {
        self.waiting.iter().map(|(&sequence, waiting)| (sequence, waiting))
    }
}
