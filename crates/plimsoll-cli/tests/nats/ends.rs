//! What ends `nats work`, and what becomes of its copies of COMMAND.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Recorder;
use crate::server::{Running, SOON, Server};

/// A balancer, and a worker of one copy that has begun a request.
struct Busy {
    _balancer: Running,
    worker: Running,
    recorder: Recorder,
    number: u64,
    noted: PathBuf,
    _folder: tempfile::TempDir,
}

impl Busy {
    /// The copy notes its number at the begin of the second request, which takes so many seconds.
    fn new(server: &Server, takes: &str, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let noted = folder.path().join("noted");
        let at = noted.display();
        let script = format!(
            "read l; echo $l; while read l; do echo $$ > {at}; sleep {takes}; echo $l; done"
        );
        let balancer = server.balance(&[]);
        let words = [&["--workers", "1"], words, &["--", "sh", "-c", &script]].concat();
        let worker = server.work(&words);
        let recorder = Recorder::new(server);
        recorder.until_answered();
        let number = recorder.send(false);
        let busy = Self { _balancer: balancer, worker, recorder, number, noted, _folder: folder };
        busy.group();
        busy
    }

    /// The copy's process group.
    fn group(&self) -> i32 {
        let until = Instant::now() + SOON;
        loop {
            let noted = fs::read_to_string(&self.noted).unwrap_or_default();
            if let Ok(group) = noted.trim().parse() {
                return group;
            }
            assert!(Instant::now() < until, "it does not begin");
            sleep(Duration::from_millis(5));
        }
    }

    fn has_gone(&self) {
        let until = Instant::now() + Duration::from_secs(1);
        while lives(self.group()) {
            assert!(Instant::now() < until, "the copy lives");
            sleep(Duration::from_millis(5));
        }
    }
}

/// Whether anybody of the group lives: what was killed and has no parent may stay as a zombie.
fn lives(group: i32) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    stats.into_iter().any(|stat| {
        let mut words = stat.rsplit(')').next().unwrap().split_whitespace();
        words.next() != Some("Z") && words.nth(1) == Some(&group.to_string())
    })
}

#[test]
fn what_runs_longer_than_the_drain_timeout_is_killed() {
    let server = Server::start();
    let mut busy = Busy::new(&server, "600", &["--drain-timeout", "0.3"]);
    let before = Instant::now();
    busy.worker.signal(Signal::TERM);
    assert_eq!(busy.worker.status(), Some(0));
    let took = before.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(3), "{took:?}");
    busy.has_gone();
    assert_eq!(busy.recorder.wait(busy.number).replies(), 1);
}

#[test]
fn a_second_signal_leaves_nothing_behind() {
    let server = Server::start();
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut busy = Busy::new(&server, "600", &[]);
        busy.worker.signal(signal);
        sleep(Duration::from_millis(100));
        busy.worker.signal(signal);
        assert_eq!(busy.worker.status(), Some(status));
        busy.has_gone();
    }
}

#[test]
fn a_terminal_that_goes_ends_it_as_any_signal() {
    let server = Server::start();
    let mut busy = Busy::new(&server, "0.3", &[]);
    busy.worker.signal(Signal::HUP);
    assert_eq!(busy.worker.status(), Some(0));
    assert_eq!(busy.recorder.wait(busy.number).answers.len(), 1);
    // Unless it was told not to mind.
    let stays = server.run_nohup(&["work", "--subject", "work", "-w", "1", "--", "cat"]);
    stays.wait_for("works on");
    stays.signal(Signal::HUP);
    busy.recorder.until_answered();
    stays.end();
}

#[test]
fn copies_are_shown_the_end_of_their_input() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let folder = tempfile::tempdir().unwrap();
    let flushed = folder.path().join("flushed");
    // The second copy does not end by that: it is asked to.
    let script = format!(
        "case $PLIMSOLL_WORKER in 2) trap 'echo asked >&2; exit' TERM; while :; do sleep 0.1; done; \
         esac; while read l; do echo $l; done; sleep 0.2; echo bye >&2; echo bye > {}",
        flushed.display()
    );
    let worker = server.work(&["--workers", "2", "--", "sh", "-c", &script]);
    let before = Instant::now();
    let said = worker.end();
    let took = before.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(9), "{took:?}");
    assert!(said.contains("bye\n") && said.contains("asked\n"), "{said}");
    assert_eq!(fs::read_to_string(flushed).unwrap(), "bye\n");
}
