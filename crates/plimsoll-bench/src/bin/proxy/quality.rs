//! How well requests are spread: 8 backends of which one is slow, service times
//! that vary much, arrivals at random. One trace for all in each round, so that
//! what differs is the proxies' choice alone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use plimsoll_bench::{Report, Rounds};

use crate::openloop::{self, Outcome};
use crate::origin::Origins;
use crate::peers::{Kind, Proxy, Setup};
use crate::replay::{beside_free, ideal, most_at_once, quantile_ms};
use crate::trace::{self, Arrival};

/// One of eight takes five times as long.
const SLOWNESS: [u32; 8] = [1, 1, 1, 1, 1, 1, 1, 5];
/// What a backend runs at once, and its mean service time: long enough that
/// the machine has time, and longer where more runs at once.
const BACKENDS: [(u32, Duration); 2] =
    [(1, Duration::from_millis(20)), (8, Duration::from_millis(40))];
/// The share of what the backends can do, and how long it is asked for. The
/// fuller, the longer a line takes to forget.
const LOADS: [(u32, Duration); 3] =
    [(50, Duration::from_secs(12)), (80, Duration::from_secs(12)), (95, Duration::from_secs(32))];
/// When a client gives up: never where the load can be borne. Its request counts
/// as an error, and with that time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Left out of the figures: connections are made, and the line finds its length.
const WARM: Duration = Duration::from_secs(2);

/// Each with the name of its column; on as many threads as there are cores, or
/// on one. `HAProxy` with `maxconn` does far better on one: on two it spends some
/// four times the processor time, and slots stay free for milliseconds.
const SYSTEMS: [(&str, Kind, bool); 7] = [
    (PLIMSOLL, Kind::Plimsoll, false),
    ("plimsoll, 1 thread", Kind::Plimsoll, true),
    (NGINX, Kind::Nginx, false),
    ("HAProxy", Kind::Haproxy, false),
    (MAXCONN, Kind::HaproxyMaxconn, true),
    ("HAProxy, maxconn, all cores", Kind::HaproxyMaxconn, false),
    ("nginx, round-robin", Kind::NginxRoundRobin, false),
];
const PLIMSOLL: &str = "plimsoll";
const NGINX: &str = "nginx, least_conn";
const MAXCONN: &str = "HAProxy, maxconn, 1 thread";

/// One point: what a backend runs at once, and how much is asked of it.
#[derive(Clone, Copy)]
struct Point {
    slots: u32,
    mean: Duration,
    percent: u32,
    time: Duration,
}

pub(crate) fn measure(report: &mut Report, only: &str, cores: usize) {
    for (slots, mean) in BACKENDS {
        for (percent, time) in LOADS {
            let case = format!("quality, {slots} at once, {percent} % load");
            if case.contains(only) {
                measure_point(report, &case, Point { slots, mean, percent, time }, cores);
            }
        }
    }
}

fn measure_point(report: &mut Report, case: &str, point: Point, cores: usize) {
    let audited = RefCell::new([0.0_f64; 3]);
    let mut systems: Vec<Rounds<'_, 10>> = Vec::new();
    for (name, kind, single) in SYSTEMS {
        let audited = &audited;
        let threads = if single { 1 } else { cores };
        let mut seed = 0;
        systems.push((
            name,
            Box::new(move || {
                seed += 1;
                round(kind, point, seed, threads, &mut audited.borrow_mut()).expect("a run")
            }),
        ));
    }
    let metrics = [
        ("p50", "ms"),
        ("p99", "ms"),
        ("p999", "ms"),
        ("errors", "requests"),
        ("most at a backend at once", "requests"),
        ("beside a free slot, p50", "µs"),
        ("beside a free slot, p999", "µs"),
        ("sent late, p99", "µs"),
        ("run too long, mean", "µs"),
        ("processor, of one core", "%"),
    ];
    report.measure_all(case, metrics, &mut systems);
    drop(systems);
    let mut seed = 0;
    let ideal = || {
        seed += 1;
        let trace = point.trace(seed);
        let latencies = ideal(&trace, point.slots as usize, &SLOWNESS);
        let counted = trace.iter().zip(latencies).filter(|(arrival, _)| arrival.at >= WARM);
        let mut counted: Vec<_> = counted.map(|(_, latency)| latency).collect();
        [0.5, 0.99, 0.999].map(|part| quantile_ms(&mut counted, part))
    };
    let metrics = [("p50", "ms"), ("p99", "ms"), ("p999", "ms")];
    report.measure_all(case, metrics, &mut [("one ideal line", Box::new(ideal))]);
    let [regret, idle, audits] = audited.into_inner();
    let name = PLIMSOLL;
    // Of both of plimsoll's systems.
    report.add(case, name, "regret, all rounds", regret, "load");
    report.add(case, name, "idle while waiting, all rounds", idle, "audits");
    report.add(case, name, "audits, all rounds", audits, "dispatches");
    for (peer, metric) in [
        (NGINX, "plimsoll's p99 against nginx"),
        (MAXCONN, "plimsoll's p99 against HAProxy, maxconn"),
    ] {
        let (own, theirs) = (report.value(case, name, "p99"), report.value(case, peer, "p99"));
        if let (Some(own), Some(theirs)) = (own, theirs) {
            report.add(case, name, metric, own / theirs * 100.0, "%");
        }
    }
}

impl Point {
    fn trace(self, seed: u64) -> Vec<Arrival> {
        let together: f64 = SLOWNESS.iter().map(|&slowness| 1.0 / f64::from(slowness)).sum();
        let possible = together * f64::from(self.slots) / self.mean.as_secs_f64();
        trace::draw(seed, possible * f64::from(self.percent) / 100.0, self.time, self.mean)
    }
}

fn round(
    kind: Kind,
    point: Point,
    seed: u64,
    threads: usize,
    audited: &mut [f64; 3],
) -> io::Result<[f64; 10]> {
    let slots = point.slots as usize;
    let origins = Origins::start(slots, &SLOWNESS)?;
    let setup = Setup::new(kind, threads, &origins.ports);
    // As long a line as the others'.
    let options = ["--line", "100000"];
    let setup = Setup { capacity: point.slots, options: &options, ..setup };
    let proxy = Proxy::start(setup)?;
    let trace = point.trace(seed);
    let used = proxy.cpu_seconds();
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port));
    let (begin, outcomes) = openloop::run(&[Ipv4Addr::UNSPECIFIED.into()], to, &trace, PATIENCE)?;
    let spent = (proxy.cpu_seconds() - used) / begin.elapsed().as_secs_f64();
    if kind == Kind::Plimsoll {
        for (sum, name) in audited.iter_mut().zip(["regret", "idle_while_waiting", "audits"]) {
            *sum += proxy.told(name)?;
        }
    }
    let visits = origins.visits();
    let counted = |outcome: &&Outcome| outcome.due >= begin + WARM;
    let mut latencies: Vec<_> = outcomes.iter().filter(counted).map(Outcome::latency).collect();
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| quantile_ms(&mut latencies, part));
    let mut late: Vec<_> = outcomes.iter().filter(counted).map(Outcome::late).collect();
    let beside = beside_free(&outcomes, &visits, slots * SLOWNESS.len());
    let beside = beside.into_iter().zip(&outcomes).filter(|(_, outcome)| counted(outcome));
    let mut beside: Vec<_> = beside.map(|(time, _)| time).collect();
    let too_long: f64 = visits
        .iter()
        .map(|visit| {
            let told = trace[visit.id as usize].service * SLOWNESS[visit.backend];
            (visit.ended - visit.began).as_secs_f64() - told.as_secs_f64()
        })
        .sum();
    let errors = outcomes.iter().filter(|outcome| !outcome.served()).count();
    let ids: BTreeSet<u32> = visits.iter().map(|visit| visit.id).collect();
    let answered = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.served());
    for (id, _) in answered {
        assert!(u32::try_from(id).is_ok_and(|id| ids.contains(&id)), "no backend knows {id}");
    }
    // Run more than once, whoever asked for it.
    let again = visits.len() - ids.len();
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let [errors, most, count] =
        [errors + again, most_at_once(&visits), visits.len()].map(|count| count as f64);
    Ok([
        p50,
        p99,
        p999,
        errors,
        most,
        quantile_ms(&mut beside, 0.5) * 1e3,
        quantile_ms(&mut beside, 0.999) * 1e3,
        quantile_ms(&mut late, 0.99) * 1e3,
        too_long / count * 1e6,
        spent * 100.0,
    ])
}
