//! Both ends keep a ledger: every request has a number of its own, which the
//! client notes, the backend notes, the answer names and the log tells. At the
//! end all must agree.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::backend::{Backend, Seen, Then, respond, say};
use crate::proxy::{Proxy, seed};
use crate::wire::Wire;

const BACKENDS: u64 = 4;
const CLIENTS: u64 = 16;
const REQUESTS: u64 = 100;
/// As many bytes are in each body.
const BODY: usize = 5000;

/// What a client knows of a request in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// A backend's answer, whole.
    Answered,
    /// A backend's answer that broke off.
    BrokenOff,
    /// An answer of the proxy's own.
    Refused(u16),
    /// It left before.
    Left,
}

/// Answers in one of many ways, as the request's number, its own and the seed have it.
fn misbehaving(nth: u64, seed: u64) -> Backend {
    Backend::start(move |seen, stream| {
        let mut random = fastrand::Rng::with_seed(seed ^ (number(seen) * BACKENDS + nth));
        if random.u8(..4) == 0 {
            thread::sleep(Duration::from_micros(random.u64(..5000)));
        }
        match random.u8(..12) {
            0 => Then::Close,
            1 => {
                // By a reset.
                rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
                Then::Close
            }
            2 => {
                say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nhalf");
                Then::Close
            }
            3 => {
                say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
                Then::Close
            }
            4 => {
                say(stream, b"HTTP/1.1 200 OK\r\nConten");
                Then::Close
            }
            5 => chunked(seen, stream),
            6 => {
                respond(stream, &body(seen));
                Then::Close
            }
            _ => respond(stream, &body(seen)),
        }
    })
}

fn chunked(seen: &Seen, stream: &mut TcpStream) -> Then {
    let body = body(seen);
    let (first, second) = body.split_at(BODY / 3);
    say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in [first, second, b""] {
        say(stream, &[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    Then::Keep
}

/// A body that is this request's alone, and the same in both directions.
fn filled(number: u64) -> Vec<u8> {
    number.to_string().bytes().chain([b' ']).cycle().take(BODY).collect()
}

/// The answer's.
fn body(seen: &Seen) -> Vec<u8> {
    filled(number(seen))
}

fn number(seen: &Seen) -> u64 {
    seen.target()[1..].parse().unwrap()
}

/// Whether this request must not run twice.
fn is_post(number: u64) -> bool {
    number.is_multiple_of(3)
}

fn request(number: u64) -> Vec<u8> {
    if is_post(number) {
        let head =
            format!("POST /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: {BODY}\r\n\r\n");
        [head.into_bytes(), filled(number)].concat()
    } else {
        format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
    }
}

/// One client's ledger.
fn client(proxy: &Proxy, numbers: impl Iterator<Item = u64>, seed: u64) -> Vec<(u64, Outcome)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut wire: Option<Wire> = None;
    let mut ask = |number| {
        let mut connection = wire.take().unwrap_or_else(|| proxy.connect());
        connection.send(request(number));
        if random.u8(..12) == 0 {
            return Outcome::Left;
        }
        let answer = connection.response();
        let outcome = match answer.status {
            200 if answer.whole => {
                assert!(answer.body == filled(number), "{number} got another's answer");
                Outcome::Answered
            }
            200 => Outcome::BrokenOff,
            status => Outcome::Refused(status),
        };
        let closes = answer.field("connection") == Some("close");
        wire = Some(connection).filter(|_| answer.whole && !closes);
        outcome
    };
    numbers.map(|number| (number, ask(number))).collect()
}

#[test]
fn both_ends_and_the_log_agree_on_every_request() {
    let seed = seed();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let backends: Vec<_> = (0..BACKENDS).map(|nth| misbehaving(nth, seed)).collect();
    let proxy = Proxy::over(
        &backends.iter().collect::<Vec<_>>(),
        &["--no-health", "--capacity", "2", "--log", "json", "--log-file", log.to_str().unwrap()],
    );
    let outcomes: HashMap<u64, Outcome> = thread::scope(|scope| {
        let proxy = &proxy;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|nth| {
                let numbers = (nth * REQUESTS..).take(usize::try_from(REQUESTS).unwrap());
                scope.spawn(move || client(proxy, numbers, seed.wrapping_add(nth)))
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    proxy.until("nothing pends", |proxy| proxy.pending() == 0 && proxy.in_line() == 0);

    // What the backends have noted.
    let mut tries: HashMap<u64, Vec<usize>> = HashMap::new();
    for (nth, backend) in backends.iter().enumerate() {
        for seen in backend.seen() {
            let number = number(&seen);
            assert!(outcomes.contains_key(&number), "nobody sent {number}");
            if seen.whole && is_post(number) {
                assert!(seen.body == filled(number), "{number} came with another's body");
            }
            tries.entry(number).or_default().push(nth);
        }
    }

    // What the log tells: a line each, and the same.
    let workers = proxy.workers();
    let total = usize::try_from(CLIENTS * REQUESTS).unwrap();
    assert_eq!(workers["requests"], total);
    // All is written when it has ended.
    proxy.finish();
    let mut logged: HashMap<u64, Value> = HashMap::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let number = line["path"].as_str().unwrap()[1..].parse().unwrap();
        assert!(logged.insert(number, line).is_none(), "{number} is logged twice");
    }
    assert_eq!(logged.len(), total);
    let dispatched = |worker: &Value| worker["dispatched"].as_u64().unwrap();
    let dispatched: u64 = workers["workers"].as_array().unwrap().iter().map(dispatched).sum();
    let leased: u64 = logged.values().map(|line| line["tries"].as_u64().unwrap()).sum();
    // Who leaves may have been given a lease in that moment.
    let left = outcomes.values().filter(|&&outcome| outcome == Outcome::Left).count() as u64;
    let most = leased + left;
    assert!((leased..=most).contains(&dispatched), "{dispatched} leases, {leased} tries");

    for (&number, &outcome) in &outcomes {
        let tries = tries.remove(&number).unwrap_or_default();
        let line = &logged[&number];
        let told = || format!("{number}: {outcome:?}, seen by {tries:?}, {line}");
        let distinct: HashSet<_> = tries.iter().collect();
        let named = line["backend"].as_str();
        let saw_it = tries.iter().any(|&nth| named == Some(&*backends[nth].address.to_string()));
        assert!(line["tries"].as_u64() >= Some(tries.len() as u64), "{}", told());
        assert!(line["pending"].as_u64() <= Some(2), "above capacity: {}", told());
        if is_post(number) {
            assert!(tries.len() <= 1, "a POST twice: {}", told());
        } else {
            // Each backend once; and one of them once more, whose connection
            // seemed to have been closed while it was idle.
            assert!(tries.len() <= distinct.len() + 1, "{}", told());
        }
        match outcome {
            Outcome::Answered => {
                assert!(saw_it, "{}", told());
                assert_eq!(line["status"], 200, "{}", told());
                assert_eq!(line["bytes"], BODY, "{}", told());
            }
            Outcome::BrokenOff => {
                assert!(saw_it, "{}", told());
                assert_eq!(line["status"], 200, "{}", told());
                assert!(line["bytes"].as_u64() < Some(BODY as u64), "{}", told());
                assert!(line["reason"].is_string(), "{}", told());
            }
            Outcome::Refused(status) => {
                assert_eq!(status, 502, "{}", told());
                assert_eq!(line["status"], status, "{}", told());
            }
            Outcome::Left => {}
        }
    }
    let count = |wanted: &[Outcome]| outcomes.values().filter(|is| wanted.contains(is)).count();
    let answered = count(&[Outcome::Answered]);
    println!("{answered} answered, {} refused", count(&[Outcome::Refused(502)]));
    assert!(answered > total / 2, "{answered} of {total} answered");
}
