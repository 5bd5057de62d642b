//! Workers, balancers and servers that die, under load: rows N1 to N8.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Fate, Recorder};
use crate::server::{Running, Server};

/// The long form has as many as is asked for, the short one a few.
fn times(long: u32, short: u32) -> u32 {
    if std::env::var_os("PLIMSOLL_LONG").is_some() { long } else { short }
}

/// A balancer beside another.
const STANDS_BY: [&str; 5] = ["balance", "--subject", "work", "--admin", "127.0.0.1:0"];

/// A filter that notes what it begins, and answers it after 10 ms.
fn noting(began: &Path) -> String {
    format!("while read l; do echo $l >> {}; sleep 0.01; echo $l; done", began.display())
}

fn begun(file: &Path) -> BTreeMap<u64, u32> {
    let mut begun = BTreeMap::new();
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        *begun.entry(line.parse().unwrap()).or_insert(0) += 1;
    }
    begun
}

struct World {
    server: Server,
    began: std::path::PathBuf,
    _folder: tempfile::TempDir,
    recorder: Recorder,
}

impl World {
    fn new() -> Self {
        let server = Server::start();
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::new(&server);
        Self { began: folder.path().join("began"), _folder: folder, server, recorder }
    }

    fn work(&self) -> Running {
        let script = noting(&self.began);
        self.server.work(&["--workers", "2", "--", "sh", "-c", &script])
    }

    /// About 100 requests a second, every other of which may run twice.
    fn load(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            for n in 0..2 {
                self.recorder.send(n == 0);
            }
            self.recorder.flush();
            sleep(Duration::from_millis(20));
        }
    }

    /// None that may not run twice has begun twice; those that have not exactly one reply.
    fn odd(&self) -> Vec<(u64, Fate)> {
        let fates = self.recorder.all();
        for (number, times) in begun(&self.began) {
            let is_repeatable = fates[&number].is_repeatable;
            assert!(times == 1 || is_repeatable, "request {number} began {times} times");
        }
        fates.into_iter().filter(|(_, fate)| fate.replies() != 1).collect()
    }

    /// As many run at once as there are places, all are answered, and then nothing pends.
    fn is_sound(&mut self, balancer: &Running) {
        let before = Instant::now();
        let numbers: Vec<_> = (0..40).map(|_| self.recorder.send(false)).collect();
        for number in numbers {
            assert_eq!(self.recorder.wait(number).answers.len(), 1, "request {number}");
        }
        assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
        balancer.is_settled();
    }
}

#[test]
fn n7_workers_that_are_killed_cost_no_request_its_reply() {
    let mut world = World::new();
    let balancer = world.server.balance(&["--lost-after", "1.2"]);
    let mut workers: Vec<_> = (0..3).map(|_| world.work()).collect();
    world.recorder.until_answered();
    for _ in 0..times(100, 6) {
        world.load(Duration::from_millis(300));
        workers.remove(0).kill();
        world.load(Duration::from_millis(100));
        workers.push(world.work());
    }
    world.load(Duration::from_millis(300));
    let odd = world.odd();
    assert!(odd.is_empty(), "{odd:?}");
    let fates = world.recorder.fates();
    let failed = fates.values().filter(|fate| fate.answers.is_empty()).count();
    assert!(failed < fates.len() / 4, "{failed} of {} failed", fates.len());
    world.is_sound(&balancer);
}

#[test]
fn n2_a_vanished_worker_costs_a_request_no_time() {
    let mut world = World::new();
    let balancer = world.server.balance(&[]);
    let lives = world.work();
    let dies = world.work();
    world.recorder.until_answered();
    sleep(Duration::from_millis(500));
    dies.kill();
    // The server finds out at once, the balancer by what it says.
    let before = Instant::now();
    let numbers: Vec<_> = (0..2).map(|_| world.recorder.send(false)).collect();
    for number in numbers {
        assert_eq!(world.recorder.wait(number).answers.len(), 1);
    }
    // 10 ms of it are the work itself.
    assert!(before.elapsed() < Duration::from_millis(150), "{:?}", before.elapsed());
    assert_eq!(balancer.is_settled()["vanished"], 1);
    drop(lives);
}

#[test]
fn n1_a_server_that_is_killed_and_comes_back_finds_all_at_work() {
    let mut world = World::new();
    let balancer = world.server.balance(&["--lost-after", "1.2"]);
    let _workers: Vec<_> = (0..2).map(|_| world.work()).collect();
    world.recorder.until_answered();
    for _ in 0..times(30, 3) {
        world.load(Duration::from_millis(500));
        world.server.end();
        sleep(Duration::from_millis(300));
        world.server.begin();
        world.recorder.until_answered();
    }
    let odd = world.odd();
    // The bucket went with the server, so that it is led anew a second later.
    sleep(Duration::from_secs(2));
    // What was on its way is lost, and no more.
    let out = times(30, 3) as usize * 30;
    assert!(odd.len() <= out, "{} of {}", odd.len(), world.recorder.fates().len());
    assert!(odd.iter().all(|(_, fate)| fate.replies() <= 2), "{odd:?}");
    world.is_sound(&balancer);
}

#[test]
fn another_balancer_takes_over_from_one_that_is_killed() {
    let mut world = World::new();
    let mut first = world.server.balance(&[]);
    let _workers: Vec<_> = (0..2).map(|_| world.work()).collect();
    world.recorder.until_answered();
    for _ in 0..times(20, 2) {
        let second = world.server.run(&STANDS_BY);
        world.load(Duration::from_millis(600));
        first.kill();
        let before = Instant::now();
        second.wait_for("leads");
        world.recorder.until_answered();
        assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
        first = second;
    }
    let odd = world.odd();
    let twice: Vec<_> = odd.iter().filter(|(_, fate)| fate.replies() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    // What was in line, and what was on its way to the balancer that died.
    assert!(odd.len() <= times(20, 2) as usize * 20, "{}", odd.len());
    world.is_sound(&first);
}

#[test]
fn a_balancer_that_was_stopped_does_not_act_on_what_it_missed() {
    let mut world = World::new();
    let mut first = world.server.balance(&[]);
    let _workers: Vec<_> = (0..2).map(|_| world.work()).collect();
    world.recorder.until_answered();
    for _ in 0..times(10, 1) {
        let second = world.server.run(&STANDS_BY);
        sleep(Duration::from_millis(500));
        first.signal(Signal::STOP);
        second.wait_for("leads");
        // Until workers have told the second, only the one that is stopped is there for requests.
        sleep(Duration::from_secs(1));
        world.recorder.until_answered();
        world.load(Duration::from_secs(4));
        first.signal(Signal::CONT);
        world.load(Duration::from_millis(500));
        first.wait_for("does not lead any more");
        first.kill();
        first = second;
    }
    let twice: Vec<_> = world.odd().into_iter().filter(|(_, fate)| fate.replies() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    world.is_sound(&first);
}
