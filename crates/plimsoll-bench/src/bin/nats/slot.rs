//! How long a slot is free beside a request that waits, by the workers' own records.

use std::time::Duration;

use crate::openloop::Visit;

/// In the order that they take where they fall together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Begins { slot: usize },
    Came,
    Ends { slot: usize },
}

/// The time from each end of a request to the begin of the next one in its slot, where the line
/// was not empty at that end, or to when it was empty, if that was first: another slot took what
/// waited.
///
/// It is not empty, if more requests wait than other slots are free: some of them may be on their
/// way to those. A request waits from when it has come to the balancer, `way` after it was sent,
/// until it begins.
pub(crate) fn free_beside_waiting(visits: &[Visit], slots: usize, way: Duration) -> Vec<Duration> {
    let way = crate::clock::nanos(way);
    let mut changes: Vec<(u64, Change)> = Vec::with_capacity(visits.len() * 3);
    for visit in visits {
        let slot = visit.slot;
        // One that finds a free slot may begin before it "has come".
        changes.push(((visit.sent + way).min(visit.began), Change::Came));
        changes.push((visit.began, Change::Begins { slot }));
        changes.push((visit.ended, Change::Ends { slot }));
    }
    changes.sort_unstable_by_key(|&(at, change)| (at, change));
    let mut waiting = 0_i64;
    let mut free = i64::try_from(slots).expect("it is small");
    let mut freed = vec![None; slots];
    let mut times = Vec::new();
    for (at, change) in changes {
        match change {
            Change::Came => waiting += 1,
            Change::Begins { slot } => {
                waiting -= 1;
                free -= 1;
                let since = |since: u64| Duration::from_nanos(at - since);
                times.extend(freed[slot].take().map(since));
                if waiting < free {
                    times.extend(freed.iter_mut().filter_map(Option::take).map(since));
                }
            }
            Change::Ends { slot } => {
                freed[slot] = (waiting > free).then_some(at);
                free += 1;
            }
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_an_end_to_the_next_begin_beside_a_line() {
        let visit = |sent, slot, began, ended| Visit { due: sent, sent, slot, began, ended };
        let visits = [
            visit(0, 0, 10, 100),
            visit(0, 1, 10, 120),
            // Waits, and gets the slot that is free at 100.
            visit(20, 0, 115, 300),
            // Comes when nothing waits, and takes what has been free for long.
            visit(200, 1, 210, 310),
        ];
        let times = free_beside_waiting(&visits, 2, Duration::from_nanos(5));
        assert_eq!(times, [Duration::from_nanos(15)]);
    }

    #[test]
    fn another_slot_ends_it_too() {
        let visit = |sent, slot, began, ended| Visit { due: sent, sent, slot, began, ended };
        let visits = [
            visit(0, 0, 10, 100),
            visit(0, 1, 10, 110),
            // Waits at 100, and runs where it is free from 110.
            visit(20, 1, 115, 300),
            visit(400, 0, 410, 500),
        ];
        let times = free_beside_waiting(&visits, 2, Duration::from_nanos(5));
        assert_eq!(times, [Duration::from_nanos(15)]);
    }
}
