//! What a dispatcher does with workers that are lost, lie, or come back.

use std::num::NonZeroU16;
use std::time::Duration;

use async_nats::Subject;
use plimsoll_core::Time;
use plimsoll_nats::{
    Beat, Dispatcher, End, Error, Hold, LeaseId, Output, Parcel, Settings, Terms, WorkerName,
};

const EPOCH: u64 = 17;

/// A dispatcher, the clock, and how often each worker has beaten.
struct Bench {
    dispatcher: Dispatcher,
    now: Time,
    beats: u64,
}

/// What came out, without the answers to beats.
#[derive(Debug, PartialEq)]
enum Out {
    Deliver(String, LeaseId),
    Refuse(Error),
    GiveUp(String, u64),
}

impl Bench {
    fn new(settings: Settings, seed: u64) -> Self {
        let dispatcher = Dispatcher::new("resize".parse().unwrap(), settings, EPOCH, seed);
        Self { dispatcher, now: Time::ZERO, beats: 0 }
    }

    /// A beat of generation 1 from a worker of capacity 4 that has nothing.
    fn idle_beat(&mut self) -> Beat {
        self.beats += 1;
        let text = format!(
            r#"{{"generation":1,"number":{},"epoch":0,"seen":0,"capacity":4,"leases":[]}}"#,
            self.beats
        );
        Beat::read(text.as_bytes()).unwrap()
    }

    fn beat(&mut self, worker: &str, beat: &Beat) -> Vec<Output> {
        self.dispatcher.beat(&worker.parse::<WorkerName>().unwrap(), beat, self.now);
        self.raw()
    }

    fn joins(&mut self, worker: &str) {
        let beat = self.idle_beat();
        let _ = self.beat(worker, &beat);
    }

    fn request(&mut self, terms: Terms) -> Vec<Out> {
        let parcel = Parcel { inbox: Some(Subject::from("inbox")), ..Parcel::default() };
        self.dispatcher.request(parcel, terms, self.now);
        self.outputs()
    }

    /// Time goes by, and all happens when it is due.
    fn wait(&mut self, time: Duration) -> Vec<Out> {
        let until = self.now + time;
        let mut outs = Vec::new();
        while let Some(due) = self.dispatcher.poll_timeout().filter(|&due| due <= until) {
            self.now = due.max(self.now);
            self.dispatcher.handle_timeout(self.now);
            outs.extend(self.outputs());
        }
        self.now = until;
        outs
    }

    fn raw(&mut self) -> Vec<Output> {
        self.dispatcher.check_invariants().unwrap();
        std::iter::from_fn(|| self.dispatcher.poll_output()).collect()
    }

    fn outputs(&mut self) -> Vec<Out> {
        let known = |output| match output {
            Output::Deliver { worker, lease, .. } => Some(Out::Deliver(worker.to_string(), lease)),
            Output::Refuse { error, .. } => Some(Out::Refuse(error)),
            Output::GiveUp { worker, epoch, .. } => Some(Out::GiveUp(worker.to_string(), epoch)),
            Output::Answer { .. } | Output::Attend(_) => None,
        };
        self.raw().into_iter().filter_map(known).collect()
    }
}

fn repeatable() -> Terms {
    Terms { is_repeatable: true, ..Terms::default() }
}

/// Who has it.
fn delivered(outs: &[Out]) -> (String, LeaseId) {
    match outs {
        [Out::Deliver(worker, lease)] => (worker.clone(), *lease),
        other => panic!("it is delivered, and not {other:?}"),
    }
}

fn other_than(worker: &str) -> &'static str {
    if worker == "a" { "b" } else { "a" }
}

#[test]
fn workers_that_are_lost_together_get_nothing_of_each_other() {
    let mut given = Vec::new();
    for seed in 0..16 {
        let mut bench = Bench::new(Settings::default(), seed);
        bench.joins("a");
        bench.joins("b");
        given.push(delivered(&bench.request(repeatable())).0);
        // Nobody is left that could have it.
        assert_eq!(bench.wait(Duration::from_secs(3)), [Out::Refuse(Error::NoWorker)]);
        assert_eq!(bench.dispatcher.workers().count(), 0);
    }
    assert!(given.contains(&"a".to_owned()) && given.contains(&"b".to_owned()));
}

#[test]
fn a_request_whose_deadline_wakes_the_line_is_not_left_with_a_worker_that_is_given_up() {
    let settings = Settings { line_time: None, ..Settings::default() };
    for seed in 0..16 {
        let mut bench = Bench::new(settings, seed);
        for worker in ["a", "b"] {
            bench.joins(worker);
        }
        for _ in 0..7 {
            let _ = bench.request(Terms::default());
        }
        // One has room for one: the first in line stops it until it is too late for that one.
        let cost = |cost: u32| cost.try_into().unwrap();
        let timeout = Some(Duration::from_secs(3));
        assert_eq!(bench.request(Terms { cost: cost(2), timeout, ..Terms::default() }), []);
        assert_eq!(bench.request(Terms::default()), []);
        let outs = bench.wait(Duration::from_secs(3));
        let refused = outs.iter().filter(|out| matches!(out, Out::Refuse(_))).count();
        assert_eq!(refused, 9, "{outs:?}");
    }
}

/// A request that runs for so long, until its worker is silent for 3 s while another beats.
fn lost_after_running_for(bench: &mut Bench, run: Duration) -> (String, Vec<Out>) {
    bench.joins("a");
    bench.joins("b");
    let (worker, lease) = delivered(&bench.request(repeatable()));
    let other = other_than(&worker);
    let mut outs = Vec::new();
    let step = Duration::from_millis(250);
    let end = bench.now + run + Duration::from_secs(3) + step;
    let silent_from = bench.now + run;
    while bench.now < end && outs.is_empty() {
        outs.extend(bench.wait(step));
        let beat = bench.idle_beat();
        let _ = bench.beat(other, &beat);
        if bench.now < silent_from {
            let leases = vec![(lease, 1.try_into().unwrap())];
            let beat = Beat { leases, ..bench.idle_beat() };
            let _ = bench.beat(&worker, &beat);
        }
    }
    (worker, outs)
}

#[test]
fn a_repeatable_request_gets_another_try_however_long_it_ran() {
    for (seed, seconds) in (0..8).zip([0, 1, 8, 60].into_iter().cycle()) {
        let mut bench = Bench::new(Settings::default(), seed);
        let (worker, outs) = lost_after_running_for(&mut bench, Duration::from_secs(seconds));
        assert_eq!(delivered(&outs).0, other_than(&worker), "after {seconds} s");
    }
}

#[test]
fn a_request_that_a_second_worker_is_lost_with_is_not_given_to_a_third() {
    let mut bench = Bench::new(Settings::default(), 1);
    let (first, outs) = lost_after_running_for(&mut bench, Duration::ZERO);
    let (second, _) = delivered(&outs);
    assert_ne!(first, second);
    bench.joins("c");
    bench.dispatcher.leave(&second, bench.now);
    assert_eq!(bench.outputs(), [Out::Refuse(Error::WorkerLost)]);
}

#[test]
fn a_lost_request_whose_own_time_is_over_was_lost_and_did_not_wait() {
    let mut bench = Bench::new(Settings::default(), 1);
    bench.joins("a");
    let timeout = Some(Duration::from_millis(100));
    let _ = delivered(&bench.request(Terms { timeout, ..repeatable() }));
    bench.joins("b");
    bench.now = bench.now + Duration::from_secs(1);
    bench.dispatcher.leave("a", bench.now);
    assert_eq!(bench.outputs(), [Out::Refuse(Error::WorkerLost)]);
}

#[test]
fn a_request_that_nobody_begins_waits_no_longer_for_having_been_refused() {
    let settings = Settings { line_time: Some(Duration::from_secs(1)), ..Settings::default() };
    let mut bench = Bench::new(settings, 1);
    bench.joins("a");
    let (worker, lease) = delivered(&bench.request(Terms::default()));
    bench.joins("b");
    bench.now = bench.now + Duration::from_secs(1);
    bench.dispatcher.done(&worker, lease, End::Refused, bench.now);
    assert_eq!(bench.outputs(), [Out::Refuse(Error::TooLate)]);
}

#[test]
fn what_a_worker_that_is_about_to_leave_has_lost_does_not_go_back_to_it() {
    let mut bench = Bench::new(Settings::default(), 1);
    bench.joins("a");
    let _ = delivered(&bench.request(repeatable()));
    bench.joins("a");
    // It knows the answer that was sent after the delivery, and has it not.
    let beat = Beat { epoch: EPOCH, seen: 2, capacity: 0, ..bench.idle_beat() };
    bench.dispatcher.beat(&"a".parse().unwrap(), &beat, bench.now);
    assert_eq!(bench.outputs(), [Out::Refuse(Error::NoWorker)]);
}

#[test]
fn a_worker_that_knows_an_epoch_beyond_all_is_told_to_begin_anew_and_joins() {
    let mut hold = Hold::new(1, 4, NonZeroU16::MIN);
    // Somebody says so, and the balancer goes above it as far as numbers go.
    let mut bench = Bench::new(Settings::default(), 1);
    let forged = Beat { epoch: u64::MAX - (1 << 16), ..bench.idle_beat() };
    let _ = bench.beat("b", &forged);
    let beat = hold.beat(bench.now);
    for output in bench.beat("a", &beat) {
        if let Output::Answer { epoch, answer, .. } = output {
            assert_eq!(epoch, u64::MAX);
            hold.answered(epoch, &answer, bench.now);
        }
    }
    // The next balancer cannot.
    let mut next = Bench::new(Settings::default(), 2);
    let beat = hold.beat(next.now);
    assert_eq!(beat.epoch, u64::MAX);
    next.dispatcher.beat(&"a".parse().unwrap(), &beat, next.now);
    assert_eq!(next.outputs(), [Out::GiveUp("a".into(), u64::MAX)]);
    hold.begin_anew(0);
    let beat = hold.beat(next.now);
    let _ = next.beat("a", &beat);
    let (worker, lease) = delivered(&next.request(Terms::default()));
    assert_eq!((worker.as_str(), lease.epoch), ("a", EPOCH));
}

#[test]
fn what_is_on_its_way_to_a_worker_that_came_back_is_not_lost() {
    let mut bench = Bench::new(Settings::default(), 1);
    let mut seen = 0;
    for _ in 0..10 {
        let beat = Beat { epoch: EPOCH, seen, ..bench.idle_beat() };
        for output in bench.beat("a", &beat) {
            if let Output::Answer { answer, .. } = output {
                assert!(answer.number > seen);
                seen = answer.number;
            }
        }
    }
    // Forged, say: the worker knows nothing of it, and goes on as it was.
    bench.dispatcher.leave("a", bench.now);
    let again = Beat { epoch: EPOCH, seen, ..bench.idle_beat() };
    let _ = bench.beat("a", &again);
    let _ = delivered(&bench.request(Terms::default()));
    // It was sent before the answer and the delivery came.
    let crossing = Beat { epoch: EPOCH, seen, ..bench.idle_beat() };
    bench.dispatcher.beat(&"a".parse().unwrap(), &crossing, bench.now);
    assert_eq!(bench.outputs(), []);
    assert_eq!(bench.dispatcher.pending(), 1);
}

#[test]
fn a_balancer_that_was_stopped_hears_what_has_come_before_it_gives_anybody_up() {
    let mut bench = Bench::new(Settings::default(), 1);
    bench.joins("a");
    bench.joins("b");
    bench.now = bench.now + Duration::from_secs(4);
    bench.dispatcher.handle_timeout(bench.now);
    assert_eq!(bench.dispatcher.workers().count(), 2);
    // One of them has beaten in the meantime.
    bench.joins("a");
    let _ = bench.wait(Settings::default().beat_every);
    let left: Vec<_> = bench.dispatcher.workers().map(|(name, _)| name.to_string()).collect();
    assert_eq!(left, ["a"]);
}

#[test]
fn a_worker_that_begins_anew_does_not_cost_the_line() {
    let mut bench = Bench::new(Settings::default(), 1);
    bench.joins("a");
    for _ in 0..4 {
        let _ = delivered(&bench.request(repeatable()));
    }
    assert_eq!(bench.request(Terms::default()), []);
    let beat = Beat { generation: 2, ..bench.idle_beat() };
    bench.dispatcher.beat(&"a".parse().unwrap(), &beat, bench.now);
    // Nobody is refused, and requests are wanted all the time.
    let outs = bench.raw();
    let is_delivery = |out: &&Output| matches!(out, Output::Deliver { .. });
    assert_eq!(outs.iter().filter(is_delivery).count(), 4);
    assert!(matches!(outs[0], Output::Answer { .. }));
    assert_eq!(outs.len(), 5, "{outs:?}");
    assert_eq!(bench.dispatcher.waiting(), 1);
}

#[test]
fn what_finds_the_line_full_is_not_kept() {
    let settings = Settings { line: 1, ..Settings::default() };
    let mut bench = Bench::new(settings, 1);
    bench.joins("a");
    for _ in 0..5 {
        let _ = bench.request(Terms::default());
    }
    let payload = bytes::Bytes::from(vec![1; 100]);
    let parcel = Parcel { payload: payload.clone(), ..Parcel::default() };
    bench.dispatcher.request(parcel, Terms::default(), bench.now);
    assert!(payload.is_unique(), "nobody else has it");
    assert_eq!(bench.outputs(), [Out::Refuse(Error::LineFull)]);
}

#[test]
fn settings_that_nobody_could_keep_to_are_refused() {
    let set = |beat_every, lost_after| Settings { beat_every, lost_after, ..Settings::default() };
    let millis = Duration::from_millis;
    assert_eq!(Settings::default().check(), Ok(()));
    assert_eq!(set(millis(1), millis(4)).check(), Ok(()));
    for (beat_every, lost_after) in [
        (Duration::ZERO, millis(3000)),
        (Duration::from_micros(999), millis(3000)),
        (millis(250), millis(999)),
        (millis(250), Duration::MAX),
    ] {
        assert!(set(beat_every, lost_after).check().is_err(), "{beat_every:?} {lost_after:?}");
    }
}
