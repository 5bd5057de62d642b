//! Rows C1 to C10 of the hazards: clients that leave, drip, flood or lie.

use std::cell::Cell;
use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Then, nobody, respond, say};
use crate::proxy::{Proxy, seed};

#[test]
fn c1_who_leaves_during_the_answer_frees_the_backend() {
    let backend = Backend::start(|_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        while say(stream, &[b'x'; 10_000]) == Then::Keep {
            thread::sleep(Duration::from_millis(1));
        }
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "1"]);
    for _ in 0..5 {
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.bytes(20_000).len(), 20_000);
        drop(wire);
        proxy.until("given back", |proxy| proxy.pending() == 0);
        // The backend learns of it by its next write.
        proxy.until("closed", |_| backend.open() == 0);
    }
    assert_eq!(backend.most_open(), 1);
    proxy.finish();
}

#[test]
fn c1_who_leaves_before_the_answer_frees_the_backend() {
    let backend = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(500));
        respond(stream, b"late")
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "1"]);
    let begun = Instant::now();
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("dispatched", |proxy| proxy.pending() == 1);
    drop(wire);
    proxy.until("given back", |proxy| proxy.pending() == 0);
    assert!(begun.elapsed() < Duration::from_millis(450), "it did not wait for the answer");
    proxy.finish();
}

#[test]
fn c1_who_leaves_during_the_request_breaks_it_off() {
    let backend = Backend::start(|seen, stream| {
        assert!(!seen.whole, "half a body is no body");
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &[]);
    for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let mut wire = proxy.connect();
        wire.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"));
        wire.send("5\r\nhello\r\n");
        proxy.until("dispatched", |proxy| proxy.pending() == 1);
        drop(wire);
        proxy.until("given back", |proxy| proxy.pending() == 0);
    }
    proxy.finish();
}

#[test]
fn c2_a_dripping_head_is_a_408() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--header-timeout", "0.3"]);
    let begun = Instant::now();
    let mut wire = proxy.connect();
    // It never pauses for long, and never ends.
    for byte in "GET / HTTP/1.1\r\nHost: test\r\nX: ".bytes().chain(b"y".repeat(200)) {
        if begun.elapsed() > Duration::from_secs(1) || !wire.try_send([byte]) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(wire.response().status, 408);
    assert!(wire.is_closed() && begun.elapsed() < Duration::from_secs(2));
    assert_eq!(backend.seen().len(), 0);
    proxy.finish();
}

#[test]
fn c2_an_idle_connection_is_closed_and_one_with_a_request_is_not() {
    let backend = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(600));
        respond(stream, b"slow")
    });
    let proxy = Proxy::over(&[&backend], &["--idle-timeout", "0.2"]);
    let mut silent = proxy.connect();
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(wire.response().text(), "slow");
    assert!(wire.is_closed(), "idle after its answer");
    assert!(silent.is_closed());
    proxy.finish();
}

#[test]
fn c2_a_body_that_stops_is_given_up() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--body-timeout", "0.3"]);
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    let begun = Instant::now();
    let answer = wire.answer(false);
    assert!(answer.is_none_or(|answer| answer.status >= 400));
    assert!(begun.elapsed() < Duration::from_secs(2));
    proxy.finish();
}

#[test]
fn c2_who_does_not_read_is_cut_off_and_others_are_served() {
    let backend = Backend::start(|seen, stream| {
        if seen.target() == "/" {
            return respond(stream, b"x");
        }
        let body = vec![b'y'; 20_000_000];
        respond(stream, &body)
    });
    let proxy = Proxy::over(&[&backend], &["--body-timeout", "0.5", "--capacity", "2"]);
    let mut wire = proxy.connect();
    wire.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(proxy.get("/").text(), "x");
    proxy.until("cut off", |proxy| proxy.pending() == 0);
    drop(wire);
    proxy.finish();
}

/// What two parsers may read in two ways is answered with 400, and reaches no
/// backend; what stood before it is answered.
#[test]
fn c3_ambiguous_requests_are_refused() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let post = "POST / HTTP/1.1\r\nHost: test\r\n";
    let cases = [
        format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        format!("{post}Content-Length: +5\r\n\r\nhello"),
        format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n".into(),
        "GET / HTTP/1.1\nHost: test\n\n".into(),
        "GET /a#b HTTP/1.1\r\nHost: test\r\n\r\n".into(),
        "GET http://other/ HTTP/1.1\r\nHost: test\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: test\r\nX : y\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: test\r\nX: y\r\n z\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n".into(),
    ];
    for case in cases {
        let mut wire = proxy.connect();
        wire.send("GET /before HTTP/1.1\r\nHost: test\r\n\r\n");
        wire.send(&case);
        assert_eq!(wire.response().text(), "x", "{case:?}");
        let refused = wire.response();
        assert_eq!(refused.status, 400, "{case:?}");
        assert_eq!(refused.field("connection"), Some("close"), "{case:?}");
        assert!(wire.is_closed(), "{case:?}");
    }
    assert!(backend.seen().iter().all(|seen| seen.target() == "/before"));
    proxy.finish();
}

#[test]
fn c3_what_is_too_large_is_refused() {
    let backend = Backend::says("x");
    let options = ["--max-head", "1000", "--max-headers", "10", "--max-target", "100"];
    let proxy = Proxy::over(&[&backend], &[&options[..], &["--max-body", "100"]].concat());
    let long = "a".repeat(200);
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "A: b\r\n".repeat(10)), 431),
        (format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", long.repeat(6)), 431),
        (format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 101\r\n\r\n{long}"), 413),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n{long}\r\n0\r\n\r\n"
            ),
            413,
        ),
    ] {
        let mut wire = proxy.connect();
        wire.send(&request);
        assert_eq!(wire.response().status, status, "{request:?}");
    }
    proxy.finish();
}

/// What may be allowed is taken.
#[test]
fn c3_the_largest_limits_are_kept() {
    let backend = Backend::says("x");
    let options = ["--max-head", "1048576", "--max-headers", "16384", "--max-target", "65534"];
    let proxy = Proxy::over(&[&backend], &options);
    let target =
        |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(bytes - 1));
    let fields = |count: usize| {
        let more: Vec<_> = (1..count).map(|n| format!("x-{n}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", more.concat())
    };
    let head = |bytes: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: test\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "a".repeat(bytes - rest))
    };
    let trailer = |bytes: usize| {
        let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}0\r\nX: {}\r\n\r\n", "a".repeat(bytes))
    };
    for (request, status) in [
        (target(65_534), 200),
        (target(65_535), 414),
        (fields(16_384), 200),
        (fields(16_385), 431),
        (head(1 << 20), 200),
        (head((1 << 20) + 1), 431),
        (trailer(1 << 19), 200),
    ] {
        let mut wire = proxy.connect();
        wire.send(&request);
        assert_eq!(wire.response().status, status, "{}", &request[..50]);
    }
    proxy.until("counted", |proxy| proxy.refused("bad_request") == 3);
    proxy.finish();
}

#[test]
fn c8_bytes_before_the_101_reach_no_backend() {
    let backend = Backend::heads(|_, stream| {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut byte = [0];
        assert!(stream.read(&mut byte).is_err(), "nothing comes before the 101");
        stream.set_read_timeout(None).unwrap();
        say(
            stream,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        );
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        say(stream, &bytes);
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly");
    assert_eq!(wire.response().status, 101);
    assert_eq!(wire.bytes(5), b"early");
    assert!(wire.is_closed());
    drop(wire);
    proxy.finish();
}

/// C8: an answer to what came before an upgrade says nothing about the upgrade.
#[test]
fn c8_an_upgrade_behind_another_request_holds_back_what_follows() {
    let backend = Backend::heads(|seen, stream| {
        if seen.target() == "/plain" {
            return respond(stream, b"x");
        }
        say(
            stream,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        );
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        say(stream, &bytes);
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send(
        "GET /plain HTTP/1.1\r\nHost: test\r\n\r\n\
         GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\0\x01\x02\x03\x04",
    );
    assert_eq!(wire.response().text(), "x");
    assert_eq!(wire.response().status, 101);
    assert_eq!(wire.bytes(5), [0, 1, 2, 3, 4]);
    assert!(wire.is_closed());
    drop(wire);
    proxy.finish();
}

#[test]
fn c10_beyond_the_limit_on_connections_there_is_a_clear_refusal() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--max-connections", "2", "--threads", "1"]);
    let mut wires: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    for wire in &mut wires {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.response().text(), "x");
    }
    let mut third = proxy.connect();
    assert_eq!(third.response().status, 503);
    assert!(third.is_closed());
    drop(wires);
    proxy.until("room again", |proxy| {
        let mut wire = proxy.connect();
        wire.try_send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        wire.response().status == 200
    });
    proxy.finish();
}

#[test]
fn a_client_may_half_close_after_its_request_is_read() {
    // It counts as gone, as it does for other proxies: nothing may hang.
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wire.half_close();
    let answer = wire.answer(false);
    assert!(answer.is_none_or(|answer| answer.text() == "x"));
    proxy.finish();
}

/// C1: clients that leave at any byte of any request, by FIN or by RST, before
/// or within the answer. `PLIMSOLL_DISCONNECTS` says how many, and
/// `PLIMSOLL_SEED` which.
#[test]
fn c1_disconnects_at_random_offsets_leave_nothing_behind() {
    let told = std::env::var("PLIMSOLL_DISCONNECTS").ok().and_then(|told| told.parse().ok());
    let (count, seed) = (told.unwrap_or(1500), seed());
    let backend = Backend::start(|seen, stream| {
        if seen.target() == "/slow" {
            thread::sleep(Duration::from_millis(1));
        }
        respond(stream, &[b'x'; 3000])
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "4", "--line", "64"]);
    let body = "b".repeat(2000);
    let requests = [
        "GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(),
        "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n".repeat(3),
        format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2000\r\n\r\n{body}"),
        format!(
            "POST /slow HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
             7d0\r\n{body}\r\n0\r\n\r\n"
        ),
    ];
    thread::scope(|scope| {
        for part in 0..8 {
            let (proxy, requests) = (&proxy, &requests);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + part);
                for _ in 0..count / 8 {
                    let request = random.choice(requests).unwrap().as_bytes();
                    let mut wire = proxy.connect();
                    if random.bool() {
                        wire.reset_on_close();
                    }
                    wire.try_send(&request[..random.usize(..=request.len())]);
                    if random.bool() {
                        thread::sleep(Duration::from_micros(random.u64(..2000)));
                    }
                }
            });
        }
    });
    // Who has left the line is seen in a moment.
    proxy.until("nobody in line", |proxy| proxy.in_line() == 0);
    assert_eq!(proxy.get("/").status, 200);
    proxy.finish();
}

/// Closing a socket with something unread in it resets the connection, and takes
/// back what the client has not read: also what came behind its last request.
#[test]
fn an_answer_survives_what_came_behind_its_request() {
    const ANSWER: usize = 1_000_000;
    let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let backend = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(100));
        respond(stream, &vec![b'x'; ANSWER])
    });
    let proxy = Proxy::over(&[&backend], &[]);
    for behind in [vec![], vec![get], vec![get, get], vec!["POST / HTTP/1.1\r\nHost: te"]] {
        let mut wire = proxy.connect();
        wire.send(last);
        for piece in &behind {
            // Each by itself, so that the proxy stops reading in between.
            thread::sleep(Duration::from_millis(20));
            wire.send(piece);
        }
        thread::sleep(Duration::from_millis(200));
        let answer = wire.response();
        assert!(answer.whole && answer.body.len() == ANSWER, "{behind:?}");
        assert!(wire.ends_cleanly(), "{behind:?}");
    }
    assert_eq!(backend.seen().len(), 4, "the last request is the last");
    proxy.finish();
}

/// Nobody reads the rest of its body, so that no other request can follow.
#[test]
fn a_refusal_with_an_unread_body_says_that_it_closes() {
    let proxy = Proxy::at(&[nobody()], &["--no-health"]);
    for sent in [0, 10_000] {
        let mut wire = proxy.connect();
        wire.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n");
        wire.send(vec![b'x'; sent]);
        let answer = wire.response();
        assert_eq!(answer.status, 502);
        assert_eq!(answer.field("connection"), Some("close"), "{sent} bytes sent");
        assert!(wire.is_closed());
    }
    proxy.finish();
}

/// P1: without descriptors nothing spins, and all is well when there are some.
#[test]
fn p1_running_out_of_descriptors_is_survived() {
    let backend = Backend::says("x");
    let proxy = Proxy::limited("-n 60", &[&backend], &[]);
    let wires: Vec<_> = (0..80).map(|_| proxy.connect()).collect();
    thread::sleep(Duration::from_millis(300));
    let used = proxy.cpu_ticks();
    thread::sleep(Duration::from_millis(500));
    let spent = proxy.cpu_ticks() - used;
    assert!(spent < 25, "{spent} ticks in half a second of waiting");
    drop(wires);
    proxy.until("served again", |proxy| proxy.get("/").status == 200);
    proxy.finish();
}

/// C2: a client that keeps its body back is no fault of the backend's, however
/// short the backend's own time is.
#[test]
fn c2_a_body_that_stops_is_the_clients_fault() {
    let backend = Backend::start(|_, stream| respond(stream, b"x"));
    let options = ["--body-timeout", "0.4", "--response-timeout", "0.2", "--failures", "1"];
    let other = Backend::says("x");
    let proxy = Proxy::over(&[&backend, &other], &options);
    let heads = ["POST / HTTP/1.1\r\nContent-Length: 9", "PUT / HTTP/1.1\r\nContent-Length: 9"];
    for head in heads {
        let mut wire = proxy.connect();
        wire.send(format!("{head}\r\nHost: test\r\n\r\nhalf"));
        let response = wire.response();
        assert_eq!((response.status, response.field("connection")), (408, Some("close")));
    }
    assert_eq!(proxy.refused("body_timeout"), 2);
    let workers = proxy.workers();
    for worker in workers["workers"].as_array().unwrap() {
        assert_eq!((&worker["failed"], &worker["health"]), (&0.into(), &"up".into()), "{workers}");
    }
    assert_eq!(workers["retries"], 0);
    proxy.finish();
}

/// C1: nobody reads the client's socket while something of it is unread.
#[test]
fn c1_who_leaves_behind_unread_bytes_frees_the_backend() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::heads(move |_, _| {
        // Until the end of the test.
        let _ = wait.lock().unwrap().recv();
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    for late in [true, false] {
        let mut wire = proxy.connect();
        if late {
            wire.send(get);
            proxy.until("dispatched", |proxy| proxy.pending() == 1);
            wire.send(get);
        } else {
            wire.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n");
            // As much as there is room for, on the way to a backend that reads none. An
            // end behind that would not get through.
            wire.send_until_full();
            wire.reset_on_close();
            proxy.until("dispatched", |proxy| proxy.pending() == 1);
        }
        drop(wire);
        proxy.until("given back", |proxy| proxy.pending() == 0);
    }
    drop(go);
    proxy.finish();
}

/// A tunnel's reader may pause for as long as the tunnel's own limit says.
#[test]
fn a_tunnel_whose_reader_pauses_goes_on() {
    const LENGTH: usize = 20_000_000;
    let backend = Backend::heads(|_, stream| {
        say(
            stream,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        );
        say(stream, &vec![b'x'; LENGTH]);
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--body-timeout", "0.2"]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(wire.response().status, 101);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(wire.bytes(LENGTH).len(), LENGTH);
    drop(wire);
    proxy.finish();
}

/// P1: a backend is not to blame for what this side lacks, in requests or checks.
#[test]
fn p1_a_connection_without_a_descriptor_is_no_failure_of_the_backends() {
    let backend = Backend::says("x");
    let other = Backend::says("x");
    let options =
        ["--health-interval", "0.02", "--fall", "1", "--rise", "100000", "--failures", "1"];
    let proxy = Proxy::limited("-n 60", &[&backend, &other], &options);
    let mut wire = proxy.connect();
    let others: Vec<_> = (0..80).map(|_| proxy.connect()).collect();
    // For good: a check has one for a moment.
    let full = Cell::new(0);
    proxy.until("without descriptors", |proxy| {
        full.set(if proxy.open_descriptors() >= 60 { full.get() + 1 } else { 0 });
        full.get() == 100
    });
    for _ in 0..3 {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = wire.response();
        let text = "503 there is no socket for another connection to a backend\n";
        assert_eq!((response.status, response.text()), (503, text));
        assert!(response.field("retry-after").is_some());
    }
    drop(others);
    proxy.until("a descriptor", |proxy| proxy.open_descriptors() < 50);
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(wire.response().text(), "x", "it is up");
    assert!(proxy.refused("no_socket") >= 3);
    let workers = proxy.workers();
    for worker in workers["workers"].as_array().unwrap() {
        assert_eq!((&worker["failed"], &worker["health"]), (&0.into(), &"up".into()), "{workers}");
    }
    drop(wire);
    proxy.finish();
}

#[test]
fn p1_as_many_descriptors_as_may_be_are_used() {
    let backend = Backend::says("x");
    let proxy = Proxy::limited("-Sn 100", &[&backend], &[]);
    let (at_once, most) = proxy.descriptors_allowed();
    assert_eq!(at_once, most);
    proxy.finish();
}

/// C10: so many, whatever the threads are.
#[test]
fn c10_the_limit_on_connections_is_exact() {
    let backend = Backend::says("x");
    for (most, threads) in [(1, "2"), (5, "4")] {
        let told = most.to_string();
        let proxy = Proxy::over(&[&backend], &["--max-connections", &told, "--threads", threads]);
        let mut wires: Vec<_> = (0..most).map(|_| proxy.connect()).collect();
        for wire in &mut wires {
            wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(wire.response().text(), "x");
        }
        assert_eq!(proxy.connect().response().status, 503);
        assert_eq!(proxy.refused("too_many_connections"), 1);
        drop(wires);
        proxy.finish();
    }
}
