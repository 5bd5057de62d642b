//! Rows C6 and C9 of the hazards: a connection that never pauses does not have a
//! thread to itself.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::backend::{Backend, Then, respond, say};
use crate::frames::{self, END_HEADERS, Frames, HEADERS, PING, PRIORITY, SETTINGS, frame};
use crate::proxy::Proxy;
use crate::wire::Wire;

/// How long each flood lasts before the proxy is told to end.
const FLOOD: Duration = Duration::from_millis(1200);
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

/// While a flood that one request of the backend's pends for keeps coming, others
/// are served, and the second signal still ends the process.
fn others_are_served(what: &str, flood: impl FnOnce(&Proxy, &AtomicBool) + Send) {
    let backend = backend();
    let mut proxy = Proxy::over(&[&backend], &["--threads", "1"]);
    let came = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = EndOnPanic(&proxy);
        let flooding = scope.spawn(|| flood(&proxy, &came));
        proxy.until("flooded", |proxy| came.load(Ordering::SeqCst) && proxy.pending() == 1);
        let (begun, ticks) = (Instant::now(), proxy.cpu_ticks());
        while begun.elapsed() < FLOOD {
            let asked = Instant::now();
            assert_eq!(proxy.get("/").text(), "x", "{what}");
            assert!(asked.elapsed() < SOON, "{what}: {:?}", asked.elapsed());
        }
        let spent = proxy.cpu_ticks() - ticks;
        assert!(spent >= 10, "{what}: {spent} ticks, which is no flood");
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
fn drain(mut wire: Wire, came: &AtomicBool) {
    while !wire.bytes(1 << 12).is_empty() {
        came.store(true, Ordering::SeqCst);
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
        others_are_served(what, |proxy, came| {
            let mut frames = Frames::connect(proxy.address);
            // A request that has not ended: the drain waits for it.
            frames.send(HEADERS, END_HEADERS, 1, &frames::request("POST", &[]));
            let reader = frames.twin().wire;
            thread::scope(|scope| {
                scope.spawn(|| drain(reader, &AtomicBool::new(false)));
                let piece = repeated.repeat(1 << 12);
                while frames.wire.try_send(&piece) {
                    came.store(true, Ordering::SeqCst);
                }
            });
        });
    }
}

#[test]
fn c9_a_tunnel_that_never_pauses_leaves_room_for_others() {
    others_are_served("a tunnel", |proxy, came| {
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        assert_eq!(wire.response().status, 101);
        let mut writer = wire.twin();
        thread::scope(|scope| {
            let piece = vec![b'x'; 1 << 16];
            scope.spawn(move || while writer.try_send(&piece) {});
            drain(wire, came);
        });
    });
}

#[test]
fn c9_a_download_without_end_leaves_room_for_others() {
    others_are_served("a download", |proxy, came| {
        let mut wire = proxy.connect();
        wire.send("GET /endless HTTP/1.1\r\nHost: test\r\n\r\n");
        drain(wire, came);
    });
}
