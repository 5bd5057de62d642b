//! Each case of docs/STRICT.md, in its order and under its name there.

use super::*;

/// A request with this request line.
fn asks(request_line: impl AsRef<[u8]>) -> Vec<u8> {
    [request_line.as_ref(), b"\r\nHost: a\r\n\r\n"].concat()
}

/// A request with this Host.
fn to(host: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: ", host.as_ref(), b"\r\n\r\n"].concat()
}

/// A request whose target has so many bytes.
fn target_of(bytes: usize) -> Vec<u8> {
    asks(format!("GET /{} HTTP/1.1", "t".repeat(bytes - 1)))
}

// Lines and bytes.

#[test]
fn line_feed_alone() {
    refused("GET / HTTP/1.1\nHost: a\r\n\r\n");
    refused("GET / HTTP/1.1\nHost: a\n\n");
    refused("GET / HTTP/1.1\r\nHost: a\n\r\n");
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n");
    refused(with("A: b\nC: d\r\n"));
    refused(with("A: b\n"));
    refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn carriage_return_alone() {
    refused("GET / HTTP/1.1\rHost: a\r\n\r\n");
    refused("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n");
    refused("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n");
    for fields in ["A: b\rC: d\r\n", "A: b\r\r\n", "A\r: b\r\n", "\rA: b\r\n", "A: 12345678\r9\r\n"]
    {
        refused(with(fields));
    }
    assert_eq!(outcome(with("A: b\rC: d\r\n")).fault, Some(fault::BARE_CR));
}

#[test]
fn control_byte() {
    for control in (0..0x20).chain([0x7f]).filter(|byte| !b"\t\n\r".contains(byte)) {
        refused(with([b"A: ", &[control][..], b"\r\n"].concat()));
        refused(with([b"A: value", &[control][..], b"of more than a word\r\n"].concat()));
        refused(with([b"A: \t\x80\xff to the last\t", &[control][..], b"\r\n"].concat()));
        refused(with([b"A", &[control][..], b": b\r\n"].concat()));
        refused(asks([b"GET /", &[control][..], b" HTTP/1.1"].concat()));
        refused(asks([b"G", &[control][..], b"T / HTTP/1.1"].concat()));
        refused(asks([b"GET / HTTP/1.", &[control][..]].concat()));
    }
    assert_eq!(outcome(with("A: b\0\r\n")).fault, Some(fault::CONTROL));
    refused(with("\tA: b\r\n"));
    refused(with("A\t: b\r\n"));
    refused(asks("GET\t/ HTTP/1.1"));
}

#[test]
fn tab_in_a_value() {
    accepted(with("A:\tb\r\nC: d\te\r\nD: 1234567\t89\r\nE:\t\r\n"));
    accepted(to("\ta\t"));
    accepted(with("Content-Length:\t0 \t\r\n"));
}

#[test]
fn high_byte_outside_a_value() {
    for high in [0x80, 0xa0, 0xc3, 0xff] {
        refused(asks([b"GET /", &[high][..], b" HTTP/1.1"].concat()));
        refused(asks([b"G", &[high][..], b"T / HTTP/1.1"].concat()));
        refused(asks([b"GET / HTTP/1.", &[high][..]].concat()));
        refused(with([b"A", &[high][..], b": b\r\n"].concat()));
        refused(with([&[high][..], b": b\r\n"].concat()));
    }
}

#[test]
fn high_byte_in_a_value() {
    for high in 0x80..=0xff {
        accepted(with([b"A: ", &[high][..], b"\r\n"].concat()));
        accepted(with([b"A: 123456", &[high][..], b"9\xff\x80\t\xa0 or more\r\n"].concat()));
    }
}

// Field lines.

#[test]
fn folded_line() {
    refused(with("A: b\r\n c\r\n"));
    refused(with("A: b\r\n\tc: d\r\n"));
    refused(with("A: b\r\n \r\n"));
    refused(with("Transfer-Encoding:\r\n chunked\r\n"));
    let fault = outcome(with(" A: b\r\n")).fault.unwrap();
    assert_eq!(fault.what(), "a folded field line");
}

#[test]
fn whitespace_before_the_first_field() {
    refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n");
    refused("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n");
    refused("GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n");
}

#[test]
fn whitespace_before_a_colon() {
    for fields in ["A : b\r\n", "A\t: b\r\n", "Content-Length : 1\r\n", "A b: c\r\n"] {
        refused(with(fields));
    }
    refused("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
}

#[test]
fn no_field_name() {
    refused(with(": b\r\n"));
    refused(with(":\r\n"));
    refused("GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n");
}

#[test]
fn field_name_not_a_token() {
    for byte in b"()<>@,;\\\"/[]?={}" {
        refused(with([b"A", &[*byte][..], b": b\r\n"].concat()));
        refused(with([&[*byte][..], b"A: b\r\n"].concat()));
    }
    accepted(with("!#$%&'*+-.^_`|~09azAZ: b\r\n"));
}

#[test]
fn no_colon() {
    refused(with("A\r\n"));
    refused(with("A b\r\n"));
    refused("GET / HTTP/1.1\r\nHost\r\n\r\n");
}

// The request line.

#[test]
fn whitespace_before_a_request_line() {
    refused(" GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused("\tGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused("\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn one_empty_line() {
    for bytes in [&b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[b"\r\n", CLEAN].concat()] {
        let alone = outcome(bytes);
        assert_eq!((&*alone.passed, alone.skipped), (&bytes[2..], 2));
        assert_eq!((alone.heads, alone.fault, alone.stage), (1, None, Stage::Idle));
    }
    let behind = outcome([&with("Content-Length: 2\r\n"), &b"\r\n\r\n"[..], CLEAN].concat());
    assert_eq!((behind.heads, behind.skipped, behind.fault), (2, 2, None));
}

#[test]
fn two_empty_lines() {
    for bytes in ["\r\n\r\n", "\r\n\r", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let alone = outcome(bytes);
        assert_eq!((alone.status(), alone.skipped, alone.heads), (Some(400), 2, 0));
        let behind = outcome([CLEAN, bytes.as_bytes()].concat());
        assert_eq!((behind.status(), behind.skipped, behind.heads), (Some(400), 2, 1));
    }
}

#[test]
fn method_not_a_token() {
    for method in ["G(T", "G,T", "", "G\"", "GET:", "[GET]"] {
        refused(asks(format!("{method} / HTTP/1.1")));
    }
    accepted(asks("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"));
    accepted(asks("get / HTTP/1.1"));
}

#[test]
fn request_line_shape() {
    for line in [
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        "GET  HTTP/1.1",
        "GET HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / / HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET/ HTTP/1.1",
        "GET /HTTP/1.1",
        "/ GET HTTP/1.1",
        "HTTP/1.1 200 OK",
    ] {
        refused(asks(line));
    }
}

#[test]
fn other_version() {
    for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0"] {
        refused_as(505, asks(format!("GET / {version}")));
    }
}

#[test]
fn malformed_version() {
    for version in [
        "http/1.1",
        "HTTP/1",
        "HTTP/11",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1,1",
        "HTTP 1.1",
        "HTTP/",
        "HTTP/1.",
        "HTTP/.11",
        "HTTP/1.x",
        "HTTP/-1.1",
        "HTTPS/1.1",
        "ICY/1.1",
        "HTTP/1.1\0",
    ] {
        refused(asks(format!("GET / {version}")));
    }
}

// Targets.

#[test]
fn fragment() {
    for target in ["/#", "/a#b", "#", "/a?b#c", "http://a/#b", "http://a#b", "*#"] {
        refused(asks(format!("OPTIONS {target} HTTP/1.1")));
    }
}

#[test]
fn target_bytes() {
    for byte in (0..=0x20).chain(0x7f..=0xff) {
        refused(asks([b"GET /a", &[byte][..], b"b HTTP/1.1"].concat()));
        refused(asks([b"GET http://a/", &[byte][..], b" HTTP/1.1"].concat()));
    }
}

#[test]
fn target_quotes() {
    for target in ["/<", "/>", "/`", "/a`b?c", "/?<", "/?>", "/?\"", "/\"?a?\"", "http://a/<"] {
        refused(asks(format!("GET {target} HTTP/1.1")));
    }
}

#[test]
fn origin_form() {
    let quoted = ["/\"", "/=?;=", "/?`", "/\"b?`c", "/!?!"];
    let others = ["/", "//", "/a/../b", "/?", "/a?b=c&d", "/%2e%zz", "/\\^{|}", "/*", "/http://b/"];
    for target in quoted.into_iter().chain(others) {
        accepted(asks(format!("GET {target} HTTP/1.1")));
    }
}

#[test]
fn absolute_form() {
    for target in
        ["http://a", "http://a/", "https://a/b?c", "HTTP://A?b", "hTTps://a//", "http://A/@b"]
    {
        accepted(asks(format!("GET {target} HTTP/1.1")));
    }
    accepted("GET http://[::1]:80/ HTTP/1.1\r\nAccept: b\r\nHost: [::1]:80\r\n\r\n");
    accepted("GET http://a.b:80/ HTTP/1.1\r\nHost: A.b:80\r\n\r\n");
    accepted("GET http://a/ HTTP/1.0\r\n\r\n");
}

#[test]
fn absolute_form_of_all_the_server() {
    for target in ["http://a", "HTTPS://A:80"] {
        refused(asks(format!("OPTIONS {target} HTTP/1.1")));
    }
    for target in ["http://a/", "http://a?b", "http://a/*"] {
        accepted(asks(format!("OPTIONS {target} HTTP/1.1")));
    }
}

#[test]
fn absolute_form_of_another_host() {
    for target in
        ["http://b/", "http://a:80/", "http://aa/", "http://a.", "https://b?a", "http://[::1]"]
    {
        refused(asks(format!("GET {target} HTTP/1.1")));
    }
    refused("GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n");
    refused("GET http://a:80/ HTTP/1.1\r\nHost: a:81\r\n\r\n");
}

#[test]
fn absolute_form_malformed() {
    for target in [
        "http://",
        "http:///",
        "http://?a",
        "http://u@a/",
        "http://u:p@a/",
        "http://a:x/",
        "http://a,a/",
        "http://a:/",
        "http://a\\b/",
        "http://:80/",
        "http://a%41/",
        "https://[::1/",
        "http:/a",
        "http:a",
    ] {
        refused(asks(format!("GET {target} HTTP/1.1")));
    }
}

#[test]
fn asterisk_form() {
    accepted(asks("OPTIONS * HTTP/1.1"));
    accepted("OPTIONS * HTTP/1.0\r\n\r\n");
}

#[test]
fn asterisk_without_options() {
    for line in ["GET *", "options *", "POST *", "OPTIONS **", "OPTIONS *?a", "OPTIONS */"] {
        refused(asks(format!("{line} HTTP/1.1")));
    }
}

#[test]
fn connect() {
    for target in ["a:443", "a", "/", "http://a/", "*"] {
        refused_as(405, asks(format!("CONNECT {target} HTTP/1.1")));
    }
    refused_as(405, "CONNECT a:443 HTTP/1.0\r\n\r\n");
}

#[test]
fn other_targets() {
    for target in [
        "a",
        "a:443",
        "a/b",
        "ftp://a/",
        "ws://a/",
        "?a",
        "http",
        "http:",
        "httpx://a",
        "\\",
        "connect:1",
    ] {
        refused(asks(format!("GET {target} HTTP/1.1")));
    }
}

#[test]
fn long_target() {
    accepted(target_of(LIMITS.target_bytes));
    refused_as(414, target_of(LIMITS.target_bytes + 1));
    refused_as(414, target_of(LIMITS.head_bytes * 2));
    let unended = target_of(LIMITS.head_bytes * 2);
    refused_as(414, &unended[..LIMITS.head_bytes]);
    assert_eq!(outcome(&unended[..LIMITS.head_bytes - 1]).fault, None);
    // What ends the reading is the smaller limit of the two.
    let of = |target_bytes| Limits { head_bytes: 14, target_bytes, ..LIMITS };
    assert_eq!(outcome_within(of(10), "GET /123456789").status(), Some(431));
    assert_eq!(outcome_within(of(9), "GET /123456789").status(), Some(414));
}

// Limits.

#[test]
fn long_head() {
    let of = |bytes: usize| {
        let empty = with("A: \r\n").len();
        with(format!("A: {}\r\n", "b".repeat(bytes - empty)))
    };
    accepted(of(LIMITS.head_bytes));
    accepted_as(2, [of(LIMITS.head_bytes), of(LIMITS.head_bytes)].concat());
    refused_as(431, of(LIMITS.head_bytes + 1));
    refused_as(431, of(LIMITS.head_bytes + 2));
    refused_as(431, of(LIMITS.head_bytes * 2));
    // Without any line's end, in the request line and in a field.
    refused_as(431, vec![b'M'; LIMITS.head_bytes]);
    let field = of(LIMITS.head_bytes * 2);
    refused_as(431, &field[..LIMITS.head_bytes]);
    assert_eq!(outcome(&field[..LIMITS.head_bytes - 1]).fault, None);
    // An empty line before it does not count.
    assert_eq!(outcome([&b"\r\n"[..], &of(LIMITS.head_bytes)].concat()).heads, 1);
}

#[test]
fn many_fields() {
    accepted(with("A: b\r\n".repeat(LIMITS.headers - 1)));
    refused_as(431, with("A: b\r\n".repeat(LIMITS.headers)));
    let one = Limits { headers: 1, ..LIMITS };
    assert_eq!(outcome_within(one, with("")).heads, 1);
    assert_eq!(outcome_within(one, with("A: b\r\n")).status(), Some(431));
}

// Hosts.

#[test]
fn no_host() {
    refused("GET / HTTP/1.1\r\n\r\n");
    refused("GET / HTTP/1.1\r\nHosts: a\r\nXHost: a\r\nAost: a\r\n\r\n");
    refused("GET http://a/ HTTP/1.1\r\n\r\n");
}

#[test]
fn no_host_in_http_1_0() {
    accepted("GET / HTTP/1.0\r\n\r\n");
    accepted("GET / HTTP/1.0\r\nAccept: a\r\n\r\n");
}

#[test]
fn two_hosts() {
    for fields in ["Host: a\r\n", "HOST: b\r\n", "Accept: b\r\nhost: a\r\n", "Host:\r\n"] {
        refused(with(fields));
    }
    refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
}

#[test]
fn good_host() {
    for host in [
        "a",
        "A.b-c.example",
        "a.example.",
        "127.0.0.1",
        "a:0",
        "a:80",
        "a:65535",
        "a:00080",
        "_a~",
        "[::1]",
        "[::1]:8080",
        "[2001:DB8::1]",
        "[::ffff:1.2.3.4]:1",
        "xn--bcher-kva.example",
        "1",
        "a!$&'()*+;=",
        " a ",
    ] {
        accepted(to(host));
    }
}

#[test]
fn malformed_host() {
    for host in [
        "",
        " ",
        ":",
        ":80",
        "a,b",
        "a, b",
        "a b",
        "a/b",
        "a/",
        "u@a",
        "u:p@a",
        "@",
        "a%41",
        "%",
        "a%zz",
        "a?b",
        "a#b",
        "a\\b",
        "\"a\"",
        "<a>",
        "a|b",
        "a^",
        "a\u{e9}",
        "http://a",
        "a\tb",
        "{a}",
        "a`",
        "[",
        "[]",
        "[::1",
        "::1",
        "[::1]a",
        "[::1]]",
        "[1.2.3.4]",
        "[a]",
        "[::g]",
        "[::1%25lo]",
        "[v1.a]",
        "[:::1]",
        "[1:2:3:4:5:6:7:8:9]",
        "a]",
        "[::1]:",
        "[::1]:x",
        "[[::1]]",
    ] {
        refused(to(host));
        refused(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n"));
    }
}

#[test]
fn malformed_port() {
    for port in [
        "",
        "65536",
        "99999",
        "100000",
        "000080",
        "-1",
        "+1",
        "8o",
        "8 0",
        "80:80",
        "0x50",
        "1.1",
        "18446744073709551696",
    ] {
        refused(to(format!("a:{port}")));
        refused(to(format!("[::1]:{port}")));
    }
}

// Lengths.

#[test]
fn content_length() {
    for (value, body) in [("0", ""), ("3", "abc"), ("003", "\r\n\r"), (" 1\t", "G")] {
        accepted([&with(format!("content-LENGTH:{value}\r\n")), body.as_bytes()].concat());
    }
    let head = with("Content-Length: 999999999999999999\r\n");
    assert_eq!(outcome(&head).stage, Stage::Body);
    let twice = [&with("Content-Length: 3\r\n"), &b"abc"[..]].concat();
    accepted_as(2, [&twice[..], &twice].concat());
    let on_get = "GET / HTTP/1.0\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(outcome(on_get).stage, Stage::Body);
}

#[test]
fn two_content_lengths() {
    for (first, second) in [("1", "1"), ("1", "2"), ("0", "0"), ("0", "1"), ("1", "")] {
        refused(with(format!("Content-Length: {first}\r\ncontent-length: {second}\r\n")));
        refused(with(format!("Content-Length: {first}\r\nA: b\r\nCONTENT-LENGTH:{second}\r\n")));
    }
}

#[test]
fn malformed_content_length() {
    for value in [
        "", " ", "1, 1", "1,1", "1,2", "1,", ",1", "+1", "-1", "-0", "0x1", "1a", "1.0", "1 1",
        "1;", "\"1\"", "\u{661}", "1_0", "1e3", "a", "/", ":",
    ] {
        refused(with(format!("Content-Length: {value}\r\n")));
    }
}

#[test]
fn long_content_length() {
    for digits in ["1000000000000000000", "0000000000000000001", "18446744073709551616"] {
        refused(with(format!("Content-Length: {digits}\r\n")));
    }
    refused(with(format!("Content-Length: {}\r\n", "9".repeat(1000))));
}

#[test]
fn transfer_encoding_chunked() {
    for value in ["chunked", "CHUNKED", " cHuNkEd", "\tchunked "] {
        accepted([&with(format!("transfer-ENCODING:{value}\r\n")), &b"0\r\n\r\n"[..]].concat());
    }
}

#[test]
fn other_transfer_encoding() {
    for value in [
        "",
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked;a=b",
        "\"chunked\"",
        "chunke",
        "xchunked",
        "chunkedx",
        "chunked chunked",
        "chun ked",
        "\u{a0}chunked",
        "identity, chunked",
    ] {
        refused(with(format!("Transfer-Encoding: {value}\r\n")));
    }
}

#[test]
fn two_transfer_encodings() {
    for (first, second) in
        [("chunked", "chunked"), ("chunked", "identity"), ("gzip", "chunked"), ("chunked", "")]
    {
        refused(with(format!("Transfer-Encoding: {first}\r\ntransfer-encoding: {second}\r\n")));
    }
}

#[test]
fn content_length_beside_transfer_encoding() {
    for length in ["0", "5", "x"] {
        let (length, encoding) =
            (format!("Content-Length: {length}\r\n"), "Transfer-Encoding: chunked\r\n");
        refused(with(format!("{length}{encoding}")));
        refused(with(format!("{encoding}A: b\r\n{length}")));
    }
}

#[test]
fn transfer_encoding_in_http_1_0() {
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n");
}

#[test]
fn after_connection_close() {
    let close = with("Connection: close\r\nContent-Length: 3\r\n");
    accepted_as(2, [&close, &b"abc"[..], CLEAN].concat());
    refused([&close[..close.len() - 2], &b"A : b\r\n\r\n"[..]].concat());
    accepted_as(2, [b"GET / HTTP/1.0\r\n\r\n", CLEAN].concat());
}

// Chunked bodies.

#[test]
fn chunks() {
    accepted(chunked("0\r\n\r\n"));
    accepted(chunked("3\r\nabc\r\n0\r\n\r\n"));
    accepted(chunked("a\r\n0123456789\r\nA\r\n0\r\n\r\n\r\n\r\nG\r\n0000\r\n\r\n"));
    accepted(chunked("0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n"));
    accepted_as(
        2,
        [&chunked("1f\r\n1234567890123456789012345678901\r\n0\r\n\r\n"), CLEAN].concat(),
    );
    let huge = outcome(chunked("7fffFFFFffffFFFF\r\nabc"));
    assert_eq!((huge.fault, huge.stage), (None, Stage::Body));
}

#[test]
fn malformed_chunk_size() {
    for line in [
        "", " ", "g", "0x3", "-3", "+3", " 3", "3 ", "3\t", "3 3", "3,", "\"3\"", "3h", ";a",
        "3 a", "\u{663}", "3=", "3\u{a0}",
    ] {
        body_refused(format!("{line}\r\nabc\r\n0\r\n\r\n"));
        body_refused(format!("1\r\na\r\n{line}\r\nabc\r\n0\r\n\r\n"));
    }
}

#[test]
fn long_chunk_size() {
    body_refused("00000000000000003\r\nabc\r\n0\r\n\r\n");
    body_refused("10000000000000000\r\nabc\r\n0\r\n\r\n");
    body_refused("00000000000000000\r\n\r\n");
}

#[test]
fn chunks_beyond_64_bits() {
    // The first chunk cannot be sent in full: the second is looked at as it would be behind it.
    let mut chunks = Chunks::default();
    let first = b"2\r\nab\r\n";
    let mut from = 0;
    while from < first.len() {
        from += chunks.look(&first[from..], &LIMITS).unwrap();
    }
    let mut look = |line: &[u8]| chunks.look(line, &LIMITS).map_err(Fault::status);
    assert_eq!(look(b"fffffffffffffffe\r\n"), Err(400));
    let mut chunks = Chunks::default();
    assert_eq!(chunks.look(b"ffffffffffffffff\r\n", &LIMITS), Ok(18));
}

#[test]
fn long_chunk_line() {
    let of = |bytes: usize| format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(bytes - 4));
    accepted(chunked(of(CHUNK_LINE_BYTES)));
    body_refused(of(CHUNK_LINE_BYTES + 1));
    body_refused(of(CHUNK_LINE_BYTES * 10));
    body_refused("0".repeat(CHUNK_LINE_BYTES));
    assert_eq!(outcome(chunked("0".repeat(CHUNK_LINE_BYTES - 1))).fault, None);
}

#[test]
fn chunk_extension() {
    for extension in
        [";a", ";a=b", ";a=\"b;\\\"c\"", " ; a = b", "\t;a", ";", ";a;b=c", ";a=\"\u{e9}\""]
    {
        accepted(chunked(format!("3{extension}\r\nabc\r\n0{extension}\r\n\r\n")));
    }
}

#[test]
fn control_byte_in_a_chunk_line() {
    for control in (0..0x20).chain([0x7f]).filter(|byte| *byte != b'\t') {
        body_refused([b"3;a", &[control][..], b"b\r\nabc\r\n0\r\n\r\n"].concat());
        body_refused([b"3;a=\"", &[control][..], b"\"\r\nabc\r\n0\r\n\r\n"].concat());
        body_refused([b"3", &[control][..], b"\r\nabc\r\n0\r\n\r\n"].concat());
    }
    body_refused("3\nabc\r\n0\r\n\r\n");
    body_refused("3;a\nabc\r\n0\r\n\r\n");
    body_refused("0\n\r\n");
}

#[test]
fn chunk_without_its_end() {
    for end in ["\n", "\r\r", "\rX", "X\r\n", " \r\n", "0\r\n\r\n", "\r0\r\n"] {
        let outcome = outcome(chunked(format!("3\r\nabc{end}")));
        assert_eq!((outcome.status(), outcome.stage), (Some(400), Stage::Body), "{end:?}");
        assert!(outcome.passed.ends_with(b"abc"), "all before the fault passes");
    }
}

#[test]
fn trailers() {
    accepted(chunked("0\r\nA: b\r\n\r\n"));
    accepted(chunked("0\r\nX-Checksum:\t\r\nGrpc-Status: 0\r\nX: \u{e9}\r\n\r\n"));
    accepted_as(2, [&chunked("3\r\nabc\r\n0\r\nA: b\r\n\r\n"), CLEAN].concat());
}

#[test]
fn malformed_trailer() {
    for line in [
        "A",
        "A : b",
        " A: b",
        "A: b\r\n c",
        ": b",
        "A: b\0",
        "A: b\rc",
        "A\u{e9}: b",
        "A(: b",
        "GET / HTTP/1.1",
    ] {
        body_refused(format!("0\r\n{line}\r\n\r\n"));
        body_refused(format!("0\r\nB: c\r\n{line}\r\n\r\n"));
    }
    body_refused("0\r\nA: b\n\r\n");
    body_refused("0\r\n\n");
    body_refused("0\r\nA: b\r\n\n");
    body_refused("0\r\n\rX\r\n\r\n");
}

#[test]
fn forbidden_trailer() {
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Trailer",
        "Connection",
        "Upgrade",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "TE",
        "Expect",
        "Content-Type",
        "Content-Encoding",
        "Range",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-",
        "Proxy-Authorization",
        "Keep-Alive",
        "Via",
        "Max-Forwards",
    ] {
        for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
            body_refused(format!("0\r\n{name}: 0\r\n\r\n"));
            body_refused(format!("0\r\nA: b\r\n{name}:\r\n\r\n"));
        }
    }
    accepted(chunked("0\r\nX-Forwarded: a\r\nContent-Lengths: 3\r\n\r\n"));
}

#[test]
fn long_trailers() {
    let of = |bytes: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(bytes - "A: \r\n\r\n".len()));
    accepted(chunked(of(LIMITS.head_bytes)));
    body_refused_as(431, of(LIMITS.head_bytes + 1));
    body_refused_as(431, of(LIMITS.head_bytes + 2));
    body_refused_as(431, of(LIMITS.head_bytes * 2));
    accepted(chunked("0\r\n".to_owned() + &"A: b\r\n".repeat(LIMITS.headers) + "\r\n"));
    body_refused_as(431, "0\r\n".to_owned() + &"A: b\r\n".repeat(LIMITS.headers + 1) + "\r\n");
}

// Expectations and upgrades.

#[test]
fn expect_continue() {
    for value in ["100-continue", "100-Continue", " 100-CONTINUE\t"] {
        accepted(with(format!("Expect:{value}\r\n")));
    }
    accepted("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
}

#[test]
fn other_expect() {
    for value in ["", "100", "200-ok", "100-continue, 100-continue", "100-continue;a", "continue"] {
        refused_as(417, with(format!("expect: {value}\r\n")));
    }
    refused_as(417, with("Expect: 100-continue\r\nExpect: a\r\n"));
}

/// The stage after a head with these fields.
fn stage_after(fields: &str) -> Stage {
    let mut screen = Screen::new(LIMITS);
    let head = with(fields);
    assert_eq!(screen.look(&head), Look { pass: head.len(), heads: 1, ..Look::default() });
    screen.stage()
}

#[test]
fn upgrade() {
    for fields in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        "upgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n",
        "Connection: keep-alive\r\nConnection:upgrade\t,\r\nUpgrade:\tfoo/2\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
        "Connection: upgrade\r\nUpgrade: h2cx\r\n",
    ] {
        assert_eq!(stage_after(fields), Stage::Upgrade, "{fields}");
    }
}

#[test]
fn upgrade_with_a_body() {
    let fields = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(stage_after(&format!("{fields}Content-Length: 1\r\n")), Stage::Body);
    assert_eq!(stage_after(&format!("Transfer-Encoding: chunked\r\n{fields}")), Stage::Body);
}

#[test]
fn upgrade_to_h2c() {
    for value in ["h2c", "H2C", " h2c\t", "h2c/1"] {
        accepted(with(format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade:{value}\r\n")));
    }
}

#[test]
fn upgrade_to_one_of_several() {
    for fields in [
        "Upgrade: websocket, h2c\r\n",
        "Upgrade: a, b\r\n",
        "Upgrade: a\r\nUpgrade: a\r\n",
        "Upgrade: a b\r\n",
        "Upgrade: h2c\r\nUpgrade: websocket\r\n",
        "Upgrade: websocket\r\nUpgrade: h2c\r\n",
        "Upgrade: \r\n",
        "Upgrade: a/\r\n",
        "Upgrade: /a\r\n",
        "Upgrade: a/b/c\r\n",
        "Upgrade: websocket,\r\n",
    ] {
        accepted(with(format!("Connection: upgrade\r\n{fields}")));
    }
}

#[test]
fn upgrade_that_connection_does_not_name() {
    for fields in
        ["", "Connection: close\r\n", "Connection: upgrades\r\n", "Connection: a upgrade\r\n"]
    {
        accepted(with(format!("{fields}Upgrade: websocket\r\n")));
    }
    accepted(with("Connection: upgrade\r\n"));
    accepted(with("Connection: upgrade\r\nUbgrade: websocket\r\n"));
    accepted(with("Connectiom: upgrade\r\nUpgrade: websocket\r\n"));
}

#[test]
fn upgrade_in_http_1_0() {
    accepted("GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
}

#[test]
fn http_2_preface() {
    let bytes = [PREFACE, b"\0\0\0\x04\0\0\0\0\0\n\xff"].concat();
    let opaque = outcome(&bytes);
    assert_eq!((opaque.passed, opaque.heads, opaque.stage), (bytes, 0, Stage::Opaque));
    for cut in 1..PREFACE.len() {
        let part = outcome(&PREFACE[..cut]);
        assert_eq!((part.passed.len(), part.fault, part.stage), (0, None, Stage::Head));
    }
}

#[test]
fn http_2_preface_elsewhere() {
    let behind = outcome([CLEAN, PREFACE].concat());
    assert_eq!((behind.heads, behind.status()), (1, Some(505)));
    assert_eq!(outcome([b"\r\n", PREFACE].concat()).status(), Some(505));
    refused_as(505, "PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n");
    accepted(asks("PRI / HTTP/1.1"));
    accepted(asks("P /RI HTTP/1.1"));
}
