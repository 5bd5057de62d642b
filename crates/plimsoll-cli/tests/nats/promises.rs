//! What must hold while all end as they are told, and while a server is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use plimsoll_nats::headers;
use rustix::process::Signal;

use crate::client::Recorder;
use crate::server::{SOON, Server, until};
use crate::wire::Wire;

/// Some 8,000 requests a second, while this is done; then each must have exactly one reply.
fn under_load(recorder: &Arc<Recorder>, act: impl FnOnce()) {
    let is_over = Arc::<AtomicBool>::default();
    let (sender, ends) = (Arc::clone(recorder), Arc::clone(&is_over));
    let load = spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            for _ in 0..16 {
                sender.send(false);
            }
            // In step with the server, so that nothing of it is the client's own line.
            sender.flush();
            sleep(Duration::from_millis(2));
        }
    });
    sleep(Duration::from_millis(150));
    act();
    sleep(Duration::from_millis(150));
    is_over.store(true, Ordering::Relaxed);
    load.join().unwrap();
    let mut fates = recorder.all();
    let sent = fates.len();
    fates.retain(|_, fate| fate.replies() != 1);
    let (first, last) = (fates.first_key_value(), fates.last_key_value());
    assert!(fates.is_empty(), "{} of {sent}, from {first:?} to {last:?}", fates.len());
}

#[test]
fn a_worker_that_is_told_to_end_costs_no_request_its_reply() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    let recorder = Arc::new(Recorder::new(&server));
    for _ in 0..3 {
        // The last one: nobody attends after it.
        let worker = server.work(&["--workers", "2", "--", "cat"]);
        recorder.until_answered();
        under_load(&recorder, || drop(worker.end()));
    }
    balancer.is_settled();
}

#[test]
fn a_balancer_that_is_told_to_end_costs_no_request_its_reply() {
    let server = Server::start();
    let _worker = server.work(&["--workers", "2", "--", "cat"]);
    let recorder = Arc::new(Recorder::new(&server));
    for _ in 0..3 {
        let balancer = server.balance(&[]);
        recorder.until_answered();
        under_load(&recorder, || drop(balancer.end()));
    }
}

/// Where nobody takes over, workers go on only as long as it answers them.
#[test]
fn what_takes_long_is_answered_when_its_only_balancer_is_told_to_end() {
    for config in ["jetstream { store_dir: FOLDER }", ""] {
        let server = Server::with(config);
        let balancer = server.balance(&["--lost-after", "1"]);
        let script = "read l; echo $l; while read l; do sleep 2.5; echo $l; done";
        let _worker = server.work(&["--workers", "1", "--", "sh", "-c", script]);
        let recorder = Recorder::new(&server);
        recorder.until_answered();
        let number = recorder.send(false);
        recorder.flush();
        until(|| balancer.workers()["pending"] == 1);
        let asked = Instant::now();
        let said = balancer.end();
        // Without JetStream it leads until then.
        assert_eq!(said.contains("ends once workers have answered"), !config.is_empty(), "{said}");
        // As soon as it is reported, and not at the end of the time that it has.
        assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
        let fate = recorder.wait(number);
        assert_eq!(fate.answers, [number.to_string()], "{config}: {fate:?}");
    }
}

#[test]
fn a_balancer_that_ends_and_loses_its_lead_meanwhile_tells_those_in_line() {
    let server = Server::start();
    let wire = Wire::new(&server);
    let mut balancer = server.balance(&["--server", &wire.url(), "--lost-after", "6"]);
    // Longer than a worker goes on by itself, which was answered last before the cut.
    let script = "read l; echo $l; while read l; do sleep 7; echo $l; done";
    let _worker = server.work(&["--workers", "1", "--", "sh", "-c", script]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let sent: Vec<_> = (0..4).map(|_| recorder.send(false)).collect();
    recorder.flush();
    until(|| balancer.workers()["line"]["length"] == 3);
    balancer.signal(Signal::TERM);
    sleep(Duration::from_millis(300));
    wire.cut();
    // Its key is too old by then.
    sleep(Duration::from_millis(1500));
    wire.mend();
    assert_eq!(balancer.status(), Some(0), "{}", balancer.said());
    for number in &sent[1..] {
        assert_eq!(recorder.wait(*number).errors[0].0, 503);
    }
    assert_eq!(recorder.wait(sent[0]).answers.len(), 1);
    let fates = recorder.all();
    assert!(fates.values().all(|fate| fate.replies() == 1), "{fates:?}");
}

#[test]
fn a_balancer_ends_while_its_server_is_away() {
    let mut server = Server::start();
    let mut balancer = server.balance(&[]);
    server.end();
    // It does not know any more whether it leads.
    sleep(Duration::from_millis(1500));
    let before = Instant::now();
    balancer.signal(Signal::TERM);
    assert_eq!(balancer.status(), Some(0));
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
}

#[test]
fn a_requester_cannot_depose_the_leader() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    let _worker = server.work(&["--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let mut bad = HeaderMap::new();
    bad.insert(headers::COST, "0");
    let inbox = "$KV.plimsoll-leaders.work";
    let sent = recorder.client.publish_with_reply_and_headers("work", inbox, bad, "x".into());
    recorder.runtime.block_on(sent).unwrap();
    recorder.flush();
    // It renews its key three times a second.
    sleep(Duration::from_millis(800));
    assert!(!balancer.said().contains("does not lead"), "{}", balancer.said());
    assert_eq!(recorder.ask().answers.len(), 1);
}
