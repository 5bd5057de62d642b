//! One client with 1,000 connections beside 50 polite ones, at the backends of
//! the overload: what do the polite ones get?

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plimsoll_bench::{Report, Rounds};

use crate::client::{Client, target};
use crate::openloop::{self, Outcome};
use crate::origin::Origins;
use crate::overload::{LINE, MEAN, PATIENCE, SLOWNESS, possible};
use crate::peers::{Kind, Proxy, Setup};
use crate::replay::quantile_ms;
use crate::trace;

const CASE: &str = "1,000 greedy connections beside 50 polite clients";
const GREEDY: u32 = 1000;
const GREEDY_FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// From 127.0.1.1 on, an address each: a client is what has an address.
const POLITE: u8 = 50;
/// What each polite client asks for, in requests a second: together half of
/// what is possible.
const POLITE_RATE: f64 = 4.0;
/// When the greedy one comes again that was refused, whatever it was told.
const REST: Duration = Duration::from_millis(250);
const SHARE: [&str; 2] = ["--line-per-client", "16"];

const RUN: Duration = Duration::from_secs(20);
const WARM: Duration = Duration::from_secs(5);

/// `HAProxy` has one thread, as for the overload.
const SYSTEMS: [(&str, Kind, &[&str]); 4] = [
    ("plimsoll, 16 in line a client", Kind::Plimsoll, &SHARE),
    ("plimsoll", Kind::Plimsoll, &[]),
    ("nginx", Kind::Nginx, &[]),
    ("HAProxy, maxconn", Kind::HaproxyMaxconn, &[]),
];

pub(crate) fn measure(report: &mut Report, only: &str, cores: usize) {
    if !CASE.contains(only) {
        return;
    }
    let mut systems: Vec<Rounds<'_, 3>> = Vec::new();
    for (name, kind, options) in SYSTEMS {
        let mut seed = 0;
        let round = move || {
            seed += 1;
            round(kind, options, seed, cores).expect("a run")
        };
        systems.push((name, Box::new(round)));
    }
    let metrics = [
        ("polite answered in time", "%"),
        ("polite answered in time, p99 of these", "ms"),
        ("polite sent late, p99", "µs"),
    ];
    report.measure_all(CASE, metrics, &mut systems);
}

fn round(kind: Kind, options: &[&str], seed: u64, cores: usize) -> io::Result<[f64; 3]> {
    let origins = Origins::start(1, &SLOWNESS)?;
    let threads = if kind == Kind::HaproxyMaxconn { 1 } else { cores };
    let setup = Setup::new(kind, threads, &origins.ports);
    let proxy = Proxy::start(Setup { capacity: 1, line: LINE, options, ..setup })?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port));
    let rate = POLITE_RATE * f64::from(POLITE);
    debug_assert!(rate < possible(), "without the greedy one all have room");
    let trace = trace::draw(seed, rate, RUN, MEAN);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let greedy = std::thread::spawn(move || greed(to, &stopped));
    let from: Vec<_> = (1..=POLITE).map(|nth| IpAddr::from([127, 0, 1, nth])).collect();
    let polite = openloop::run(&from, to, &trace, PATIENCE);
    stop.store(true, Ordering::Relaxed);
    // Its proxy is there until it has ended.
    greedy.join().map_err(|_| io::Error::other("the greedy client panicked"))??;
    let (begin, outcomes) = polite?;
    let counted: Vec<_> = outcomes.iter().filter(|polite| polite.due >= begin + WARM).collect();
    let in_time = counted.iter().filter(|polite| polite.served() && polite.latency() <= PATIENCE);
    let mut latencies: Vec<_> = in_time.map(|polite| polite.latency()).collect();
    let mut late: Vec<_> = counted.iter().map(|polite| Outcome::late(polite)).collect();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let share = latencies.len() as f64 / counted.len() as f64;
    Ok([share * 100.0, quantile_ms(&mut latencies, 0.99), quantile_ms(&mut late, 0.99) * 1e3])
}

/// Connections that each always have a request under way, until told to stop.
fn greed(to: SocketAddr, stop: &Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for nth in 0..GREEDY {
            let stop = Arc::clone(stop);
            tokio::spawn(async move {
                // Other ids than the polite ones'.
                let target = target(u32::MAX - nth, MEAN);
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut client) = Client::connect(GREEDY_FROM, to).await else {
                        tokio::time::sleep(REST).await;
                        continue;
                    };
                    while let Ok(reply) = client.ask(&target).await {
                        if reply.status != 200 {
                            tokio::time::sleep(REST).await;
                        }
                        if !reply.keep {
                            break;
                        }
                    }
                }
            });
        }
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(REST).await;
        }
        Ok(())
    })
}
