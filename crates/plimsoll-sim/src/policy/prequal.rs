//! Prequal: a pool of probe answers, of which the coldest in latency is used,
//! or, when all are hot, the one with the fewest requests in flight.
//!
//! Wydrowski et al., "Load is not what you should balance: Introducing
//! Prequal", NSDI 2024, section 4. Probes take no time here, are sent when a
//! request comes, and serve the requests after it. A worker tells its pending
//! and the median latency of those of its last answers whose pending, when they
//! came, was nearest.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use super::View;
use super::power::Draws;
use crate::streams::Stream;
use crate::units::{self, nanos, parted, scaled, within};

/// The parameters, by their names in the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrequalOptions {
    /// Probe answers that a balancer keeps.
    pub pool: u16,
    /// Probes per request.
    pub probes: f64,
    /// The quantile of pending above which a worker is hot: at 0 all are, at 1 none is.
    pub hot: f64,
    /// Probe answers dropped per request, the worst and the oldest in turn.
    pub remove: f64,
    /// How much faster probe answers come than they are used up.
    pub delta: f64,
    /// How old an answer may be, in seconds.
    pub age: f64,
}

impl Default for PrequalOptions {
    /// Those of the paper's testbed: a pool of 16, 3 probes, hot above the 0.84
    /// quantile, 1 dropped, delta 1, 1 s where the mean service is 80 ms: 12.5 times that.
    fn default() -> Self {
        Self { pool: 16, probes: 3.0, hot: 0.84, remove: 1.0, delta: 1.0, age: 12.5 }
    }
}

impl FromStr for PrequalOptions {
    type Err = String;

    /// `NAME=NUMBER:…`; those not named have their defaults.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for part in text.split(':').filter(|part| !part.is_empty()) {
            let known = || {
                format!("prequal has pool=, probes=, hot=, remove=, delta= and age=, not '{part}'")
            };
            let (name, number) = part.split_once('=').ok_or_else(known)?;
            let value = || number.parse::<f64>().map_err(|_| known());
            match name {
                "pool" => options.pool = number.parse().map_err(|_| known())?,
                "probes" => options.probes = value()?,
                "hot" => options.hot = value()?,
                "remove" => options.remove = value()?,
                "delta" => options.delta = value()?,
                "age" => options.age = value()?,
                _ => return Err(known()),
            }
        }
        options.check()?;
        Ok(options)
    }
}

impl PrequalOptions {
    /// Whether each is within its range.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { pool, probes, hot, remove, delta, age } = *self;
        for (name, number, from, to) in [
            ("pool", f64::from(pool), 2.0, 1000.0),
            ("probes", probes, 0.01, 100.0),
            ("hot", hot, 0.0, 1.0),
            ("remove", remove, 0.0, 100.0),
            ("delta", delta, 0.0, 100.0),
            ("age", age, 1e-6, 1e9),
        ] {
            within(&format!("prequal's {name}"), number, from, to)?;
        }
        Ok(())
    }
}

impl fmt::Display for PrequalOptions {
    /// What differs from the defaults.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::default();
        if self.pool != usual.pool {
            write!(f, ":pool={}", self.pool)?;
        }
        for (name, own, usual) in [
            ("probes", self.probes, usual.probes),
            ("hot", self.hot, usual.hot),
            ("remove", self.remove, usual.remove),
            ("delta", self.delta, usual.delta),
            ("age", self.age, usual.age),
        ] {
            if (own - usual).abs() > 0.0 {
                write!(f, ":{name}={own}")?;
            }
        }
        Ok(())
    }
}

/// Answers that a worker remembers.
const REMEMBERED: usize = 32;
/// Of these, those that its median is of.
const NEAREST: usize = 8;

/// A worker's side: what it tells a probe.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica {
    /// What it had pending when a request came, and the request's latency.
    answers: VecDeque<(u32, u64)>,
}

impl Replica {
    pub(crate) fn answered(&mut self, met: u32, latency: u64) {
        if self.answers.len() == REMEMBERED {
            self.answers.pop_front();
        }
        self.answers.push_back((met, latency));
    }

    /// The latency to expect beside so many pending: the median of those of the
    /// nearest, each in proportion to what it met. Without the proportion a worker
    /// that was overloaded, and is idle now, would tell of the overload for ever, since
    /// it would be asked for no new answer. 0 where nothing is known yet.
    fn latency(&self, pending: u32) -> u64 {
        let mut near: Vec<(u32, u64)> = self
            .answers
            .iter()
            .map(|&(met, latency)| {
                let expected = scaled(latency, f64::from(pending + 1) / f64::from(met));
                (met.abs_diff(pending + 1), expected)
            })
            .collect();
        if near.len() > NEAREST {
            near.select_nth_unstable_by_key(NEAREST - 1, |&(distance, _)| distance);
            near.truncate(NEAREST);
        }
        near.sort_unstable_by_key(|&(_, latency)| latency);
        near.get(near.len() / 2).map_or(0, |&(_, latency)| latency)
    }
}

/// A probe's answer.
#[derive(Clone, Copy, Debug)]
struct Told {
    place: u32,
    pending: u32,
    latency: u64,
    at: u64,
    /// How often it is used before it is dropped.
    uses_left: u64,
}

impl Told {
    /// Cold ones first, by latency; then hot ones, by pending.
    fn rank(&self, hot: Hot) -> (bool, u64) {
        let is_hot = match hot {
            Hot::All => true,
            Hot::Above(pending) => self.pending > pending,
            Hot::None => false,
        };
        (is_hot, if is_hot { u64::from(self.pending) } else { self.latency })
    }
}

/// Who is hot.
#[derive(Clone, Copy, Debug)]
enum Hot {
    All,
    /// Whoever has more pending.
    Above(u32),
    None,
}

/// A balancer's side.
#[derive(Debug)]
pub(crate) struct Prequal {
    options: PrequalOptions,
    with_replacement: bool,
    /// Oldest first.
    pool: VecDeque<Told>,
    /// Pending as told by the last probes, what is hot is told from these: in
    /// order of time, and sorted.
    seen: VecDeque<u32>,
    sorted: Vec<u32>,
    /// Parts of probes and of removals not done yet.
    probes_due: f64,
    removals_due: f64,
    /// Whether the next to be dropped is the worst, or the oldest.
    drops_worst: bool,
}

impl Prequal {
    /// Probes that what is hot is told from.
    const SEEN: usize = 128;

    pub(super) fn new(options: PrequalOptions, with_replacement: bool) -> Self {
        Self {
            options,
            with_replacement,
            pool: VecDeque::new(),
            seen: VecDeque::new(),
            sorted: Vec::new(),
            probes_due: 0.0,
            removals_due: 0.0,
            drops_worst: true,
        }
    }

    pub(super) fn choose(&mut self, view: &View<'_>, rng: &mut Stream) -> u32 {
        let oldest = view.now.saturating_sub(nanos(self.options.age));
        self.pool.retain(|told| told.at >= oldest);
        let chosen =
            if self.pool.len() < 2 { rng.below(view.known.count) } else { self.use_best() };
        self.drop_some();
        self.probe(view, rng);
        chosen
    }

    /// The best of the pool; it is counted as one more pending there, and
    /// dropped when it was used often enough.
    fn use_best(&mut self) -> u32 {
        let hot = self.hot();
        let best = (0..self.pool.len()).min_by_key(|&nth| self.pool[nth].rank(hot)).unwrap_or(0);
        let told = &mut self.pool[best];
        let place = told.place;
        told.pending += 1;
        told.uses_left -= 1;
        if told.uses_left == 0 {
            self.pool.remove(best);
        }
        place
    }

    /// How often an answer is used on average: the paper's `b_reuse`, equation (1). Of one answer
    /// it is rounded up or down, drawn so that this is the average.
    fn reuses(&self, known: u32) -> f64 {
        let PrequalOptions { pool, probes, remove, delta, .. } = self.options;
        let left = (1.0 - f64::from(pool) / f64::from(known)) * probes - remove;
        if left <= 0.0 { f64::INFINITY } else { ((1.0 + delta) / left).max(1.0) }
    }

    fn hot(&self) -> Hot {
        match self.options.hot {
            ..=0.0 => Hot::All,
            1.0.. => Hot::None,
            quantile => {
                let place = units::place(quantile, self.sorted.len());
                self.sorted.get(place).map_or(Hot::None, |&pending| Hot::Above(pending))
            }
        }
    }

    fn see(&mut self, pending: u32) {
        let place = |sorted: &[u32], pending| sorted.partition_point(|&other| other < pending);
        if self.seen.len() == Self::SEEN
            && let Some(oldest) = self.seen.pop_front()
        {
            self.sorted.remove(place(&self.sorted, oldest));
        }
        self.seen.push_back(pending);
        self.sorted.insert(place(&self.sorted, pending), pending);
    }

    fn drop_some(&mut self) {
        self.removals_due += self.options.remove;
        while self.removals_due >= 1.0 {
            self.removals_due -= 1.0;
            if self.drops_worst {
                let hot = self.hot();
                let worst = (0..self.pool.len()).max_by_key(|&nth| self.pool[nth].rank(hot));
                worst.and_then(|worst| self.pool.remove(worst));
            } else {
                self.pool.pop_front();
            }
            self.drops_worst = !self.drops_worst;
        }
    }

    /// The probes of one request go to distinct workers, and to none twice when there are fewer;
    /// with replacement each goes anywhere.
    fn probe(&mut self, view: &View<'_>, rng: &mut Stream) {
        self.probes_due += self.options.probes;
        let mut draws = Draws::new(u32::MAX, self.with_replacement, view.known.count);
        let mut left = if self.with_replacement { u32::MAX } else { view.known.count };
        while self.probes_due >= 1.0 {
            self.probes_due -= 1.0;
            if left == 0 {
                continue;
            }
            left -= 1;
            let place = draws.next(rng);
            let worker = view.known.worker(place);
            let pending = view.fleet.pending(worker);
            self.see(pending);
            let latency = view.replicas[worker as usize].latency(pending);
            if self.pool.len() >= usize::from(self.options.pool) {
                self.pool.pop_front();
            }
            let (uses_left, _) = parted(self.reuses(view.known.count) + rng.unit());
            self.pool.push_back(Told { place, pending, latency, at: view.now, uses_left });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::fleet::Fleet;
    use crate::policy::Known;
    use crate::streams::Purpose;

    #[test]
    fn a_replica_tells_the_median_of_what_was_like_now() {
        let mut replica = Replica::default();
        assert_eq!(replica.latency(3), 0);
        for (met, latency) in [(1, 10), (1, 11), (1, 12), (9, 100), (9, 110), (9, 120)] {
            for _ in 0..3 {
                replica.answered(met, latency);
            }
        }
        assert_eq!((replica.latency(0), replica.latency(8)), (11, 110));
        // Twice the nearest that it has met.
        assert_eq!(replica.latency(17), 220);
    }

    #[test]
    fn what_is_hot_is_told_from_the_quantile() {
        let told = |pending, latency| Told { place: 0, pending, latency, at: 0, uses_left: 1 };
        // One of them has more pending than was ever seen: it was used since.
        let (long, short) = (told(1, 9), told(7, 2));
        let is_better = |hot| {
            let mut prequal =
                Prequal::new(PrequalOptions { hot, ..PrequalOptions::default() }, false);
            (1..=5).for_each(|pending| prequal.see(pending));
            short.rank(prequal.hot()) < long.rank(prequal.hot())
        };
        assert!(is_better(1.0), "latency alone");
        assert!(!is_better(0.5), "it is hot");
        assert!(!is_better(0.0), "pending alone");
        let cold = told(1, 9).rank(Prequal::new(PrequalOptions::default(), false).hot());
        assert_eq!(cold, (false, 9), "nothing is known yet");
        let none = Prequal::new(PrequalOptions { hot: 0.0, ..PrequalOptions::default() }, false);
        assert_eq!(told(0, 9).rank(none.hot()), (true, 0), "not even the least is cold");
    }

    #[test]
    fn reuse_is_as_the_paper_has_it() {
        let prequal = Prequal::new(PrequalOptions::default(), false);
        // (1 + 1) / ((1 - 16/100) × 3 - 1)
        assert!((prequal.reuses(100) - 2.0 / 1.52).abs() < 1e-12);
    }

    /// Uses until all answers of a request's three probes are gone.
    #[test]
    fn an_answer_is_used_as_often_as_reuse_says_on_average() {
        let count = 100;
        let fleet = Fleet::new(&Config { workers: count, ..Config::default() });
        let replicas = vec![Replica::default(); 100];
        let view = View {
            known: Known { first: 0, count, all: count },
            own: &[0; 100],
            fleet: &fleet,
            replicas: &replicas,
            balancers: 1,
            now: 0,
            service: 0,
        };
        let mut rng = Stream::new(1, 0, Purpose::Choices);
        for delta in [1.0, 0.52, 2.8] {
            let mut prequal =
                Prequal::new(PrequalOptions { delta, ..PrequalOptions::default() }, false);
            let (mut answers, mut uses) = (0, 0);
            for _ in 0..5000 {
                prequal.probe(&view, &mut rng);
                answers += prequal.pool.len();
                while !prequal.pool.is_empty() {
                    prequal.use_best();
                    uses += 1;
                }
            }
            let each = f64::from(uses) / units::real(answers as u64);
            assert!((each - prequal.reuses(count)).abs() < 0.02, "{each}, {delta}");
        }
    }
}
