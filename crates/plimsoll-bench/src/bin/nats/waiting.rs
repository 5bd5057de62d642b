//! How long requests wait: most are short, some are long, arrivals are at random. One trace for
//! all in each round, so that what differs is the systems' choice alone.

use std::cell::RefCell;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use plimsoll_bench::{Report, Rounds, median};

use crate::client::Asker;
use crate::openloop::{self, Visit};
use crate::processes::Server;
use crate::trace::{self, Arrival, quantile};
use crate::worker::{Kind, PROBE, Workers};
use crate::{ideal, slot, stream};

/// Requests that run at a time, in all.
const SLOTS: u32 = 32;
const TIME: Duration = Duration::from_secs(10);
/// Left out of the figures: the line finds its length.
const WARM: Duration = Duration::from_secs(2);
/// Until every worker has joined.
const JOIN: Duration = Duration::from_millis(700);

const PLIMSOLL: &str = "plimsoll";
const PLIMSOLL_MACHINES: &str = "plimsoll, 4 of 8";
const PER_WORKER: Workers = Workers { kind: Kind::Plimsoll, count: SLOTS, slots: 1 };
/// Machines that have a line of their own: what runs next is there already.
const PER_MACHINE: Workers = Workers { count: 4, slots: 8, ..PER_WORKER };
const SYSTEMS: [(&str, Workers); 6] = [
    (PLIMSOLL, PER_WORKER),
    (PLIMSOLL_MACHINES, PER_MACHINE),
    ("queue group", Workers { kind: Kind::QueueGroup, ..PER_WORKER }),
    ("queue group, 4 of 8", Workers { kind: Kind::QueueGroup, ..PER_MACHINE }),
    ("JetStream pull", Workers { kind: Kind::JetStream, ..PER_WORKER }),
    ("JetStream pull, 4 of 8", Workers { kind: Kind::JetStream, ..PER_MACHINE }),
];

/// What is measured: the loads in percent, and how many of the systems.
pub(crate) type Part = (&'static str, &'static [u32], usize);
pub(crate) const ALL: Part = ("waiting", &[50, 80, 95], SYSTEMS.len());
pub(crate) const SLOT: Part = ("slot", &[95], 2);

const P99: &str = "p99 of waiting";
const P999: &str = "p99.9 of waiting";
const OVER_P99: &str = "p99 of waiting, over the ideal's";
const OVER_P999: &str = "p99.9 of waiting, over the ideal's";
const TRIP: &str = "round trip beside it, median";
const TRIP_P999: &str = "round trip beside it, p99.9";
const FREE_P999: &str = "a free slot beside a waiting request, p99.9";

pub(crate) fn measure(report: &mut Report, server: &Server, (name, loads, count): Part) {
    for &percent in loads {
        let case = format!("{name}, {percent} % load");
        measure_load(report, server, &case, percent, &SYSTEMS[..count]);
    }
}

fn measure_load(
    report: &mut Report,
    server: &Server,
    case: &str,
    percent: u32,
    systems: &[(&'static str, Workers)],
) {
    let audited = RefCell::new([0.0_f64; 3]);
    let ideals = RefCell::new([const { Vec::new() }; 2]);
    let mut rounds: Vec<Rounds<'_, 12>> = Vec::new();
    for &(name, workers) in systems {
        let (audited, ideals) = (&audited, &ideals);
        let mut seed = 0;
        rounds.push((
            name,
            Box::new(move || {
                seed += 1;
                let trace = trace::draw(seed, SLOTS, percent, TIME);
                let mut audited = audited.borrow_mut();
                let (figures, ideal) = round(server, workers, &trace, &mut audited).expect("a run");
                if name == PLIMSOLL {
                    for (all, one) in ideals.borrow_mut().iter_mut().zip(ideal) {
                        all.push(one);
                    }
                }
                figures
            }),
        ));
    }
    let metrics = [
        ("median of waiting", "ms"),
        (P99, "ms"),
        (P999, "ms"),
        (OVER_P99, "ms"),
        (OVER_P999, "ms"),
        ("a free slot beside a waiting request, median", "µs"),
        (FREE_P999, "µs"),
        (TRIP, "µs"),
        ("round trip beside it, p99", "µs"),
        (TRIP_P999, "µs"),
        ("sent late, p99", "µs"),
        ("run too long, mean", "µs"),
    ];
    report.measure_all(case, metrics, &mut rounds);
    drop(rounds);
    for (metric, mut ideals) in [P99, P999].into_iter().zip(ideals.into_inner()) {
        report.add(case, "one ideal line", metric, median(&mut ideals), "ms");
    }
    let [audits, regretted, idle] = audited.into_inner();
    report.add(case, PLIMSOLL, "audits, all rounds", audits, "dispatches");
    report.add(case, PLIMSOLL, "with regret, all rounds", regretted, "audits");
    report.add(case, PLIMSOLL, "idle while waiting, all rounds", idle, "requests");
    for system in [PLIMSOLL, PLIMSOLL_MACHINES] {
        let value = |metric| report.value(case, system, metric).expect("it was measured");
        let (trip, trip_p999) = (value(TRIP), value(TRIP_P999));
        println!("{case}, {system}; a round trip is {trip:.0} µs, {trip_p999:.0} µs at p99.9");
        for (metric, over) in [(P99, OVER_P99), (P999, OVER_P999)] {
            let (over, bar) = (value(over), 2.0 * trip / 1e3);
            println!(
                "bar: {metric} over the ideal's at most two round trips, {bar:.2} ms: {over:.2}"
            );
        }
        println!("bar: {FREE_P999} at most a round trip: {:.0} µs\n", value(FREE_P999));
    }
}

/// The figures, and the ideal's p99 and p99.9.
fn round(
    server: &Server,
    workers: Workers,
    trace: &[Arrival],
    audited: &mut [f64; 3],
) -> io::Result<([f64; 12], [f64; 2])> {
    let subject = Server::subject();
    let kind = workers.kind;
    if kind == Kind::JetStream {
        stream::make(server.port)?;
    }
    let balancer = (kind == Kind::Plimsoll).then(|| server.audited(&subject)).transpose()?;
    let processes = server.workers(&subject, workers)?;
    let mut asker = Asker::connect(server.port, "ready")?;
    asker.wait_for(PROBE, b"there?")?;
    if kind == Kind::Plimsoll {
        asker.wait_for(&subject, b"there?")?;
    }
    sleep(JOIN);
    let (visits, mut trips) = openloop::run(server.port, kind, &subject, trace)?;
    drop(processes);
    if let Some(balancer) = balancer {
        let said = balancer.end()?;
        let numbers = said.split_whitespace().map(|number| number.parse::<f64>().unwrap_or(0.0));
        audited.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
    }

    // What was really run, so that what a sleep takes too long is nobody's.
    let really =
        |(arrival, visit): (&Arrival, &Visit)| Arrival { service: visit.ran(), ..*arrival };
    let really: Vec<Arrival> = trace.iter().zip(&visits).map(really).collect();
    let counted = |nth: &usize| trace[*nth].at >= WARM;
    let counted: Vec<usize> = (0..trace.len()).filter(counted).collect();
    let ideal = ideal::waits(&really, SLOTS);
    let of = |time: &dyn Fn(usize) -> Duration| -> Vec<Duration> {
        counted.iter().map(|&nth| time(nth)).collect()
    };
    let ms = |times: &mut [Duration], part| quantile(times, part) * 1e3;
    let us = |times: &mut [Duration], part| quantile(times, part) * 1e6;
    let mut ideal = of(&|nth| ideal[nth]);
    let ideal = [0.99, 0.999].map(|part| ms(&mut ideal, part));
    let mut waits = of(&|nth| visits[nth].waited());
    let waits = [0.5, 0.99, 0.999].map(|part| ms(&mut waits, part));
    let trip = trips.len() / 2;
    trips.sort_unstable();
    let mut free = slot::free_beside_waiting(&visits, SLOTS as usize, trips[trip]);
    let mut late = of(&|nth| visits[nth].late());
    let ran: Duration = visits.iter().map(Visit::ran).sum();
    let told: Duration = trace.iter().map(|arrival| arrival.service).sum();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let too_long = (ran.as_secs_f64() - told.as_secs_f64()) / trace.len() as f64 * 1e6;
    let figures = [
        waits[0],
        waits[1],
        waits[2],
        waits[1] - ideal[0],
        waits[2] - ideal[1],
        us(&mut free, 0.5),
        us(&mut free, 0.999),
        us(&mut trips, 0.5),
        us(&mut trips, 0.99),
        us(&mut trips, 0.999),
        us(&mut late, 0.99),
        too_long,
    ];
    Ok((figures, ideal))
}
