//! Whatever the proxy forwards is read alike by parsers that have nothing in
//! common: h11, Node's parser in C, that of Ruby's `WEBrick`, and the tests' own backend.

mod corpus;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;

use self::corpus::{Case, Meant};
use crate::backend::Backend;
use crate::frames::{Frames, HEADERS, RST_STREAM};
use crate::proxy::Proxy;

/// Who reads, and with what: all are Debian packages, as `scripts/test` has them.
const READERS: [(&str, &str); 3] = [
    ("/usr/bin/python3", "h11_reader.py"),
    ("/usr/bin/python3", "httptools_reader.py"),
    ("/usr/bin/ruby", "webrick_reader.rb"),
];

/// Requests on one connection to the backend.
const A_CONNECTION: usize = 20;

/// Clients at a time.
const CLIENTS: usize = 4;

/// What a reader made of a stream.
struct Reading {
    requests: Vec<Request>,
    end: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    method: String,
    target: String,
    /// By name, and in the order in which they came where names are equal.
    fields: Vec<(String, String)>,
    body: String,
    trailers: Vec<(String, String)>,
}

impl Request {
    fn from_json(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        let pairs = |name: &str| {
            let pair = |pair: &Value| {
                let [name, value] = [0, 1].map(|at| pair[at].as_str().unwrap());
                (name.to_ascii_lowercase(), value.to_owned())
            };
            let mut pairs: Vec<_> = value[name].as_array().unwrap().iter().map(pair).collect();
            pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
            pairs
        };
        let (fields, trailers) = (pairs("fields"), pairs("trailers"));
        let [method, target, body] = ["method", "target", "body"].map(text);
        Self { method, target, fields, body, trailers }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| &value[..])
    }

    /// Its fields without those that the proxy or the framing needs.
    fn own_fields(&self) -> Vec<(String, String)> {
        const PROXYS: [&str; 7] = [
            "content-length",
            "host",
            "transfer-encoding",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
        ];
        self.fields.iter().filter(|(name, _)| !PROXYS.contains(&&name[..])).cloned().collect()
    }
}

/// `PLIMSOLL_REQUESTS` says how many cases, and `PLIMSOLL_SEED` which.
#[test]
fn what_is_forwarded_is_read_alike_by_independent_parsers() {
    let told = |name: &str| std::env::var(name).ok().and_then(|told| told.parse::<u64>().ok());
    let count = told("PLIMSOLL_REQUESTS").unwrap_or(2_000);
    let seed = told("PLIMSOLL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("PLIMSOLL_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut left = count;
    let mut batch = 0;
    let mut sum = Sum::default();
    while left > 0 {
        // What is sent, what came of it and what was made of it is looked at in parts.
        let size = left.min(2_000);
        let mut cases: Vec<Case> = if batch == 0 { corpus::classics() } else { Vec::new() };
        cases.extend((0..size).map(|n| {
            let number = batch * 10_000 + n;
            if n % 4 == 3 {
                return corpus::http2_case(&mut random, number);
            }
            corpus::case(&mut random, number)
        }));
        check(&cases, &mut sum);
        left -= size;
        batch += 1;
    }
    println!("{sum:?}");
    assert!(sum.meant > 0 && sum.forwarded > sum.meant, "{sum:?}");
}

/// What it came to.
#[derive(Debug, Default)]
struct Sum {
    cases: usize,
    /// Requests of which it is known what they are.
    meant: usize,
    forwarded: usize,
    streams: usize,
    /// Streams in which a request was broken off.
    incomplete: usize,
}

fn check(cases: &[Case], sum: &mut Sum) {
    let backend = Backend::recording(A_CONNECTION);
    let times = ["--body-timeout", "0.1", "--header-timeout", "0.1", "--idle-timeout", "0.1"];
    let proxy = Proxy::over(&[&backend], &[&times[..], &["--no-health"]].concat());
    thread::scope(|scope| {
        let proxy = &proxy;
        for part in cases.chunks(cases.len().div_ceil(CLIENTS)) {
            scope.spawn(move || {
                for case in part {
                    send(proxy, case);
                }
            });
        }
    });
    proxy.finish();
    let streams = backend.streams();
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..streams.len())
        .map(|n| {
            let file = folder.path().join(n.to_string());
            fs::write(&file, &streams[n]).unwrap();
            file
        })
        .collect();
    let [h11, httptools, webrick] = READERS.map(|(program, script)| read(program, script, &files));
    let mut whole = 0;
    let mut came: HashMap<String, Vec<Request>> = HashMap::new();
    for (n, stream) in streams.iter().enumerate() {
        let stream = String::from_utf8_lossy(stream);
        let first = &h11[n];
        for (name, other) in [("httptools", &httptools[n]), ("WEBrick", &webrick[n])] {
            // Where it does not go on, as with methods that it does not know.
            let known = if other.end == "stops" { other.requests.len() } else { usize::MAX };
            for (at, request) in first.requests.iter().enumerate().take(known) {
                assert_eq!(Some(request), other.requests.get(at), "h11 and {name} on\n{stream}");
            }
            let count = first.requests.len().min(known);
            assert_eq!(count, other.requests.len(), "h11 and {name} on\n{stream}");
            if other.end != "stops" {
                assert_eq!(first.end, other.end, "h11 and {name} on\n{stream}");
            }
        }
        assert!(["clean", "incomplete"].contains(&&first.end[..]), "{}\n{stream}", first.end);
        whole += first.requests.len();
        sum.incomplete += usize::from(first.end == "incomplete");
        for request in &first.requests {
            if let Some(id) = request.field("x-case") {
                came.entry(id.to_owned()).or_default().push(request.clone());
            }
        }
    }
    let seen = backend.seen().into_iter().filter(|seen| seen.whole).count();
    assert_eq!(whole, seen, "the backend and the parsers");
    let meant: Vec<&Meant> = cases.iter().flat_map(|case| &case.meant).collect();
    for meant in &meant {
        let came = came.get(&meant.id).unwrap_or_else(|| panic!("not forwarded: {meant:?}"));
        let mut fields = meant.fields.clone();
        fields.push(("x-case".to_owned(), meant.id.clone()));
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        // A fault elsewhere may have made another's id of one.
        let is_it = |request: &&Request| {
            request.own_fields() == fields
                && request.method == meant.method
                && request.target == meant.target
                && request.body == meant.body
                && request.trailers == meant.trailers
        };
        assert!(came.iter().any(|request| is_it(&request)), "{meant:?}\n{came:?}");
    }
    sum.cases += cases.len();
    sum.meant += meant.len();
    sum.forwarded += whole;
    sum.streams += streams.len();
}

/// Sends it, and waits until it has come to an end.
fn send(proxy: &Proxy, case: &Case) {
    let mut wire = proxy.connect();
    wire.try_send(&case.bytes);
    if case.streams > 0 {
        let mut frames = Frames { wire };
        let mut left = case.streams;
        while left > 0
            && let Some(frame) = frames.next()
        {
            // Each is answered, or reset.
            left -= usize::from([HEADERS, RST_STREAM].contains(&frame.kind));
        }
        return;
    }
    // What of it was a request is for the others to say.
    wire.try_send("GET /end HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let answers = String::from_utf8_lossy(&wire.all()).into_owned();
    // A refusal of the proxy's own has its reason as a text.
    let hidden = "400 Bad Request\r\nconnection: close\r\ncontent-length: 0";
    let sent = String::from_utf8_lossy(&case.bytes);
    assert!(!answers.contains(hidden), "hyper refused what was let in:\n{sent:?}");
}

/// What one parser makes of each stream.
fn read(program: &str, script: &str, files: &[PathBuf]) -> Vec<Reading> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve/parsers").join(script);
    let output = Command::new(program).arg(&script).args(files).output().expect(program);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} (scripts/test installs it): {said}", script.display());
    let lines = String::from_utf8(output.stdout).unwrap();
    let readings: Vec<_> = lines
        .lines()
        .map(|line| {
            let reading: Value = serde_json::from_str(line).unwrap();
            let requests = reading["requests"].as_array().unwrap();
            Reading {
                requests: requests.iter().map(Request::from_json).collect(),
                end: reading["end"].as_str().unwrap().to_owned(),
            }
        })
        .collect();
    assert_eq!(readings.len(), files.len(), "{said}");
    readings
}
