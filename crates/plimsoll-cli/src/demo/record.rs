//! What requesters tell: how long each answered request waited, how many were
//! refused. A *leg* is the part of a run from one change of policy to the next.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// What "recent" means: the last so many slices of this long.
const SLICE: Duration = Duration::from_millis(500);
pub(crate) const RECENT: Duration = Duration::from_secs(3);

/// Shared by a run and its requesters.
#[derive(Debug)]
pub(crate) struct Record(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    legs: Vec<Told>,
    /// The last few, each with its beginning, oldest first.
    slices: VecDeque<(Instant, Histogram<u64>)>,
    last_answer: Option<Instant>,
}

/// What was told of one leg's requests.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// From the moment a request was due until a worker began it, in
    /// microseconds.
    pub(crate) waits: Histogram<u64>,
    pub(crate) refused: u64,
}

/// The last few seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Record {
    /// With its first leg.
    pub(crate) fn new() -> Self {
        let legs = vec![Told::new()];
        Self(Mutex::new(Inner { legs, slices: VecDeque::new(), last_answer: None }))
    }

    /// Begins the next leg.
    pub(crate) fn begin_leg(&self) {
        self.inner().legs.push(Told::new());
    }

    /// The requests sent from now on belong to this leg.
    pub(crate) fn leg(&self) -> usize {
        self.inner().legs.len() - 1
    }

    pub(crate) fn answered(&self, leg: usize, wait: Duration, now: Instant) {
        let mut inner = self.inner();
        inner.last_answer = Some(now);
        note(&mut inner.legs[leg].waits, wait);
        if inner.slices.back().is_none_or(|(began, _)| now.duration_since(*began) >= SLICE) {
            inner.slices.push_back((now, waits()));
        }
        inner.forget(now);
        if let Some((_, slice)) = inner.slices.back_mut() {
            note(slice, wait);
        }
    }

    pub(crate) fn refused(&self, leg: usize) {
        self.inner().legs[leg].refused += 1;
    }

    pub(crate) fn recent(&self, now: Instant) -> Recent {
        let mut inner = self.inner();
        inner.forget(now);
        let Some((since, _)) = inner.slices.front() else { return Recent::default() };
        // A span of a few milliseconds would make one answer a great rate.
        let span = now.duration_since(*since).max(SLICE);
        let mut all = waits();
        for (_, slice) in &inner.slices {
            // All are made alike, so that they always add up.
            let _ = all.add(slice);
        }
        let at = |quantile| Duration::from_micros(all.value_at_quantile(quantile));
        let per_second = super::words::per_second(all.len(), span);
        Recent { per_second, p50: at(0.5), p99: at(0.99) }
    }

    /// Answered and refused, over all legs.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let inner = self.inner();
        let sum = |of: fn(&Told) -> u64| inner.legs.iter().map(of).sum();
        (sum(|told| told.waits.len()), sum(|told| told.refused))
    }

    pub(crate) fn legs(&self) -> Vec<Told> {
        self.inner().legs.clone()
    }

    pub(crate) fn last_answer(&self) -> Option<Instant> {
        self.inner().last_answer
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, now: Instant) {
        let is_old = |began: &Instant| now.duration_since(*began) >= RECENT;
        while self.slices.front().is_some_and(|(began, _)| is_old(began)) {
            self.slices.pop_front();
        }
    }
}

impl Told {
    pub(crate) fn new() -> Self {
        Self { waits: waits(), refused: 0 }
    }
}

/// Three digits, up to an hour.
fn waits() -> Histogram<u64> {
    const LONGEST_MICROS: u64 = 3_600_000_000;
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("the bounds are in range")
}

fn note(waits: &mut Histogram<u64>, wait: Duration) {
    let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    // Longer than an hour is told as an hour.
    let _ = waits.record(micros.min(waits.high()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_leg_has_its_own_waits() {
        let (record, now) = (Record::new(), Instant::now());
        record.answered(0, 5 * MS, now);
        record.begin_leg();
        assert_eq!(record.leg(), 1);
        // Sent in the first leg, answered in the second.
        record.answered(0, 7 * MS, now);
        record.answered(1, 9 * MS, now);
        record.refused(1);
        let legs = record.legs();
        assert_eq!((legs[0].waits.len(), legs[1].waits.len()), (2, 1));
        assert_eq!((legs[0].refused, legs[1].refused), (0, 1));
        assert_eq!(record.totals(), (3, 1));
    }

    #[test]
    fn recent_forgets() {
        let (record, start) = (Record::new(), Instant::now());
        assert_eq!(record.recent(start), Recent::default());
        for nth in 0..1000 {
            let long = if nth % 50 == 0 { 80 } else { 2 };
            record.answered(0, long * MS, start + nth * MS);
        }
        let recent = record.recent(start + 1000 * MS);
        assert!((recent.per_second - 1000.0).abs() < 1.0, "{recent:?}");
        assert_eq!((recent.p50.as_millis(), recent.p99.as_millis()), (2, 80));
        assert_eq!(record.recent(start + 1000 * MS + RECENT), Recent::default());
    }

    #[test]
    fn longer_than_an_hour_is_an_hour() {
        let record = Record::new();
        record.answered(0, Duration::from_secs(100_000), Instant::now());
        assert_eq!(record.totals(), (1, 0));
    }
}
