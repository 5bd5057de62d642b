//! Limits on time that no other file has.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::backend::{Backend, Then, respond, say};
use crate::proxy::Proxy;
use crate::wire::Wire;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// Goes on for much longer than the limits here, and never stops for as long.
fn drip(mut say: impl FnMut() -> bool) {
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(50));
        assert!(say(), "it was cut off");
    }
}

fn tunnel(proxy: &Proxy) -> Wire {
    let mut wire = proxy.connect();
    wire.send(UPGRADE);
    assert_eq!(wire.response().status, 101);
    wire
}

#[test]
fn a_silent_tunnel_ends() {
    let backend = Backend::heads(|_, stream| {
        say(stream, SWITCH);
        // To its end, of whatever kind.
        let _ = std::io::copy(stream, &mut std::io::sink());
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--tunnel-timeout", "0.3", "--no-health"]);
    let mut wire = tunnel(&proxy);
    wire.send("some");
    assert_eq!(proxy.pending(), 1);
    assert!(wire.is_closed());
    proxy.until("given back", |proxy| proxy.pending() == 0);
    proxy.until("closed", |_| backend.open() == 0);
    drop(wire);
    proxy.finish();
}

/// Whichever of the two speaks.
#[test]
fn a_tunnel_with_a_byte_now_and_then_does_not_end() {
    let backend = Backend::heads(|_, stream| {
        say(stream, SWITCH);
        drip(|| say(stream, b"x") == Then::Keep);
        std::io::copy(stream, &mut std::io::sink()).expect("an end of the client's");
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--tunnel-timeout", "0.5"]);
    let mut wire = tunnel(&proxy);
    assert_eq!(wire.bytes(20), [b'x'; 20]);
    drip(|| wire.try_send("x") && proxy.pending() == 1);
    wire.half_close();
    assert!(wire.is_closed());
    drop(wire);
    proxy.finish();
}

/// With its time in line, and that of its body.
#[test]
fn a_request_that_takes_too_long_is_a_504() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, stream| {
        // Until the test is over.
        let _ = wait.lock().unwrap().recv();
        respond(stream, b"x")
    });
    let options = ["--request-timeout", "0.8", "--capacity", "1", "--no-health"];
    let proxy = Proxy::over(&[&backend], &options);
    let mut first = proxy.connect();
    first.send(GET);
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    let mut second = proxy.connect();
    second.send(GET);
    assert_eq!((first.response().status, second.response().status), (504, 504));
    let mut third = proxy.connect();
    third.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n");
    // It never stops, so that no other limit ends it.
    let mut sender = third.twin();
    let dripping = thread::spawn(move || {
        while sender.try_send("x") {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(third.response().status, 504);
    third.shut();
    dripping.join().unwrap();
    assert_eq!(proxy.refused("request_timeout"), 3);
    // The second had the backend for a moment, and the third kept its body back.
    assert_eq!(proxy.workers()["workers"][0]["failed"], 1);
    drop(go);
    drop((first, second, third));
    proxy.finish();
}

/// No other limit need be as short for it.
#[test]
fn a_backend_that_lets_requests_run_out_of_time_is_ejected() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, _| {
        // Until the test is over.
        let _ = wait.lock().unwrap().recv();
        Then::Close
    });
    let options = ["--request-timeout", "0.6", "--failures", "2", "--max-ejected", "100"];
    let proxy = Proxy::over(&[&backend], &options);
    for _ in 0..2 {
        let response = proxy.get("/");
        let text = "504 the request took longer than its time limit\n";
        assert_eq!((response.status, response.text()), (504, text));
    }
    let workers = proxy.workers();
    let worker = &workers["workers"][0];
    assert_eq!((&worker["failed"], &worker["health"]), (&2.into(), &"down".into()), "{worker}");
    assert_eq!(backend.seen().len(), 2, "none is tried again");
    drop(go);
    proxy.finish();
}

#[test]
fn a_body_that_takes_longer_than_a_request_may_is_cut_off() {
    let backend = Backend::start(|_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while say(stream, b"x") == Then::Keep {
            thread::sleep(Duration::from_millis(20));
        }
        Then::Close
    });
    let options = ["--request-timeout", "0.5", "--failures", "1"];
    let proxy = Proxy::over(&[&backend], &options);
    let response = proxy.get("/");
    assert_eq!((response.status, response.whole), (200, false));
    proxy.until("given back", |proxy| proxy.pending() == 0);
    assert_eq!(proxy.workers()["workers"][0]["health"], "up", "it is not to blame");
    proxy.finish();
}

#[test]
fn an_idle_connection_to_a_backend_is_closed() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--backend-idle-timeout", "0.3", "--no-health"]);
    let mut wire = proxy.connect();
    for n in 1..=2 {
        wire.send(GET);
        assert_eq!(wire.response().text(), "x");
        proxy.until("closed", |proxy| {
            backend.open() == 0 && proxy.workers()["workers"][0]["open_connections"] == 0
        });
        assert_eq!(backend.connections(), n);
    }
    drop(wire);
    proxy.finish();
}
