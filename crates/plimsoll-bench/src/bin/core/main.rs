//! The core against other structures for the exact minimum.
//!
//! A pair is one dispatch and one completed. Requests arrive and end at random
//! around nine tenths of a request per unit of weight, the ending one drawn
//! from all that are out; the draws are made beforehand, the same for all.
#![forbid(unsafe_code)]

mod peers;

use std::time::Instant;

use peers::{BTree, IndexedHeap, LinearScan, Peer, Plimsoll, QueueCrate, Spec};
use plimsoll_bench::{Report, System};
use plimsoll_core::Policy;

/// The draws' generator; its quality matters little, its speed not at all.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    }

    fn up_to(&mut self, most: u16) -> u32 {
        1 + ((u64::from(self.next()) * u64::from(most)) >> 32) as u32
    }

    fn below(&mut self, bound: usize) -> usize {
        place(self.next(), bound)
    }
}

/// Where among `count` a draw falls.
fn place(draw: u32, count: usize) -> usize {
    ((draw as usize) * count) >> 32
}

#[derive(Clone, Copy)]
enum Step {
    Dispatch(u32),
    Completed(u32),
}

/// The workers and requests of one case.
struct Case {
    name: String,
    specs: Vec<Spec>,
    /// Requests out at first.
    out: Vec<u32>,
    /// As many end as arrive, so that the steps can be taken over and over.
    steps: Vec<Step>,
    pairs: usize,
}

impl Case {
    fn new(
        name: String,
        count: usize,
        pairs: usize,
        spec: fn(&mut Draws) -> Spec,
        cost: fn(&mut Draws) -> u32,
    ) -> Self {
        let mut draws = Draws(count as u64);
        let specs: Vec<Spec> = (0..count).map(|_| spec(&mut draws)).collect();
        let target = count * 9 / 10;
        let out = (0..target).map(|_| cost(&mut draws)).collect();
        let mut steps = Vec::new();
        let (mut live, mut taken) = (target, 0);
        while taken < pairs || live != target {
            // Arrivals at a constant rate, and each that is out ends at rate 1.
            let arrives = draws.below(target + live) < target;
            if (arrives && live < 2 * target) || live == 0 {
                steps.push(Step::Dispatch(cost(&mut draws)));
                (live, taken) = (live + 1, taken + 1);
            } else {
                steps.push(Step::Completed(draws.next()));
                live -= 1;
            }
        }
        Self { name, specs, out, steps, pairs: taken }
    }
}

/// Runs all steps in order; tells ns a pair.
fn system<'a, P: Peer + 'a>(
    name: &'a str,
    case: &'a Case,
    mut peer: P,
    limit: usize,
) -> System<'a> {
    let dispatch = |peer: &mut P, cost| peer.dispatch(cost).expect("a worker has room");
    let mut out: Vec<P::Lease> = if limit < case.steps.len() {
        // Too slow to be filled by its own choices.
        case.out.iter().enumerate().map(|(slot, &cost)| peer.charge(slot, cost)).collect()
    } else {
        case.out.iter().map(|&cost| dispatch(&mut peer, cost)).collect()
    };
    let mut run = move |steps: &[Step]| {
        for step in steps {
            match *step {
                Step::Dispatch(cost) => out.push(dispatch(&mut peer, cost)),
                Step::Completed(draw) => {
                    let lease = out.swap_remove(place(draw, out.len()));
                    peer.completed(lease);
                }
            }
        }
    };
    if limit >= case.steps.len() {
        // Until the workers' order has nothing to do with their order in memory.
        run(&case.steps);
        run(&case.steps);
    }
    let steps = &case.steps[..limit.min(case.steps.len())];
    let pairs = case.pairs * steps.len() / case.steps.len();
    let round = move || {
        let started = Instant::now();
        run(steps);
        nanos(started) / count(pairs)
    };
    (name, Box::new(round))
}

/// Every worker is full: each request goes by the line, which holds 64.
fn saturated<'a, P: Peer + 'a>(name: &'a str, case: &'a Case, mut peer: P) -> System<'a> {
    let mut out: Vec<P::Lease> =
        case.specs.iter().map(|_| peer.dispatch(1).expect("a worker has room")).collect();
    for _ in 0..64 {
        peer.wait();
    }
    let round = move || {
        let started = Instant::now();
        for step in &case.steps {
            if let Step::Completed(draw) = *step {
                peer.wait();
                // The new lease takes the place of the old one.
                let last = out.len() - 1;
                out.swap(place(draw, last + 1), last);
                let lease = out.pop().expect("as many as workers");
                out.push(peer.completed_and_served(lease));
            }
        }
        nanos(started) / count(case.pairs)
    };
    (name, Box::new(round))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}

fn nanos(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e9
}

const SIZES: [(usize, &str); 6] = [
    (10, "10"),
    (16, "16"),
    (100, "100"),
    (1_000, "1,000"),
    (100_000, "100,000"),
    (1_000_000, "1,000,000"),
];

/// A plain worker: of weight 1, never full.
const PLAIN: Spec = Spec { capacity: 64, weight: 1 };

/// A worker that one request fills.
const FULL: Spec = Spec { capacity: 1, weight: 1 };

/// Room for any number of requests.
const ROOMY: u32 = 1 << 20;

type Kind = (&'static str, fn(&mut Draws) -> Spec, fn(&mut Draws) -> u32);

/// Unlike workers and requests.
const KINDS: [Kind; 4] = [
    ("costs 1 to 8", |_| Spec { capacity: ROOMY, weight: 1 }, |draws| draws.up_to(8)),
    ("weights 1 to 8", |draws| Spec { capacity: ROOMY, weight: draws.up_to(8) }, |_| 1),
    ("capacities 1 to 3", |draws| Spec { capacity: draws.up_to(3), weight: 1 }, |_| 1),
    (
        "weights 1 to 65,535 (all loads distinct)",
        |draws| Spec { capacity: ROOMY, weight: draws.up_to(65_535) },
        |_| 1,
    ),
];

const METRIC: &str = "dispatch + completed";

fn main() -> std::io::Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || name == only;
    let mut report = Report::new("core");
    for (size, name) in SIZES {
        let name = format!("{name} workers");
        if wanted(&name) {
            let pairs = if size > 100_000 { 2_000_000 } else { 500_000 };
            compare(&mut report, &Case::new(name, size, pairs, |_| PLAIN, |_| 1));
        }
    }
    for (size, name) in [SIZES[3], SIZES[4]] {
        for (kind, spec, cost) in KINDS {
            let name = format!("{name} workers, {kind}");
            if wanted(&name) {
                compare(&mut report, &Case::new(name, size, 500_000, spec, cost));
            }
        }
    }
    for (size, name) in [SIZES[1], SIZES[3], SIZES[4]] {
        let name = format!("{name} workers, all full");
        if wanted(&name) {
            compare_lines(&mut report, &Case::new(name, size, 500_000, |_| FULL, |_| 1));
        }
    }
    println!("{}", report.table(METRIC));
    report.write()
}

fn compare_lines(report: &mut Report, case: &Case) {
    let own = |policy| Plimsoll::new(&case.specs, policy);
    report.measure(
        &case.name,
        METRIC,
        "ns",
        &mut [
            saturated("plimsoll", case, own(Policy::LeastLoaded)),
            saturated("its power-of-two", case, own(Policy::PowerOfTwo)),
            saturated("indexed heap", case, IndexedHeap::new(&case.specs)),
            saturated("BTreeSet", case, BTree::new(&case.specs)),
            saturated("priority-queue", case, QueueCrate::new(&case.specs)),
        ],
    );
}

fn compare(report: &mut Report, case: &Case) {
    let all = usize::MAX;
    let own = |policy| Plimsoll::new(&case.specs, policy);
    let scanned = if case.specs.len() > 10_000 { 100_000_000 / case.specs.len() } else { all };
    report.measure(
        &case.name,
        METRIC,
        "ns",
        &mut [
            system("plimsoll", case, own(Policy::LeastLoaded), all),
            system("its power-of-two", case, own(Policy::PowerOfTwo), all),
            system("indexed heap", case, IndexedHeap::new(&case.specs), all),
            system("BTreeSet", case, BTree::new(&case.specs), all),
            system("priority-queue", case, QueueCrate::new(&case.specs), all),
            system("linear scan", case, LinearScan::new(&case.specs), scanned),
        ],
    );
}
