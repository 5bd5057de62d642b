//! Rows C6 and C9 of the hazards: a connection that never pauses does not have a
//! thread to itself.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::backend::{Backend, Then, respond, say};
use crate::frames::{self, END_HEADERS, Frames, HEADERS, PING, PRIORITY, SETTINGS, frame};
use crate::proxy::Proxy;
use crate::wire::Wire;

/// How long others are looked at.
const LOOK: Duration = Duration::from_millis(1200);
/// What another client waits at the most.
const SOON: Duration = Duration::from_secs(1);

/// Writes without pause, for as long as somebody takes it.
fn pour(mut stream: &TcpStream) {
    use std::io::Write;
    let piece = vec![b'x'; 1 << 16];
    while stream.write_all(&piece).is_ok() {}
}

fn backend() -> Backend {
    Backend::heads(|seen, stream| {
        if seen.field("upgrade").is_some() {
            let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\
                        Connection: upgrade\r\n\r\n";
            say(stream, head.as_bytes());
            let writer = stream.try_clone().unwrap();
            thread::spawn(move || pour(&writer));
        } else if seen.target() == "/endless" {
            say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n");
            pour(stream);
            return Then::Close;
        } else if !seen.head.starts_with("POST ") {
            return respond(stream, b"x");
        }
        // To its end, of whatever kind.
        let _ = std::io::copy(stream, &mut std::io::sink());
        Then::Close
    })
}

/// Ends a proxy whose test has failed: nothing else ends the flood.
struct EndOnPanic<'a>(&'a Proxy);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.signal(Signal::KILL);
        }
    }
}

/// What other clients wait for their answers, sorted.
fn waits(proxy: &Proxy) -> Vec<Duration> {
    let begun = Instant::now();
    let mut waits = Vec::new();
    while begun.elapsed() < LOOK || waits.len() < 5 {
        let asked = Instant::now();
        assert_eq!(proxy.get("/").text(), "x");
        waits.push(asked.elapsed());
    }
    waits.sort_unstable();
    waits
}

/// While a flood that one request of the backend's pends for keeps coming, others
/// are served, and the second signal still ends the process. So many of the
/// others are served soon.
fn others_are_served(what: &str, percent: usize, flood: impl FnOnce(&Proxy, &AtomicUsize) + Send) {
    let backend = backend();
    let mut proxy = Proxy::over(&[&backend], &["--threads", "1"]);
    // What has gone through so far, in pieces.
    let passed = AtomicUsize::new(0);
    thread::scope(|scope| {
        let _end = EndOnPanic(&proxy);
        let flooding = scope.spawn(|| flood(&proxy, &passed));
        proxy.until("flooded", |proxy| passed.load(Ordering::SeqCst) > 0 && proxy.pending() == 1);
        let before = passed.load(Ordering::SeqCst);
        let waits = waits(&proxy);
        assert!(waits[(waits.len() - 1) * percent / 100] < SOON, "{what}: {waits:?}");
        assert!(passed.load(Ordering::SeqCst) >= before + 10, "{what}: that is no flood");
        assert!(!flooding.is_finished(), "{what}: the flood goes on");
        proxy.signal(Signal::TERM);
        proxy.until("draining", |proxy| TcpStream::connect(proxy.address).is_err());
        assert!(!flooding.is_finished(), "{what}: it is finished first");
        proxy.signal(Signal::TERM);
        let begun = Instant::now();
        proxy.until("cut off", |_| flooding.is_finished());
        assert!(begun.elapsed() < 2 * SOON, "{what}: {:?}", begun.elapsed());
    });
    proxy.wait();
    proxy.assert_quiet();
}

/// Reads to the end, whatever comes.
fn drain(mut wire: Wire, passed: &AtomicUsize) {
    while !wire.bytes(1 << 12).is_empty() {
        passed.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn c6_a_flood_of_frames_leaves_room_for_others() {
    let floods = [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, b"")),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 0])),
    ];
    for (what, repeated) in floods {
        // Not all: these floods take whole processors, which others may need, too.
        others_are_served(what, 50, |proxy, passed| {
            let mut frames = Frames::connect(proxy.address);
            // A request that has not ended: the drain waits for it.
            frames.send(HEADERS, END_HEADERS, 1, &frames::request("POST", &[]));
            let reader = frames.twin().wire;
            thread::scope(|scope| {
                scope.spawn(|| drain(reader, &AtomicUsize::new(0)));
                let piece = repeated.repeat(1 << 9);
                while frames.wire.try_send(&piece) {
                    passed.fetch_add(1, Ordering::SeqCst);
                }
            });
        });
    }
}

#[test]
fn c9_a_tunnel_that_never_pauses_leaves_room_for_others() {
    others_are_served("a tunnel", 100, |proxy, passed| {
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        assert_eq!(wire.response().status, 101);
        let mut writer = wire.twin();
        thread::scope(|scope| {
            let piece = vec![b'x'; 1 << 16];
            scope.spawn(move || while writer.try_send(&piece) {});
            drain(wire, passed);
        });
    });
}

#[test]
fn c9_a_download_without_end_leaves_room_for_others() {
    others_are_served("a download", 100, |proxy, passed| {
        let mut wire = proxy.connect();
        wire.send("GET /endless HTTP/1.1\r\nHost: test\r\n\r\n");
        drain(wire, passed);
    });
}
