//! How often a request is tried, and what is kept for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::backend::{Backend, Then, respond};
use crate::proxy::Proxy;

/// Reads whole requests, and answers none.
fn closing() -> Backend {
    Backend::start(|_, _| Then::Close)
}

/// A fifth of the requests, and three a second: retries do not multiply an outage.
#[test]
fn retries_have_a_budget() {
    const REQUESTS: usize = 300;
    let backends: Vec<_> = (0..3).map(|_| closing()).collect();
    let backends: Vec<_> = backends.iter().collect();
    let proxy = Proxy::over(&backends, &["--no-health"]);
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        assert_eq!(proxy.get("/").status, 502);
    }
    let tries: usize = backends.iter().map(|backend| backend.seen().len()).sum();
    let retries = tries - REQUESTS;
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    // Those of the first second, and one that had begun when the proxy started.
    let most = REQUESTS / 5 + 3 * (seconds + 2);
    assert!((REQUESTS / 5..=most).contains(&retries), "{retries} retries, {most} at the most");
    assert_eq!(proxy.workers()["retries"], retries);
    proxy.finish();
}

/// The one in silence, after a connection that had been given up while it was idle.
#[test]
fn a_second_try_in_silence_is_counted() {
    let died = AtomicBool::new(false);
    let backend = Backend::start(move |seen, stream| {
        if seen.target() == "/dies" && !died.swap(true, Ordering::SeqCst) {
            return Then::Close;
        }
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &["--threads", "1", "--no-health"]);
    for (target, retries) in [("/lives", 0), ("/dies", 1)] {
        assert_eq!(proxy.get(target).status, 200);
        let workers = proxy.workers();
        assert_eq!(workers["retries"], retries);
        assert_eq!(workers["workers"][0]["failed"], 0, "{workers}");
    }
    proxy.finish();
}

/// What of a body is kept to be sent again: 64 KiB, and not a byte more.
#[test]
fn a_body_is_sent_again_within_64_kib() {
    let (bad, good) = (closing(), Backend::says("good"));
    let first = format!("{},weight=1000", bad.address);
    let second = good.address.to_string();
    let proxy = Proxy::at(&[], &["--to", &first, "--to", &second, "--no-health"]);
    let mut tried = 0;
    for (length, again) in [(60_000, true), (65_536, true), (65_537, false), (100_000, false)] {
        let body: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        let head = format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
        // A failure weighs on the bad one for a while.
        proxy.until("forgiven", |proxy| proxy.workers()["workers"][0]["penalty"] == 0);
        let before = good.seen().len();
        let mut wire = proxy.connect();
        wire.send([head.as_bytes(), &body].concat());
        let response = wire.response();
        tried += 1;
        assert_eq!(bad.seen().len(), tried, "the bad one is the first");
        assert!(bad.seen().last().unwrap().body == body);
        assert_eq!(response.status, if again { 200 } else { 502 }, "{length}");
        let seen = good.seen().split_off(before);
        assert_eq!(seen.len(), usize::from(again), "{length}");
        assert!(seen.iter().all(|seen| seen.whole && seen.body == body), "{length}");
    }
    proxy.finish();
}
