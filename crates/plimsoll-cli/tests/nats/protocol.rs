//! What goes over the wire, right and wrong.

use async_nats::HeaderMap;
use futures_util::StreamExt;
use plimsoll_nats::headers;

use crate::client::Recorder;
use crate::server::{Server, until};

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
    let recorder = Recorder::new(&server);
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
    let recorder = Recorder::new(&server);
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
    let balancer = server.balance(&[]);
    let _workers = server.work(&["--name", "real", "--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let beats: [&[u8]; 9] = [
        b"",
        b"{",
        b"null",
        br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":-1,"leases":[]}"#,
        br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":NaN,"leases":[]}"#,
        br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":18446744073709551616,"leases":[]}"#,
        br#"{"generation":1,"number":1,"epoch":0,"seen":0,"capacity":4,"leases":[["x",1]]}"#,
        br#"{"generation":1,"number":1,"epoch":18446744073709551615,"seen":0,"capacity":4,"leases":[]}"#,
        // Of an earlier generation than the one that works.
        br#"{"generation":1,"number":99,"epoch":0,"seen":0,"capacity":400,"leases":[]}"#,
    ];
    for (nth, beat) in beats.into_iter().enumerate() {
        recorder.publish("plimsoll.work.done.real.beat", beat);
        // The last is sound by itself.
        if nth < 8 {
            recorder.publish("plimsoll.work.done.other.beat", beat);
        }
    }
    for topic in ["1-1", "9-9", "x", "0-0", "99999999999999999999-1", "beat.more", ""] {
        recorder.publish(&format!("plimsoll.work.done.real.{topic}x"), b"");
        recorder.publish(&format!("plimsoll.work.done.nobody.{topic}x"), b"failed");
    }
    recorder.publish("plimsoll.work.done.real.1-1", b"nonsense");
    for ends in ["", "\n", "1-1 nonsense", "1-1  failed", "x", "99999999999999999999-1\n"] {
        recorder.publish("plimsoll.work.done.real.ends", ends.as_bytes());
    }
    recorder.publish("plimsoll.work.done.nobody.1-1", b"");
    for _ in 0..50 {
        recorder.send(false);
    }
    let fates = recorder.all();
    let is_answered = |fate: &crate::client::Fate| fate.replies() == 1;
    assert!(fates.values().all(is_answered), "{fates:?}");
    let workers = balancer.is_settled();
    let names: Vec<_> =
        workers["workers"].as_array().unwrap().iter().map(|it| &it["worker"]).collect();
    assert_eq!(names, ["real"]);
    assert_eq!(workers["workers"][0]["capacity"], 1, "as the worker itself says");
    assert!(workers["malformed"].as_u64() >= Some(26), "{workers}");
    assert_eq!(workers["unknown"], 1, "{workers}");
    assert!(workers["stale"].as_u64() >= Some(1), "{workers}");
}

#[test]
fn an_operator_sees_it_as_a_proxy() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    assert_eq!(balancer.page("/ready"), "no worker takes requests (there is none)\n");
    let _workers = server.work(&["--name", "a", "--workers", "3", "--capacity", "2", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    for _ in 0..5 {
        recorder.ask();
    }
    balancer.is_settled();
    let answered = recorder.fates().values().filter(|fate| !fate.answers.is_empty()).count();
    let metrics = balancer.page("/metrics");
    for line in [
        "plimsoll_worker_capacity{worker=\"a\"} 6".to_owned(),
        "plimsoll_worker_weight{worker=\"a\"} 3".to_owned(),
        "plimsoll_worker_up{worker=\"a\"} 1".to_owned(),
        format!("plimsoll_worker_completed_total{{worker=\"a\"}} {answered}"),
        format!("plimsoll_wait_seconds_count {answered}"),
        format!("plimsoll_run_seconds_count {answered}"),
        "plimsoll_line_length 0".to_owned(),
        "plimsoll_refused_total{reason=\"line_full\"} 0".to_owned(),
        "plimsoll_regret_total 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in\n{metrics}");
    }
    crate::metrics::assert_good(&metrics);
    assert_eq!(balancer.page("/ready"), "it serves\n");
    assert_eq!(balancer.page("/live"), "it runs\n");
    // One that would take over is ready to.
    let second = server.run(&["balance", "--subject", "work", "--admin", "127.0.0.1:0"]);
    assert_eq!(second.page("/ready"), "it stands by: another one serves\n");
}

#[test]
fn natss_own_tools_see_the_service() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let _workers = server.work(&["--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let ask = |subject: &str| -> serde_json::Value {
        let asked = recorder.client.request(subject.to_owned(), "".into());
        let message = recorder.runtime.block_on(asked).unwrap();
        serde_json::from_slice(&message.payload).unwrap()
    };
    let ping = ask("$SRV.PING");
    assert_eq!(
        (&ping["name"], &ping["type"]),
        (&"work".into(), &"io.nats.micro.v1.ping_response".into())
    );
    let info = ask("$SRV.INFO.work");
    assert_eq!(info["endpoints"][0]["subject"], "work");
    std::thread::sleep(std::time::Duration::from_millis(250));
    let stats = ask(&format!("$SRV.STATS.work.{}", ping["id"].as_str().unwrap()));
    let answered = recorder.fates().values().filter(|fate| !fate.answers.is_empty()).count();
    assert_eq!(stats["endpoints"][0]["num_requests"], answered, "{stats}");
    assert!(stats["endpoints"][0]["average_processing_time"].as_u64() > Some(0), "{stats}");
    assert!(stats["started"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn answers_go_nowhere_where_they_would_be_requests_or_reports() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    let _workers = server.work(&["--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let before = balancer.is_settled();
    let client = recorder.client.clone();
    for reply in ["work", "plimsoll.work.done.a.beat"] {
        let sent = client.publish_with_reply("work", reply, "x".into());
        recorder.runtime.block_on(sent).unwrap();
    }
    assert_eq!(recorder.ask().answers.len(), 1);
    // Neither ran, and no answer came back as a request.
    let after = balancer.is_settled();
    let more = |key: &str| after[key].as_u64().unwrap() - before[key].as_u64().unwrap();
    assert_eq!((more("malformed"), more("requests"), more("answered")), (2, 1, 1));
}

/// A beat of a worker with nothing.
fn beat(generation: u64, number: u64, epoch: u64) -> String {
    format!(
        r#"{{"generation":{generation},"number":{number},"epoch":{epoch},"seen":0,"capacity":1,"leases":[]}}"#
    )
}

/// The generation of the next beat of `a`.
fn generation(recorder: &Recorder) -> u64 {
    let client = recorder.client.clone();
    recorder.runtime.block_on(async move {
        let mut beats = client.subscribe("plimsoll.work.done.a.beat").await.unwrap();
        let beat = beats.next().await.unwrap();
        let beat: serde_json::Value = serde_json::from_slice(&beat.payload).unwrap();
        beat["generation"].as_u64().unwrap()
    })
}

#[test]
fn who_says_that_another_leads_is_believed_when_that_cannot_be() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    let epoch = || balancer.workers()["epoch"].as_u64().unwrap();
    let names = || balancer.workers()["workers"].as_array().unwrap().len();
    let recorder = Recorder::new(&server);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let began = epoch();
    let later = began + (1 << 40);
    recorder.publish("plimsoll.work.done.a.beat", beat(1, 1, later).as_bytes());
    recorder.flush();
    // It renews its key first.
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!((epoch(), names()), (began, 0));
    // They are both believed, as often as they say so.
    let mut number = 1;
    until(|| {
        number += 1;
        for (name, later) in [("a", later), ("b", later + (1 << 20))] {
            let subject = format!("plimsoll.work.done.{name}.beat");
            recorder.publish(&subject, beat(1, number, later).as_bytes());
        }
        recorder.flush();
        names() == 2 && epoch() > later + (1 << 20)
    });
}

#[test]
fn a_balancer_of_the_past_gives_nobody_up() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    let _worker = server.work(&["--name", "a", "--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let epoch = balancer.is_settled()["epoch"].as_u64().unwrap();
    let before = generation(&recorder);
    recorder.publish(&format!("plimsoll.work.a.{before}.1.gone"), b"9");
    assert_eq!([(); 2].map(|()| generation(&recorder)), [before; 2]);
    // One of the present does.
    recorder.publish(&format!("plimsoll.work.a.{before}.{epoch}.gone"), b"9");
    until(|| generation(&recorder) != before);
    recorder.until_answered();
    balancer.is_settled();
}

#[test]
fn n9_a_worker_that_is_not_understood_any_more_is_given_up() {
    let server = Server::start();
    let balancer = server.balance(&["--lost-after", "1"]);
    let recorder = Recorder::new(&server);
    let subject = "plimsoll.work.done.odd.beat";
    // It hears what it is given.
    let client = recorder.client.clone();
    let hears = async move { client.subscribe("plimsoll.work.odd.>").await };
    let hears = recorder.runtime.block_on(hears).unwrap();
    recorder.runtime.spawn(hears.for_each(|_| async {}));
    recorder.publish(subject, beat(1, 1, 0).as_bytes());
    recorder.flush();
    until(|| !balancer.workers()["workers"].as_array().unwrap().is_empty());
    let number = recorder.send(false);
    until(|| {
        recorder.publish(subject, br#"{"generation":1,"number":2,"capacity":1e99}"#);
        recorder.fate(number).replies() > 0
    });
    assert_eq!(recorder.fate(number).errors[0].0, 502);
    let books = balancer.is_settled();
    assert!(books["given_up"] == 1 && books["malformed"].as_u64() > Some(5), "{books}");
}

#[test]
fn n9_a_generation_beyond_all_clocks_keeps_no_worker_out() {
    let server = Server::start();
    let balancer = server.balance(&["--lost-after", "1"]);
    let recorder = Recorder::new(&server);
    recorder.publish("plimsoll.work.done.a.beat", beat(1 << 60, 1, 0).as_bytes());
    recorder.flush();
    until(|| balancer.workers()["given_up"] == 1);
    let _worker = server.work(&["--name", "a", "--workers", "1", "--", "cat"]);
    recorder.until_answered();
    balancer.is_settled();
}
