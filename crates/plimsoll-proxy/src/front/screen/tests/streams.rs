//! Whole connections: stages, several requests, upgrades, limits of memory.

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SIZED: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &[u8] =
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n";
const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn look(screen: &mut Screen, bytes: &[u8]) -> (usize, Stage) {
    let look = screen.look(bytes);
    assert_eq!((look.skip, look.fault), (0, None));
    (look.pass, screen.stage())
}

#[test]
fn pipelined_requests_pass_in_one_look() {
    let stream = [GET, SIZED, GET, CHUNKED, CHUNKED, SIZED, GET].concat();
    let mut screen = Screen::new(LIMITS);
    let expected = Look { pass: stream.len(), heads: 7, ..Look::default() };
    assert_eq!(screen.look(&stream), expected);
    accepted_as(7, stream);
}

#[test]
fn stages_follow_the_bytes() {
    let mut screen = Screen::new(LIMITS);
    assert_eq!(look(&mut screen, b""), (0, Stage::Idle));
    assert_eq!(look(&mut screen, b"G"), (0, Stage::Head));
    assert_eq!(look(&mut screen, GET), (GET.len(), Stage::Idle));
    let head = SIZED.len() - 5;
    assert_eq!(look(&mut screen, &SIZED[..head - 1]), (0, Stage::Head));
    assert_eq!(look(&mut screen, &SIZED[..head]), (head, Stage::Body));
    assert_eq!(look(&mut screen, b"hell"), (4, Stage::Body));
    assert_eq!(look(&mut screen, b"o"), (1, Stage::Idle));
    assert_eq!(look(&mut screen, b"\r"), (0, Stage::Head));
    let empty_line = Look { skip: 2, ..Look::default() };
    assert_eq!((screen.look(b"\r\n"), screen.stage()), (empty_line, Stage::Idle));
}

#[test]
fn an_empty_line_between_requests_ends_a_look() {
    let stream = [GET, b"\r\n", SIZED, b"\r\n", GET].concat();
    let mut screen = Screen::new(LIMITS);
    assert_eq!(screen.look(&stream), Look { pass: GET.len(), heads: 1, ..Look::default() });
    let second = Look { skip: 2, pass: SIZED.len(), heads: 1, fault: None };
    assert_eq!(screen.look(&stream[GET.len()..]), second);
    let outcome = outcome(&stream);
    assert_eq!(outcome.passed, [GET, SIZED, GET].concat());
    assert_eq!((outcome.skipped, outcome.heads, outcome.fault), (4, 3, None));
}

#[test]
fn data_of_chunks_is_not_held_back() {
    let mut screen = Screen::new(LIMITS);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(look(&mut screen, head), (head.len(), Stage::Body));
    assert_eq!(look(&mut screen, b"1"), (0, Stage::Body));
    assert_eq!(look(&mut screen, b"10\r"), (0, Stage::Body));
    assert_eq!(look(&mut screen, b"10\r\nabc"), (7, Stage::Body));
    assert_eq!(look(&mut screen, b"defghijklmnop\r"), (13, Stage::Body));
    assert_eq!(look(&mut screen, b"\r\n0\r\n\r"), (5, Stage::Body));
    assert_eq!(look(&mut screen, b"\r\n"), (2, Stage::Idle));
}

#[test]
fn a_long_body_passes_without_being_read() {
    let mut screen = Screen::new(LIMITS);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n";
    assert_eq!(look(&mut screen, head), (head.len(), Stage::Body));
    for _ in 0..3 {
        assert_eq!(look(&mut screen, &vec![0; 65536]), (65536, Stage::Body));
    }
}

#[test]
fn nothing_passes_behind_an_upgrade_until_it_is_granted() {
    let tunnel = b"\0\xff\r\n\n bytes of a tunnel";
    let stream = [UPGRADE, tunnel].concat();
    let mut screen = Screen::new(LIMITS);
    assert_eq!(look(&mut screen, &stream), (UPGRADE.len(), Stage::Upgrade));
    assert_eq!(look(&mut screen, tunnel), (0, Stage::Upgrade));
    screen.upgraded();
    assert_eq!(look(&mut screen, tunnel), (tunnel.len(), Stage::Opaque));
    assert_eq!(look(&mut screen, b""), (0, Stage::Opaque));
}

#[test]
fn an_upgrade_that_is_not_granted_is_followed_by_a_head() {
    let stream = [UPGRADE, GET].concat();
    let mut screen = Screen::new(LIMITS);
    assert_eq!(look(&mut screen, &stream), (UPGRADE.len(), Stage::Upgrade));
    screen.not_upgraded();
    assert_eq!(screen.stage(), Stage::Idle);
    assert_eq!(look(&mut screen, GET), (GET.len(), Stage::Idle));
    let smuggled = drive(LIMITS, &[UPGRADE, b"\x81\x05hello"].concat(), [], false);
    assert_eq!((smuggled.heads, smuggled.status()), (1, Some(400)));
}

#[test]
fn an_answer_to_no_upgrade_changes_nothing() {
    let mut screen = Screen::new(LIMITS);
    screen.upgraded();
    assert_eq!(look(&mut screen, &SIZED[..SIZED.len() - 2]), (SIZED.len() - 2, Stage::Body));
    screen.upgraded();
    screen.not_upgraded();
    assert_eq!(screen.stage(), Stage::Body);
}

#[test]
fn a_fault_in_the_second_of_two_requests_lets_the_first_pass() {
    let mut screen = Screen::new(LIMITS);
    let bad = b"GET / HTTP/1.1\r\nHost : a\r\n\r\n";
    let look = screen.look(&[SIZED, bad, GET].concat());
    assert_eq!((look.pass, look.heads, look.fault.is_some()), (SIZED.len(), 1, true));
    assert_eq!(screen.stage(), Stage::Head);
    assert_eq!(screen.look(GET), Look { fault: look.fault, ..Look::default() });
}

#[test]
fn what_is_no_http_is_refused_at_its_first_byte() {
    for first in [0_u8, 0x16, b' ', b'\t', b'\n', b'(', b'@', b'{', 0x7f, 0x80, 0xff] {
        let outcome = outcome([first]);
        assert_eq!((outcome.status(), outcome.stage), (Some(400), Stage::Head), "{first}");
    }
    for first in [b'G', b'p', b'!', b'~', b'0', b'P', b'\r'] {
        assert_eq!(outcome([first]).fault, None, "{first}");
    }
}

#[test]
fn a_fault_is_told_in_a_clause_of_its_own() {
    let of_head = |line: &str| [b"GET / HTTP/1.1\r\n", line.as_bytes(), b"\r\n"].concat();
    for (bytes, what) in [
        (with("Content-Length: 1\r\nContent-Length: 1\r\n"), "two Content-Length fields"),
        (b"\rG".to_vec(), "a carriage return without a line feed"),
        (b"\n".to_vec(), "a line feed without a carriage return"),
        (b" ".to_vec(), "whitespace before a request line"),
        (b"(".to_vec(), "a method that is not a token"),
        (b"\r\n\r".to_vec(), "two empty lines before a request line"),
        (of_head(" Host: a\r\n"), "a field line that begins with whitespace"),
        (of_head("Host: a\r\n b\r\n"), "a folded field line"),
        (of_head("Host : a\r\n"), "whitespace after a field name"),
        (of_head("Host\r\n"), "a field line without a colon"),
        (of_head(": a\r\n"), "a field without a name"),
        (of_head("H{st: a\r\n"), "a field name that is not a token"),
        (b"GET /\xe9 HTTP/1.1\r\n".to_vec(), "a target with a byte outside ASCII"),
        (b"GET / / HTTP/1.1\r\n".to_vec(), "a request line with more than two spaces"),
        (b"GET /# HTTP/1.1\r\n".to_vec(), "a target with a fragment"),
        (b"GET /\r HTTP/1.1\r\n".to_vec(), "a carriage return without a line feed"),
        (b"GET /\0 HTTP/1.1\r\n".to_vec(), "a control byte"),
    ] {
        let fault = outcome(&bytes).fault.expect(what);
        assert_eq!((fault.what(), &*fault.to_string()), (what, what));
    }
}

/// A usual head of a browser.
const BROWSER: &[u8] = b"GET /articles/2024/05/least-loaded?page=2&sort=date HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/articles/2024/05/\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=4f1d3c0b9a8e7d6c5b4a39281706f5e4; theme=dark\r\n\r\n";

#[test]
fn a_browsers_head_passes() {
    accepted(BROWSER);
}

#[test]
#[ignore = "measures: run it alone, with --release and --nocapture"]
fn cost_of_a_head() {
    let heads: u32 = std::env::var("HEADS").map_or(10_000_000, |heads| heads.parse().unwrap());
    let mut screen = Screen::new(LIMITS);
    let start = std::time::Instant::now();
    for _ in 0..heads {
        let look = screen.look(std::hint::black_box(BROWSER));
        assert_eq!(look.heads, 1);
    }
    println!("{} bytes: {:?} a head", BROWSER.len(), start.elapsed() / heads);
}
