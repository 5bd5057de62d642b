//! What a request costs: the processor time that each proxy spends on it, as
//! the system accounts it.

use std::io;

use plimsoll_bench::{Report, Rounds};

use crate::backends::Backends;
use crate::load::{Handshakes, Load};
use crate::peers::{Key, Kind, Proxy, Setup};

/// Requests a second where all proxies get the same.
const RATE: u32 = 10_000;
const MANY: usize = 1000;
const TIME: &str = "processor time a request";

const SYSTEMS: [(&str, Kind); 3] =
    [("plimsoll", Kind::Plimsoll), ("nginx", Kind::Nginx), ("HAProxy", Kind::Haproxy)];
/// To compare with, where there is one thread: what passing bytes costs, and what
/// our HTTP library does by itself.
const BARE: [(&str, Kind); 2] =
    [("HAProxy, TCP mode", Kind::HaproxyTcp), ("bare hyper", Kind::BareHyper)];

/// One case: what is asked, by how many clients, of how many backends.
struct Case {
    name: &'static str,
    load: Load,
    threads: usize,
    backends: usize,
    /// What is shown in TLS.
    key: Option<Key>,
    /// Whether the bare ones take part.
    bare: bool,
}

pub(crate) fn measure(report: &mut Report, only: &str, cores: usize) -> io::Result<()> {
    let cases = cases(cores);
    for case in cases.iter().filter(|case| case.name.contains(only)) {
        let backends = Backends::start(case.backends)?;
        let mut systems: Vec<Rounds<'_, 2>> = Vec::new();
        for (name, kind) in SYSTEMS.into_iter().chain(BARE.into_iter().filter(|_| case.bare)) {
            let setup = Setup::new(kind, case.threads, &backends.ports);
            let proxy = Proxy::start(Setup { key: case.key, ..setup })?;
            let load = case.load;
            // Connections to backends are there before anything is measured.
            load.run(&proxy);
            systems.push((name, Box::new(move || round(&proxy, load))));
        }
        let metrics = [(TIME, "µs"), ("requests/s", "1/s")];
        report.measure_all(case.name, metrics, &mut systems);
    }
    let name_of = |backends| cases.iter().rfind(|case| case.backends == backends).map(|c| c.name);
    let (Some(few), Some(many)) = (name_of(2), name_of(MANY)) else { return Ok(()) };
    for (name, _) in SYSTEMS {
        let cost = |case| report.value(case, name, TIME);
        if let (Some(few), Some(cost)) = (cost(few), cost(many)) {
            report.add(many, name, "cost against 2 backends", cost / few * 100.0, "%");
        }
    }
    Ok(())
}

/// Processor time a request, and requests a second.
fn round(proxy: &Proxy, load: Load) -> [f64; 2] {
    let used = proxy.cpu_seconds();
    let (requests, seconds) = load.run(proxy);
    [(proxy.cpu_seconds() - used) / requests * 1e6, requests / seconds]
}

fn cases(cores: usize) -> Vec<Case> {
    let (clients, rate, http2, keep, tls) = (64, None, false, true, None);
    let small = Load { path: "/12", clients, rate, http2, keep, tls };
    let large = Load { path: "/10k", ..small };
    let many = |load| Load { clients: 1000, ..load };
    let fixed = |load| Load { rate: Some(RATE), ..load };
    let (backends, bare) = (2, false);
    let case = |name, load, threads| Case { name, load, threads, backends, key: None, bare };
    let secure = |load| Load { tls: Some(Handshakes::Full), ..load };
    let shows = |key, name, load| Case { key: Some(key), ..case(name, secure(load), 1) };
    let brief = |handshakes| Load { keep: false, clients: 1, tls: Some(handshakes), ..small };
    let on_one = |name, load| Case { bare: true, ..case(name, load, 1) };
    vec![
        on_one("12 bytes, 64 clients, 1 thread", small),
        on_one("12 bytes, 64 clients, 1 thread, 10,000/s", fixed(small)),
        on_one("12 bytes, 1,000 clients, 1 thread", many(small)),
        case("10 KiB, 64 clients, 1 thread", large, 1),
        case("10 KiB, 64 clients, 1 thread, 10,000/s", fixed(large), 1),
        case("10 KiB, 1,000 clients, 1 thread", many(large), 1),
        case("12 bytes, 64 clients, all cores", small, cores),
        case("12 bytes, 64 clients, all cores, 10,000/s", fixed(small), cores),
        case("12 bytes, 1,000 clients, all cores", many(small), cores),
        case("10 KiB, 64 clients, all cores", large, cores),
        case("10 KiB, 64 clients, all cores, 10,000/s", fixed(large), cores),
        case("10 KiB, 1,000 clients, all cores", many(large), cores),
        case("a connection a request, 1 thread", Load { keep: false, ..small }, 1),
        case("1 MiB, 16 clients, 1 thread", Load { path: "/1m", clients: 16, ..small }, 1),
        case(
            "HTTP/2, 12 bytes, 16 clients, 1 thread",
            Load { http2: true, clients: 16, ..small },
            1,
        ),
        shows(Key::P256, "TLS, 12 bytes, 64 clients, 1 thread", small),
        shows(Key::P256, "TLS, 12 bytes, 64 clients, 1 thread, 10,000/s", fixed(small)),
        shows(Key::P256, "TLS, 10 KiB, 64 clients, 1 thread", large),
        shows(
            Key::P256,
            "TLS, 1 MiB, 16 clients, 1 thread",
            Load { path: "/1m", clients: 16, ..small },
        ),
        shows(
            Key::P256,
            "TLS, HTTP/2, 12 bytes, 16 clients, 1 thread",
            Load { http2: true, clients: 16, ..small },
        ),
        Case {
            key: Some(Key::P256),
            ..case("TLS, a P-256 handshake a request", brief(Handshakes::Full), 1)
        },
        Case {
            key: Some(Key::Rsa2048),
            ..case("TLS, an RSA handshake a request", brief(Handshakes::Full), 1)
        },
        Case {
            key: Some(Key::P256),
            ..case("TLS, a resumed handshake a request", brief(Handshakes::Resumed), 1)
        },
        // The last two: what many backends cost is told against few.
        case("2 backends, 1 thread", small, 1),
        Case { backends: MANY, ..case("1,000 backends, 1 thread", small, 1) },
    ]
}
