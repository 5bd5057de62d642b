//! Workers, balancers and servers that die, under load.
//!
//! A second thread keeps more requests open than there are places, so that at each kill some run,
//! some wait and some are on their way. What may be odd, that is have no reply or two, is what was
//! open then, by number; whatever came later has exactly one reply.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Fate, Load, Recorder};
use crate::server::{Running, SOON, Server};

/// The long form has as many as is asked for, the short one a few.
fn times(long: u32, short: u32) -> u32 {
    if std::env::var_os("PLIMSOLL_LONG").is_some() { long } else { short }
}

/// A balancer beside another.
const STANDS_BY: [&str; 5] = ["balance", "--subject", "work", "--admin", "127.0.0.1:0"];

/// Copies of a worker.
const COPIES: usize = 2;

/// A filter that notes what it begins, and whose worker it is. One request in ten takes long.
fn noting(began: &Path, long: &str) -> String {
    format!(
        "while read l; do echo $l $PPID >> {}; case $l in *7) sleep {long};; *) sleep 0.05;; esac; \
         echo $l; done",
        began.display()
    )
}

struct World {
    server: Server,
    began: PathBuf,
    _folder: tempfile::TempDir,
    recorder: Arc<Recorder>,
    /// How many seconds one request in ten takes.
    long: &'static str,
    /// What may have no reply, or two.
    excused: BTreeSet<u64>,
}

impl World {
    fn new(long: &'static str) -> Self {
        let server = Server::start();
        let folder = tempfile::tempdir().unwrap();
        let recorder = Arc::new(Recorder::new(&server));
        let (began, excused) = (folder.path().join("began"), BTreeSet::new());
        Self { began, _folder: folder, server, recorder, long, excused }
    }

    fn work(&self) -> Running {
        let script = noting(&self.began, self.long);
        self.server.work(&["--workers", &COPIES.to_string(), "--", "sh", "-c", &script])
    }

    /// More than `workers` have places for.
    fn load(&self, workers: usize) -> Load {
        Load::begin(&self.recorder, workers * COPIES * 3)
    }

    /// What has begun, each time by which worker.
    fn begun(&self) -> BTreeMap<u64, Vec<u32>> {
        let mut begun: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for line in fs::read_to_string(&self.began).unwrap_or_default().lines() {
            let (number, worker) = line.split_once(' ').unwrap();
            begun.entry(number.parse().unwrap()).or_default().push(worker.parse().unwrap());
        }
        begun
    }

    /// What runs: has begun, and has no reply.
    fn running(&self) -> Vec<(u64, u32)> {
        let begun = self.begun();
        let open = self.recorder.open();
        let runs = |number: u64| Some((number, *begun.get(&number)?.last()?));
        open.into_iter().filter_map(runs).collect()
    }

    /// Waits until one that takes long has begun just now.
    fn until_a_long_one_begins(&self) {
        let long = || -> BTreeSet<u64> {
            let running = self.running().into_iter().map(|(number, _)| number);
            running.filter(|number| number % 10 == 7).collect()
        };
        let (before, until) = (long(), Instant::now() + SOON);
        while long().is_subset(&before) {
            assert!(Instant::now() < until, "{:?}", self.running());
            sleep(Duration::from_millis(20));
        }
    }

    /// What is open may be lost now: some of it runs, and some does not. Nothing is sent while
    /// what this returns is held.
    fn excuse_what_is_open<'a>(&mut self, load: &'a Load) -> MutexGuard<'a, ()> {
        let until = Instant::now() + SOON;
        loop {
            let pause = load.pause();
            let (open, running) = (self.recorder.open(), self.running());
            if !running.is_empty() && open.len() > running.len() {
                self.excused.extend(open);
                return pause;
            }
            drop(pause);
            assert!(Instant::now() < until, "{running:?} runs of {open:?}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until requests are answered; those that it takes are excused.
    fn until_answered(&mut self) {
        let before = self.recorder.fates().len() as u64;
        self.recorder.until_answered();
        self.excused.extend(before..self.recorder.fates().len() as u64);
    }

    /// None that may not run twice has begun twice, and all that are not excused have exactly one
    /// reply; those that are and have not are told.
    fn odd(&self) -> BTreeMap<u64, Fate> {
        let mut fates = self.recorder.all_but(&self.excused);
        for (number, workers) in self.begun() {
            let is_repeatable = fates[&number].is_repeatable;
            assert!(workers.len() == 1 || is_repeatable, "request {number} began: {workers:?}");
        }
        fates.retain(|_, fate| fate.replies() != 1);
        let guilty = fates.iter().find(|(number, _)| !self.excused.contains(number));
        assert!(guilty.is_none(), "{guilty:?}");
        fates
    }

    /// As many run at once as there are places, all are answered, and then nothing pends.
    fn is_sound(&self, balancer: &Running) {
        let before = Instant::now();
        let numbers: Vec<_> = (0..40).map(|_| self.recorder.send(false)).collect();
        for number in numbers {
            assert_eq!(self.recorder.wait(number).answers.len(), 1, "request {number}");
        }
        assert!(before.elapsed() < 2 * SOON, "{:?}", before.elapsed());
        balancer.is_settled();
    }
}

#[test]
fn n7_workers_that_are_killed_cost_no_request_its_reply() {
    let mut world = World::new("0.05");
    let balancer = world.server.balance(&["--lost-after", "1.2"]);
    let mut workers: Vec<_> = (0..3).map(|_| world.work()).collect();
    world.recorder.until_answered();
    let load = world.load(workers.len());
    let (kills, mut held) = (times(100, 6) as usize, 0);
    for _ in 0..kills {
        sleep(Duration::from_millis(300));
        let dies = workers.remove(0);
        let id = dies.id();
        held += world.running().iter().filter(|(_, worker)| *worker == id).count();
        let pause = world.excuse_what_is_open(&load);
        dies.kill();
        drop(pause);
        workers.push(world.work());
    }
    sleep(Duration::from_millis(300));
    load.end();
    // The balancer tells those whose worker it has given up.
    world.recorder.all();
    let odd = world.odd();
    // It may be killed between an answer and its report.
    assert!(odd.values().all(|fate| fate.replies() == 2), "{odd:?}");
    let fates = world.recorder.fates();
    let failed: Vec<_> = fates.values().filter(|fate| fate.answers.is_empty()).collect();
    let counted = balancer.is_settled();
    let lost = usize::try_from(counted["lost"].as_u64().unwrap()).unwrap();
    // One that may run twice fails when it was lost twice.
    let losses: usize = failed.iter().map(|fate| 1 + usize::from(fate.is_repeatable)).sum();
    assert!(held >= kills, "{held} ran at {kills} kills");
    assert!(losses <= lost && lost <= kills * COPIES, "{losses} {lost}: {failed:?}");
    assert!(lost > 0, "{counted}");
    world.is_sound(&balancer);
}

#[test]
fn n2_a_vanished_worker_costs_a_request_no_time() {
    let world = World::new("0.05");
    let balancer = world.server.balance(&["--lost-after", "1.2"]);
    let _lives = world.work();
    let mut least = Duration::MAX;
    for nth in 1..=3 {
        let dies = world.work();
        sleep(Duration::from_millis(500));
        world.recorder.until_answered();
        dies.kill();
        // The server finds out at once, the balancer by what it says.
        let before = Instant::now();
        let numbers: Vec<_> = (0..2).map(|_| world.recorder.send(false)).collect();
        for number in numbers {
            assert_eq!(world.recorder.wait(number).answers.len(), 1);
        }
        least = least.min(before.elapsed());
        assert_eq!(balancer.is_settled()["vanished"], nth);
        if least < Duration::from_millis(100) {
            return;
        }
        // It is given up, so that the next is the only one that is not there.
        sleep(Duration::from_millis(1200));
    }
    // 50 ms of it are the work itself. Once of three times nothing else is at work here.
    panic!("{least:?}");
}

#[test]
fn n1_a_server_that_is_killed_and_comes_back_finds_all_at_work() {
    let mut world = World::new("0.05");
    let balancer = world.server.balance(&["--lost-after", "1.2"]);
    let workers: Vec<_> = (0..2).map(|_| world.work()).collect();
    world.recorder.until_answered();
    let load = world.load(workers.len());
    for nth in 0..times(30, 3) as usize {
        sleep(Duration::from_millis(400));
        // Nothing is sent before the balancer knows again that it leads: the key went with the
        // server.
        let pause = world.excuse_what_is_open(&load);
        world.server.end();
        sleep(Duration::from_millis(300));
        world.server.begin();
        balancer.wait_for_times("leads, epoch", nth + 2);
        world.until_answered();
        drop(pause);
    }
    sleep(Duration::from_millis(400));
    load.end();
    let odd = world.odd();
    assert!(odd.values().all(|fate| fate.replies() <= 2), "{odd:?}");
    world.is_sound(&balancer);
}

#[test]
fn another_balancer_takes_over_from_one_that_is_killed() {
    // Longer than nobody leads.
    let mut world = World::new("2.5");
    let mut first = world.server.balance(&[]);
    let workers: Vec<_> = (0..2).map(|_| world.work()).collect();
    world.recorder.until_answered();
    let load = world.load(workers.len());
    let mut adopted = 0;
    for _ in 0..times(20, 1) {
        let second = world.server.run(&STANDS_BY);
        sleep(Duration::from_millis(600));
        world.until_a_long_one_begins();
        let pause = world.excuse_what_is_open(&load);
        let running = world.running();
        first.kill();
        // The server has noticed.
        world.recorder.until_nobody();
        drop(pause);
        let before = Instant::now();
        second.wait_for("leads");
        world.until_answered();
        // How long nobody led, and at the most what began long ago before it died.
        println!("answered {:?} after the kill", before.elapsed());
        // Workers answer by themselves what they have begun, and the second knows of it.
        for (number, _) in running {
            assert_eq!(world.recorder.wait(number).answers.len(), 1, "request {number}");
        }
        adopted += second.workers()["adopted"].as_u64().unwrap();
        first = second;
    }
    load.end();
    assert!(adopted > 0, "nothing ran that long");
    let odd = world.odd();
    // What was in line, and what was on its way to the balancer that died.
    assert!(odd.values().all(|fate| fate.replies() == 0), "{odd:?}");
    world.is_sound(&first);
}

#[test]
fn a_balancer_that_was_stopped_does_not_act_on_what_it_missed() {
    let mut world = World::new("0.05");
    let mut first = world.server.balance(&[]);
    let workers: Vec<_> = (0..2).map(|_| world.work()).collect();
    world.recorder.until_answered();
    let load = world.load(workers.len());
    for _ in 0..times(10, 1) {
        let second = world.server.run(&STANDS_BY);
        sleep(Duration::from_millis(500));
        drop(world.excuse_what_is_open(&load));
        let from = world.recorder.fates().len() as u64;
        first.signal(Signal::STOP);
        second.wait_for("leads");
        // Until workers have told the second, only the one that is stopped is there for requests.
        world.recorder.until_answered();
        world.excused.extend(from..world.recorder.fates().len() as u64);
        sleep(Duration::from_secs(times(4, 1).into()));
        first.signal(Signal::CONT);
        sleep(Duration::from_millis(500));
        first.wait_for("does not lead any more");
        first.kill();
        first = second;
    }
    load.end();
    let odd = world.odd();
    assert!(odd.values().all(|fate| fate.replies() == 0), "{odd:?}");
    world.is_sound(&first);
}
