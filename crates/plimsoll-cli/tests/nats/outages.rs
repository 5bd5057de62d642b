//! A connection that is away for some time, while the server and everybody else stay.

use std::fs;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Load, Recorder};
use crate::server::{Running, Server, free_port, until};
use crate::wire::Wire;

/// More than the client's own buffer holds, which is 2,048 messages.
const MANY: usize = 5000;

/// A balancer that is cut off while many are in its line, all of which it has refused since. It may be
/// the only one, so that it leads on.
struct Full {
    balancer: Running,
    _worker: Running,
    recorder: Recorder,
    wire: Wire,
    _server: Server,
}

impl Full {
    fn new() -> Self {
        let server = Server::with("");
        let wire = Wire::new(&server);
        let line = (2 * MANY).to_string();
        let url = wire.url();
        let words = ["--server", &url, "--line", &line, "--line-timeout", "1.5"];
        let more = ["--drain-timeout", "1", "--lost-after", "15"];
        let balancer = server.balance(&[&words[..], &more].concat());
        // It answers one, and is busy with the next for as long as this takes.
        let script = "read l; echo $l; read l; sleep 4; echo $l; cat";
        let worker = server.work(&["--workers", "1", "--", "sh", "-c", script]);
        let recorder = Recorder::new(&server);
        recorder.until_answered();
        for _ in 0..=MANY {
            recorder.send(false);
        }
        recorder.flush();
        until(|| balancer.workers()["line"]["length"] == MANY);
        wire.cut();
        balancer.wait_for("the connection is lost");
        until(|| balancer.workers()["line"]["length"] == 0);
        Self { balancer, _worker: worker, recorder, wire, _server: server }
    }
}

#[test]
fn n8_what_cannot_be_sent_waits_and_is_in_nobodys_way() {
    let full = Full::new();
    let (balancer, recorder, wire) = (&full.balancer, &full.recorder, &full.wire);
    let refused = || recorder.fates().values().filter(|fate| !fate.errors.is_empty()).count();
    assert_eq!(refused(), 0);
    wire.mend();
    let fates = recorder.all();
    assert_eq!(refused(), MANY);
    assert!(fates.values().all(|fate| fate.replies() == 1));
    recorder.until_answered();
    balancer.is_settled();
}

#[test]
fn n8_a_balancer_that_has_much_to_say_ends_without_a_server() {
    let mut full = Full::new();
    let asked = Instant::now();
    full.balancer.signal(Signal::TERM);
    assert_eq!(full.balancer.status(), Some(0), "{}", full.balancer.said());
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn n8_a_balancer_ends_whose_server_takes_nothing() {
    let server = Server::with("");
    let wire = Wire::new(&server);
    let words = ["--server", &wire.url(), "--line", "0", "--drain-timeout", "0.5"];
    let mut balancer = server.balance(&words);
    let _worker = server.work(&["--workers", "1", "--", "sh", "-c", "read l; echo $l; sleep 60"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    // Requests come, and refusals do not go out: more than the client and sockets hold.
    wire.stall_to_server();
    for _ in 0..500 {
        for _ in 0..200 {
            recorder.send(false);
        }
        recorder.flush();
    }
    // It takes none any more.
    let mut taken = 0;
    until(|| {
        sleep(Duration::from_millis(300));
        let before =
            std::mem::replace(&mut taken, balancer.workers()["requests"].as_u64().unwrap());
        taken == before && taken > 10_000
    });
    balancer.signal(Signal::TERM);
    assert_eq!(balancer.status(), Some(0), "{}", balancer.said());
}

#[test]
fn n8_a_worker_keeps_its_answers_until_it_can_send_them() {
    let server = Server::start();
    let wire = Wire::new(&server);
    let balancer = server.balance(&["--lost-after", "10"]);
    let script = "while read l; do sleep 0.5; echo $l; done";
    let command = ["--server", &wire.url(), "--workers", "8", "--", "sh", "-c", script];
    let _worker = server.work(&command);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    balancer.is_settled();
    let sent: Vec<_> = (0..24).map(|_| recorder.send(false)).collect();
    recorder.flush();
    until(|| balancer.workers()["pending"] == 8);
    wire.cut();
    // All of them have ended, and it is not given up yet.
    sleep(Duration::from_millis(1200));
    assert!(sent.iter().all(|&number| recorder.fate(number).replies() == 0));
    wire.mend();
    let fates = recorder.all();
    for number in sent {
        let fate = &fates[&number];
        assert!(fate.replies() == 1 && fate.answers.len() == 1, "{fate:?}");
    }
    balancer.is_settled();
}

/// Cut off for longer than until it is given up, by a wire that says so or does not.
#[test]
fn n7_a_worker_that_lives_and_is_not_reached_answers_nothing_that_others_may_have() {
    for stalls in [false, true] {
        let server = Server::start();
        let wire = Wire::new(&server);
        let balancer = server.balance(&["--lost-after", "1.5"]);
        let folder = tempfile::tempdir().unwrap();
        let begun = folder.path().join("begun");
        // What it has takes until after it was given up.
        let script =
            format!("while read l; do echo $l >> {}; sleep 2; echo $l; done", begun.display());
        let url = wire.url();
        let words =
            ["--server", &url, "--name", "far", "--workers", "2", "--", "sh", "-c", &script];
        let far = server.work(&words);
        let recorder = Recorder::new(&server);
        until(|| balancer.workers()["workers"].as_array().is_some_and(|all| all.len() == 1));
        let (once, twice) = (recorder.send(false), recorder.send(true));
        recorder.flush();
        until(|| fs::read_to_string(&begun).is_ok_and(|text| text.lines().count() == 2));
        let _near = server.work(&["--name", "near", "--workers", "2", "--", "cat"]);
        if stalls {
            wire.stall();
        } else {
            wire.cut();
        }
        let (once, twice) = (recorder.wait(once), recorder.wait(twice));
        assert!(once.errors.len() == 1 && once.errors[0].0 == 502, "{once:?}");
        assert_eq!(twice.answers.len(), 1, "{twice:?}");
        // The far one's requests are over, too.
        sleep(Duration::from_secs(2));
        if stalls {
            // Nobody tells it: it finds out by itself.
            far.wait_for("the connection is lost");
        }
        wire.mend();
        until(|| balancer.workers()["workers"].as_array().is_some_and(|all| all.len() == 2));
        assert!(recorder.all().values().all(|fate| fate.replies() == 1));
        let books = balancer.is_settled();
        assert!(books["lost"].as_u64() >= Some(2) && books["again"] == 1, "{books}");
        assert!(books["given_up"].as_u64() >= Some(1), "{books}");
        drop(far);
    }
}

/// What is on its way between two servers is lost, and nothing else: requests, answers, reports, beats.
#[test]
fn n8_a_route_that_flaps_leaves_nothing_out() {
    let port = free_port();
    let route = Wire::to(port);
    // Nobody is told of another way there.
    let near = Server::with(&format!(
        "leafnodes {{ listen: \"127.0.0.1:{port}\", advertise: \"{}\" }}",
        route.address()
    ));
    let far = Server::with(&format!(
        "leafnodes {{ reconnect: 1, remotes: [ {{ url: \"nats-leaf://{}\" }} ] }}",
        route.address()
    ));
    let balancer = near.balance(&[]);
    let script = "while read l; do sleep 0.01; echo $l; done";
    let _worker = far.work(&["--workers", "4", "--", "sh", "-c", script]);
    let recorder = Arc::new(Recorder::new(&near));
    recorder.until_answered();
    let open = 8;
    let load = Load::begin(&recorder, open);
    let mut cuts = 0;
    for _ in 0..3 {
        sleep(Duration::from_millis(300));
        let before = far.log().matches("Leafnode connection created").count();
        route.cut();
        cuts += 1;
        sleep(Duration::from_millis(300));
        route.mend();
        until(|| far.log().matches("Leafnode connection created").count() > before);
        recorder.until_answered();
    }
    load.end();
    let fates = recorder.all();
    assert!(fates.values().all(|fate| fate.replies() > 0), "{fates:?}");
    let twice = fates.values().filter(|fate| fate.replies() > 1).count();
    assert!(twice <= cuts * open, "{twice} of {}", fates.len());
    balancer.is_settled();
}

#[test]
fn the_only_balancer_stands_for_leader_once_its_server_can_hold_elections() {
    let mut server = Server::with("");
    let balancer = server.balance(&[]);
    balancer.wait_for("the server has no JetStream");
    let _worker = server.work(&["--workers", "1", "--", "cat"]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    server.end();
    server.begin_with("jetstream { store_dir: FOLDER }");
    balancer.wait_for_times("leads, epoch", 2);
    recorder.until_answered();
    let standby = server.run(&["balance", "--subject", "work"]);
    standby.wait_for("stands by");
    balancer.is_settled();
}
