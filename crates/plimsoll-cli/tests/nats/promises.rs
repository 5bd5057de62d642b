//! What must hold while all end as they are told, and while a server is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use plimsoll_nats::headers;
use rustix::process::Signal;

use crate::client::Recorder;
use crate::server::{SOON, Server};

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
