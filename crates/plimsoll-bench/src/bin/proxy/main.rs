//! `plimsoll serve` against nginx and `HAProxy`, before the same backends, on
//! loopback. What counts is the processor time that each proxy spends on a
//! request, as the system accounts it: load and backends share the machine.
#![forbid(unsafe_code)]

mod load;
mod peers;

use std::num::NonZeroUsize;

use plimsoll_bench::{Report, Rounds};

use self::load::Load;
use self::peers::{Backends, Kind, Proxy};

/// One case: what is asked, by how many clients, of how many backends.
struct Case {
    name: &'static str,
    load: Load,
    threads: usize,
    backends: usize,
    /// Whether `HAProxy` in TCP mode takes part.
    floor: bool,
}

fn main() -> std::io::Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut report = Report::new("proxy");
    for case in cases(cores) {
        if !case.name.contains(&only) {
            continue;
        }
        let backends = Backends::start(case.backends)?;
        let mut kinds = vec![Kind::Plimsoll, Kind::Nginx, Kind::Haproxy];
        if case.floor {
            kinds.push(Kind::HaproxyTcp);
        }
        let mut systems: Vec<Rounds<'_, 2>> = Vec::new();
        for kind in kinds {
            let proxy = Proxy::start(kind, case.threads, &backends)?;
            let load = case.load;
            // Connections to backends are there before anything is measured.
            load.run(&proxy);
            systems.push((kind.name(), Box::new(move || measure(&proxy, load))));
        }
        let metrics = [("processor time a request", "µs"), ("requests/s", "1/s")];
        report.measure_all(case.name, metrics, &mut systems);
    }
    println!("{}", report.table("processor time a request"));
    println!("{}", report.table("requests/s"));
    report.write()
}

/// Processor time a request, and requests a second.
fn measure(proxy: &Proxy, load: Load) -> [f64; 2] {
    let used = proxy.cpu_seconds();
    let (requests, seconds) = load.run(proxy);
    [(proxy.cpu_seconds() - used) / requests * 1e6, requests / seconds]
}

fn cases(cores: usize) -> Vec<Case> {
    let small = Load { path: "/12", clients: 64, rate: None, http2: false, keep: true };
    let case = |name, load, threads| Case { name, load, threads, backends: 2, floor: false };
    vec![
        Case { floor: true, ..case("12 bytes, 64 clients, 1 thread", small, 1) },
        case("12 bytes, 64 clients, 1 thread, 10,000/s", Load { rate: Some(10_000), ..small }, 1),
        case("12 bytes, 1,000 clients, 1 thread", Load { clients: 1000, ..small }, 1),
        case("10 KiB, 64 clients, 1 thread", Load { path: "/10k", ..small }, 1),
        case("10 KiB, 1,000 clients, 1 thread", Load { path: "/10k", clients: 1000, ..small }, 1),
        case("12 bytes, 64 clients, all cores", small, cores),
        case(
            "12 bytes, 64 clients, all cores, 10,000/s",
            Load { rate: Some(10_000), ..small },
            cores,
        ),
        case("a connection a request, 1 thread", Load { keep: false, ..small }, 1),
        case("1 MiB, 16 clients, 1 thread", Load { path: "/1m", clients: 16, ..small }, 1),
        case(
            "HTTP/2, 12 bytes, 16 clients, 1 thread",
            Load { http2: true, clients: 16, ..small },
            1,
        ),
        Case { backends: 1000, ..case("1,000 backends, 1 thread", small, 1) },
    ]
}
