//! What options do that no other test has to do with.

use std::io::Write;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::StreamExt;
use plimsoll_nats::headers;
use rustix::process::Signal;

use crate::client::Recorder;
use crate::program::finish;
use crate::server::{SOON, Server};

fn asking(server: &Server, words: &[&str], input: &str) -> Child {
    let words = [&["request", "work"], words].concat();
    let mut child = server.command(&words).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child
}

/// Begins what it is asked, takes so many seconds.
fn slowly(seconds: &str) -> [String; 3] {
    ["sh".into(), "-c".into(), format!("while read l; do sleep {seconds}; echo $l; done")]
}

fn work(server: &Server, words: &[&str], command: &[String]) -> crate::server::Running {
    let command = command.iter().map(String::as_str);
    server.work(&words.iter().copied().chain(["--"]).chain(command).collect::<Vec<_>>())
}

#[test]
fn the_line_is_bounded_in_bytes_and_by_an_option_in_time() {
    let server = Server::start();
    let balancer = server.balance(&["--keep", "1", "--line-timeout", "0.2"]);
    let _workers = work(&server, &["--workers", "1"], &slowly("0.6"));
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let large = || bytes::Bytes::from(vec![b'x'; 700_000]);
    let (client, payload) = (recorder.client.clone(), large());
    let runs = recorder.runtime.spawn(async move { client.request("work", payload).await });
    sleep(Duration::from_millis(200));
    // What runs is kept for another try, so that there is no room for as much in line.
    let refused = recorder.client.request("work", large());
    let refused = recorder.runtime.block_on(refused).unwrap();
    assert_eq!(headers::read_error(refused.headers.as_ref()).unwrap().0, 503);
    let again = refused.headers.unwrap().get(headers::RETRY_AFTER).unwrap().as_str().parse();
    assert!((1..=30).contains(&again.unwrap_or(0)));
    let late = recorder.ask();
    assert_eq!(late.errors[0].0, 504);
    assert!(!runs.is_finished(), "it would have had a place");
    let answer = recorder.runtime.block_on(runs).unwrap().unwrap();
    assert_eq!(answer.payload.len(), 700_000);
    balancer.is_settled();
}

#[test]
fn a_balancer_works_off_its_line_for_as_long_as_it_may() {
    let server = Server::start();
    let _workers = work(&server, &["--workers", "1"], &slowly("0.3"));
    for (words, least, most) in [(&[][..], 5, 5), (&["--drain-timeout", "0.7"], 1, 4)] {
        let mut balancer = server.balance(words);
        let recorder = Recorder::new(&server);
        recorder.until_answered();
        let numbers: Vec<_> = (0..5).map(|_| recorder.send(false)).collect();
        recorder.flush();
        sleep(Duration::from_millis(100));
        balancer.signal(Signal::TERM);
        sleep(Duration::from_millis(100));
        // It takes no more, or is not there any more.
        let late = recorder.ask();
        assert!(late.nobody == 1 || late.errors[0].0 == 503, "{late:?}");
        assert_eq!(balancer.status(), Some(0));
        let fates: Vec<_> = numbers.into_iter().map(|number| recorder.wait(number)).collect();
        let answered = fates.iter().filter(|fate| !fate.answers.is_empty()).count();
        assert!((least..=most).contains(&answered), "{fates:?}");
        let others = fates.iter().filter(|fate| fate.answers.is_empty());
        assert!(others.clone().all(|fate| fate.errors[0].0 == 503), "{fates:?}");
        assert!(recorder.all().values().all(|fate| fate.replies() == 1));
    }
}

#[test]
fn without_jetstream_a_balancer_says_that_it_must_be_alone() {
    let server = Server::with("");
    let balancer = server.balance(&[]);
    balancer.wait_for("the server has no JetStream: this must be the only balancer");
    let _workers = server.work(&["--workers", "1", "--", "cat"]);
    Recorder::new(&server).until_answered();
    balancer.end();
}

#[test]
fn a_request_may_take_only_so_long() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let workers = work(&server, &["--workers", "1", "--timeout", "0.3"], &slowly("$l"));
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let done = finish(asking(&server, &["--concurrency", "1"], "0\n600\n0.1\n")).expect(1);
    assert_eq!(done.stdout, "0\n0.1\n");
    assert!(done.stderr.contains("line 2: 500 the worker took too long"), "{}", done.stderr);
    workers.end();
}

#[test]
fn lines_may_end_with_nul() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let words = ["--workers", "1", "--frame", "null", "--", "tr", "a-z", "A-Z"];
    let _workers = server.work(&words);
    Recorder::new(&server).until_answered();
    let folder = tempfile::tempdir().unwrap();
    let [lines, nul] = [("lines", "one\ntwo"), ("nul", "one\0two")].map(|(name, text)| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    });
    let done = finish(asking(&server, &["--file", &lines, "--file", &nul], "")).expect(1);
    assert_eq!(done.stdout, "ONE\nTWO");
    assert!(done.stderr.contains("400 the request contains the byte 0"), "{}", done.stderr);
}

#[test]
fn requests_say_what_they_cost_and_how_they_may_run() {
    let server = Server::start();
    let balancer = server.balance(&[]);
    let _workers = work(&server, &["--name", "a", "--workers", "4"], &slowly("0.5"));
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let spy = recorder.client.subscribe("plimsoll.work.a.*.*.request");
    let mut spy = recorder.runtime.block_on(spy).unwrap();
    recorder.flush();
    // Three of four places each: one runs, one waits, and nobody is above its capacity.
    let words = ["--cost", "3", "--repeatable", "--timeout", "5", "--concurrency", "2"];
    let asking = asking(&server, &words, "a\nb\nc\n");
    let next = async move { tokio::time::timeout(SOON, spy.next()).await.unwrap() };
    let delivered = recorder.runtime.block_on(next).unwrap();
    let told = delivered.headers.unwrap();
    let told = |name: &str| told.get(name).unwrap().to_string();
    assert_eq!(told(headers::COST), "3");
    assert_eq!(told(headers::REPEATABLE), "true");
    assert_eq!(told(headers::TIMEOUT), "5000");
    sleep(Duration::from_millis(250));
    let workers = balancer.workers();
    // The third is not even asked: two at a time are.
    assert_eq!((&workers["pending"], &workers["line"]["length"]), (&3.into(), &1.into()));
    assert_eq!(finish(asking).expect(0).stdout, "a\nb\nc\n");
    let mut map = HeaderMap::new();
    map.insert(headers::COST, "5");
    let number = recorder.send_with(map, false);
    assert_eq!(recorder.wait(number).errors[0].0, 413);
    balancer.is_settled();
}

#[test]
fn more_at_a_time_than_a_worker_may_have_is_said_before_anything_starts() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let many = ["work", "--subject", "x", "--workers", "4096", "--capacity", "5", "--", "touch"];
    let mut command = server.command(&many);
    let done = finish(command.arg(&begun).spawn().unwrap()).expect(2);
    assert!(done.stderr.contains("are 20480 requests at a time"), "{}", done.stderr);
    assert!(!begun.exists());
}
