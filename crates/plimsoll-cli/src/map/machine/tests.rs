//! The machine against a world of made-up copies that answer, die, hang and
//! babble as a seed says. A failing seed is printed by proptest.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// A copy as the world sees it: what it was written and has not answered.
#[derive(Default)]
struct Copy {
    alive: bool,
    retired: bool,
    read: VecDeque<u8>,
    restart_at: Option<Time>,
}

struct World {
    machine: Machine,
    copies: Vec<Copy>,
    now: Time,
    random: u64,
    printed: Vec<u8>,
    failed: BTreeMap<u64, Failure>,
    /// How often each line killed its copy, by number.
    killed: BTreeMap<u64, u32>,
    input: VecDeque<u64>,
    retries: u32,
    stopped: bool,
}

fn settings(workers: usize, capacity: u32, ordered: bool) -> Settings {
    Settings {
        workers,
        capacity: NonZeroU32::new(capacity).unwrap(),
        retries: 2,
        timeout: Some(Duration::from_secs(1)),
        buffer: 4096,
        ordered,
        keep_place: false,
        end: b'\n',
        keep_times: true,
        seed: 1,
    }
}

impl World {
    fn new(settings: Settings, lines: u64, seed: u64) -> Self {
        let (workers, retries) = (settings.workers, settings.retries);
        let restart = || Copy { restart_at: Some(Time::ZERO), ..Copy::default() };
        Self {
            machine: Machine::new(settings, Time::ZERO),
            copies: (0..workers).map(|_| restart()).collect(),
            now: Time::ZERO,
            random: seed | 1,
            printed: Vec::new(),
            failed: BTreeMap::new(),
            killed: BTreeMap::new(),
            input: (1..=lines).collect(),
            retries,
            stopped: false,
        }
    }

    /// A number below `below`, by xorshift.
    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    /// Poisonous lines kill whoever reads them, always.
    fn is_poisonous(number: u64) -> bool {
        number % 23 == 7
    }

    fn check(&mut self) {
        let counts = self.machine.counts();
        while let Some(failure) = self.machine.poll_failure() {
            let twice = self.failed.insert(failure.number, failure);
            assert!(twice.is_none(), "failed twice: {twice:?}");
        }
        assert_eq!(self.failed.len() as u64, counts.failed);
        self.machine.pool.check_invariants().unwrap();
        let held: usize = (0..self.copies.len()).map(|nth| self.machine.pending(nth)).sum();
        let waiting = self.machine.pool.waiting();
        assert_eq!(self.machine.in_line.len(), waiting);
        assert_eq!(counts.lines, counts.answered + counts.failed + (held + waiting) as u64);
        for (nth, slot) in self.machine.slots.iter().enumerate() {
            assert!(slot.pending() <= self.machine.settings.capacity.get() as usize, "slot {nth}");
        }
    }

    fn die(&mut self, nth: usize, cause: &Cause) {
        let copy = std::mem::take(&mut self.copies[nth]);
        if !copy.retired {
            self.machine.retire(nth, self.now);
        }
        match self.machine.died(nth, cause, self.now) {
            Aftermath::Restart(at) => self.copies[nth].restart_at = Some(at),
            Aftermath::Stop => {
                self.stopped = true;
                self.machine.stop(self.now);
            }
        }
    }

    /// One copy answers its oldest line, or dies over it.
    fn answer(&mut self, nth: usize, mortality: u64) {
        let Some(end) = self.copies[nth].read.iter().position(|&byte| byte == b'\n') else {
            return;
        };
        let line: Vec<u8> = self.copies[nth].read.range(..end).copied().collect();
        let number: u64 = std::str::from_utf8(&line).unwrap().parse().unwrap();
        if Self::is_poisonous(number) || (mortality > 0 && self.draw(mortality) == 0) {
            *self.killed.entry(number).or_default() += 1;
            self.die(nth, &Cause::Died("died".into()));
            return;
        }
        self.copies[nth].read.drain(..=end);
        self.machine.answer(nth, &line, self.now).unwrap();
    }

    fn step(&mut self, mortality: u64) {
        let nth = usize::try_from(self.draw(self.copies.len() as u64)).unwrap();
        match self.draw(10) {
            0..3 => {
                while let Some(&number) = self.input.front() {
                    if !self.machine.offer(number.to_string().as_bytes(), self.now) {
                        break;
                    }
                    self.input.pop_front();
                }
                if self.input.is_empty() {
                    self.machine.end_input();
                }
            }
            3..6 => {
                let Some(parts) = self.machine.to_write(nth).filter(|_| self.copies[nth].alive)
                else {
                    return;
                };
                let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
                let some = 1 + usize::try_from(self.draw(bytes.len() as u64)).unwrap();
                self.machine.wrote(nth, some);
                self.copies[nth].read.extend(&bytes[..some]);
            }
            6..9 => {
                self.machine.refresh_pauses(self.now);
                if self.copies[nth].alive && self.machine.may_read(nth) {
                    self.answer(nth, mortality);
                }
            }
            _ => {
                let output = self.machine.output();
                self.printed.append(output);
            }
        }
        self.now = self.now + Duration::from_millis(10);
        for nth in 0..self.copies.len() {
            let due = self.copies[nth].restart_at.is_some_and(|at| at <= self.now);
            if due && self.machine.needs_copies() {
                self.copies[nth] = Copy { alive: true, ..Copy::default() };
                self.machine.started(nth, true, self.now);
            }
            let copy = &mut self.copies[nth];
            if copy.alive && !copy.retired && self.machine.may_close(nth, self.now) {
                copy.retired = true;
                self.machine.retire(nth, self.now);
            }
            // It saw the end of its input, and ends when it has answered.
            if copy.alive && copy.retired && self.machine.pending(nth) == 0 {
                *copy = Copy { restart_at: Some(self.now), ..Copy::default() };
            }
        }
        if let Some(nth) = self.machine.overdue(self.now) {
            self.die(nth, &Cause::TimedOut(Duration::from_secs(1)));
        }
    }

    /// Steps until all is done, checking everything after each.
    fn run(&mut self, mortality: u64) {
        for _ in 0..200_000 {
            self.step(mortality);
            self.check();
            if self.stopped || self.machine.is_finished() {
                let output = self.machine.output();
                self.printed.append(output);
                return;
            }
        }
        panic!("not finished: {:?}", self.machine.counts());
    }

    fn answers(&self) -> Vec<u64> {
        let text = std::str::from_utf8(&self.printed).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

/// 64 cases, or a quarter of what `PROPTEST_CASES` says: each is long.
fn short() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases / 4, ..usual }
}

proptest! {
    #![proptest_config(short())]

    #[test]
    fn every_line_is_answered_once_or_failed_once(
        workers in 1_usize..6,
        capacity in 1_u32..9,
        ordered: bool,
        mortality in prop_oneof![Just(0), 5_u64..60],
        seed: u64,
    ) {
        let lines = 120;
        let mut settings = settings(workers, capacity, ordered);
        if mortality == 0 {
            // Only the poisonous lines kill.
            settings.timeout = None;
        }
        let mut world = World::new(settings, lines, seed);
        world.run(mortality);
        let counts = world.machine.counts();
        prop_assert_eq!(counts.answered + counts.failed, counts.lines);
        prop_assert_eq!(world.machine.pool.pending(), 0);
        prop_assert!(world.stopped || world.machine.buffered() == 0);
        let mut answers = world.answers();
        prop_assert!(!ordered || answers.is_sorted());
        prop_assert_eq!(answers.len() as u64, counts.answered);
        answers.sort_unstable();
        let failed = world.failed.keys().copied();
        let expected: Vec<u64> =
            (1..=counts.lines).filter(|number| !failed.clone().any(|one| one == *number)).collect();
        prop_assert_eq!(answers, expected);
        // Whoever failed by its copy had all its tries, of which deaths of
        // neighbours took none.
        for failure in world.failed.values() {
            if let Reason::Copy { tries, cause: Cause::Died(_) } = &failure.reason {
                prop_assert_eq!(*tries, world.retries + 1);
            }
        }
        if mortality == 0 && !world.stopped {
            prop_assert_eq!(counts.lines, lines);
            for (number, killed) in &world.killed {
                prop_assert!(World::is_poisonous(*number));
                prop_assert_eq!(*killed, world.retries + 1);
            }
        }
    }
}

fn start_all(machine: &mut Machine) {
    for nth in 0..machine.slots.len() {
        machine.started(nth, false, Time::ZERO);
    }
}

fn write_all(machine: &mut Machine, nth: usize) {
    while let Some(parts) = machine.to_write(nth) {
        let bytes = parts.iter().map(|part| part.len()).sum();
        machine.wrote(nth, bytes);
    }
}

#[test]
fn lines_wait_until_a_copy_is_up_and_has_room() {
    let mut machine = Machine::new(settings(2, 2, true), Time::ZERO);
    assert!(!machine.offer(b"early", Time::ZERO));
    start_all(&mut machine);
    for line in [b"1", b"2", b"3", b"4"] {
        assert!(machine.offer(line, Time::ZERO));
    }
    assert!(!machine.offer(b"5", Time::ZERO));
    assert_eq!([machine.pending(0), machine.pending(1)], [2, 2]);
}

#[test]
fn a_line_that_lost_a_try_runs_alone_and_first() {
    let mut machine = Machine::new(settings(1, 3, true), Time::ZERO);
    start_all(&mut machine);
    for line in [b"1", b"2", b"3"] {
        assert!(machine.offer(line, Time::ZERO));
    }
    machine.retire(0, Time::ZERO);
    let cause = Cause::Died("died".into());
    let Aftermath::Restart(at) = machine.died(0, &cause, Time::ZERO) else { panic!() };
    assert!(at > Time::ZERO, "a copy that answered nothing is not replaced at once");
    machine.started(0, true, at);
    assert_eq!(machine.pending(0), 1);
    write_all(&mut machine, 0);
    machine.answer(0, b"one", at).unwrap();
    assert_eq!(machine.pending(0), 2);
    assert_eq!(machine.output(), b"one\n");
}

#[test]
fn a_full_copy_that_lingers_sees_the_end_though_lines_wait() {
    let mut machine = Machine::new(settings(1, 2, true), Time::ZERO);
    start_all(&mut machine);
    for line in [b"1", b"2"] {
        assert!(machine.offer(line, Time::ZERO));
    }
    machine.retire(0, Time::ZERO);
    let cause = Cause::Died("died".into());
    let Aftermath::Restart(at) = machine.died(0, &cause, Time::ZERO) else { panic!() };
    machine.started(0, true, at);
    write_all(&mut machine, 0);
    let later = at + LINGER;
    assert!(!machine.may_close(0, later), "the input goes on");
    machine.end_input();
    assert!(!machine.may_close(0, at), "it may answer yet");
    assert_eq!(machine.next_close(), Some(later));
    assert!(machine.may_close(0, later));
    machine.retire(0, later);
    assert_eq!(machine.next_close(), None);
    machine.answer(0, b"1", later).unwrap();
    assert!(machine.needs_copies());
    machine.started(0, true, later);
    write_all(&mut machine, 0);
    assert!(machine.may_close(0, later), "nothing waits any more");
}

#[test]
fn an_answer_to_a_line_not_yet_written_is_out_of_turn() {
    let mut machine = Machine::new(settings(1, 3, true), Time::ZERO);
    start_all(&mut machine);
    assert_eq!(machine.answer(0, b"x", Time::ZERO), Err(OutOfTurn));
    assert!(machine.offer(b"12", Time::ZERO));
    machine.wrote(0, 2);
    assert_eq!(machine.answer(0, b"x", Time::ZERO), Err(OutOfTurn));
    machine.wrote(0, 1);
    assert_eq!(machine.answer(0, b"x", Time::ZERO), Ok(()));
    assert_eq!(machine.answer(0, b"x", Time::ZERO), Err(OutOfTurn));
}

#[test]
fn early_answers_and_unanswered_lines_share_the_buffer() {
    let mut machine = Machine::new(settings(2, 1, true), Time::ZERO);
    start_all(&mut machine);
    assert!(machine.offer(b"1", Time::ZERO));
    let first = usize::from(machine.pending(1) == 1);
    let other = 1 - first;
    let mut taken = 0;
    while machine.offer(&[b'x'; 100], Time::ZERO) {
        write_all(&mut machine, other);
        machine.answer(other, &[b'y'; 500], Time::ZERO).unwrap();
        taken += 1;
        assert!(taken < 100, "the buffer has no end");
    }
    assert_eq!(taken, 8, "of 4096 bytes, 532 each");
    assert!(machine.output().is_empty());
    // Room comes from the first line only.
    machine.refresh_pauses(Time::ZERO);
    assert!(machine.may_read(first));
    write_all(&mut machine, first);
    machine.answer(first, b"1", Time::ZERO).unwrap();
    assert_eq!(machine.output().len(), 2 + 8 * 501);
    assert!(machine.offer(b"again", Time::ZERO));
}

#[test]
fn lines_that_are_too_long_fill_the_buffer_behind_one_that_is_not() {
    let mut machine = Machine::new(settings(1, 1, true), Time::ZERO);
    start_all(&mut machine);
    assert!(machine.offer(b"1", Time::ZERO));
    let mut taken = 0;
    while !machine.is_full() {
        machine.too_long();
        taken += 1;
        assert!(taken < 1000, "the buffer has no end");
    }
    assert_eq!(taken, 124, "of 4096 - 129 bytes, 32 each");
    write_all(&mut machine, 0);
    machine.answer(0, b"one", Time::ZERO).unwrap();
    assert!(!machine.is_full());
    assert_eq!(machine.buffered(), 0);
}

#[test]
fn time_stands_still_for_the_head_of_a_copy_that_may_not_answer() {
    let mut machine = Machine::new(settings(1, 1, false), Time::ZERO);
    start_all(&mut machine);
    assert!(machine.offer(b"1", Time::ZERO));
    machine.output.resize(OUTPUT, 0);
    machine.refresh_pauses(Time::ZERO);
    let later = Time::ZERO + Duration::from_secs(100);
    assert_eq!(machine.overdue(later), None);
    machine.output().clear();
    machine.refresh_pauses(later);
    assert_eq!(machine.overdue(later), None);
    assert_eq!(machine.next_due(), Some(later + Duration::from_secs(1)));
    assert_eq!(machine.overdue(later + Duration::from_secs(1)), Some(0));
}

#[test]
fn deaths_over_lines_already_suspected_do_not_stop_the_run() {
    let mut settings = settings(1, 1, true);
    settings.retries = 9;
    let mut machine = Machine::new(settings, Time::ZERO);
    start_all(&mut machine);
    assert!(machine.offer(b"1", Time::ZERO));
    let mut now = Time::ZERO;
    for _ in 0..10 {
        machine.retire(0, now);
        let Aftermath::Restart(at) = machine.died(0, &Cause::Died("died".into()), now) else {
            panic!("stopped");
        };
        now = at;
        machine.started(0, true, now);
    }
    assert_eq!(machine.counts().failed, 1);
    for _ in 0..2 {
        machine.retire(0, now);
        let Aftermath::Stop = machine.died(0, &Cause::Died("died".into()), now) else { continue };
        assert_eq!(machine.barren, 3);
        return;
    }
    panic!("not stopped");
}
