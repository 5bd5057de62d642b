//! Signals: the first finishes, the second ends.

use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::backend::{Backend, Then, respond, say};
use crate::proxy::Proxy;

fn slow(time: Duration) -> Backend {
    Backend::start(move |_, stream| {
        thread::sleep(time);
        respond(stream, b"done")
    })
}

#[test]
fn p4_what_runs_is_finished_and_nothing_new_is_accepted() {
    for signal in [Signal::TERM, Signal::INT] {
        let backend = slow(Duration::from_millis(300));
        let mut proxy = Proxy::over(&[&backend], &[]);
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        proxy.until("dispatched", |proxy| proxy.pending() == 1);
        proxy.signal(signal);
        let begun = Instant::now();
        while TcpStream::connect(proxy.address).is_ok() {
            assert!(begun.elapsed() < Duration::from_millis(250), "its port is closed at once");
        }
        let response = wire.response();
        assert_eq!((response.status, response.text()), (200, "done"));
        assert_eq!(response.field("connection"), Some("close"));
        assert!(wire.is_closed());
        assert_eq!(proxy.wait().code(), Some(0));
        assert!(TcpStream::connect(proxy.address).is_err());
        proxy.assert_quiet();
    }
}

#[test]
fn p4_an_idle_connection_is_answered_once_more() {
    let backend = slow(Duration::ZERO);
    let mut proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(wire.response().text(), "done");
    proxy.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(100));
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = wire.response();
    assert_eq!((response.text(), response.field("connection")), ("done", Some("close")));
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.assert_quiet();
}

#[test]
fn p4_the_drains_time_is_kept() {
    let backend = slow(Duration::from_secs(5));
    let mut proxy = Proxy::over(&[&backend], &["--drain-timeout", "0.3"]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3));
    proxy.assert_quiet();
}

#[test]
fn p4_a_second_signal_ends_at_once() {
    let backend = slow(Duration::from_secs(5));
    let mut proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(50));
    proxy.signal(Signal::TERM);
    proxy.wait();
    assert!(begun.elapsed() < Duration::from_secs(2));
    proxy.assert_quiet();
}

/// A tunnel is finished like any request, and its thread stays for it.
#[test]
fn p4_a_tunnel_goes_on_while_there_is_time() {
    let backend = Backend::heads(|_, stream| {
        say(
            stream,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        );
        let mut word = [0; 4];
        while stream.read_exact(&mut word).is_ok() {
            say(stream, &word);
        }
        Then::Close
    });
    let mut proxy = Proxy::over(&[&backend], &["--threads", "2"]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(wire.response().status, 101);
    wire.send("one.");
    assert_eq!(wire.bytes(4), b"one.");
    assert_eq!(proxy.workers()["workers"][0]["open_connections"], 1, "a tunnel is one");
    proxy.signal(Signal::TERM);
    let begun = Instant::now();
    while TcpStream::connect(proxy.address).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "its port is closed");
    }
    wire.send("two.");
    assert_eq!(wire.bytes(4), b"two.");
    drop(wire);
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.assert_quiet();
}
