//! Rows C4 to C7 of the hazards: HTTP/2 clients that inject or flood, frame by
//! frame.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::backend::{Backend, respond};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Field, Frames, HEADERS,
    Outcome, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, field, frame, request,
};
use crate::proxy::Proxy;

/// Both ends, of the head and of the request.
const WHOLE: u8 = END_HEADERS | END_STREAM;

/// A frame of stream 1: its kind, flags and payload.
type Sent<'a> = (u8, u8, &'a [u8]);

/// What has a stream reset.
type Way<'a> = Box<dyn Fn(u32) -> Vec<u8> + 'a>;

/// The most that a flood may leave in memory. A thread's allocator keeps some.
const FLAT_KIB: u64 = 24 << 10;

/// What no HTTP/1 head can say must not get into one.
#[test]
fn c4_a_malformed_head_reaches_no_backend() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let with = |fields: &[Field<'_>]| request("GET", fields);
    let head = |method: &[u8], path: &[u8], authority: &[u8]| {
        block(&[
            (":method", method),
            (":scheme", b"http"),
            (":path", path),
            (":authority", authority),
        ])
    };
    let cases = [
        ("CR in a value", with(&[("x", b"a\rb")])),
        ("LF in a value", with(&[("x", b"a\nb")])),
        ("a field in a value", with(&[("x", b"a\r\nEvil: 1")])),
        ("a request in a value", with(&[("x", b"a\r\n\r\nGET /evil HTTP/1.1\r\nHost: t\r\n\r\n")])),
        ("NUL in a value", with(&[("x", b"a\0b")])),
        ("DEL in a value", with(&[("x", b"a\x7fb")])),
        ("a space before a value", with(&[("x", b" a")])),
        ("a tab behind a value", with(&[("x", b"a\t")])),
        ("CRLF in a name", with(&[("x\r\nevil", b"1")])),
        ("a colon in a name", with(&[("x: y", b"1")])),
        ("a quote in a name", with(&[("x\"", b"1")])),
        ("a space in a name", with(&[("x y", b"1")])),
        ("an upper-case name", with(&[("Evil", b"1")])),
        ("no name", with(&[("", b"1")])),
        ("a space in a path", head(b"GET", b"/a HTTP/1.1", b"test")),
        ("CRLF in a path", head(b"GET", b"/a HTTP/1.1\r\nEvil: 1", b"test")),
        ("NUL in a path", head(b"GET", b"/a\0", b"test")),
        ("a tab in a path", head(b"GET", b"/a\tb", b"test")),
        ("a byte beyond ASCII in a path", head(b"GET", b"/\xc3\xa9", b"test")),
        ("a byte beyond UTF-8 in a path", head(b"GET", b"/\xff", b"test")),
        ("an empty path", head(b"GET", b"", b"test")),
        ("a path without a slash", head(b"GET", b"evil", b"test")),
        ("a whole URI as a path", head(b"GET", b"http://evil/", b"test")),
        ("an asterisk to GET", head(b"GET", b"*", b"test")),
        ("a space in a method", head(b"GET /evil HTTP/1.1", b"/", b"test")),
        ("CRLF in a method", head(b"GET / HTTP/1.1\r\nEvil: 1\r\n\r\nGET", b"/", b"test")),
        ("no method", head(b"", b"/", b"test")),
        ("CRLF in an authority", head(b"GET", b"/", b"test\r\nEvil: 1")),
        ("a user in an authority", head(b"GET", b"/", b"u@test")),
        ("a list of authorities", head(b"GET", b"/", b"test,evil")),
        ("a path in an authority", head(b"GET", b"/", b"test/evil")),
        ("an empty authority", head(b"GET", b"/", b"")),
        ("connection", with(&[("connection", b"close")])),
        ("keep-alive", with(&[("keep-alive", b"1")])),
        ("proxy-connection", with(&[("proxy-connection", b"close")])),
        ("transfer-encoding", with(&[("transfer-encoding", b"chunked")])),
        ("upgrade", with(&[("upgrade", b"websocket")])),
        ("te", with(&[("te", b"gzip")])),
        ("another host", with(&[("host", b"evil")])),
        ("two hosts", with(&[("host", b"test"), ("host", b"test")])),
        ("CRLF in a host", with(&[("host", b"test\r\nEvil: 1")])),
        ("two methods", with(&[(":method", b"GET")])),
        ("two paths", with(&[(":path", b"/evil")])),
        ("a pseudo-field behind a field", with(&[("x", b"1"), (":path", b"/evil")])),
        ("an unknown pseudo-field", with(&[(":evil", b"1")])),
        ("a response's pseudo-field", with(&[(":status", b"200")])),
        ("no path", block(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"t")])),
        ("no scheme", block(&[(":method", b"GET"), (":path", b"/"), (":authority", b"test")])),
        ("a list of lengths", with(&[("content-length", b"0, 0")])),
        ("a signed length", with(&[("content-length", b"+0")])),
        ("a negative length", with(&[("content-length", b"-1")])),
        ("a length that is no number", with(&[("content-length", b"0x0")])),
        ("a length beyond 64 bits", with(&[("content-length", b"18446744073709551616")])),
        ("two lengths", with(&[("content-length", b"0"), ("content-length", b"5")])),
        ("two equal lengths", with(&[("content-length", b"0"), ("content-length", b"0")])),
        ("a length, and the end", with(&[("content-length", b"5")])),
    ];
    for (what, head) in cases {
        let mut frames = Frames::connect(proxy.address);
        frames.send(HEADERS, WHOLE, 1, &head);
        let outcome = frames.outcome(1);
        assert_ne!(outcome, Outcome::Status(200), "{what}");
        let seen: Vec<_> = backend.seen().into_iter().map(|seen| seen.head).collect();
        assert_eq!(seen, [""; 0], "{what}");
    }
    // What the standard allows.
    let good: [&[Field<'_>]; 3] = [&[], &[("te", b"trailers")], &[("host", b"test")]];
    for fields in good {
        let mut frames = Frames::connect(proxy.address);
        frames.send(HEADERS, WHOLE, 1, &with(fields));
        assert_eq!(frames.outcome(1), Outcome::Status(200), "{fields:?}");
    }
    // What it does not say is that the fragment is dropped.
    let mut frames = Frames::connect(proxy.address);
    frames.send(HEADERS, WHOLE, 1, &head(b"GET", b"/#fragment", b"test"));
    assert_eq!(frames.outcome(1), Outcome::Status(200));
    drop(frames);
    for seen in backend.seen() {
        assert_eq!((seen.field("te"), seen.field("host")), (None, Some("test")));
        assert_eq!(seen.target(), "/");
    }
    proxy.finish();
}

/// C4: a backend never takes what came for the body that was promised.
#[test]
fn c4_a_body_of_another_length_is_no_whole_request() {
    let backend = Backend::start(|seen, stream| {
        assert!(!seen.whole, "{seen:?}");
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let promise = request("POST", &[("content-length", b"5")]);
    let trailer = field("x-trailer", "1");
    let cases: [(&str, &[Sent<'_>]); 7] = [
        ("less, with its end", &[(DATA, END_STREAM, b"abc")]),
        ("more, with its end", &[(DATA, END_STREAM, b"abcdef")]),
        ("more, without an end", &[(DATA, 0, b"abcdef")]),
        ("less, and an empty end", &[(DATA, 0, b"abc"), (DATA, END_STREAM, b"")]),
        ("less, and trailers", &[(DATA, 0, b"abc"), (HEADERS, WHOLE, &trailer)]),
        ("none, and trailers", &[(HEADERS, WHOLE, &trailer)]),
        ("trailers without an end", &[(DATA, 0, b"abc"), (HEADERS, END_HEADERS, &trailer)]),
    ];
    for (what, rest) in cases {
        let mut frames = Frames::connect(proxy.address);
        frames.send(HEADERS, END_HEADERS, 1, &promise);
        for (kind, flags, payload) in rest {
            frames.send(*kind, *flags, 1, payload);
        }
        assert_ne!(frames.outcome(1), Outcome::Status(200), "{what}");
        drop(frames);
        proxy.until("given back", |proxy| proxy.pending() == 0);
    }
    proxy.finish();
}

/// C4: hyper lets equal ones pass.
#[test]
fn c4_two_lengths_reach_no_backend() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    for second in ["5", "6", "500", "x", "0", ""] {
        let lengths: [Field<'_>; 2] =
            [("content-length", b"5"), ("content-length", second.as_bytes())];
        let mut frames = Frames::connect(proxy.address);
        frames.send(HEADERS, END_HEADERS, 1, &request("POST", &lengths));
        frames.send(DATA, END_STREAM, 1, b"hello");
        assert_ne!(frames.outcome(1), Outcome::Status(200), "{second}");
        assert_eq!(backend.seen().len(), 0, "{second}");
    }
    proxy.finish();
}

/// C4: trailers are fields, too.
#[test]
fn c4_malformed_trailers_do_not_pass() {
    let backend = Backend::start(|seen, stream| {
        assert!(!seen.whole, "{seen:?}");
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &[]);
    let cases: [Field<'_>; 6] = [
        ("x", b"a\r\nEvil: 1"),
        ("x", b"a\nb"),
        ("x", b"a\0b"),
        ("x\r\nevil", b"1"),
        ("X", b"1"),
        ("connection", b"close"),
    ];
    for case in cases {
        let mut frames = Frames::connect(proxy.address);
        frames.send(HEADERS, END_HEADERS, 1, &request("POST", &[]));
        frames.send(DATA, 0, 1, b"hello");
        frames.send(HEADERS, WHOLE, 1, &block(&[case]));
        assert_ne!(frames.outcome(1), Outcome::Status(200), "{case:?}");
        drop(frames);
        proxy.until("given back", |proxy| proxy.pending() == 0);
    }
    proxy.finish();
}

/// C4: what may not be a trailer is none for the backend. (h2 lets pseudo-fields
/// in trailers pass, and drops them.)
#[test]
fn c4_forbidden_trailers_are_dropped() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let names = "x-good, content-length, host, transfer-encoding, authorization";
    let trailers: [&[Field<'_>]; 3] = [
        &[(":path", b"/evil"), ("x-good", b"1")],
        &[("content-length", b"500"), ("host", b"evil"), ("x-good", b"1")],
        &[("authorization", b"evil"), ("x-good", b"1")],
    ];
    for trailers in trailers {
        let mut frames = Frames::connect(proxy.address);
        let head = request("POST", &[("trailer", names.as_bytes())]);
        frames.send(HEADERS, END_HEADERS, 1, &head);
        frames.send(DATA, 0, 1, b"hello");
        frames.send(HEADERS, WHOLE, 1, &block(trailers));
        assert_eq!(frames.outcome(1), Outcome::Status(200), "{trailers:?}");
    }
    for seen in backend.seen() {
        assert_eq!((&seen.body[..], &seen.trailers[..]), (&b"hello"[..], "x-good: 1\r\n"));
    }
    proxy.finish();
}

/// C4: trailers that backends may read differently, named as trailers before.
#[test]
fn c4_odd_trailers_do_not_pass() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let cases: [Field<'_>; 3] = [("x-a", b" 1"), ("x-a", b"1\t"), ("x\"", b"1")];
    for case in cases {
        let mut frames = Frames::connect(proxy.address);
        let head = request("POST", &[("trailer", case.0.as_bytes())]);
        frames.send(HEADERS, END_HEADERS, 1, &head);
        frames.send(DATA, 0, 1, b"hello");
        frames.send(HEADERS, WHOLE, 1, &block(&[case]));
        frames.outcome(1);
    }
    for seen in backend.seen() {
        assert!(["", "x-a: 1\r\n"].contains(&&seen.trailers[..]), "{:?}", seen.trailers);
    }
    proxy.finish();
}

/// Opens streams one after another and has each reset, in one of many ways, until
/// the connection ends; true when it did. Whoever reset them, the work for them
/// must be bounded.
fn ends_before(proxy: &Proxy, most: u32, reset: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let mut frames = Frames::connect(proxy.address);
    let head = request("POST", &[]);
    for n in 0..most {
        let stream = 2 * n + 1;
        let open = frame(HEADERS, END_HEADERS, stream, &head);
        if !frames.wire.try_send([open, reset(stream)].concat()) {
            break;
        }
    }
    frames.ends()
}

fn slow_backend() -> Backend {
    Backend::heads(|_, stream| {
        thread::sleep(Duration::from_millis(1));
        respond(stream, b"x")
    })
}

/// C5: CVE-2023-44487, without reading a single answer.
#[test]
fn c5_rapid_resets_end_the_connection() {
    let backend = slow_backend();
    let proxy = Proxy::over(&[&backend], &["--capacity", "4", "--line", "64"]);
    let cancel = 8_u32.to_be_bytes();
    let reason = ends_before(&proxy, 50_000, |stream| frame(RST_STREAM, 0, stream, &cancel));
    assert!(reason.is_none_or(|reason| reason == ENHANCE_YOUR_CALM), "{reason:?}");
    assert!(backend.seen().len() < 5_000, "{} reached the backend", backend.seen().len());
    assert!(backend.most_open() <= 4);
    assert_eq!(proxy.get("/").text(), "x", "others are served");
    proxy.finish();
}

/// C5: CVE-2025-8671, each way of having the proxy do the resetting.
#[test]
fn c5_made_you_reset_ends_the_connection() {
    let zero = 0_u32.to_be_bytes();
    let most = (u32::MAX >> 1).to_be_bytes();
    let ways: [(&str, Way<'_>); 4] = [
        ("an update of zero", Box::new(|stream| frame(WINDOW_UPDATE, 0, stream, &zero))),
        ("a window too large", Box::new(|stream| frame(WINDOW_UPDATE, 0, stream, &most))),
        (
            "data behind the end",
            Box::new(|stream| {
                let end = frame(DATA, END_STREAM, stream, b"");
                [end, frame(DATA, 0, stream, b"x")].concat()
            }),
        ),
        (
            "dependence on itself",
            Box::new(|stream| {
                let itself = [&stream.to_be_bytes()[..], &[0]].concat();
                frame(PRIORITY, 0, stream, &itself)
            }),
        ),
    ];
    for (what, way) in ways {
        let backend = slow_backend();
        let proxy = Proxy::over(&[&backend], &["--capacity", "4", "--line", "64"]);
        let reason = ends_before(&proxy, 20_000, way);
        println!("{what}: {reason:?}, {} reached the backend", backend.seen().len());
        assert!(backend.seen().len() < 5_000, "{what}: {}", backend.seen().len());
        assert!(backend.most_open() <= 4, "{what}");
        assert_eq!(proxy.get("/").text(), "x", "others are served");
        proxy.finish();
    }
}

/// Sends the same again and again, until there is an end, or nothing is taken any
/// more, or it is enough. True when the connection was ended for it.
fn flood(proxy: &Proxy, before: &[u8], repeated: &[u8], reads: bool) -> bool {
    const LAST: &[u8; 8] = b"the last";
    // Without a reader: more than the kernel keeps for it.
    let enough = if reads { 2 << 20 } else { 16 << 20 };
    let mut frames = Frames::connect(proxy.address);
    let mut reader = frames.twin();
    // Until there is an answer to what was sent last.
    let ended = |reader: &mut Frames| loop {
        match reader.next() {
            None => return true,
            Some(frame) if frame.kind == PING && frame.payload == LAST => return false,
            Some(_) => {}
        }
    };
    frames.wire.try_send(before);
    let piece = repeated.repeat((64 << 10) / repeated.len());
    thread::scope(|scope| {
        let reading = reads.then(|| {
            let mut reader = frames.twin();
            scope.spawn(move || ended(&mut reader))
        });
        let limit = Duration::from_millis(500);
        let took_all = (0..enough / piece.len()).all(|_| frames.wire.try_send_for(&piece, limit));
        if took_all {
            frames.send(PING, 0, 0, LAST);
        }
        match reading {
            Some(reading) => {
                if !took_all {
                    frames.wire.shut();
                }
                reading.join().unwrap()
            }
            None if took_all => ended(&mut reader),
            None => frames.wire.has_been_reset(),
        }
    })
}

/// C6: with a client that reads what it gets and one that does not: the connection
/// is closed, or what it costs is bounded; memory is flat, and others are served.
#[test]
fn c6_floods_are_bounded_and_others_are_served() {
    let backend = Backend::says("x");
    let open = frame(HEADERS, END_HEADERS, 1, &request("POST", &[]));
    let unended = frame(HEADERS, 0, 1, &request("GET", &[]));
    let one = 1_u32.to_be_bytes();
    let table = [0, 3, 0, 0, 0, 1];
    // What is sent before, what is repeated, and whether it must end the connection.
    let floods: [(&str, &[u8], Vec<u8>, bool); 11] = [
        ("empty CONTINUATION", &unended, frame(CONTINUATION, 0, 1, b""), true),
        ("CONTINUATION", &unended, frame(CONTINUATION, 0, 1, &field("x", "y")), true),
        ("empty DATA", &open, frame(DATA, 0, 1, b""), true),
        ("padded DATA", &open, frame(DATA, 8, 1, &[3, 0, 0, 0]), false),
        // Ignored for the second that h2 remembers a stream that it has reset, then
        // an end: a slow machine floods for longer than a second.
        ("the same HEADERS", b"", frame(HEADERS, END_HEADERS, 1, b""), false),
        ("PING", b"", frame(PING, 0, 0, &[0; 8]), false),
        ("SETTINGS", b"", frame(SETTINGS, 0, 0, &table), false),
        ("empty SETTINGS", b"", frame(SETTINGS, 0, 0, b""), false),
        ("PRIORITY", b"", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 0]), false),
        ("WINDOW_UPDATE", b"", frame(WINDOW_UPDATE, 0, 0, &one), false),
        ("what is unknown", b"", frame(0xfa, 0, 0, b"x"), false),
    ];
    for (what, before, repeated, must_end) in &floods {
        let proxy = Proxy::over(&[&backend], &["--body-timeout", "2"]);
        assert_eq!(proxy.get("/").text(), "x");
        let at_first = proxy.memory_kib();
        for reads in [true, false] {
            thread::scope(|scope| {
                let flood = scope.spawn(|| flood(&proxy, before, repeated, reads));
                while !flood.is_finished() {
                    assert_eq!(proxy.get("/").text(), "x", "others are served: {what}");
                }
                let ended = flood.join().unwrap();
                println!("{what}, reads {reads}: ended {ended}, {} KiB", proxy.memory_kib());
                assert!(ended || !must_end, "{what}, reads {reads}");
            });
            let grown = proxy.memory_kib().saturating_sub(at_first);
            assert!(grown < FLAT_KIB, "{what}, reads {reads}: {grown} KiB");
        }
        proxy.finish();
    }
}

/// C6: new streams without anything in them.
#[test]
fn c6_empty_heads_end_the_connection() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let mut frames = Frames::connect(proxy.address);
    for n in 0..50_000 {
        if !frames.send(HEADERS, WHOLE, 2 * n + 1, b"") {
            break;
        }
    }
    assert!(frames.ends().is_none_or(|reason| reason == ENHANCE_YOUR_CALM));
    assert_eq!(backend.seen().len(), 0);
    assert_eq!(proxy.get("/").text(), "x");
    proxy.finish();
}

/// C7: a table's entry that a byte names again and again, with a window that stays
/// shut; what is refused for it waits, and is given up.
#[test]
fn c7_an_hpack_bomb_is_bounded() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--body-timeout", "0.5"]);
    assert_eq!(proxy.get("/").text(), "x");
    let at_first = proxy.memory_kib();
    let own = request("GET", &[]);
    // Into the table: index 62 from now on.
    let mut entry = field("x", vec![b'y'; 3_900]);
    entry[0] = 0x40;
    let mut frames = Frames::connect_with(proxy.address, &[(4, 0)]);
    frames.send(HEADERS, WHOLE, 1, &[&own[..], &entry].concat());
    let bomb = [&own[..], &[0x80 + 62].repeat(12_000)].concat();
    let mut sent = 1;
    while sent < 2_000 && frames.send(HEADERS, WHOLE, 2 * sent + 1, &bomb) {
        sent += 1;
    }
    let grown = proxy.memory_kib().saturating_sub(at_first);
    assert!(grown < FLAT_KIB, "{grown} KiB after {sent}");
    // The first may have been served; none of the others was.
    proxy.until("answered", |proxy| proxy.pending() == 0);
    assert!(backend.seen().len() <= 2, "{}", backend.seen().len());
    frames.ends();
    assert_eq!(proxy.get("/").text(), "x");
    proxy.finish();
}

/// C7: many small fields are as much as a few large ones.
#[test]
fn c7_too_many_crumbs_reach_no_backend() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    for count in [101, 400, 4_000] {
        let crumbs: Vec<Field<'_>> = vec![("cookie", b""); count];
        let head = request("GET", &crumbs);
        let mut parts = head.chunks(16_000);
        let mut frames = Frames::connect(proxy.address);
        let more = if head.len() > 16_000 { 0 } else { END_HEADERS };
        frames.send(HEADERS, END_STREAM | more, 1, parts.next().unwrap());
        let left = parts.len();
        for (n, part) in parts.enumerate() {
            let last = if n + 1 == left { END_HEADERS } else { 0 };
            frames.send(CONTINUATION, last, 1, part);
        }
        assert_ne!(frames.outcome(1), Outcome::Status(200), "{count}");
        assert_eq!(backend.seen().len(), 0, "{count}");
    }
    proxy.finish();
}

/// C7: windows beyond 2^31 - 1.
#[test]
fn c7_a_window_that_overflows_ends_the_connection() {
    // PROTOCOL_ERROR or FLOW_CONTROL_ERROR.
    let reasons = [Some(1), Some(3)];
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    let most = (u32::MAX >> 1).to_be_bytes();
    let beyond = [&[0, 4][..], &(1_u32 << 31).to_be_bytes()].concat();
    let cases = [
        frame(WINDOW_UPDATE, 0, 0, &most),
        frame(SETTINGS, 0, 0, &beyond),
        [
            // One stream's window is at its most already; the setting moves it further.
            frame(HEADERS, END_HEADERS, 1, &request("POST", &[])),
            frame(WINDOW_UPDATE, 0, 1, &((1_u32 << 31) - 65_536).to_be_bytes()),
            frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
        ]
        .concat(),
    ];
    for case in cases {
        let mut frames = Frames::connect(proxy.address);
        frames.wire.try_send(&case);
        let reason = frames.ends();
        assert!(reasons.contains(&reason), "{reason:?}");
    }
    proxy.finish();
}

/// C5: streams beyond the limit are refused, and those within it served.
#[test]
fn c5_streams_beyond_the_limit_are_refused() {
    const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, stream| {
        wait.lock().unwrap().recv().unwrap();
        respond(stream, b"x")
    });
    let proxy = Proxy::over(&[&backend], &["--max-streams", "4"]);
    let mut frames = Frames::connect(proxy.address);
    let streams: Vec<u32> = (0..12).map(|n| 2 * n + 1).collect();
    for &stream in &streams {
        assert!(frames.send(HEADERS, WHOLE, stream, &request("GET", &[])));
    }
    let (mut refused, mut served) = (Vec::new(), Vec::new());
    while refused.len() + served.len() < streams.len() {
        if refused.len() == 8 && served.is_empty() {
            proxy.until("dispatched", |proxy| proxy.pending() == 4);
            (0..4).for_each(|_| go.send(()).unwrap());
        }
        let frame = frames.next().expect("the connection stays open");
        match frame.kind {
            RST_STREAM => {
                assert_eq!(frame.payload, REFUSED_STREAM, "stream {}", frame.stream);
                refused.push(frame.stream);
            }
            HEADERS => served.push(frame.stream),
            _ => {}
        }
    }
    served.sort_unstable();
    assert_eq!((&served[..], &refused[..]), streams.split_at(4));
    // There is room again.
    go.send(()).unwrap();
    frames.send(HEADERS, WHOLE, 25, &request("GET", &[]));
    assert_eq!(frames.outcome(25), Outcome::Status(200));
    drop(frames);
    proxy.finish();
    assert_eq!(backend.seen().len(), 5);
}
