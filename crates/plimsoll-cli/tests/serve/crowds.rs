//! Row C10 of the hazards: connections by the hundred.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::backend::{Backend, respond};
use crate::http2::{request, with_client};
use crate::proxy::Proxy;

/// Set where a test has a network that is no one else's.
const OWN_NETWORK: &str = "PLIMSOLL_OWN_NETWORK";

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

/// The upstream side has a source port for each connection, and may run out of
/// them. The test runs again in a network of its own, whose range it may narrow.
#[test]
fn c10_without_source_ports_requests_are_refused_and_nothing_spins() {
    let own_network = |kind: &str| Command::new("unshare").args([kind, "true"]).status();
    let works = |kind: &&str| own_network(kind).is_ok_and(|status| status.success());
    let Some(kind) = ["-rn", "-n"].into_iter().find(works) else {
        println!("not run: this system gives the test no network of its own");
        return;
    };
    let script = "ip link set lo up && exec \"$0\" --exact --ignored --nocapture \
        crowds::in_a_network_of_its_own_without_source_ports";
    let test = std::env::current_exe().unwrap();
    let mut inner = Command::new("unshare");
    inner.args([kind, "sh", "-c", script]).arg(test).env(OWN_NETWORK, "1");
    let output = inner.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "run by the test before, in a network of its own"]
fn in_a_network_of_its_own_without_source_ports() {
    const PORTS: usize = 10;
    const REQUESTS: usize = 30;
    assert!(std::env::var_os(OWN_NETWORK).is_some(), "it would narrow this machine's");
    let range = |range: &str| fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
    let open = Arc::new(AtomicBool::new(false));
    let opens = Arc::clone(&open);
    let backend = Backend::start(move |_, stream| {
        while !opens.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "100", "--no-health"]);
    let statuses: Vec<u16> = with_client(proxy.address, async |client| {
        range("40000 40009");
        let mut streams: JoinSet<u16> = (0..REQUESTS)
            .map(|_| {
                let mut client = client.clone();
                async move { client.send_request(request("/", "")).await.unwrap().status().as_u16() }
            })
            .collect();
        let mut statuses = Vec::new();
        for _ in 0..REQUESTS - PORTS {
            statuses.push(streams.join_next().await.unwrap().unwrap());
        }
        let ticks = proxy.cpu_ticks();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let spent = proxy.cpu_ticks() - ticks;
        assert!(spent < 10, "{spent} ticks in half a second");
        range("32768 60999");
        open.store(true, Ordering::SeqCst);
        while let Some(status) = streams.join_next().await {
            statuses.push(status.unwrap());
        }
        statuses
    });
    let (refused, answered) = statuses.split_at(REQUESTS - PORTS);
    assert!(refused.iter().all(|&status| status == 503), "{refused:?}");
    assert!(answered.iter().all(|&status| status == 200), "{answered:?}");
    assert_eq!(proxy.refused("no_socket"), refused.len() as u64);
    assert_eq!(proxy.get("/").status, 200);
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
