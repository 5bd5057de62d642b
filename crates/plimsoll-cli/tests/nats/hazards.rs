//! What may go wrong on the way: repeated, too much, too large, and a server that is about to end.

use std::io::Write;
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use plimsoll_nats::headers;
use rustix::process::Signal;

use crate::client::{Load, Recorder};
use crate::program::finish;
use crate::server::{Running, SOON, Server, free_port, page};

/// The next message on a subject, whatever `during` does.
fn spied(recorder: &Recorder, subject: &'static str, during: impl FnOnce()) -> Message {
    let mut spy = recorder.runtime.block_on(recorder.client.subscribe(subject)).unwrap();
    recorder.flush();
    during();
    recorder.runtime.block_on(async move {
        let next = tokio::time::timeout(SOON, spy.next()).await;
        next.unwrap().unwrap()
    })
}

/// A requester that may say anything.
struct Raw(TcpStream);

impl Raw {
    fn connect(server: &Server) -> Self {
        let mut raw = Self(TcpStream::connect(("127.0.0.1", server.port())).unwrap());
        raw.send("CONNECT {\"headers\":true,\"no_responders\":true,\"verbose\":false}\r\n");
        raw
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }
}

/// Waits until a count is what it must be; sees that it is no more.
fn counts(balancer: &Running, key: &str, to: u64) {
    let until = Instant::now() + SOON;
    while balancer.workers()[key].as_u64() < Some(to) {
        assert!(Instant::now() < until, "{key}: {}", balancer.workers());
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(150));
    assert_eq!(balancer.workers()[key], to, "{key}");
}

#[test]
fn n3_what_is_told_twice_counts_once() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    let _worker = server.work(&["--name", "a", "--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let delivery = spied(&recorder, "plimsoll.work.a.*.*.request", || drop(recorder.ask()));
    balancer.is_settled();
    let before = balancer.workers();
    let known = |key: &str| before[key].as_u64().unwrap();
    // The report on a lease that was out, in each of its forms.
    let done = delivery.reply.clone().unwrap();
    let lease = done.split(".done.a.").nth(1).unwrap().split('.').next().unwrap().to_owned();
    for end in [&b""[..], b"failed", b"refused"] {
        recorder.publish(&done, end);
    }
    recorder.publish("plimsoll.work.done.a.ends", format!("{lease}\n{lease} failed\n").as_bytes());
    counts(&balancer, "unknown", known("unknown") + 5);
    // The delivery itself: it runs once.
    let again = recorder.client.publish_with_reply(delivery.subject, done, delivery.payload);
    recorder.runtime.block_on(again).unwrap();
    // A beat, word for word.
    let beat = spied(&recorder, "plimsoll.work.done.a.beat", || ());
    sleep(Duration::from_millis(600));
    recorder.publish("plimsoll.work.done.a.beat", &beat.payload);
    counts(&balancer, "stale", known("stale") + 1);
    let fates = recorder.all();
    assert!(fates.values().all(|fate| fate.replies() == 1), "{fates:?}");
    let after = balancer.is_settled();
    for key in ["answered", "lost", "again", "malformed", "unknown"] {
        let more = u64::from(key == "unknown") * 5;
        assert_eq!(after[key], known(key) + more, "{key}: {after}");
    }
}

#[test]
fn n5_a_balancer_that_takes_too_slowly_comes_back() {
    let server =
        Server::with("jetstream { store_dir: FOLDER }\nmax_pending: 1MB\nwrite_deadline: \"0.5s\"");
    let balancer = server.balance(&[]);
    let _worker = server.work(&["--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    balancer.signal(Signal::STOP);
    // More than sockets hold, beside what the server does.
    let payload = Bytes::from(vec![b'x'; 64 << 10]);
    let until = Instant::now() + SOON;
    while !server.log().contains("Slow Consumer") {
        let sent = recorder.client.publish("work", payload.clone());
        recorder.runtime.block_on(sent).unwrap();
        recorder.flush();
        assert!(Instant::now() < until, "{}", server.log());
    }
    balancer.signal(Signal::CONT);
    balancer.wait_for("the connection is lost");
    balancer.wait_for("connected again");
    recorder.until_answered();
    balancer.is_settled();
}

#[test]
fn n6_what_is_too_large_costs_one_request() {
    const MOST: usize = 2048;
    let server = Server::with("jetstream { store_dir: FOLDER }\nmax_payload: 2KB");
    let balancer = server.balance(&[]);
    // As many bytes as are asked for.
    let script = "while read n x; do head -c $n /dev/zero | tr '\\0' x; echo; done";
    let worker = server.work(&["--workers", "1", "--capacity", "4", "--", "sh", "-c", script]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let ask = |words: &[&str], lines: &[String]| {
        let words = [&["request", "work"], words].concat();
        let mut child = server.command(&words).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
        finish(child)
    };
    let long = |bytes: usize| format!("1 {}", "y".repeat(bytes - 2));
    // Requests, and in between one that is as long as may be.
    let done = ask(&[], &[long(MOST + 1), long(MOST), long(MOST + 1)]).expect(1);
    assert_eq!(done.stdout, "x\n");
    for line in ["line 1: ", "line 3: "] {
        let told = done.stderr.lines().find(|told| told.contains(line)).unwrap();
        assert!(told.contains("2048"), "{told}");
    }
    // With a header, which counts.
    let mut map = HeaderMap::new();
    map.insert(headers::COST, "2");
    let room = MOST - "NATS/1.0\r\nPlimsoll-Cost: 2\r\n\r\n".len();
    let done = ask(&["--cost", "2"], &[long(room + 1), long(room)]).expect(1);
    assert_eq!(done.stdout, "x\n", "{}", done.stderr);
    assert!(done.stderr.contains("line 1: ") && done.stderr.contains("2048"), "{}", done.stderr);
    // Answers.
    let done = ask(&[], &[MOST.to_string(), (MOST + 1).to_string(), "3".into()]).expect(1);
    assert_eq!(done.stdout, format!("{}\nxxx\n", "x".repeat(MOST)));
    assert!(done.stderr.contains("line 2: 500 the answer cannot be sent"), "{}", done.stderr);
    // One that the server itself refuses.
    let mut raw = Raw::connect(&server);
    raw.send(&format!("PUB work {}\r\n", MOST + 1));
    assert_eq!(recorder.ask().answers.len(), 1);
    balancer.is_settled();
    for said in [balancer.said(), worker.said()] {
        assert!(!said.contains("lost"), "{said}");
    }
}

#[test]
fn n6_headers_that_are_none_are_survived() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    let _worker = server.work(&["--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let mut raw = Raw::connect(&server);
    for headers in ["NATS/1.0\r\nno colon\r\n\r\n", "NATS/1.0\r\nA: b", "HTTP/1.1 200\r\n\r\n", "x"]
    {
        let length = headers.len();
        raw.send(&format!("HPUB work {length} {}\r\n{headers}1\r\n", length + 1));
        sleep(Duration::from_millis(100));
        recorder.until_answered();
    }
    // The client that reads them gives up its connection, and comes back.
    balancer.wait_for("connected again");
    balancer.is_settled();
}

#[test]
fn n8_a_server_that_is_about_to_end_is_left_for_another() {
    let (port, shown) = (free_port(), free_port());
    let stays = Server::with(&format!(
        "jetstream {{ store_dir: FOLDER }}\nleafnodes {{ listen: \"127.0.0.1:{port}\" }}"
    ));
    // A leaf of the other: what one has the other sees.
    let ends = Server::with(&format!(
        "leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{port}\" }} ] }}\n\
         lame_duck_duration: 30s\nlame_duck_grace_period: 100ms\nhttp: 127.0.0.1:{shown}"
    ));
    let both = format!("{},{}", ends.url(), stays.url());
    let connections = || -> u64 {
        let page = page(&format!("127.0.0.1:{shown}"), "/connz");
        serde_json::from_str::<serde_json::Value>(&page).unwrap()["num_connections"]
            .as_u64()
            .unwrap()
    };
    // The client draws its server: until it is the one that ends.
    let on_the_one = |start: &dyn Fn() -> Running| loop {
        let before = connections();
        let running = start();
        if connections() > before {
            return running;
        }
        running.end();
    };
    while !ends.log().contains("Leafnode connection created") {
        sleep(Duration::from_millis(20));
    }
    let balancer = on_the_one(&|| ends.balance(&["--server", &both]));
    let command = ["--server", &both, "--workers", "2", "--", "cat"];
    let workers = [(); 2].map(|()| on_the_one(&|| ends.work(&command)));
    let recorder = Arc::new(Recorder::new(&stays));
    recorder.until_answered();
    let open = 8;
    let load = Load::begin(&recorder, open);
    sleep(Duration::from_millis(300));
    ends.signal(Signal::USR2);
    for running in workers.iter().chain([&balancer]) {
        running.wait_for("the server is about to end");
        running.wait_for("connected again");
    }
    let moved = Instant::now();
    sleep(Duration::from_millis(500));
    load.end();
    // By then the balancer knows of deliveries that were lost.
    sleep(Duration::from_secs(1));
    let mut odd = recorder.fates();
    odd.retain(|_, fate| fate.replies() != 1);
    // What was on its way when the server closed a connection, of which there were three: requests,
    // answers, and reports on them.
    assert!(odd.len() <= 3 * open, "{odd:?}");
    assert!(odd.values().all(|fate| fate.sent < moved && fate.replies() <= 2), "{odd:?}");
    balancer.is_settled();
}
