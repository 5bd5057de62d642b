//! Capacity, the line, and who leaves it.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::backend::{Backend, respond};
use crate::proxy::Proxy;

/// A backend that answers when it is told to.
fn gated() -> (Backend, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        let told: Result<(), _> = wait.lock().unwrap().recv();
        // A test that is over tells nothing more.
        let _ = told;
        respond(stream, seen.target().as_bytes())
    });
    (backend, go)
}

#[test]
fn capacity_is_never_exceeded_and_the_line_is_served_in_order() {
    let (backend, go) = gated();
    let proxy = Proxy::over(&[&backend], &["--capacity", "1"]);
    let mut wires = Vec::new();
    for n in 0..10 {
        let mut wire = proxy.connect();
        wire.send(format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"));
        proxy.until("in line", |proxy| proxy.in_line() + proxy.pending() == n + 1);
        wires.push(wire);
    }
    assert_eq!((proxy.pending(), proxy.in_line()), (1, 9));
    for (n, wire) in wires.iter_mut().enumerate() {
        go.send(()).unwrap();
        assert_eq!(wire.response().text(), format!("/{n}"));
    }
    drop(wires);
    proxy.finish();
    assert_eq!((backend.most_active(), backend.most_open()), (1, 1));
    let order: Vec<_> = backend.seen().iter().map(|seen| seen.target().to_owned()).collect();
    assert_eq!(order, (0..10).map(|n| format!("/{n}")).collect::<Vec<_>>());
}

#[test]
fn open_connections_of_all_threads_stay_within_capacity() {
    for capacity in [1, 3] {
        let backend = Backend::start(|_, stream| {
            thread::sleep(Duration::from_millis(1));
            respond(stream, b"x")
        });
        let told = capacity.to_string();
        let proxy = Proxy::over(&[&backend], &["--threads", "4", "--capacity", &told]);
        thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let mut wire = proxy.connect();
                    for _ in 0..30 {
                        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
                        assert_eq!(wire.response().text(), "x");
                    }
                });
            }
        });
        proxy.finish();
        assert!(backend.most_active() <= capacity, "{} at once", backend.most_active());
        assert!(backend.most_open() <= capacity, "{} open", backend.most_open());
    }
}

#[test]
fn the_least_loaded_backend_gets_the_next_request() {
    let gates: Vec<_> = (0..3).map(|_| gated()).collect();
    let backends: Vec<_> = gates.iter().map(|(backend, _)| backend).collect();
    let proxy = Proxy::over(&backends, &["--capacity", "4"]);
    let mut wires = Vec::new();
    for n in 0..12 {
        let mut wire = proxy.connect();
        wire.send(format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"));
        proxy.until("dispatched", |proxy| proxy.pending() == n + 1);
        let pending: Vec<_> = proxy.workers()["workers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|worker| worker["pending"].as_u64().unwrap())
            .collect();
        let (least, most) = (pending.iter().min(), pending.iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{pending:?}");
        wires.push(wire);
    }
    for (_, go) in &gates {
        (0..4).for_each(|_| go.send(()).unwrap());
    }
    for wire in &mut wires {
        assert_eq!(wire.response().status, 200);
    }
    drop(wires);
    proxy.finish();
}

#[test]
fn a_full_line_refuses_with_503_and_when_to_come_again() {
    let (backend, go) = gated();
    let proxy = Proxy::over(&[&backend], &["--capacity", "1", "--line", "1"]);
    let mut first = proxy.connect();
    first.send("GET /1 HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    let mut second = proxy.connect();
    second.send("GET /2 HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("in line", |proxy| proxy.in_line() == 1);
    let refused = proxy.get("/3");
    assert_eq!((refused.status, refused.text()), (503, "503 the line is full\n"));
    let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&after));
    assert_eq!(proxy.refused("line_full"), 1);
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "/1");
    assert_eq!(second.response().text(), "/2");
    drop((first, second));
    proxy.finish();
}

#[test]
fn who_waits_for_too_long_is_refused() {
    let (backend, go) = gated();
    let proxy = Proxy::over(&[&backend], &["--capacity", "1", "--line-timeout", "0.2"]);
    let mut first = proxy.connect();
    first.send("GET /1 HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    let refused = proxy.get("/2");
    assert_eq!(refused.status, 503);
    assert_eq!(proxy.refused("line_too_slow"), 1);
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "/1");
    drop(first);
    proxy.finish();
}

/// C1, while queued: with nothing unread, an unread body, pipelined bytes.
#[test]
fn c1_who_leaves_the_line_leaves_it_at_once() {
    let (backend, go) = gated();
    let proxy = Proxy::over(&[&backend], &["--capacity", "1"]);
    let mut first = proxy.connect();
    first.send("GET /1 HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    let large = Arc::new(vec![b'x'; 600_000]);
    for rest in ["", "pipelined", "body"] {
        let mut wire = proxy.connect();
        match rest {
            "body" => {
                wire.send("POST /gone HTTP/1.1\r\nHost: test\r\nContent-Length: 600000\r\n\r\n");
                wire.send(&large[..100_000]);
            }
            "pipelined" => wire.send("GET /gone HTTP/1.1\r\nHost: test\r\n\r\n".repeat(3)),
            _ => wire.send("GET /gone HTTP/1.1\r\nHost: test\r\n\r\n"),
        }
        proxy.until("in line", |proxy| proxy.in_line() == 1);
        drop(wire);
        proxy.until("out of line", |proxy| proxy.in_line() == 0);
    }
    assert_eq!(proxy.pending(), 1);
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "/1");
    assert_eq!(backend.seen().len(), 1, "who left was never sent on");
    drop(first);
    proxy.finish();
}

#[test]
fn a_client_has_its_share_of_the_line_and_no_more() {
    let (backend, go) = gated();
    let options = ["--capacity", "1", "--line", "100", "--line-per-client", "2"];
    let proxy = Proxy::over(&[&backend], &options);
    let mut wires: Vec<_> = (0..3)
        .map(|n| {
            let mut wire = proxy.connect();
            wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            proxy.until("there", |proxy| proxy.pending() + proxy.in_line() == n + 1);
            wire
        })
        .collect();
    let refused = proxy.get("/");
    assert_eq!(refused.status, 503);
    assert_eq!(proxy.refused("line_share"), 1);
    for wire in &mut wires {
        go.send(()).unwrap();
        assert_eq!(wire.response().status, 200);
    }
    drop(wires);
    proxy.finish();
}

/// How soon a client leaves says nothing of how fast the line moves.
#[test]
fn who_has_left_is_not_part_of_the_pace() {
    let (backend, go) = gated();
    let proxy = Proxy::over(&[&backend], &["--capacity", "1", "--line-timeout", "0.5"]);
    let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut leaves = proxy.connect();
    leaves.send(request);
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    thread::sleep(Duration::from_millis(1500));
    drop(leaves);
    proxy.until("gone", |proxy| proxy.pending() == 0);
    // The proxy looks once a second at how long requests take.
    thread::sleep(Duration::from_millis(1100));
    let mut first = proxy.connect();
    first.send(request);
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    let mut second = proxy.connect();
    second.send(request);
    proxy.until("in line, not refused on arrival", |proxy| proxy.in_line() == 1);
    (0..3).for_each(|_| go.send(()).unwrap());
    assert_eq!(first.response().status, 200);
    assert_eq!(second.response().status, 200);
    drop((first, second));
    proxy.finish();
}

/// Each request goes where `(pending + 1) / weight` is the least.
#[test]
fn weights_are_in_effect() {
    const WEIGHTS: [u64; 2] = [3, 1];
    let gates: Vec<_> = WEIGHTS.map(|_| gated()).into();
    let tell = |(weight, (backend, _)): (&u64, &(Backend, _))| {
        format!("{},weight={weight},capacity=1024", backend.address)
    };
    let told: Vec<_> = WEIGHTS.iter().zip(&gates).map(tell).collect();
    let proxy = Proxy::at(&[], &["--to", &told[0], "--to", &told[1]]);
    let pending = || {
        let workers = proxy.workers();
        [0, 1].map(|n| workers["workers"][n]["pending"].as_u64().unwrap())
    };
    let mut wires = Vec::new();
    for n in 0..40 {
        let before = pending();
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        proxy.until("dispatched", |proxy| proxy.pending() == n + 1);
        let chosen = usize::from(pending()[1] > before[1]);
        let other = 1 - chosen;
        let (own, others) = (before[chosen] + 1, before[other] + 1);
        assert!(own * WEIGHTS[other] <= others * WEIGHTS[chosen], "{chosen} of {before:?}");
        wires.push(wire);
    }
    assert_eq!(pending(), [30, 10]);
    for ((_, go), count) in gates.iter().zip([30, 10]) {
        (0..count).for_each(|_| go.send(()).unwrap());
    }
    for wire in &mut wires {
        assert_eq!(wire.response().status, 200);
    }
    drop(wires);
    proxy.finish();
}

/// It may stand for an address of IPv6, too, where nobody listens.
#[test]
fn a_backend_may_have_a_name() {
    let backend = Backend::says("x");
    let name = format!("localhost:{}", backend.address.port());
    let proxy = Proxy::at(&[], &["--to", &name]);
    (0..3).for_each(|_| assert_eq!(proxy.get("/").text(), "x"));
    assert_eq!(proxy.workers()["workers"][0]["backend"], *name);
    assert_eq!(backend.seen()[0].field("host"), Some("test"));
    proxy.finish();
}
