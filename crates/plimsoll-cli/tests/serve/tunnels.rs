//! Row C9 of the hazards: what WebSocket clients do, which is no matter of the
//! proxy's. It passes bytes, and knows when they end.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::Value;

use crate::backend::{Backend, Then, respond, say};
use crate::proxy::Proxy;
use crate::wire::Wire;

/// Opcodes of frames (RFC 6455, section 5.2), with FIN.
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

/// A frame as clients send it, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut head = vec![first];
    match payload.len() {
        short @ 0..126 => head.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            head.push(0x80 | 127);
            head.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    [&head[..], &[0; 4], payload].concat()
}

/// Agrees to every upgrade, and has its tunnel served like that.
fn switching(serve: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Backend {
    Backend::heads(move |seen, stream| {
        if seen.field("upgrade") != Some("websocket") {
            return respond(stream, b"x");
        }
        assert_eq!(seen.field("sec-websocket-key"), Some("a2V5"));
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        say(stream, head.as_bytes());
        serve(stream);
        Then::Close
    })
}

/// Sends back what it gets.
pub(crate) fn echoing() -> Backend {
    switching(|stream| {
        let mut writer = stream.try_clone().unwrap();
        // A client that vanishes ends it, one way or the other.
        let _ = std::io::copy(stream, &mut writer);
    })
}

/// What a tunnel ends with at the backend: how many bytes came, and whether they
/// came to an end of their own.
fn noting() -> (Backend, Receiver<(usize, bool)>) {
    let (tell, told) = mpsc::channel();
    let backend = switching(move |stream| {
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes).is_ok();
        tell.send((bytes.len(), ended)).unwrap();
    });
    (backend, told)
}

pub(crate) fn open(proxy: &Proxy) -> Wire {
    let mut wire = proxy.connect();
    wire.send(
        "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n",
    );
    let response = wire.response();
    assert_eq!((response.status, response.field("upgrade")), (101, Some("websocket")));
    assert_eq!(response.field("sec-websocket-accept"), Some("x"));
    wire
}

#[test]
fn c9_a_client_that_vanishes_frees_the_backend() {
    let (backend, told) = noting();
    let proxy = Proxy::over(&[&backend], &["--capacity", "1"]);
    for resets in [false, true] {
        let mut wire = open(&proxy);
        wire.send(frame(BINARY, b"hello"));
        assert_eq!(proxy.pending(), 1, "a tunnel is pending for as long as it is open");
        if resets {
            wire.reset_on_close();
        }
        drop(wire);
        let (bytes, ended) = told.recv().unwrap();
        assert!(resets || (bytes, ended) == (11, true), "{bytes} {ended}");
        proxy.until("given back", |proxy| proxy.pending() == 0);
    }
    assert_eq!(backend.most_open(), 1);
    assert_eq!(proxy.get("/").text(), "x", "there is room again");
    proxy.finish();
}

/// The tunnel is there, and nobody to begin it.
#[test]
fn c9_a_client_that_vanishes_before_the_101_frees_the_backend() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::heads(move |_, stream| {
        wait.lock().unwrap().recv().unwrap();
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n";
        say(stream, head.as_bytes());
        // To its end, of whatever kind.
        let _ = std::io::copy(stream, &mut std::io::sink());
        Then::Close
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let options = ["--capacity", "1", "--no-health", "--log-file", file.to_str().unwrap()];
    let proxy = Proxy::over(&[&backend], &options);
    for n in 1..=5 {
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        proxy.until("dispatched", |_| backend.seen().len() == n);
        wire.reset_on_close();
        drop(wire);
        go.send(()).unwrap();
        proxy.until("given back", |proxy| proxy.pending() == 0);
        let logged = || fs::read_to_string(&file).unwrap_or_default();
        proxy.until("logged", |_| logged().lines().count() == n);
        assert!(logged().ends_with(" reason=\"the client left\"\n"), "{}", logged());
    }
    proxy.finish();
}

#[test]
fn c9_a_backend_that_closes_frees_itself() {
    let backend = switching(|stream| {
        say(stream, &frame(BINARY, b"bye"));
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "1"]);
    for _ in 0..3 {
        let mut wire = open(&proxy);
        assert_eq!(wire.bytes(9), frame(BINARY, b"bye"));
        assert!(wire.is_closed());
        drop(wire);
        proxy.until("given back", |proxy| proxy.pending() == 0);
    }
    assert_eq!(proxy.get("/").text(), "x");
    proxy.finish();
}

/// RSV bits, opcodes that nobody has defined, lengths that are not minimal, text
/// that is no UTF-8: all are between the two ends.
#[test]
fn c9_what_is_in_frames_is_not_looked_at() {
    let backend = echoing();
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = open(&proxy);
    let frames: Vec<Vec<u8>> = (0..=u8::MAX)
        .map(|first| frame(first, &vec![first; usize::from(first)]))
        .chain([vec![0x82, 0x7e, 0, 1, b'x'], vec![0xff; 4], b"GET / HTTP/1.1\r\n\r\n".to_vec()])
        .collect();
    for frame in frames {
        wire.send(&frame);
        assert!(wire.bytes(frame.len()) == frame, "{:?}", &frame[..2]);
    }
    assert_eq!(proxy.pending(), 1);
    drop(wire);
    proxy.finish();
}

#[test]
fn c9_a_storm_of_pings_passes_and_others_are_served() {
    const PINGS: usize = 200_000;
    let backend = echoing();
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = open(&proxy);
    let mut sender = wire.twin();
    thread::scope(|scope| {
        scope.spawn(move || {
            let storm = frame(PING, b"").repeat(100);
            (0..PINGS / 100).for_each(|_| sender.send(&storm));
        });
        let came = scope.spawn(move || wire.bytes(PINGS * 6));
        while !came.is_finished() {
            assert_eq!(proxy.get("/").text(), "x");
        }
        assert!(came.join().unwrap() == frame(PING, b"").repeat(PINGS));
    });
    proxy.finish();
}

/// A frame of which the head says 1 GiB, and what comes of it: nothing of it stays
/// in the proxy, also while its reader pauses.
#[test]
fn c9_a_giant_frame_is_not_held() {
    const PARTS: usize = 64;
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (tell, told) = mpsc::channel();
    let backend = switching(move |stream| {
        wait.lock().unwrap().recv().unwrap();
        let mut part = vec![0; 1 << 20];
        let mut head = [0; 14];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[..10], [&[BINARY, 0xff], &(1_u64 << 30).to_be_bytes()[..]].concat());
        for n in 0..PARTS {
            stream.read_exact(&mut part).unwrap();
            assert!(part.iter().all(|&byte| usize::from(byte) == n), "part {n}");
        }
        let ended = stream.read(&mut part).unwrap() == 0;
        tell.send(ended).unwrap();
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let at_first = proxy.memory_kib();
    let wire = open(&proxy);
    let mut sender = wire.twin();
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            sender.send([&[BINARY, 0xff], &(1_u64 << 30).to_be_bytes()[..], &[0; 4]].concat());
            for n in 0..PARTS {
                sender.send(vec![u8::try_from(n).unwrap(); 1 << 20]);
            }
        });
        // It pauses for some looks, and the proxy with it.
        let looks = Cell::new(0);
        proxy.until("looked at", |proxy| {
            let grown = proxy.memory_kib().saturating_sub(at_first);
            assert!(grown < 8 << 10, "{grown} KiB");
            looks.set(looks.get() + 1);
            looks.get() == 100
        });
        go.send(()).unwrap();
        sending.join().unwrap();
    });
    wire.shut();
    assert!(told.recv().unwrap());
    proxy.finish();
}

/// What is told of a tunnel is told when it is over.
#[test]
fn c9_the_log_tells_of_all_of_a_tunnel() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let backend = echoing();
    let options = ["--log", "json", "--log-file", file.to_str().unwrap()];
    let options = [&options[..], &["--tunnel-timeout", "0.3"]].concat();
    let proxy = Proxy::over(&[&backend], &options);
    let logged = || fs::read_to_string(&file).unwrap_or_default();
    let mut wire = open(&proxy);
    wire.send([b'x'; 1000]);
    assert_eq!(wire.bytes(1000), [b'x'; 1000]);
    assert_eq!((logged(), &proxy.workers()["requests"]), (String::new(), &0.into()));
    assert!(wire.is_closed(), "it was silent");
    proxy.until("logged", |_| logged().lines().count() == 1);
    let line: Value = serde_json::from_str(&logged()).unwrap();
    assert_eq!((&line["status"], &line["bytes"]), (&101.into(), &2000.into()), "{line}");
    let [first_byte, total] = ["first_byte", "total"].map(|key| line[key].as_f64().unwrap());
    assert!(total >= first_byte + 0.3, "{line}");
    assert_eq!(line["reason"], "the tunnel was silent for too long");
    assert_eq!(proxy.workers()["requests"], 1);
    drop(wire);
    proxy.finish();
}

/// One way closed and the other kept busy is no end.
#[test]
fn c9_a_tunnel_half_closed_is_pending_to_its_end() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = switching(move |stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        wait.lock().unwrap().recv().unwrap();
        stream.write_all(&all).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = open(&proxy);
    wire.send(frame(BINARY, b"all"));
    wire.half_close();
    assert_eq!(proxy.pending(), 1);
    go.send(()).unwrap();
    assert_eq!(wire.bytes(9), frame(BINARY, b"all"));
    assert!(wire.is_closed());
    proxy.until("given back", |proxy| proxy.pending() == 0);
    drop(wire);
    proxy.finish();
}
