//! Row C10 of the hazards: connections by the hundred.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::backend::Backend;
use crate::proxy::Proxy;

/// Within what a process may usually have open.
const MANY: usize = 600;

#[test]
fn c10_idle_connections_cost_little_and_others_are_served() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let at_first = proxy.memory_kib();
    let mut wires: Vec<_> = (0..MANY).map(|_| proxy.connect()).collect();
    // Half of them have never said anything.
    for wire in wires.iter_mut().step_by(2) {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.response().text(), "x");
    }
    let grown = proxy.memory_kib().saturating_sub(at_first);
    assert!(grown < 32 * MANY as u64, "{grown} KiB for {MANY}");
    let ticks = proxy.cpu_ticks();
    thread::sleep(Duration::from_millis(500));
    let spent = proxy.cpu_ticks() - ticks;
    assert!(spent < 25, "{spent} ticks in half a second without a request");
    assert_eq!(proxy.get("/").text(), "x");
    for wire in &mut wires {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.response().text(), "x");
    }
    drop(wires);
    proxy.finish();
}

/// Connections that come all at once, and are gone before they are accepted.
#[test]
fn c10_a_burst_of_connections_leaves_nothing_behind() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--max-connections", "100"]);
    let burst = |to: SocketAddr| {
        for n in 0..MANY {
            let stream = TcpStream::connect(to).unwrap();
            if n % 2 == 0 {
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
        }
    };
    thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| burst(proxy.address))));
    });
    proxy.until("served", |proxy| {
        let mut wire = proxy.connect();
        // It may be one too many, as long as those are not closed.
        wire.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        wire.answer(false).is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(backend.seen().len(), 1);
    proxy.finish();
}

/// A connection stays with its thread, and each thread has as many.
#[test]
fn connections_are_spread_over_threads() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--threads", "2", "--no-health"]);
    let mut wires: Vec<_> = (0..10).map(|_| proxy.connect()).collect();
    let mut served = [0, 0];
    for wire in &mut wires {
        let before = proxy.switches(&["serve-0", "serve-1"]);
        for _ in 0..50 {
            wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(wire.response().text(), "x");
        }
        let after = proxy.switches(&["serve-0", "serve-1"]);
        // Who works for a client waits for it, again and again.
        let [first, second] = [0, 1].map(|n| after[n] - before[n]);
        assert!(first.max(second) > 2 * first.min(second), "{first} or {second}?");
        served[usize::from(second > first)] += 1;
    }
    assert_eq!(served, [5, 5]);
    drop(wires);
    proxy.finish();
}
