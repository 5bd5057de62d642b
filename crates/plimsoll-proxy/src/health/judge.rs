//! What is known of one backend's health, and what follows from it.
//!
//! A pure state machine: it is told what happened and when, and says what to
//! do. Checks raise and lower it by counts in a row; requests lower it by
//! failures in a row or by their share, for a while that doubles each time.

use std::time::{Duration, Instant};

use crate::config::HealthConfig;

/// The share of failures that ejects, and the requests that it takes to tell.
const SHARE: f64 = 0.5;
const ENOUGH: u32 = 20;
/// The time over which that share is taken.
const WINDOW: Duration = Duration::from_secs(10);
/// The first ejection's time; it doubles with each further one.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 5;

/// What is to be done with the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No requests, until checks say otherwise.
    Down,
    /// No requests until then.
    Ejected(Instant),
    /// One request at a time, to see how it goes: its ejection is over.
    Trial,
    /// All that it has room for, after a slow start.
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Up,
    /// Checks failed.
    Failing,
    /// Requests failed; until then it gets none.
    Ejected(Instant),
    Trial,
}

#[derive(Debug)]
pub(crate) struct Judge {
    config: HealthConfig,
    mode: Mode,
    /// Checks in a row that said the other thing than the mode.
    checks: u32,
    /// Requests in a row that failed.
    failures: u32,
    /// Requests since `since`, and those of them that failed.
    seen: u32,
    failed: u32,
    since: Instant,
    ejections: u32,
    /// When it last came back from an ejection.
    back: Instant,
}

impl Judge {
    pub(crate) fn new(config: HealthConfig, now: Instant) -> Self {
        Self {
            config,
            mode: Mode::Up,
            checks: 0,
            failures: 0,
            seen: 0,
            failed: 0,
            since: now,
            ejections: 0,
            back: now,
        }
    }

    /// How it is watched.
    pub(crate) fn settings(&self) -> &HealthConfig {
        &self.config
    }

    /// Other settings. What checks have taken out comes back where there are none any more.
    pub(crate) fn set(&mut self, config: HealthConfig) -> Option<Verdict> {
        self.config = config;
        let stays = self.config.active || self.mode != Mode::Failing;
        (!stays).then(|| self.enter(Mode::Up))
    }

    /// Whether neither checks nor requests have anything against it.
    pub(crate) fn is_up(&self) -> bool {
        self.mode == Mode::Up
    }

    /// Whether it has one place, for a request that tells how it is.
    pub(crate) fn is_on_trial(&self) -> bool {
        self.mode == Mode::Trial
    }

    /// Whether it gets no requests.
    pub(crate) fn is_out(&self) -> bool {
        matches!(self.mode, Mode::Failing | Mode::Ejected(_))
    }

    /// Whether a request is to tell how it is: it is ejected, or on trial with one
    /// place, which a check would take.
    pub(crate) fn awaits_request(&self) -> bool {
        matches!(self.mode, Mode::Ejected(_) | Mode::Trial)
    }

    /// A check has answered.
    pub(crate) fn checked(&mut self, good: bool) -> Option<Verdict> {
        let against = match self.mode {
            Mode::Up | Mode::Trial => !good,
            Mode::Failing => good,
            // Requests have the last word here.
            Mode::Ejected(_) => return None,
        };
        self.checks = if against { self.checks + 1 } else { 0 };
        match self.mode {
            Mode::Failing if self.checks >= self.config.rise => Some(self.enter(Mode::Up)),
            Mode::Up | Mode::Trial if self.checks >= self.config.fall => {
                Some(self.enter(Mode::Failing))
            }
            _ => None,
        }
    }

    /// A request has ended, which it had since `leased`. `may_eject` is asked where
    /// it would be ejected, and does it when it says yes.
    pub(crate) fn served(
        &mut self,
        good: bool,
        may_eject: impl FnOnce() -> bool,
        leased: Instant,
        now: Instant,
    ) -> Option<Verdict> {
        if leased < self.back {
            // From before its ejection: of how it is now it says nothing.
            return None;
        }
        match self.mode {
            Mode::Trial if good => return Some(self.enter(Mode::Up)),
            // At the ceiling it stays on trial, one request at a time.
            Mode::Trial => return may_eject().then(|| self.eject(now)),
            // What was under way before.
            Mode::Failing | Mode::Ejected(_) => return None,
            Mode::Up => {}
        }
        if now.duration_since(self.since) >= WINDOW {
            // A quiet spell makes up for what went before.
            if self.failed == 0 {
                self.ejections = 0;
            }
            (self.seen, self.failed, self.since) = (0, 0, now);
        }
        self.seen += 1;
        if good {
            self.failures = 0;
            return None;
        }
        self.failures += 1;
        self.failed += 1;
        let share = f64::from(self.failed) >= SHARE * f64::from(self.seen);
        let bad = self.failures >= self.config.failures || self.seen >= ENOUGH && share;
        (bad && may_eject()).then(|| self.eject(now))
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Verdict> {
        match self.mode {
            Mode::Ejected(until) if now >= until => {
                self.back = now;
                Some(self.enter(Mode::Trial))
            }
            _ => None,
        }
    }

    fn eject(&mut self, now: Instant) -> Verdict {
        let time = FIRST_EJECTION * 2_u32.pow(self.ejections.min(MOST_DOUBLINGS));
        self.ejections += 1;
        self.enter(Mode::Ejected(now + time))
    }

    fn enter(&mut self, mode: Mode) -> Verdict {
        self.mode = mode;
        (self.checks, self.failures, self.seen, self.failed) = (0, 0, 0, 0);
        match mode {
            Mode::Up => Verdict::Up,
            Mode::Trial => Verdict::Trial,
            Mode::Failing => Verdict::Down,
            Mode::Ejected(until) => Verdict::Ejected(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(now: Instant) -> Judge {
        Judge::new(HealthConfig { rise: 2, fall: 3, failures: 5, ..HealthConfig::default() }, now)
    }

    #[test]
    fn checks_count_in_a_row() {
        let mut judge = judge(Instant::now());
        for (good, expected) in [
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(Verdict::Down)),
            (false, None),
            (true, None),
            (false, None),
            (true, None),
            (true, Some(Verdict::Up)),
            (true, None),
        ] {
            assert_eq!(judge.checked(good), expected);
        }
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time() {
        let mut now = Instant::now();
        let mut judge = judge(now);
        for round in 0..8 {
            let time = Duration::from_secs(2_u64.pow(round.min(5)));
            let rounds = if round == 0 { 5 } else { 1 };
            for n in 1..=rounds {
                let expected = (n == rounds).then_some(Verdict::Ejected(now + time));
                assert_eq!(judge.served(false, || true, now, now), expected);
            }
            assert_eq!(judge.tick(now + time / 2), None);
            now += time;
            assert_eq!(judge.tick(now), Some(Verdict::Trial));
        }
        assert_eq!(judge.served(true, || true, now, now), Some(Verdict::Up));
    }

    #[test]
    fn the_share_of_failures_ejects_when_there_are_enough() {
        let now = Instant::now();
        let mut judge = judge(now);
        let verdicts: Vec<_> = (0..30)
            .map(|n| judge.served(n % 2 == 0, || true, now, now))
            .take_while(Option::is_none)
            .collect();
        assert_eq!(verdicts.len(), 19, "the twentieth request tells");
    }

    #[test]
    fn nothing_is_ejected_beyond_the_ceiling() {
        let now = Instant::now();
        let mut judge = judge(now);
        assert!((0..100).all(|_| judge.served(false, || false, now, now).is_none()));
        assert!(judge.served(false, || true, now, now).is_some());
    }

    #[test]
    fn what_was_under_way_before_an_ejection_decides_no_trial() {
        let now = Instant::now();
        let mut judge = judge(now);
        assert!((0..5).any(|_| judge.served(false, || true, now, now).is_some()));
        let back = now + Duration::from_secs(1);
        assert_eq!(judge.tick(back), Some(Verdict::Trial));
        for good in [true, false] {
            assert_eq!(judge.served(good, || true, now, back), None);
        }
        assert_eq!(judge.served(true, || true, back, back), Some(Verdict::Up));
        assert!((0..10).all(|_| judge.served(false, || true, now, back).is_none()));
    }

    #[test]
    fn checks_do_not_end_an_ejection() {
        let now = Instant::now();
        let mut judge = judge(now);
        assert!((0..5).any(|_| judge.served(false, || true, now, now).is_some()));
        assert!((0..10).all(|_| judge.checked(true).is_none()));
        assert_eq!(judge.tick(now + FIRST_EJECTION), Some(Verdict::Trial));
    }
}
