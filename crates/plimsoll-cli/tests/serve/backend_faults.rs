//! Rows B1 to B16 of the hazards: backends that fail in every way.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::backend::{Backend, Then, nobody, respond, say};
use crate::proxy::Proxy;

fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn b1_a_refused_connection_goes_to_the_next_backend() {
    let backend = Backend::says("here");
    let proxy = Proxy::at(&[nobody(), backend.address], &[]);
    let mut wire = proxy.connect();
    for _ in 0..6 {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.response().text(), "here");
        // Nothing of it was sent: any method may go elsewhere.
        wire.send(post("/", "body"));
        assert_eq!(wire.response().text(), "here");
    }
    assert!(proxy.workers()["workers"][0]["failed"].as_u64().unwrap() > 0);
    drop(wire);
    proxy.finish();
}

#[test]
fn b1_with_no_other_backend_it_is_a_502() {
    let proxy = Proxy::at(&[nobody()], &[]);
    let response = proxy.get("/");
    let text = "502 the backend refused the connection\n";
    assert_eq!((response.status, response.text()), (502, text));
    proxy.finish();
}

/// B2: a backend whose queue of connections is full answers no SYN.
#[test]
fn b2_a_connection_that_is_not_made_in_time_is_a_504_and_goes_elsewhere() {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let deaf = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&deaf, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&deaf, 0).unwrap();
    let address = std::net::SocketAddr::try_from(getsockname(&deaf).unwrap()).unwrap();
    let short = Duration::from_millis(200);
    let filled: Vec<_> =
        (0..8).map_while(|_| std::net::TcpStream::connect_timeout(&address, short).ok()).collect();
    assert!(filled.len() < 8, "its queue is full");
    let options = ["--connect-timeout", "0.2", "--no-health"];
    let proxy = Proxy::at(&[address], &options);
    let begun = Instant::now();
    assert_eq!(proxy.get("/").status, 504);
    assert!(begun.elapsed() < Duration::from_secs(2));
    proxy.finish();
    let other = Backend::says("other");
    let proxy = Proxy::at(&[address, other.address], &options);
    (0..3).for_each(|_| assert_eq!(proxy.get("/").text(), "other"));
    proxy.finish();
    drop((filled, deaf));
}

#[test]
fn b3_a_backend_that_never_answers_is_a_504_and_no_post_is_sent_twice() {
    let silent = Backend::start(|_, _| {
        thread::sleep(Duration::from_secs(2));
        Then::Close
    });
    let proxy = Proxy::over(&[&silent], &["--response-timeout", "0.2"]);
    let mut wire = proxy.connect();
    wire.send(post("/once", "body"));
    assert_eq!(wire.response().status, 504);
    proxy.until("given back", |proxy| proxy.pending() == 0);
    assert_eq!(silent.seen().len(), 1);
    drop(wire);
    proxy.finish();
}

#[test]
fn b3_an_idempotent_request_goes_to_another_backend() {
    let silent = Backend::start(|_, _| {
        thread::sleep(Duration::from_secs(2));
        Then::Close
    });
    let other = Backend::says("other");
    let proxy = Proxy::over(&[&silent, &other], &["--response-timeout", "0.2"]);
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "other");
    }
    proxy.finish();
}

#[test]
fn b4_a_connection_that_was_closed_while_idle_is_not_the_clients_matter() {
    // Says that it keeps the connection, and closes it.
    let backend = Backend::start(|_, stream| {
        respond(stream, b"x");
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--threads", "1", "--tries", "1"]);
    let mut wire = proxy.connect();
    for _ in 0..200 {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.response().status, 200);
    }
    drop(wire);
    proxy.finish();
}

#[test]
fn b4_no_post_that_reached_a_backend_is_sent_again() {
    let backend = Backend::start(|seen, stream| {
        if seen.target() == "/die" {
            let _ = stream.shutdown(Shutdown::Both);
            return Then::Close;
        }
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &["--threads", "1"]);
    let mut wire = proxy.connect();
    for _ in 0..20 {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.response().status, 200);
        wire.send(post("/die", "body"));
        assert_eq!(wire.response().status, 502);
    }
    assert_eq!(proxy.workers()["workers"][0]["failed"], 20, "each is a failure");
    let died = backend.seen().iter().filter(|seen| seen.target() == "/die").count();
    assert_eq!(died, 20);
    drop(wire);
    proxy.finish();
}

/// B5 and B6: a body that ends early never looks whole.
#[test]
fn b5_b6_a_body_that_breaks_off_is_broken_off() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let chunked = head.starts_with('T');
        let backend = Backend::start(move |_, stream| {
            say(stream, format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes());
            say(stream, if chunked { b"5\r\nhello\r\n" } else { b"hello" });
            Then::Close
        });
        let proxy = Proxy::over(&[&backend], &[]);
        let mut wire = proxy.connect();
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = wire.response();
        assert_eq!((response.status, response.text(), response.whole), (200, "hello", false));
        assert!(wire.is_closed());
        proxy.until("noted", |proxy| proxy.workers()["workers"][0]["failed"] == 1);
        proxy.finish();
    }
}

/// The same where nothing but the end of the connection says that a body is whole, whatever
/// becomes of it: the backend ends it, or stops, or the proxy is killed.
#[test]
fn b5_b6_a_body_that_breaks_off_is_whole_for_no_client_of_http_1_0() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        match seen.target() {
            "/whole" => say(stream, b"0\r\n\r\n"),
            "/broken" => Then::Close,
            _ => {
                let _ = wait.lock().unwrap().recv();
                Then::Close
            }
        }
    });
    let mut proxy = Proxy::over(&[&backend], &["--body-timeout", "1"]);
    let ask = |proxy: &Proxy, target: &str| {
        let mut wire = proxy.connect();
        wire.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        wire
    };
    let whole = ask(&proxy, "/whole").response();
    assert_eq!((whole.text(), whole.field("transfer-encoding")), ("hello", None));
    assert!(ask(&proxy, "/whole").ends_cleanly());
    let mut keeps = proxy.connect();
    keeps.send("GET /whole HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(keeps.ends_cleanly());
    assert!(!ask(&proxy, "/broken").ends_cleanly());
    assert!(!ask(&proxy, "/stops").ends_cleanly());
    go.send(()).unwrap();
    let mut lasts = ask(&proxy, "/lasts");
    assert!(lasts.line().unwrap().contains(" 200 "));
    proxy.signal(Signal::KILL);
    assert!(!lasts.ends_cleanly());
    go.send(()).unwrap();
    proxy.wait();
    proxy.assert_quiet();
}

#[test]
fn b7_a_slow_body_is_no_fault_until_it_stops() {
    let backend = Backend::start(|seen, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..if seen.target() == "/stops" { 3 } else { 10 } {
            say(stream, b"x");
            thread::sleep(Duration::from_millis(60));
        }
        if seen.target() == "/stops" {
            thread::sleep(Duration::from_secs(2));
        }
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--body-timeout", "0.3"]);
    let drip = proxy.get("/drips");
    assert!(drip.whole && drip.text() == "xxxxxxxxxx");
    let begun = Instant::now();
    let stopped = proxy.get("/stops");
    assert!(!stopped.whole && begun.elapsed() < Duration::from_secs(2));
    proxy.finish();
}

const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
const ASKS: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

/// B8: the other direction of a tunnel goes on.
#[test]
fn b8_a_client_that_has_said_all_is_still_answered() {
    let backend = Backend::heads(|_, stream| {
        say(stream, SWITCH);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        say(stream, &all);
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send(ASKS);
    assert_eq!(wire.response().status, 101);
    wire.send("all there is");
    wire.half_close();
    assert_eq!(wire.bytes(12), b"all there is");
    assert!(wire.is_closed());
    proxy.finish();
}

#[test]
fn b8_a_backend_that_has_said_all_is_still_told() {
    let (tell, told) = mpsc::channel();
    let backend = Backend::heads(move |_, stream| {
        say(stream, SWITCH);
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        tell.send(all).unwrap();
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send(ASKS);
    assert_eq!(wire.response().status, 101);
    assert!(wire.is_closed());
    let all = vec![b'x'; 5_000_000];
    wire.send(&all);
    assert_eq!(proxy.pending(), 1, "its lease is held");
    wire.half_close();
    assert!(told.recv().unwrap() == all);
    proxy.finish();
}

#[test]
fn b9_b11_what_is_no_http_is_a_502() {
    let giant = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(2_000_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    let answers: [(&str, Vec<u8>); 6] = [
        ("no http", b"hello\r\n\r\n".to_vec()),
        ("a bad status", b"HTTP/1.1 xyz OK\r\n\r\n".to_vec()),
        ("a control byte", b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n".to_vec()),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_vec(),
        ),
        ("a giant field", giant.into_bytes()),
        ("many fields", many.into_bytes()),
    ];
    for (what, answer) in answers {
        let backend = Backend::start(move |_, stream| {
            say(stream, &answer);
            Then::Close
        });
        let proxy = Proxy::over(&[&backend], &["--tries", "1"]);
        assert_eq!(proxy.get("/").status, 502, "{what}");
        proxy.finish();
    }
}

#[test]
fn b9_a_bad_chunk_breaks_the_body_off() {
    let backend = Backend::start(|_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloxx\r\n");
        Then::Keep
    });
    let proxy = Proxy::over(&[&backend], &["--tries", "1"]);
    let response = proxy.get("/");
    assert!(!response.whole);
    proxy.finish();
}

#[test]
fn b10_extra_bytes_never_answer_the_next_request() {
    let backend = Backend::start(|seen, stream| {
        if seen.target() == "/extra" {
            let more = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
            say(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na{more}").as_bytes());
            return Then::Keep;
        }
        respond(stream, b"good")
    });
    let proxy = Proxy::over(&[&backend], &["--threads", "1"]);
    let mut wire = proxy.connect();
    for _ in 0..20 {
        wire.send("GET /extra HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.response().text(), "a");
        wire.send("GET /next HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(wire.response().text(), "good");
    }
    drop(wire);
    proxy.finish();
}

#[test]
fn b12_an_answer_before_the_body_is_read_passes_and_its_connection_is_not_used_again() {
    let backend = Backend::heads(|seen, stream| {
        if seen.target() == "/early" {
            say(stream, b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
            return Then::Keep;
        }
        respond(stream, b"next")
    });
    let proxy = Proxy::over(&[&backend], &["--threads", "1"]);
    let mut wire = proxy.connect();
    wire.send("POST /early HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nsome");
    let response = wire.response();
    assert_eq!((response.status, response.text()), (413, "big"));
    let next = proxy.get("/next");
    assert_eq!(next.text(), "next");
    drop(wire);
    proxy.finish();
}

/// B12, B16: nor does it look well because it did not wait for the body.
#[test]
fn b12_a_502_before_the_body_is_read_is_a_failure() {
    let backend = Backend::heads(|_, stream| {
        say(stream, b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n");
        Then::Keep
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\nsome");
    assert_eq!(wire.response().status, 502);
    proxy.until("given back", |proxy| proxy.pending() == 0);
    assert_eq!(proxy.workers()["workers"][0]["failed"], 1);
    drop(wire);
    proxy.finish();
}

#[test]
fn b13_a_switch_that_nobody_asked_for_is_a_502() {
    let backend = Backend::heads(|_, stream| {
        say(
            stream,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nevil",
        );
        Then::Keep
    });
    let proxy = Proxy::over(&[&backend], &["--tries", "1"]);
    assert_eq!(proxy.get("/").status, 502);
    proxy.finish();
}

#[test]
fn b13_a_200_is_no_tunnel() {
    let backend = Backend::start(|seen, stream| respond(stream, seen.target().as_bytes()));
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send(
        "GET /plain HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\
         GET /next HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert_eq!(wire.response().text(), "/plain");
    assert_eq!(wire.response().text(), "/next", "what follows is a request");
    drop(wire);
    proxy.finish();
}

#[test]
fn b13_interim_answers_do_not_end_an_exchange() {
    let backend = Backend::start(|_, stream| {
        say(
            stream,
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
        );
        respond(stream, b"final")
    });
    let proxy = Proxy::over(&[&backend], &[]);
    assert_eq!(proxy.get("/").text(), "final");
    proxy.finish();
}

#[test]
fn b13_a_storm_of_interim_answers_has_its_end() {
    let backend = Backend::start(|_, stream| {
        let storm = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
        while say(stream, storm.as_bytes()) == Then::Keep {}
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--response-timeout", "0.5", "--tries", "1"]);
    let at_first = proxy.memory_kib();
    let status = proxy.get("/").status;
    assert!(status == 502 || status == 504, "{status}");
    let grown = proxy.memory_kib().saturating_sub(at_first);
    assert!(grown < 8 << 10, "{grown} KiB");
    proxy.until("closed", |_| backend.open() == 0);
    proxy.finish();
}

#[test]
fn b16_a_backend_that_fails_fast_does_not_attract_requests() {
    let bad_ones = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&bad_ones);
    let bad = Backend::start(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        Then::Close
    });
    let good = Backend::start(|_, stream| {
        thread::sleep(Duration::from_millis(5));
        respond(stream, b"good")
    });
    let proxy = Proxy::over(&[&bad, &good], &["--capacity", "4", "--tries", "1"]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| drop(proxy.get("/"))));
        }
    });
    let bad = bad_ones.load(Ordering::SeqCst);
    assert!(bad < 60, "{bad} of 200 requests went to the one that fails");
    proxy.finish();
}

#[test]
fn a_backend_that_comes_back_is_used_again() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let backend = Backend::start(move |_, stream| {
        if is_down.load(Ordering::SeqCst) {
            return Then::Close;
        }
        let _ = stream.flush();
        respond(stream, b"back")
    });
    let proxy = Proxy::over(&[&backend], &["--tries", "1"]);
    assert_eq!(proxy.get("/").status, 502);
    down.store(false, Ordering::SeqCst);
    proxy.until("back", |proxy| proxy.get("/").status == 200);
    proxy.finish();
}

/// Both lengths in a response: the chunks are what counts, and what passes.
#[test]
fn a_response_with_both_lengths_is_not_cut() {
    let backend = Backend::start(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        say(stream, head.as_bytes());
        say(stream, b"14\r\nmuch more than five.\r\n0\r\n\r\n");
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &[]);
    assert_eq!(proxy.get("/").text(), "much more than five.");
    proxy.finish();
}

#[test]
fn a_response_in_another_coding_is_a_502() {
    let backend = Backend::start(|_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\ncoded");
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--tries", "1"]);
    assert_eq!(proxy.get("/").status, 502);
    proxy.finish();
}

/// The line's time is for the line: a slow try before it costs none of it.
#[test]
fn a_try_after_a_slow_one_still_has_its_time_in_line() {
    let silent = Backend::start(|_, _| {
        thread::sleep(Duration::from_secs(2));
        Then::Close
    });
    let options = ["--response-timeout", "0.4", "--line-timeout", "0.2"];
    let proxy = Proxy::over(&[&silent], &options);
    assert_eq!(proxy.get("/").status, 504, "and not what the line says");
    let other = Backend::says("other");
    drop(proxy);
    let proxy = Proxy::over(&[&silent, &other], &options);
    (0..3).for_each(|_| assert_eq!(proxy.get("/").text(), "other"));
    proxy.finish();
}
