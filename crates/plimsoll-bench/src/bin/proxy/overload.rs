//! More than the backends can do, from clients that give up after a second:
//! what counts is the answers that come in time, as a share of what could be
//! answered. With it, whether plimsoll's refusals on arrival were right.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use plimsoll_bench::{Report, Rounds};

use crate::openloop::{self, Ending};
use crate::origin::Origins;
use crate::peers::{Kind, Proxy, Setup};
use crate::replay::{quantile_ms, wrongly_refused};
use crate::trace;

/// Backends that run one request at once.
pub(crate) const SLOWNESS: [u32; 8] = [1; 8];
pub(crate) const MEAN: Duration = Duration::from_millis(20);
/// When clients give up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// The longest in line: leaves a request half of its client's patience to run.
pub(crate) const LINE: Duration = Duration::from_millis(500);

const RUN: Duration = Duration::from_secs(20);
/// Left out of the figures: the line fills.
const WARM: Duration = Duration::from_secs(5);

/// The proxies, each with its line's time. A line as long as the clients'
/// patience is there to see what that does. `HAProxy` does better with `maxconn`
/// on one thread, and has one.
const SYSTEMS: [(&str, Kind, Duration); 5] = [
    ("plimsoll, 0.5 s in line", Kind::Plimsoll, LINE),
    ("plimsoll, 1 s", Kind::Plimsoll, PATIENCE),
    ("nginx", Kind::Nginx, PATIENCE),
    ("HAProxy, maxconn, 0.5 s", Kind::HaproxyMaxconn, LINE),
    ("HAProxy, maxconn, 1 s", Kind::HaproxyMaxconn, PATIENCE),
];

/// What the backends can do, in requests a second.
pub(crate) fn possible() -> f64 {
    let speed: f64 = SLOWNESS.iter().map(|&slowness| 1.0 / f64::from(slowness)).sum();
    speed / MEAN.as_secs_f64()
}

/// Requests refused on arrival: wrongly, those of which that can be told, all.
type Refused = [usize; 3];

pub(crate) fn measure(report: &mut Report, only: &str, cores: usize) {
    for percent in [120, 200, 400] {
        let case = format!("overload, {percent} %");
        if !case.contains(only) {
            continue;
        }
        let refused: Vec<_> = SYSTEMS.iter().map(|_| RefCell::new(Refused::default())).collect();
        let mut systems: Vec<Rounds<'_, 4>> = Vec::new();
        for ((name, kind, line), refused) in SYSTEMS.into_iter().zip(&refused) {
            let mut seed = 0;
            let round = move || {
                seed += 1;
                let load = f64::from(percent) / 100.0;
                round(kind, line, load, seed, cores, &mut refused.borrow_mut()).expect("a run")
            };
            systems.push((name, Box::new(round)));
        }
        let metrics = [
            ("answers in time, of what is possible", "%"),
            ("answered in time, p99", "ms"),
            ("sent late, p99", "µs"),
            ("connections broken", "requests"),
        ];
        report.measure_all(&case, metrics, &mut systems);
        drop(systems);
        for ((name, kind, _), refused) in SYSTEMS.into_iter().zip(refused) {
            let [wrong, known, all] = refused.into_inner().map(|count| {
                #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
                let count = count as f64;
                count
            });
            if kind == Kind::Plimsoll {
                report.add(&case, name, "refused on arrival, all rounds", all, "requests");
                if known > 0.0 {
                    report.add(&case, name, "of these wrongly", wrong / known * 100.0, "%");
                }
            }
        }
    }
}

/// Answers in time, by the time that they ran, of the time that the backends
/// had: so that it does not matter which requests were long. Both in the part
/// of the run that counts, by when answers came.
fn round(
    kind: Kind,
    line: Duration,
    load: f64,
    seed: u64,
    cores: usize,
    refused: &mut Refused,
) -> io::Result<[f64; 4]> {
    let origins = Origins::start(1, &SLOWNESS)?;
    let threads = if kind == Kind::HaproxyMaxconn { 1 } else { cores };
    let setup = Setup::new(kind, threads, &origins.ports);
    let setup = Setup { capacity: 1, line, log: kind == Kind::Plimsoll, ..setup };
    let proxy = Proxy::start(setup)?;
    let trace = trace::draw(seed, possible() * load, RUN, MEAN);
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port));
    let from = [Ipv4Addr::UNSPECIFIED.into()];
    let (begin, outcomes) = openloop::run(&from, to, &trace, PATIENCE)?;
    let counted = begin + WARM..begin + RUN;
    let in_time = outcomes.iter().zip(&trace).filter(|(outcome, _)| {
        outcome.served() && outcome.latency() <= PATIENCE && counted.contains(&outcome.ended)
    });
    let useful: Duration = in_time.clone().map(|(_, arrival)| arrival.service).sum();
    let had = (counted.end - counted.start).as_secs_f64() * possible() * MEAN.as_secs_f64();
    let mut latencies: Vec<_> = in_time.map(|(outcome, _)| outcome.latency()).collect();
    let mut late: Vec<_> = outcomes.iter().map(openloop::Outcome::late).collect();
    let broken = outcomes.iter().filter(|outcome| outcome.ending == Ending::Broke).count();
    if kind == Kind::Plimsoll {
        let on_arrival = refused_on_arrival(&proxy.log()?);
        let (wrong, known) = wrongly_refused(&outcomes, &origins.visits(), &on_arrival, line);
        for (sum, count) in refused.iter_mut().zip([wrong, known, on_arrival.len()]) {
            *sum += count;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    Ok([
        useful.as_secs_f64() / had * 100.0,
        quantile_ms(&mut latencies, 0.99),
        quantile_ms(&mut late, 0.99) * 1e3,
        broken as f64,
    ])
}

/// The ids of requests that plimsoll refused since the line would take longer
/// than its limit, before they waited at all.
fn refused_on_arrival(log: &str) -> Vec<usize> {
    let lines = log.lines().filter(|line| {
        line.contains(" line=0.000000 ") && line.contains("the line takes longer than its time")
    });
    lines.filter_map(|line| line.split(" path=/").nth(1)?.split('/').next()?.parse().ok()).collect()
}
