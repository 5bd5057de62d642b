//! What goes over the wire, right and wrong.

use async_nats::HeaderMap;
use plimsoll_nats::headers;

use crate::client::Recorder;
use crate::server::Server;

const SLOW: [&str; 6] =
    ["--workers", "1", "--", "sh", "-c", "while read l; do sleep 0.3; echo $l; done"];

fn with(name: &'static str, value: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(name, value);
    map
}

#[test]
fn headers_say_what_a_request_is_worth() {
    let server = Server::start();
    let _balancer = server.balance(&["--line", "1"]);
    let _workers = server.work(&SLOW);
    let mut recorder = Recorder::new(&server);
    recorder.until_answered();
    let bad = [
        (headers::COST, "0", 400, "whole number from 1"),
        (headers::TIMEOUT, "soon", 400, "milliseconds"),
        (headers::REPEATABLE, "maybe", 400, "true or false"),
        // More than the worker's capacity.
        (headers::COST, "5", 413, "costs more"),
    ];
    for (name, value, code, text) in bad {
        let number = recorder.send_with(with(name, value), false);
        let errors = recorder.wait(number).errors;
        assert!(errors[0].0 == code && errors[0].1.contains(text), "{name}: {errors:?}");
    }
}

#[test]
fn the_line_is_bounded_in_length_and_time() {
    let server = Server::start();
    let _balancer = server.balance(&["--line", "2"]);
    let _workers = server.work(&SLOW);
    let mut recorder = Recorder::new(&server);
    recorder.until_answered();
    // One runs, two wait, one of them for 100 ms at most.
    let runs = recorder.send(false);
    let late = recorder.send_with(with(headers::TIMEOUT, "100"), false);
    let waits = recorder.send(false);
    let refused = recorder.send(false);
    assert_eq!(recorder.wait(refused).errors[0].0, 503);
    assert_eq!(recorder.wait(late).errors[0].0, 504);
    assert!(recorder.fate(runs).replies() == 0, "the late one is told in time");
    for answered in [runs, waits] {
        assert_eq!(recorder.wait(answered).answers, [answered.to_string()]);
    }
}

#[test]
fn n9_what_is_malformed_forged_or_repeated_changes_nothing() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let _workers = server.work(&["--name", "real", "--workers", "1", "--", "cat"]);
    let mut recorder = Recorder::new(&server);
    recorder.until_answered();
    let beats: [&[u8]; 8] = [
        b"",
        b"{",
        b"null",
        br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":-1,"leases":[]}"#,
        br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":NaN,"leases":[]}"#,
        br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":18446744073709551616,"leases":[]}"#,
        br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":4,"leases":[["x",1]]}"#,
        // Of an earlier generation than the one that works.
        br#"{"generation":1,"number":99,"epoch":0,"seen":0,"capacity":400,"leases":[]}"#,
    ];
    for beat in beats {
        recorder.publish("plimsoll.work.done.real.beat", beat);
        recorder.publish("plimsoll.work.done.other.beat", if beat.len() < 90 { beat } else { b"" });
    }
    for topic in ["1-1", "9-9", "x", "0-0", "99999999999999999999-1", "beat.more", ""] {
        recorder.publish(&format!("plimsoll.work.done.real.{topic}x"), b"");
        recorder.publish(&format!("plimsoll.work.done.nobody.{topic}x"), b"failed");
    }
    recorder.publish("plimsoll.work.done.real.1-1", b"nonsense");
    recorder.publish("plimsoll.work.done.nobody.1-1", b"");
    for _ in 0..50 {
        recorder.send(false);
    }
    let fates = recorder.all();
    let is_answered = |fate: &crate::client::Fate| fate.replies() == 1;
    assert!(fates.values().all(is_answered), "{fates:?}");
}

#[test]
fn answers_go_nowhere_where_they_would_be_requests_or_reports() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let _workers = server.work(&["--workers", "1", "--", "cat"]);
    let mut recorder = Recorder::new(&server);
    recorder.until_answered();
    let client = recorder.client.clone();
    for reply in ["work", "plimsoll.work.done.a.beat"] {
        let sent = client.publish_with_reply("work", reply, "x".into());
        recorder.runtime.block_on(sent).unwrap();
    }
    // The first would go round for ever.
    let fate = recorder.ask();
    assert_eq!(fate.answers.len(), 1);
}
