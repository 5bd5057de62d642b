//! What passes, and as what.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use crate::backend::{Backend, Then, respond, say};
use crate::proxy::Proxy;

#[test]
fn a_request_and_its_answer() {
    let backend = Backend::says("hello");
    let proxy = Proxy::over(&[&backend], &[]);
    let response = proxy.get("/a/b?c=d%20e");
    assert_eq!((response.status, response.text(), response.whole), (200, "hello", true));
    assert_eq!(response.field("via"), Some("1.1 plimsoll"));
    let seen = &backend.seen()[0];
    assert_eq!(seen.target(), "/a/b?c=d%20e");
    assert_eq!(seen.field("host"), Some("test"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-host"), Some("test"));
    assert_eq!(seen.field("via"), Some("1.1 plimsoll"));
    proxy.finish();
}

#[test]
fn one_connection_serves_many_requests() {
    let backend = Backend::says("hello");
    let proxy = Proxy::over(&[&backend], &["--threads", "1", "--no-health"]);
    let mut wire = proxy.connect();
    for n in 0..50 {
        wire.send(format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(wire.response().text(), "hello");
    }
    assert_eq!(backend.most_open(), 1, "a connection is used again");
    drop(wire);
    proxy.finish();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::start(|seen, stream| respond(stream, seen.target().as_bytes()));
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    let requests = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: test\r\n\r\n"));
    wire.send(requests.collect::<Vec<_>>().concat());
    for n in 0..20 {
        assert_eq!(wire.response().text(), format!("/{n}"));
    }
    drop(wire);
    proxy.finish();
}

#[test]
fn bodies_both_ways_in_either_framing() {
    let backend = Backend::start(|seen, stream| {
        assert!(seen.whole);
        if seen.target() == "/chunked" {
            let size = seen.body.len();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunk = [head.as_bytes(), format!("{size:x}\r\n").as_bytes(), &seen.body].concat();
            say(stream, &chunk);
            return say(stream, b"\r\n0\r\n\r\n");
        }
        respond(stream, &seen.body)
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    for target in ["/sized", "/chunked"] {
        let mut wire = proxy.connect();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        wire.send([head.as_bytes(), &body].concat());
        let response = wire.response();
        assert!(response.whole && response.body == body, "{target}");
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        wire.send(head);
        for part in body.chunks(70_000) {
            wire.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        wire.send("0\r\n\r\n");
        let response = wire.response();
        assert!(response.whole && response.body == body, "{target}");
    }
    proxy.finish();
}

#[test]
fn heads_without_bodies() {
    let backend = Backend::start(|seen, stream| match seen.target() {
        "/head" => say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
        "/204" => say(stream, b"HTTP/1.1 204 No Content\r\n\r\n"),
        _ => say(stream, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n"),
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("HEAD /head HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(wire.response_to_head().field("content-length"), Some("1234"));
    wire.send("GET /204 HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = wire.response();
    assert_eq!((response.status, response.field("content-length")), (204, None));
    wire.send("GET /304 HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = wire.response();
    assert_eq!((response.status, response.field("etag")), (304, Some("\"x\"")));
    drop(wire);
    proxy.finish();
}

#[test]
fn fields_of_one_connection_do_not_pass() {
    let backend = Backend::start(|_, stream| {
        say(
            stream,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-private, close\r\n\
              X-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Public: 1\r\n\r\n",
        );
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send(
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: x-mine, keep-alive\r\nX-Mine: 1\r\n\
         Keep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Other: 1\r\nConnection: host\r\n\r\n",
    );
    let response = wire.response();
    for (name, expected) in [("x-private", None), ("keep-alive", None), ("x-public", Some("1"))] {
        assert_eq!(response.field(name), expected, "{name}");
    }
    let seen = &backend.seen()[0];
    for name in ["x-mine", "keep-alive", "te", "proxy-connection", "upgrade", "http2-settings"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!((seen.field("x-other"), seen.field("host")), (Some("1"), Some("test")));
    drop(wire);
    proxy.finish();
}

/// What holds back the bytes behind a head and what sends it on go by one rule.
#[test]
fn an_upgrade_passes_only_where_the_bytes_behind_it_wait() {
    let backend = Backend::start(|_, stream| respond(stream, b"x"));
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    for (fields, passes) in [
        ("Upgrade: x/1", true),
        ("Upgrade: x\r\nContent-Length: 00", true),
        ("Upgrade: h2c/1", false),
        ("Upgrade: x, y", false),
        ("Upgrade: x\r\nUpgrade: y", false),
    ] {
        wire.send(format!(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\n{fields}\r\n\r\n"
        ));
        assert_eq!(wire.response().text(), "x");
        let seen = backend.seen();
        let head = &seen.last().unwrap().head;
        assert_eq!(head.to_ascii_lowercase().contains("upgrade"), passes, "{fields}: {head}");
    }
    drop(wire);
    proxy.finish();
}

#[test]
fn a_target_in_absolute_form_is_a_path_for_the_backend() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    for (request, target) in [
        ("GET http://test/a?b", "/a?b"),
        ("GET http://test?b", "/?b"),
        ("GET http://test", "/"),
        ("OPTIONS http://test/", "/"),
        ("OPTIONS http://test?b", "/?b"),
        ("OPTIONS *", "*"),
        ("OPTIONS /", "/"),
    ] {
        wire.send(format!("{request} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(wire.response().text(), "x", "{request}");
        let seen = backend.seen();
        let seen = seen.last().unwrap();
        assert_eq!((seen.target(), seen.field("host")), (target, Some("test")), "{request}");
    }
    drop(wire);
    proxy.finish();
}

#[test]
fn only_a_trusted_peer_is_believed() {
    let request = "GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 1.2.3.4\r\n\
                   X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n\r\n";
    for (trust, chain, proto, host) in [
        (&[][..], "127.0.0.1", "http", "test"),
        (&["--trust", "127.0.0.0/8"][..], "1.2.3.4, 127.0.0.1", "https", "outer"),
    ] {
        let backend = Backend::says("");
        let proxy = Proxy::over(&[&backend], trust);
        let mut wire = proxy.connect();
        wire.send(request);
        assert_eq!(wire.response().status, 200);
        let seen = &backend.seen()[0];
        assert_eq!(seen.field("x-forwarded-for"), Some(chain));
        assert_eq!(seen.field("x-forwarded-proto"), Some(proto));
        assert_eq!(seen.field("x-forwarded-host"), Some(host));
        drop(wire);
        proxy.finish();
    }
}

#[test]
fn a_client_that_expects_100_is_told_to_go_on() {
    let backend = Backend::says("done");
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(wire.response().status, 100);
    wire.send("body");
    assert_eq!(wire.response().text(), "done");
    let seen = &backend.seen()[0];
    assert_eq!((seen.field("expect"), &*seen.body), (None, &b"body"[..]));
    drop(wire);
    proxy.finish();
}

#[test]
fn a_websocket_is_a_tunnel_both_ways() {
    let backend = Backend::heads(|seen, stream| {
        assert_eq!(seen.field("upgrade"), Some("websocket"));
        assert_eq!(seen.field("connection"), Some("upgrade"));
        say(stream, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        let mut bytes = [0; 5];
        while stream.read_exact(&mut bytes).is_ok() {
            stream.write_all(&bytes).unwrap();
        }
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "1"]);
    let mut wire = proxy.connect();
    wire.send(
        "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let response = wire.response();
    assert_eq!((response.status, response.field("upgrade")), (101, Some("websocket")));
    for text in ["hello", "\0\r\n\r\n", "GET /"] {
        wire.send(text);
        assert_eq!(wire.bytes(5), text.as_bytes());
    }
    assert_eq!(proxy.pending(), 1, "a tunnel holds its lease");
    drop(wire);
    proxy.finish();
    assert_eq!(backend.most_open(), 1);
}

#[test]
fn bodies_are_not_buffered_whole() {
    let backend = Backend::start(|_, stream| {
        let piece = vec![7; 1 << 16];
        say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
        let sent = (0..1 << 14).take_while(|_| say(stream, &piece) == Then::Keep).count();
        assert!(sent < 2000, "{sent} pieces were taken while nobody read");
        Then::Close
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(wire.bytes(5), b"HTTP/");
    std::thread::sleep(Duration::from_millis(300));
    drop(wire);
    proxy.finish();
}

#[test]
fn a_connection_has_so_many_requests_and_no_more() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--max-requests", "3"]);
    let mut wire = proxy.connect();
    for n in 1..=3 {
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = wire.response();
        assert_eq!(response.field("connection"), (n == 3).then_some("close"));
    }
    assert!(wire.is_closed());
    proxy.finish();
}

#[test]
fn a_get_keeps_its_chunked_body() {
    let backend = Backend::start(|seen, stream| respond(stream, &seen.body));
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.send("5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(wire.response().text(), "hello");
    drop(wire);
    proxy.finish();
}

/// A burst on a proxy that had little to do is no overload.
#[test]
fn a_quiet_proxy_takes_a_burst() {
    let backend = Backend::start(|_, stream| {
        std::thread::sleep(Duration::from_millis(5));
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &["--capacity", "2"]);
    assert_eq!(proxy.get("/").status, 200);
    std::thread::sleep(Duration::from_millis(2500));
    let wires: Vec<_> = (0..60)
        .map(|_| {
            let mut wire = proxy.connect();
            wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            wire
        })
        .collect();
    for mut wire in wires {
        assert_eq!(wire.response().status, 200);
    }
    proxy.finish();
}

/// A connection that has been idle for a while rests, and comes back as it was.
#[test]
fn a_connection_that_has_rested_serves_on() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let mut wire = proxy.connect();
    let get = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    for at_once in [get.len(), 1, get.len() - 1] {
        wire.send(get);
        assert_eq!(wire.response().text(), "x");
        // Longer than it takes to rest.
        thread::sleep(Duration::from_millis(1300));
        wire.send(&get[..at_once]);
        wire.send(&get[at_once..]);
        assert_eq!(wire.response().text(), "x");
    }
    drop(wire);
    proxy.finish();
}

/// One that seems idle, since its answers have been read from the backend, may
/// have much of them to send still.
#[test]
fn a_reader_that_pauses_gets_all_of_an_answer_that_is_over() {
    let backend = Backend::start(|seen, stream| {
        let length = seen.target().trim_start_matches('/').parse().unwrap();
        respond(stream, &vec![b'x'; length])
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let lengths: Vec<usize> = (1..=16).map(|nth| nth * 400_000).collect();
    let mut wires: Vec<_> = lengths
        .iter()
        .map(|length| {
            let mut wire = proxy.connect();
            wire.send(format!("GET /{length} HTTP/1.1\r\nHost: test\r\n\r\n"));
            wire
        })
        .collect();
    // Longer than it takes to rest.
    thread::sleep(Duration::from_millis(2500));
    for (wire, length) in wires.iter_mut().zip(&lengths) {
        assert_eq!(wire.response().text().len(), *length);
    }
    drop(wires);
    proxy.finish();
}

/// Some servers read a name with `_` as the same with `-`.
#[test]
fn names_that_pass_for_the_proxys_own_are_taken_out() {
    let backend = Backend::says("x");
    let request = "GET / HTTP/1.1\r\nHost: x\r\nClient_Cert: :eA==:\r\nX_Forwarded_For: 1.2.3.4\r\n\
        X-Forwarded_Proto: https\r\nmy_own: kept\r\n\r\n";
    for (options, count) in [(&[][..], 0), (&["--trust", "127.0.0.1"], 1)] {
        let seen = backend.seen().len();
        let proxy = Proxy::over(&[&backend], options);
        let mut wire = proxy.connect();
        wire.send(request);
        assert_eq!(wire.response().status, 200);
        let head = backend.seen()[seen].head.to_ascii_lowercase();
        for name in ["client_cert:", "x_forwarded_for:", "x-forwarded_proto:"] {
            assert_eq!(head.matches(name).count(), count, "{name} {head}");
        }
        assert!(head.contains("my_own: kept"));
        drop(wire);
        proxy.finish();
    }
}
