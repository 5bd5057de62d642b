//! What is told of names, and known of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::{Duration, Instant};

use plimsoll_proxy::{BackendConfig, Config, Family};

use super::{Answer, Question};

/// The bounds of the time until a name is asked for again, whatever its records tell, and of that
/// after a failure.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(300);
const LATEST_RETRY: Duration = Duration::from_secs(30);

/// A name as a pool tells it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) question: Question,
    /// In place of what its records tell.
    pub(crate) weight: Option<NonZeroU16>,
    /// Of each backend.
    pub(crate) capacity: NonZeroU32,
}

/// All names that are told, and what is known of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) server: Option<SocketAddr>,
    pools: Vec<Pool>,
    known: BTreeMap<Question, Known>,
}

/// A pool that has names.
#[derive(Clone, Debug)]
struct Pool {
    name: String,
    /// Those that it tells by their addresses.
    fixed: Vec<BackendConfig>,
    names: Vec<Named>,
}

#[derive(Clone, Debug)]
struct Known {
    /// The last that was good.
    answer: Option<Answer>,
    answered: Instant,
    due: Instant,
    failures: u64,
    /// Of those the last, in a row.
    in_a_row: u32,
    /// Whether an operator knows of them.
    said: bool,
}

/// What has come of a question.
pub(crate) struct Noted {
    /// Whether there are other backends now.
    pub(crate) differs: bool,
    /// What an operator should know.
    pub(crate) say: Option<String>,
}

impl Names {
    /// Those that are told now, with what was known of them.
    pub(crate) fn new(
        server: Option<SocketAddr>,
        names: &BTreeMap<String, Vec<Named>>,
        config: &Config,
        before: &Self,
    ) -> Self {
        let pool = |(name, names): (&String, &Vec<Named>)| {
            let told = config.pools.iter().find(|pool| pool.name == *name);
            let fixed = told.map(|pool| pool.backends.clone()).unwrap_or_default();
            Pool { name: name.clone(), fixed, names: names.clone() }
        };
        let now = Instant::now();
        let unknown =
            Known { answer: None, answered: now, due: now, failures: 0, in_a_row: 0, said: false };
        let known = |named: &Named| {
            let mut known = before.known.get(&named.question).unwrap_or(&unknown).clone();
            // Another server may know it otherwise.
            if server != before.server {
                known.due = now;
            }
            (named.question.clone(), known)
        };
        let known = names.values().flatten().map(known).collect();
        Self { server, pools: names.iter().map(pool).collect(), known }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether it was told, answered or not.
    pub(crate) fn knows(&self, question: &Question) -> bool {
        self.known.contains_key(question)
    }

    /// What was never answered.
    pub(crate) fn unanswered(&self) -> Vec<Question> {
        let unanswered = self.known.iter().filter(|(_, known)| known.answer.is_none());
        unanswered.map(|(question, _)| question.clone()).collect()
    }

    /// What is to be asked by then, with its last answer.
    pub(crate) fn due(&self, now: Instant) -> Vec<(Question, Option<Answer>)> {
        let due = self.known.iter().filter(|(_, known)| known.due <= now);
        due.map(|(question, known)| (question.clone(), known.answer.clone())).collect()
    }

    /// When something is to be asked that is not `under_way`.
    pub(crate) fn next(&self, under_way: impl Fn(&Question) -> bool) -> Option<Instant> {
        let others = self.known.iter().filter(|(question, _)| !under_way(question));
        others.map(|(_, known)| known.due).min()
    }

    /// Notes what has come of a question. What fails keeps the last answer.
    pub(crate) fn note(
        &mut self,
        question: &Question,
        found: Result<Answer, String>,
        now: Instant,
    ) -> Noted {
        let Some(known) = self.known.get_mut(question) else {
            // It is told no more.
            return Noted { differs: false, say: None };
        };
        match found {
            Ok(answer) => {
                // A little later than it must be, so that not all are asked at once.
                let ttl = answer.ttl.clamp(SOONEST, LATEST).mul_f64(1.0 + 0.1 * fastrand::f64());
                known.due = now + ttl;
                let before = known.answer.as_ref().map(|answer| &answer.targets);
                let differs = before != Some(&answer.targets);
                (known.answer, known.answered, known.in_a_row) = (Some(answer), now, 0);
                let say = std::mem::take(&mut known.said);
                let say = say.then(|| format!("dns {question}: it is answered again"));
                Noted { differs, say }
            }
            Err(why) => {
                known.failures += 1;
                let wait = SOONEST * 2_u32.pow(known.in_a_row.min(8));
                known.in_a_row += 1;
                known.due = now + wait.min(LATEST_RETRY).mul_f64(0.9 + 0.2 * fastrand::f64());
                let keeps = match known.answer {
                    Some(_) => "the last answer is kept",
                    None => "it has no backends yet",
                };
                let say = !std::mem::replace(&mut known.said, true);
                let say = say.then(|| format!("dns {question}: {why}; {keeps}"));
                Noted { differs: false, say }
            }
        }
    }

    /// Has it asked for again soon.
    pub(crate) fn postpone(&mut self, question: &Question, now: Instant) {
        if let Some(known) = self.known.get_mut(question) {
            known.due = now + SOONEST;
        }
    }

    /// The backends of each pool that has names. One without any has one that stands for those to
    /// come, and requests wait for it.
    pub(crate) fn backends(&self) -> HashMap<String, Vec<BackendConfig>> {
        let pools = self.pools.iter().map(|pool| (pool.name.clone(), self.backends_of(pool)));
        pools.collect()
    }

    fn backends_of(&self, pool: &Pool) -> Vec<BackendConfig> {
        let mut backends = pool.fixed.clone();
        let mut there: HashSet<_> = backends.iter().map(|backend| backend.name.clone()).collect();
        for named in &pool.names {
            let answer = self.known.get(&named.question).and_then(|known| known.answer.as_ref());
            for (at, weight) in answer.iter().flat_map(|answer| &answer.targets) {
                // Told twice, it is one: as it was told first.
                if there.insert(at.to_string()) {
                    backends.push(named.backend(at.to_string(), vec![*at], *weight));
                }
            }
        }
        if backends.is_empty() {
            let promised = |named: &Named| named.backend(named.question.to_string(), vec![], None);
            backends.extend(pool.names.first().map(promised));
        }
        backends
    }

    /// What operators see of it.
    pub(crate) fn families(&self, now: Instant) -> Vec<Family> {
        if self.is_empty() {
            return vec![];
        }
        let of = |value: &dyn Fn(&Known) -> Option<f64>| {
            let value = |(question, known): (&Question, &Known)| {
                Some((question.to_string(), value(known)?))
            };
            self.known.iter().filter_map(value).collect()
        };
        let age = |known: &Known| {
            known.answer.as_ref()?;
            Some(now.saturating_duration_since(known.answered).as_secs_f64())
        };
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        let failures = |known: &Known| Some(known.failures as f64);
        let family =
            |key, help, counts, values| Family { key, help, counts, label: "name", values };
        vec![
            family(
                "dns_answer_age_seconds",
                "Since the last answer to this name's question.",
                false,
                of(&age),
            ),
            family(
                "dns_failures",
                "Questions that got no answer, or one without backends.",
                true,
                of(&failures),
            ),
        ]
    }
}

impl Named {
    fn backend(
        &self,
        name: String,
        addresses: Vec<SocketAddr>,
        weight: Option<NonZeroU16>,
    ) -> BackendConfig {
        BackendConfig {
            host: self.question.host(),
            capacity: self.capacity,
            weight: self.weight.or(weight).unwrap_or(NonZeroU16::MIN),
            ..BackendConfig::new(name, addresses)
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_proxy::PoolConfig;

    use super::*;

    fn named(question: &str) -> Named {
        let capacity = NonZeroU32::new(4).unwrap();
        Named { question: question.parse().unwrap(), weight: None, capacity }
    }

    fn names(fixed: &[&str], told: &[Named]) -> Names {
        let at = |name: &&str| BackendConfig::new(*name, vec![name.parse().unwrap()]);
        let mut config = Config::new(vec![]);
        config.pools = vec![PoolConfig::new("web", fixed.iter().map(at).collect())];
        let told = BTreeMap::from([("web".to_owned(), told.to_vec())]);
        Names::new(None, &told, &config, &Names::default())
    }

    fn answer(targets: &[(&str, u16)], ttl: u64) -> Answer {
        let target = |&(at, weight): &(&str, u16)| (at.parse().unwrap(), NonZeroU16::new(weight));
        let targets = targets.iter().map(target).collect();
        Answer { targets, ttl: Duration::from_secs(ttl), ..Answer::default() }
    }

    fn shown(names: &Names) -> Vec<(String, u16, bool)> {
        let backends = names.backends().remove("web").unwrap();
        let one = |one: BackendConfig| (one.name, one.weight.get(), one.addresses.is_empty());
        backends.into_iter().map(one).collect()
    }

    #[test]
    fn a_backend_that_is_told_twice_is_as_it_was_told_first() {
        let heavy = Named { weight: NonZeroU16::new(9), ..named("b.c:1") };
        let mut names = names(&["127.0.0.1:1"], &[named("_a._b.c"), heavy]);
        assert_eq!(shown(&names), [("127.0.0.1:1".into(), 1, false)]);
        let found = [("127.0.0.1:1", 5), ("127.0.0.2:1", 5)];
        let now = Instant::now();
        assert!(names.note(&named("_a._b.c").question, Ok(answer(&found, 1)), now).differs);
        let found = [("127.0.0.2:1", 0), ("[::1]:1", 0)];
        assert!(names.note(&named("b.c:1").question, Ok(answer(&found, 1)), now).differs);
        let expected = [("127.0.0.1:1", 1), ("127.0.0.2:1", 5), ("[::1]:1", 9)];
        assert_eq!(shown(&names), expected.map(|(name, weight)| (name.into(), weight, false)));
    }

    #[test]
    fn without_any_one_is_promised() {
        let mut names = names(&[], &[named("b.c:1"), named("d.c:1")]);
        assert_eq!(shown(&names), [("b.c:1".into(), 1, true)]);
        let found = Ok(answer(&[("127.0.0.1:1", 0)], 1));
        assert!(names.note(&named("d.c:1").question, found, Instant::now()).differs);
        assert_eq!(shown(&names), [("127.0.0.1:1".into(), 1, false)]);
    }

    /// As its answer tells, within bounds; after failures less and less often.
    #[test]
    fn a_name_is_asked_for_in_its_time() {
        let told = named("b.c:1");
        let mut names = names(&[], std::slice::from_ref(&told));
        let now = Instant::now();
        let mut after = |found| {
            let noted = names.note(&told.question, found, now);
            let wait = names.next(|_| false).unwrap() - now;
            assert_eq!(names.due(now + wait).len(), 1);
            (wait.as_secs_f64(), noted.differs, noted.say)
        };
        for (ttl, least, most) in [(0, 1.0, 1.1), (20, 20.0, 22.0), (86400, 300.0, 330.0)] {
            let (wait, differs, _) = after(Ok(answer(&[("127.0.0.1:1", 0)], ttl)));
            assert!((least..=most).contains(&wait) && differs == (ttl == 0), "{wait}");
        }
        for (nth, expected) in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0].into_iter().enumerate()
        {
            let (wait, differs, say) = after(Err("it is not there".into()));
            assert!((wait / expected - 1.0).abs() <= 0.11 && !differs, "{wait}");
            let said = "dns b.c:1: it is not there; the last answer is kept";
            assert_eq!(say.as_deref(), (nth == 0).then_some(said));
        }
        let (_, differs, say) = after(Ok(answer(&[("127.0.0.1:1", 0)], 1)));
        assert_eq!((differs, say.as_deref()), (false, Some("dns b.c:1: it is answered again")));
    }
}
