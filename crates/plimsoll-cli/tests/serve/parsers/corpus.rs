//! Requests to read: well-formed ones, the same with faults in them, and those that
//! parsers have been caught with.

use fastrand::Rng;

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, field, frame};

/// A request of which it is known how it is to be read.
#[derive(Debug)]
pub(super) struct Meant {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) fields: Vec<(String, String)>,
    /// A character for each byte.
    pub(super) body: String,
    pub(super) trailers: Vec<(String, String)>,
}

/// What one client sends.
pub(super) struct Case {
    pub(super) bytes: Vec<u8>,
    /// What of it must be forwarded as it is; nothing where there are faults in it.
    pub(super) meant: Vec<Meant>,
    /// Streams of HTTP/2, if it is that.
    pub(super) streams: usize,
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"];

/// As they are sent, and as they are forwarded.
const TARGETS: [(&str, &str); 15] = [
    ("/", "/"),
    ("/a/b?c=d&e=f", "/a/b?c=d&e=f"),
    ("/%00%0d%0a%20HTTP/1.1", "/%00%0d%0a%20HTTP/1.1"),
    ("/a;b=c,d", "/a;b=c,d"),
    ("/\"{}|\\^?q={}|\\^`", "/\"{}|\\^?q={}|\\^`"),
    ("//double", "//double"),
    ("/a/../b/./c//d", "/a/../b/./c//d"),
    ("/*", "/*"),
    ("/?", "/?"),
    ("/a?b?c?/", "/a?b?c?/"),
    ("/http://evil/", "/http://evil/"),
    ("http://test/absolute?x", "/absolute?x"),
    ("http://test?x", "/?x"),
    ("http://TEST", "/"),
    ("https://test/", "/"),
];

const NAMES: [&str; 8] = [
    "X-A",
    "x-b",
    "Accept",
    "User-Agent",
    "X_Under",
    "x.!#$%&'*+^`|~9",
    "Content-Type",
    "X-Length",
];

const VALUES: [&[u8]; 14] = [
    b"",
    b"plain",
    b"a\tb",
    b"  padded \t ",
    b"a, b,,c",
    b"\"quoted, \\\" and more\"",
    b"high \xe9\xff\x80 bytes",
    b"a:b::c",
    b"chunked",
    b"5",
    b"GET / HTTP/1.1",
    b"Content-Length: 5",
    b"%0d%0aEvil: 1",
    b"\\r\\n",
];

/// Bytes that look like something else than a body.
const BODIES: [&[u8]; 7] = [
    b"hello",
    b"\r\n0\r\n\r\n",
    b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n",
    b"GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n",
    b"\0\xff\x80\r\n\n\r",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"\r\n\r\n",
];

/// Lines that change what others mean.
const LINES: [&[u8]; 16] = [
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 3, 3\r\n",
    b"Content-Length: 0x3\r\n",
    b"Content-Length:\r\n",
    b"Content_Length: 3\r\n",
    b"Host: evil\r\n",
    b" folded\r\n",
    b"Connection: content-length, host, transfer-encoding\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\n",
    b"\r\n",
];

/// One to four requests behind one another, with faults in one case of two.
pub(super) fn case(random: &mut Rng, number: u64) -> Case {
    let mut case = Case { bytes: Vec::new(), meant: Vec::new(), streams: 0 };
    for n in 0..random.u8(1..=4) {
        let (mut bytes, meant) = request(random, format!("{number}.{n}"));
        case.bytes.append(&mut bytes);
        case.meant.push(meant);
    }
    if random.bool() {
        case.meant.clear();
        for _ in 0..random.u8(1..=3) {
            spoil(random, &mut case.bytes);
        }
    }
    case
}

fn request(random: &mut Rng, id: String) -> (Vec<u8>, Meant) {
    let method = METHODS[random.usize(..METHODS.len())];
    let (mut sent, mut target) = *pick(random, &TARGETS);
    if method == "OPTIONS" && (sent == "http://TEST" || random.bool()) {
        (sent, target) = ("*", "*");
    }
    let mut bytes =
        format!("{method} {sent} HTTP/1.1\r\nHost: test\r\nX-Case: {id}\r\n").into_bytes();
    let mut fields = Vec::new();
    for _ in 0..random.u8(..6) {
        let (name, value) = (*pick(random, &NAMES), *pick(random, &VALUES));
        let colon: &[u8] = if random.bool() { b": " } else { b":" };
        bytes.extend([name.as_bytes(), colon, value, b"\r\n"].concat());
        fields.push((name.to_ascii_lowercase(), latin(value.trim_ascii())));
    }
    if random.u8(..4) == 0 {
        bytes.extend(b"Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n");
    }
    let body: Vec<u8> =
        (0..random.u8(1..4)).flat_map(|_| *pick(random, &BODIES)).copied().collect();
    let (mut sent_body, mut trailers) = (Vec::new(), Vec::new());
    match random.u8(..3) {
        0 => {}
        1 => {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
            sent_body.clone_from(&body);
        }
        _ => {
            let coding = *pick(random, &["chunked", "Chunked", "CHUNKED"]);
            bytes.extend(format!("Transfer-Encoding: {coding}\r\n").into_bytes());
            let mut rest = &body[..];
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(random.usize(1..=rest.len()));
                let extension = *pick(random, &["", ";a", ";a=b", " ; a=\"b;c\"", ";a;b=c"]);
                let size = match random.u8(..3) {
                    0 => format!("{:x}", chunk.len()),
                    1 => format!("{:X}", chunk.len()),
                    _ => format!("{:08x}", chunk.len()),
                };
                sent_body.extend(format!("{size}{extension}\r\n").into_bytes());
                sent_body.extend([chunk, b"\r\n"].concat());
                rest = after;
            }
            sent_body.extend(b"0\r\n");
            if random.u8(..3) == 0 {
                // Those that are not named are not passed on.
                bytes.extend(b"Trailer: x-sum\r\n");
                fields.push(("trailer".to_owned(), "x-sum".to_owned()));
                sent_body.extend(b"X-Sum: 1, 2\r\n");
                trailers.push(("x-sum".to_owned(), "1, 2".to_owned()));
            }
            sent_body.extend(b"\r\n");
        }
    }
    bytes.extend(b"\r\n");
    let body = if sent_body.is_empty() { String::new() } else { latin(&body) };
    bytes.append(&mut sent_body);
    let (method, target) = (method.to_owned(), target.to_owned());
    (bytes, Meant { id, method, target, fields, body, trailers })
}

/// One to four streams of HTTP/2, with faults in one case of two: a fault may end the
/// whole connection.
pub(super) fn http2_case(random: &mut Rng, number: u64) -> Case {
    let mut case = Case { bytes: PREFACE.to_vec(), meant: Vec::new(), streams: 0 };
    case.bytes.append(&mut frame(SETTINGS, 0, 0, b""));
    let spoilt = random.bool();
    for n in 0..random.u8(1..=4) {
        let (mut bytes, meant) =
            stream(random, 2 * u32::from(n) + 1, format!("{number}.{n}"), spoilt);
        case.bytes.append(&mut bytes);
        case.streams += 1;
        if !spoilt {
            case.meant.push(meant);
        }
    }
    case
}

fn stream(random: &mut Rng, stream: u32, id: String, spoilt: bool) -> (Vec<u8>, Meant) {
    let method = *pick(random, &METHODS);
    let origin: Vec<_> =
        TARGETS.iter().map(|(sent, _)| *sent).filter(|sent| sent.starts_with('/')).collect();
    let target = *pick(random, &origin);
    let mut head: Vec<(Vec<u8>, Vec<u8>)> = [
        (":method", method),
        (":scheme", "http"),
        (":path", target),
        (":authority", "test"),
        ("x-case", &id),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    let mut fields = Vec::new();
    for _ in 0..random.u8(..6) {
        let (name, value) = (pick(random, &NAMES).to_ascii_lowercase(), *pick(random, &VALUES));
        // Padding is malformed here.
        let value = value.trim_ascii();
        head.push((name.clone().into(), value.to_vec()));
        fields.push((name, latin(value)));
    }
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    if random.bool() {
        (0..random.u8(1..4)).for_each(|_| body.extend_from_slice(pick::<&[u8]>(random, &BODIES)));
    }
    if random.bool() {
        head.push((b"content-length".into(), body.len().to_string().into()));
    } else if !body.is_empty() && random.bool() {
        head.push((b"trailer".into(), b"x-sum".into()));
        fields.push(("trailer".to_owned(), "x-sum".to_owned()));
        trailers.push(("x-sum".to_owned(), "1, 2".to_owned()));
    }
    let mut trailer = field("x-sum", "1, 2");
    if spoilt {
        let mut noise: Vec<u8> = (0..random.u8(1..12)).map(|_| random.u8(..)).collect();
        if random.bool() {
            noise = pick(random, &LINES).to_vec();
        }
        match random.u8(..6) {
            // Without those before, or with others.
            0 => head[random.usize(..4)].1 = noise,
            1 => head.push((b"x-noise".into(), noise)),
            2 => head.push((noise, b"x".into())),
            3 => head.push((b"content-length".into(), random.u8(..).to_string().into())),
            // Padded, they pass, and are read in several ways: a defect that a test
            // of HTTP/2's faults has.
            4 => trailer = field("x-sum", noise.trim_ascii()),
            _ => {
                const NAMES: [&str; 6] =
                    ["transfer-encoding", "connection", "host", "upgrade", "te", "keep-alive"];
                head.push((pick(random, &NAMES).as_bytes().into(), b"chunked".into()));
            }
        }
    }
    let block: Vec<u8> = head.iter().flat_map(|(name, value)| field(name, value)).collect();
    let end = if body.is_empty() { END_STREAM } else { 0 };
    let mut bytes = frame(HEADERS, END_HEADERS | end, stream, &block);
    if !body.is_empty() {
        let (first, rest) = body.split_at(random.usize(..=body.len()));
        let end = if trailers.is_empty() { END_STREAM } else { 0 };
        bytes.append(&mut frame(DATA, 0, stream, first));
        bytes.append(&mut frame(DATA, end, stream, rest));
        if !trailers.is_empty() {
            bytes.append(&mut frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailer));
        }
    }
    let (method, target, body) = (method.to_owned(), target.to_owned(), latin(&body));
    (bytes, Meant { id, method, target, fields, body, trailers })
}

/// Makes one fault.
fn spoil(random: &mut Rng, bytes: &mut Vec<u8>) {
    const BYTES: &[u8] = b"\r\n\0 \t:,;0159aF+-_%#/\"\x0b\x0c\x7f\x80\xff";
    if bytes.is_empty() {
        return;
    }
    let at = random.usize(..bytes.len());
    let ends: Vec<usize> =
        (2..=bytes.len()).filter(|&end| bytes[..end].ends_with(b"\r\n")).collect();
    let line = if ends.is_empty() { 0 } else { *pick(random, &ends) };
    match random.u8(..8) {
        0 => bytes[at] = *pick(random, BYTES),
        1 => bytes.insert(at, *pick(random, BYTES)),
        2 => _ = bytes.remove(at),
        3 if line > 0 => _ = bytes.remove(line - 2),
        4 if line > 0 => _ = bytes.remove(line - 1),
        5 => {
            // A line, or whatever is there, twice.
            let end = ends.iter().copied().find(|&end| end > line).unwrap_or(bytes.len());
            let again = bytes[line..end].to_vec();
            bytes.splice(line..line, again);
        }
        6 => {
            let digits: Vec<_> =
                (0..bytes.len()).filter(|&at| bytes[at].is_ascii_digit()).collect();
            if let Some(&at) = digits.get(random.usize(..digits.len().max(1))) {
                bytes[at] = b'0' + random.u8(..10);
            }
        }
        _ => {
            let more = *pick(random, &LINES);
            bytes.splice(line..line, more.iter().copied());
        }
    }
}

/// Fields of a request that has a Host already.
const HEADS: &[&str] = &[
    "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    "Content-Length: 6\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: -5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 5 \r\n",
    "Content-Length: 5\t\r\n",
    "Content-Length: 05\r\n",
    "Content-Length: 5;\r\n",
    "Content-Length: 5_0\r\n",
    "Content-Length:\r\n",
    "Content-Length: 18446744073709551621\r\n",
    "Content-Length : 5\r\n",
    "Content-Length\r\n",
    " Content-Length: 5\r\n",
    "X: y\r\n Content-Length: 5\r\n",
    "Content-Length:\r\n 5\r\n",
    "Content\0-Length: 5\r\n",
    "Content-Length: 5\0\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: chunked;q=1\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "Transfer-Encoding: chunked\x0c\r\n",
    "Transfer-Encoding\x0b: chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer-Encoding: chunk\r\n ed\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
    "X: y\0\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: \u{212a}chunked\r\n",
    "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n",
    "Connection: content-length\r\nContent-Length: 5\r\n",
    "Connection: close, host\r\nContent-Length: 5\r\n",
    "Expect: 100-continue\r\nContent-Length: 5\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "Upgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAAA\r\n",
    "Trailer: content-length\r\nTransfer-Encoding: chunked\r\n",
];

/// What follows such a head.
const BEHIND: &[&str] = &[
    "0\r\n\r\n",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;\r\nhello\r\n0\r\n\r\n",
    "5;a=\"\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\rXhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "-1\r\nhello\r\n0\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\n\n",
    "00000\r\n\r\n",
];

/// Request lines.
const REQUEST_LINES: &[&str] = &[
    "GET  / HTTP/1.1",
    "GET / HTTP/1.1 ",
    " GET / HTTP/1.1",
    "GET\t/\tHTTP/1.1",
    "GET /",
    "GET / HTTP/0.9",
    "GET / HTTP/1.10",
    "GET / HTTP/01.1",
    "GET / http/1.1",
    "GET / HTTP/1.2",
    "GET / HTTP/2.0",
    "GET /a b HTTP/1.1",
    "GET /a\0b HTTP/1.1",
    "GET /a#b HTTP/1.1",
    "GET a HTTP/1.1",
    "GET test:80 HTTP/1.1",
    "GET http://evil/ HTTP/1.1",
    "OPTIONS http://test HTTP/1.1",
    "GET http://test@evil/ HTTP/1.1",
    "GET http:///a HTTP/1.1",
    "GET http:/test/a HTTP/1.1",
    "GET ftp://test/a HTTP/1.1",
    "GET * HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "CONNECT test:80 HTTP/1.1",
    "PRI * HTTP/2.0",
    "get / HTTP/1.1",
    "G(T / HTTP/1.1",
    "GET / HTTP/1.0",
    "\r\nGET / HTTP/1.1",
    "\r\n\r\nGET / HTTP/1.1",
    "\nGET / HTTP/1.1",
];

/// Hosts.
const HOSTS: &[&str] =
    &["", "Host:\r\n", "Host: a\r\nHost: test\r\n", "Host: a b\r\n", "Host : test\r\n"];

/// What parsers have been caught with.
pub(super) fn classics() -> Vec<Case> {
    const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\n";
    const SMUGGLED: &str = "GET /evil HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut all = Vec::new();
    for head in HEADS {
        for body in BEHIND {
            all.push(format!("{POST}{head}\r\n{body}{SMUGGLED}"));
        }
        all.push(format!("GET / HTTP/1.1\r\nHost: test\r\n{head}\r\n{SMUGGLED}"));
        all.push(format!("POST / HTTP/1.0\r\nHost: test\r\n{head}\r\nhello{SMUGGLED}"));
    }
    all.extend(REQUEST_LINES.iter().map(|line| format!("{line}\r\nHost: test\r\n\r\n{SMUGGLED}")));
    all.extend(HOSTS.iter().map(|host| format!("GET / HTTP/1.1\r\n{host}\r\n{SMUGGLED}")));
    all.into_iter()
        .map(|text| Case { bytes: text.into_bytes(), meant: Vec::new(), streams: 0 })
        .collect()
}

fn pick<'a, T>(random: &mut Rng, from: &'a [T]) -> &'a T {
    &from[random.usize(..from.len())]
}

/// A character for each byte, as the readers have it.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
