//! Backends that go and come back.

use std::cell::Cell;
use std::io::Read;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Then, nobody, respond, say};
use crate::proxy::Proxy;

const QUICK: [&str; 8] =
    ["--health-interval", "0.05", "--rise", "2", "--fall", "2", "--slow-start", "0"];

fn health(proxy: &Proxy, backend: usize) -> String {
    proxy.workers()["workers"][backend]["health"].as_str().unwrap().to_owned()
}

#[test]
fn b15_all_down_is_a_503_at_once_and_comes_back_by_itself() {
    let address = nobody();
    let proxy = Proxy::at(&[address], &QUICK);
    proxy.until("down", |proxy| health(proxy, 0) == "down");
    // The best of several: the machine may be busy.
    let times = (0..10).map(|_| {
        let begun = Instant::now();
        let response = proxy.get("/");
        assert_eq!((response.status, response.text()), (503, "503 no backend is up\n"));
        begun.elapsed()
    });
    assert!(times.min().unwrap() < Duration::from_millis(10));
    let listener = TcpListener::bind(address).unwrap();
    proxy.until("up", |proxy| health(proxy, 0) == "up");
    drop(listener);
    proxy.finish();
}

#[test]
fn a_check_asks_for_its_path() {
    let sick = Arc::new(AtomicBool::new(false));
    let is_sick = Arc::clone(&sick);
    let backend = Backend::start(move |seen, stream| {
        if seen.target() == "/health" && is_sick.load(Ordering::SeqCst) {
            return say(stream, b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n");
        }
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &[&QUICK[..], &["--health", "/health"]].concat());
    assert_eq!(proxy.get("/").status, 200);
    sick.store(true, Ordering::SeqCst);
    proxy.until("down", |proxy| health(proxy, 0) == "down");
    assert_eq!(proxy.get("/").status, 503);
    sick.store(false, Ordering::SeqCst);
    proxy.until("up", |proxy| health(proxy, 0) == "up");
    assert_eq!(proxy.get("/").status, 200);
    proxy.finish();
}

/// A backend that serves one connection at a time must not hang, or be taken
/// for dead, because of our checks.
#[test]
fn checks_take_no_more_connections_than_there_may_be() {
    let backend = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(20));
        respond(stream, b"x")
    });
    let options = ["--capacity", "1", "--health", "/", "--threads", "2", "--line", "100"];
    let proxy = Proxy::over(&[&backend], &[&QUICK[..], &options].concat());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| assert_eq!(proxy.get("/").status, 200)));
        }
    });
    proxy.finish();
    assert_eq!((backend.most_open(), backend.most_active()), (1, 1));
}

/// A request whose lease says that there is room does not wait for a check's
/// connection until it is too late.
#[test]
fn a_request_beside_a_check_stands_in_line_for_it() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        if seen.target() == "/health" {
            let _ = wait.lock().unwrap().recv();
        }
        respond(stream, b"x")
    });
    let options = ["--capacity", "1", "--health", "/health", "--health-timeout", "60"];
    let options = [&QUICK[..], &options, &["--connect-timeout", "0.2"]].concat();
    let proxy = Proxy::over(&[&backend], &options);
    proxy.until("checked", |_| !backend.seen().is_empty());
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("in line", |proxy| proxy.in_line() == 1);
    thread::sleep(Duration::from_millis(400));
    // No other check holds it up.
    drop(go);
    assert_eq!(wire.response().status, 200);
    let workers = proxy.workers();
    assert_eq!(workers["workers"][0]["failed"], 0, "{workers}");
    drop(wire);
    proxy.finish();
}

#[test]
fn failed_requests_eject_and_a_trial_brings_back() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let bad = Backend::start(move |_, stream| {
        if is_broken.load(Ordering::SeqCst) {
            say(stream, b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n");
            return Then::Keep;
        }
        respond(stream, b"well")
    });
    let good = Backend::says("good");
    let options = ["--slow-start", "0", "--failures", "3"];
    let proxy = Proxy::over(&[&bad, &good], &options);
    proxy.until("ejected", |proxy| {
        proxy.get("/");
        health(proxy, 0) == "down"
    });
    broken.store(false, Ordering::SeqCst);
    // Back after a second, with one request at a time first.
    proxy.until("back", |proxy| proxy.get("/").text() == "well");
    assert_eq!(proxy.workers()["workers"][0]["capacity"].as_u64(), Some(32));
    proxy.finish();
}

/// A check that takes its time does not hold up what requests have said.
#[test]
fn an_ejection_ends_in_time_while_a_check_goes_on() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        if seen.target() == "/health" {
            // Until the test is over.
            let _ = wait.lock().unwrap().recv();
            return Then::Close;
        }
        say(stream, b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n")
    });
    let options = ["--health", "/health", "--health-timeout", "60", "--failures", "1"];
    let options = [&QUICK[..], &options, &["--max-ejected", "100"]].concat();
    let proxy = Proxy::over(&[&backend], &options);
    proxy.until("checked", |_| !backend.seen().is_empty());
    assert_eq!(proxy.get("/").status, 502);
    assert_eq!(health(&proxy, 0), "down");
    let begun = Instant::now();
    proxy.until("on trial", |proxy| health(proxy, 0) == "up");
    assert!(begun.elapsed() < Duration::from_secs(4), "a second, and not the check's");
    // Its only place is the trial's: the check has left it.
    assert_eq!(proxy.get("/").status, 502);
    drop(go);
    proxy.finish();
}

/// Each of many backends would add its own.
#[test]
fn without_health_nobody_wakes_for_it() {
    let backends: Vec<_> = (1..=10).map(|n| ([127, 0, 0, n], 9).into()).collect();
    let proxy = Proxy::at(&backends, &["--no-health", "--threads", "1"]);
    let switches = || proxy.switches(&["serve-0"])[0];
    let before = switches();
    thread::sleep(Duration::from_secs(2));
    let woken = switches() - before;
    assert!(woken < 16, "{woken} times");
    proxy.finish();
}

#[test]
fn the_last_backends_are_not_ejected() {
    let bad =
        Backend::start(|_, stream| say(stream, b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"));
    let proxy = Proxy::over(&[&bad], &["--failures", "1"]);
    (0..20).for_each(|_| assert_eq!(proxy.get("/").status, 502));
    assert_eq!(health(&proxy, 0), "up");
    proxy.finish();
}

#[test]
fn b14_flapping_moves_no_count_below_zero() {
    let up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&up);
    let flapping = Backend::start(move |_, stream| {
        if is_up.load(Ordering::SeqCst) { respond(stream, b"x") } else { Then::Close }
    });
    let steady = Backend::says("x");
    let proxy = Proxy::over(&[&flapping, &steady], &[&QUICK[..], &["--failures", "2"]].concat());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..20_u64 {
                thread::sleep(Duration::from_millis(50 + 10 * (n % 3)));
                up.store(n % 2 == 0, Ordering::SeqCst);
            }
            over.store(true, Ordering::SeqCst);
        });
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(proxy.get("/").status, 200, "an idempotent request is tried again");
                }
            });
        }
    });
    up.store(true, Ordering::SeqCst);
    proxy.finish();
}

/// An answer without an end is read as far as it must be, and no further.
#[test]
fn a_check_reads_no_more_than_it_must() {
    let backend = Backend::start(|_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [&b"10000\r\n"[..], &vec![b'x'; 0x10000], b"\r\n"].concat();
        while say(stream, &chunk) == Then::Keep {}
        Then::Close
    });
    let options = ["--health", "/", "--health-timeout", "1"];
    let proxy = Proxy::over(&[&backend], &[&QUICK[..], &options].concat());
    proxy.until("checked", |_| backend.seen().len() >= 5);
    assert_eq!(health(&proxy, 0), "up");
    proxy.finish();
}

/// A connection that is kept says nothing of whether others would be taken.
#[test]
fn a_check_by_a_connection_makes_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Proxy::at(&[address], &[&QUICK[..], &["--threads", "1"]].concat());
    let serving = thread::spawn(move || {
        // The first request's connection stays open; checks come and go before it.
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            if stream.read(&mut head).unwrap_or(0) > 0 {
                respond(&mut stream, b"x");
                return stream;
            }
        }
        unreachable!("somebody asks");
    });
    assert_eq!(proxy.get("/").text(), "x");
    // Nobody listens any more.
    let kept = serving.join().unwrap();
    proxy.until("down", |proxy| health(proxy, 0) == "down");
    drop(kept);
    proxy.finish();
}

/// With backends that all fail: the most that were out at a time.
fn most_ejected(backends: usize, percent: &str) -> usize {
    let fail = |_| {
        let answer = b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n";
        Backend::start(move |_, stream| say(stream, answer))
    };
    let backends: Vec<_> = (0..backends).map(fail).collect();
    let backends: Vec<_> = backends.iter().collect();
    let proxy = Proxy::over(&backends, &["--failures", "1", "--max-ejected", percent]);
    let most = Cell::new(0);
    proxy.until("asked", |proxy| {
        // The other: none is left to ask.
        assert!(matches!(proxy.get("/").status, 502 | 503));
        let workers = proxy.workers();
        let workers = workers["workers"].as_array().unwrap();
        let down = workers.iter().filter(|worker| worker["health"] == "down").count();
        most.set(most.get().max(down));
        backends.iter().all(|backend| !backend.seen().is_empty())
    });
    proxy.finish();
    most.get()
}

#[test]
fn no_more_are_ejected_than_may_be() {
    assert_eq!(most_ejected(2, "0"), 0);
    assert_eq!(most_ejected(4, "50"), 2);
    assert_eq!(most_ejected(4, "100"), 4);
}

/// A trial that fails while the other backend is out is an ejection, too.
#[test]
fn no_more_are_ejected_by_trials_than_may_be() {
    let gated = || {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let backend = Backend::start(move |seen, stream| {
            if seen.target() == "/held" {
                wait.lock().unwrap().recv().unwrap();
            }
            say(stream, b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n")
        });
        (backend, go)
    };
    let backends = [gated(), gated()];
    let options = ["--failures", "1", "--max-ejected", "50"];
    let proxy = Proxy::over(&[&backends[0].0, &backends[1].0], &options);
    assert_eq!(proxy.get("/").status, 502);
    let down = |proxy: &Proxy| [0, 1].map(|n| health(proxy, n) == "down");
    proxy.until("ejected", |proxy| down(proxy) != [false; 2]);
    let tried = usize::from(down(&proxy)[1]);
    let other = 1 - tried;
    proxy.until("on trial", |proxy| down(proxy) == [false; 2]);
    // Else both requests may go to the other.
    proxy.until("forgiven", |proxy| proxy.workers()["workers"][tried]["penalty"] == 0);
    let mut wires = [1, 2].map(|n| {
        let mut wire = proxy.connect();
        wire.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
        proxy.until("dispatched", |proxy| proxy.pending() == n);
        wire
    });
    let pending = |n: usize| proxy.workers()["workers"][n]["pending"] == 1;
    assert!(pending(0) && pending(1), "{}", proxy.workers());
    backends[other].1.send(()).unwrap();
    proxy.until("ejected", |proxy| down(proxy)[other]);
    backends[tried].1.send(()).unwrap();
    for wire in &mut wires {
        assert_eq!(wire.response().status, 502);
    }
    proxy.until("over", |proxy| proxy.pending() == 0);
    assert_ne!(down(&proxy), [true; 2], "half of two is one");
    drop(wires);
    proxy.finish();
}

#[test]
fn a_backend_that_comes_back_starts_slowly() {
    let sick = Arc::new(AtomicBool::new(true));
    let is_sick = Arc::clone(&sick);
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        if seen.target() != "/health" {
            wait.lock().unwrap().recv().unwrap();
        } else if is_sick.load(Ordering::SeqCst) {
            return say(stream, b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n");
        }
        respond(stream, b"x")
    });
    // Three steps of a second or so.
    let options = ["--health", "/health", "--slow-start", "4", "--capacity", "4"];
    let proxy = Proxy::over(&[&backend], &[&QUICK[..6], &options].concat());
    proxy.until("down", |proxy| health(proxy, 0) == "down");
    sick.store(false, Ordering::SeqCst);
    proxy.until("up", |proxy| health(proxy, 0) == "up");
    let in_force = |proxy: &Proxy| {
        let workers = proxy.workers();
        let worker = &workers["workers"][0];
        assert_eq!(worker["capacity"], 4);
        let [pending, in_force] =
            ["pending", "capacity_in_force"].map(|what| worker[what].as_u64().unwrap());
        assert!(pending <= in_force, "{worker}");
        (pending, in_force)
    };
    assert_eq!(in_force(&proxy).1, 1);
    let mut wires: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    for wire in &mut wires {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    // Not one of them ends, so that it is time alone which lets them out of the line.
    for n in 1..=4 {
        proxy.until("let out", |proxy| in_force(proxy) == (n, n));
    }
    (0..4).for_each(|_| go.send(()).unwrap());
    for wire in &mut wires {
        assert_eq!(wire.response().status, 200);
    }
    drop(wires);
    proxy.finish();
}
