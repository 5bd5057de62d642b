//! Rows P3, P7, P8 and P9 of the hazards: what the machine does to the process.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::backend::{Backend, respond};
use crate::proxy::Proxy;
use crate::wire::Wire;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const WATCHED: [&str; 6] =
    ["--health-interval", "0.1", "--health-timeout", "0.5", "--slow-start", "0"];

/// Whether no backend is taken out.
fn all_up(proxy: &Proxy) -> bool {
    let workers = proxy.workers();
    workers["workers"].as_array().unwrap().iter().all(|worker| worker["health"] == "up")
}

/// Asks now and then until it is over; tells how often, each time with success.
fn ask_until(proxy: &Proxy, over: &AtomicBool) -> u32 {
    let mut wire = proxy.connect();
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        wire.send(GET);
        assert_eq!(wire.response().status, 200);
        assert!(all_up(proxy), "{}", proxy.workers());
        asked += 1;
        thread::sleep(Duration::from_millis(10));
    }
    asked
}

/// P3: every time limit passes while it does not run, and nothing is found wanting for that.
#[test]
fn p3_a_process_that_was_stopped_goes_on_as_before() {
    let slow = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(300));
        respond(stream, b"x")
    });
    let options =
        ["--fall", "1", "--failures", "1", "--response-timeout", "1", "--idle-timeout", "2"];
    let proxy = Proxy::over(&[&slow], &[&WATCHED[..], &options].concat());
    proxy.until("up", all_up);
    let mut wire = proxy.connect();
    wire.send(GET);
    proxy.until("it runs", |proxy| proxy.pending() > 0);
    proxy.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(3));
    proxy.signal(Signal::CONT);
    assert_eq!(wire.response().status, 200, "its answer has been there for long");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asked = scope.spawn(|| ask_until(&proxy, &over));
        thread::sleep(Duration::from_secs(1));
        over.store(true, Ordering::Relaxed);
        assert!(asked.join().unwrap() > 1);
    });
    drop(wire);
    proxy.finish();
}

/// P3: the machine's clock is set an hour forth, and two back.
#[test]
fn p3_a_clock_that_jumps_moves_nothing_but_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, log) = (folder.path().join("clock"), folder.path().join("log"));
    let set = |to: &str| {
        let next = folder.path().join("next");
        fs::write(&next, to).unwrap();
        fs::rename(next, &clock).unwrap();
    };
    set("+0");
    let backend = Backend::says("x");
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "json"]);
    command.arg("--log-file").arg(&log).args(["--to", &backend.address.to_string()]);
    command.args(["--idle-timeout", "30"]).args(WATCHED);
    let proxy = Proxy::start(command);
    proxy.until("up", all_up);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asked = scope.spawn(|| ask_until(&proxy, &over));
        for to in ["+3600", "-3600"] {
            thread::sleep(Duration::from_millis(700));
            set(to);
        }
        thread::sleep(Duration::from_millis(700));
        over.store(true, Ordering::Relaxed);
        assert!(asked.join().unwrap() > 10);
    });
    proxy.finish();
    // It has seen the jumps.
    let log = fs::read_to_string(log).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut hours: Vec<_> =
        lines.map(|line| line["time"].as_str().unwrap()[..13].to_owned()).collect();
    hours.sort_unstable();
    hours.dedup();
    assert!(hours.len() >= 3, "{hours:?}");
}

/// What fakes the clock, of Debian's `faketime`.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap();
    let libraries = folders.map(|at| at.unwrap().path().join("faketime/libfaketime.so.1"));
    libraries.into_iter().find(|library| library.exists()).expect("Debian's faketime is installed")
}

/// P7: with little memory more than it has at rest, a flood is refused, and it lives.
#[test]
fn p7_a_flood_is_refused_before_memory_is_short() {
    let backend = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(20));
        respond(stream, b"x")
    });
    let options = ["--threads", "1", "--capacity", "2", "--line", "50", "--max-connections", "200"];
    let roomy = Proxy::over(&[&backend], &options);
    assert_eq!(roomy.get("/").status, 200);
    let rest = roomy.address_space_kib();
    roomy.finish();
    let limit = format!("-v {}", rest + 48 * 1024);
    let proxy = Proxy::limited(&limit, &[&backend], &options);
    let (answered, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut wires = Vec::new();
                for _ in 0..60 {
                    // It may be refused before all is sent.
                    let Ok(stream) = TcpStream::connect(proxy.address) else { continue };
                    stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
                    let mut stream = stream;
                    let _ = stream.write_all(
                        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
                    );
                    let _ = stream.write_all(&vec![b'x'; 1_000_000]);
                    wires.push(stream);
                }
            });
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut wire = Wire::connect(proxy.address);
                    let status = wire.try_send(GET).then(|| wire.try_answer()).flatten();
                    match status.map(|answer| answer.status) {
                        Some(200) => answered.fetch_add(1, Ordering::Relaxed),
                        _ => refused.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
    });
    assert!(refused.into_inner() > 0, "it was no flood");
    proxy.until("served again", |proxy| proxy.get("/").status == 200);
    proxy.finish();
}

/// P8: killed under load, and started again at once where it listened.
#[test]
fn p8_a_process_that_was_killed_is_followed_by_another_at_once() {
    let backend = Backend::says("x");
    let start = |at: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(["serve", "--listen", at, "--admin", "127.0.0.1:0"]);
        command.args(["--to", &backend.address.to_string()]);
        Proxy::start(command)
    };
    let mut proxy = start("127.0.0.1:0");
    for _ in 0..5 {
        // Connections that are open still hold its port.
        let mut open: Vec<_> = (0..20).map(|_| proxy.connect()).collect();
        for wire in &mut open {
            wire.send(GET);
            assert_eq!(wire.response().status, 200);
        }
        let at = proxy.address.to_string();
        proxy.signal(Signal::KILL);
        proxy.wait();
        // It says where it listens, or the test fails.
        proxy = start(&at);
        assert_eq!(proxy.get("/").status, 200);
    }
    proxy.finish();
}

/// P9: on a machine without an idle core requests take longer, and no backend is found dead.
#[test]
fn p9_a_busy_machine_takes_nobody_out() {
    let backends: Vec<_> = (0..3).map(|_| Backend::says("x")).collect();
    let proxy = Proxy::over(&backends.iter().collect::<Vec<_>>(), &["--health-interval", "0.1"]);
    proxy.until("up", all_up);
    let over = AtomicBool::new(false);
    let cores = thread::available_parallelism().unwrap().get();
    thread::scope(|scope| {
        for _ in 0..4 * cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let asked = scope.spawn(|| ask_until(&proxy, &over));
        thread::sleep(Duration::from_secs(3));
        over.store(true, Ordering::Relaxed);
        assert!(asked.join().unwrap() > 0);
    });
    proxy.finish();
}
