//! The round trip of one request at a time, with nothing else to do.

use std::io;
use std::time::{Duration, Instant};

use plimsoll_bench::{Report, Rounds};

use crate::client::Asker;
use crate::processes::Server;
use crate::trace::quantile;
use crate::worker::{Kind, Workers};

const CASE: &str = "one request at a time";
const REQUESTS: usize = 4000;
/// Left out.
const WARM: usize = 200;
const MEDIAN: &str = "round trip, median";

pub(crate) fn measure(report: &mut Report, server: &Server) {
    let systems = [("queue group", Kind::QueueGroup), ("plimsoll", Kind::Plimsoll)];
    let mut rounds: Vec<Rounds<'_, 2>> = Vec::new();
    for (name, kind) in systems {
        rounds.push((name, Box::new(move || round(server, kind).expect("a run"))));
    }
    let metrics = [(MEDIAN, "µs"), ("round trip, p99", "µs")];
    report.measure_all(CASE, metrics, &mut rounds);
    drop(rounds);
    let median = |system| report.value(CASE, system, MEDIAN).expect("it was measured");
    let added = median("plimsoll") - median("queue group");
    report.add(CASE, "plimsoll", "added to the median", added, "µs");
    println!("bar: added median latency at most 150 µs: {added:.0}\n");
}

fn round(server: &Server, kind: Kind) -> io::Result<[f64; 2]> {
    let subject = Server::subject();
    let _balancer = (kind == Kind::Plimsoll).then(|| server.balancer(&subject)).transpose()?;
    let _workers = server.workers(&subject, Workers { kind, count: 4, slots: 16 })?;
    let mut asker = Asker::connect(server.port, "latency")?;
    asker.wait_for(&subject, b"twelve bytes")?;
    let mut times: Vec<Duration> = Vec::with_capacity(REQUESTS);
    for nth in 0..WARM + REQUESTS {
        let sent = Instant::now();
        let answer = asker.ask(&subject, b"twelve bytes")?;
        assert!(answer.is_some(), "a request is refused");
        if nth >= WARM {
            times.push(sent.elapsed());
        }
    }
    Ok([0.5, 0.99].map(|part| quantile(&mut times, part) * 1e6))
}
