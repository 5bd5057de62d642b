//! What the records of a run say, and what would have been.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::openloop::Outcome;
use crate::origin::Visit;
use crate::trace::Arrival;

/// The latency of each request of a trace, were there one line, no time lost
/// between its parts, and each request given to the backend with the fewest,
/// and among equals the one that moved least recently.
pub(crate) fn ideal(trace: &[Arrival], slots: usize, slowness: &[u32]) -> Vec<Duration> {
    let mut latencies = vec![Duration::ZERO; trace.len()];
    let mut pending = vec![0; slowness.len()];
    // By when they moved, in moves.
    let mut moved: Vec<usize> = (0..slowness.len()).collect();
    let mut clock = slowness.len();
    let mut running = BinaryHeap::new();
    let mut line = VecDeque::new();
    let mut coming = trace.iter().enumerate().peekable();
    loop {
        let next_end = running.peek().map(|&Reverse((end, _))| end);
        let now = match (coming.peek(), next_end) {
            (Some((_, arrival)), end) if end.is_none_or(|end| arrival.at < end) => {
                let (id, arrival) = coming.next().expect("it was seen");
                line.push_back(id);
                arrival.at
            }
            (_, Some(end)) => {
                let (_, backend): (Duration, usize) = running.pop().expect("it was seen").0;
                pending[backend] -= 1;
                moved[backend] = clock;
                clock += 1;
                end
            }
            (_, None) => return latencies,
        };
        let free = (0..pending.len()).filter(|&backend| pending[backend] < slots);
        let least = free.min_by_key(|&backend| (pending[backend], moved[backend]));
        if let Some(backend) = least
            && let Some(id) = line.pop_front()
        {
            pending[backend] += 1;
            moved[backend] = clock;
            clock += 1;
            let end = now + trace[id].service * slowness[backend];
            latencies[id] = end.saturating_sub(trace[id].at);
            running.push(Reverse((end, backend)));
        }
    }
}

/// The most requests that were at one backend at a time, by its own record: it
/// has a request from when it has read it until before it answers.
pub(crate) fn most_at_once(visits: &[Visit]) -> usize {
    let mut changes: Vec<(Instant, usize, isize)> = visits
        .iter()
        .flat_map(|visit| [(visit.arrived, visit.backend, 1), (visit.ended, visit.backend, -1)])
        .collect();
    // Of changes at the same instant those that end come first.
    changes.sort_by_key(|&(at, _, by)| (at, by));
    let mut present =
        vec![0_isize; visits.iter().map(|visit| visit.backend + 1).max().unwrap_or(0)];
    let mut most = 0;
    for (_, backend, by) in changes {
        present[backend] += by;
        most = most.max(present[backend]);
    }
    most.unsigned_abs()
}

/// For each request, how long it stood beside a free slot.
///
/// A request waits from when its client begins to send it until a backend
/// begins to run it, or it ends unserved; a slot is free while nothing runs in
/// it, by the backends' records. Where `F` slots are free, over all backends,
/// the `F` requests that have waited longest each stand beside one. With one
/// line and nothing lost this is zero; what is really in it is a slot's way
/// back to the proxy and the next request's way to the backend, with every
/// wake-up of a thread on it, or, for a request that finds a free slot, its
/// whole way in. A request that is queued at a busy backend while another one
/// is idle counts in full.
pub(crate) fn beside_free(outcomes: &[Outcome], visits: &[Visit], slots: usize) -> Vec<Duration> {
    let mut began: Vec<Option<Instant>> = vec![None; outcomes.len()];
    let mut changes = Vec::with_capacity(outcomes.len() * 3);
    for visit in visits {
        let first = began[visit.id as usize].get_or_insert(visit.began);
        *first = visit.began.min(*first);
        changes.push((visit.began, Change::Taken));
        changes.push((visit.ended, Change::Freed));
    }
    for (id, outcome) in outcomes.iter().enumerate() {
        changes.push((outcome.sent, Change::Sent(id)));
        changes.push((began[id].unwrap_or(outcome.ended), Change::Gone(id)));
    }
    changes.sort_by_key(|&(at, change)| (at, change));
    let mut beside = vec![Duration::ZERO; outcomes.len()];
    let mut waiting: BTreeSet<(Instant, usize)> = BTreeSet::new();
    let mut free = slots;
    let Some(&(mut last, _)) = changes.first() else { return beside };
    for (at, change) in changes {
        for &(_, id) in waiting.iter().take(free) {
            beside[id] += at - last;
        }
        last = at;
        match change {
            Change::Freed => free += 1,
            Change::Taken => free -= 1,
            Change::Sent(id) => _ = waiting.insert((outcomes[id].sent, id)),
            Change::Gone(id) => _ = waiting.remove(&(outcomes[id].sent, id)),
        }
    }
    beside
}

/// In the order that they take where they fall together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Freed,
    Taken,
    Sent(usize),
    Gone(usize),
}

/// How many of the requests `refused` on arrival were refused wrongly, and of
/// how many that can be told.
///
/// The line is first in, first out. So a request that had not been refused
/// would have got the first slot that went to one that was sent after it: all
/// before it are where they were. It was refused wrongly if that was within
/// the line's time. Where no later request began within the record, it can be
/// told only if the record is long enough for it to have run out of time.
pub(crate) fn wrongly_refused(
    outcomes: &[Outcome],
    visits: &[Visit],
    refused: &[usize],
    line: Duration,
) -> (usize, usize) {
    let mut began: Vec<Option<Instant>> = vec![None; outcomes.len()];
    for visit in visits {
        let first = began[visit.id as usize].get_or_insert(visit.began);
        *first = visit.began.min(*first);
    }
    // The first to begin of those sent later; ids are in the order of sending.
    let mut first_later = vec![None; outcomes.len()];
    let mut first: Option<Instant> = None;
    for id in (0..outcomes.len()).rev() {
        first_later[id] = first;
        first = first.into_iter().chain(began[id]).min();
    }
    let Some(end) = outcomes.last().map(|outcome| outcome.sent) else { return (0, 0) };
    let known = refused.iter().filter(|&&id| outcomes[id].sent + line < end);
    let known: Vec<usize> = known.copied().collect();
    let wrong = known
        .iter()
        .filter(|&&id| first_later[id].is_some_and(|first| first <= outcomes[id].sent + line));
    (wrong.count(), known.len())
}

/// Nearest rank, in milliseconds; 0 of nothing.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank within the times"
)]
pub(crate) fn quantile_ms(times: &mut [Duration], part: f64) -> f64 {
    times.sort_unstable();
    let rank = (times.len() as f64 * part).ceil() as usize;
    times.get(rank.max(1) - 1).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openloop::Ending;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn outcome(start: Instant, sent: u64, ended: u64) -> Outcome {
        let (sent, ended) = (start + ms(sent), start + ms(ended));
        Outcome { due: sent, sent, ended, ending: Ending::Status(200) }
    }

    fn visit(start: Instant, id: u32, backend: usize, times: [u64; 3]) -> Visit {
        let [arrived, began, ended] = times.map(|time| start + ms(time));
        Visit { id, backend, arrived, began, ended }
    }

    #[test]
    fn one_line_before_two_backends() {
        let arrival = |at, service| Arrival { at: ms(at), service: ms(service) };
        let trace = [arrival(0, 10), arrival(1, 10), arrival(2, 10), arrival(3, 10)];
        // The second backend takes twice as long.
        assert_eq!(ideal(&trace, 1, &[1, 2]), [ms(10), ms(20), ms(18), ms(27)]);
        assert_eq!(ideal(&trace, 2, &[1, 2]), [ms(10), ms(20), ms(10), ms(20)]);
    }

    #[test]
    fn the_longest_waiting_stand_beside_what_is_free() {
        let start = Instant::now();
        let outcomes = [outcome(start, 0, 20), outcome(start, 1, 30), outcome(start, 2, 50)];
        let visits = [
            visit(start, 0, 0, [1, 1, 20]),
            // Queued behind the first, though another backend was free.
            visit(start, 1, 0, [2, 20, 30]),
            visit(start, 2, 1, [3, 4, 50]),
        ];
        // Free slots: two until 1 ms, one until 4 ms, none until 20 ms.
        assert_eq!(beside_free(&outcomes, &visits, 2), [ms(1), ms(3), ms(0)]);
        assert_eq!(most_at_once(&visits), 2);
    }

    #[test]
    fn a_refused_request_would_have_had_the_next_ones_slot() {
        let start = Instant::now();
        let sent = [0, 10, 20, 30, 200];
        let outcomes = sent.map(|sent| outcome(start, sent, sent + 100));
        let visits = [visit(start, 0, 0, [0, 0, 9]), visit(start, 3, 0, [31, 75, 80])];
        let wrong = |line| wrongly_refused(&outcomes, &visits, &[1, 2], ms(line));
        assert_eq!(wrong(50), (0, 2));
        assert_eq!(wrong(60), (1, 2));
        assert_eq!(wrong(70), (2, 2));
        assert_eq!(wrong(185), (1, 1), "the second's time is not in the record");
    }
}
