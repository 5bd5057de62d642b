//! What is shown, and as what.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use plimsoll::{Health, Snapshot, Times, WorkerStats};
use serde_json::{Map, Value, json};

/// Balancers as an operator sees them.
#[derive(Clone, Debug)]
pub struct Overview {
    /// What a worker is called: `backend`, or `worker`. It is in the names of metrics.
    pub word: &'static str,
    /// Whether it serves at all.
    pub serving: Serving,
    /// Each balancer and its workers.
    pub pools: Vec<PoolView>,
    /// What is counted: it only grows.
    pub counters: Vec<Figure>,
    /// What else is so just now.
    pub levels: Vec<Figure>,
    /// Figures of which there are several, by something.
    pub families: Vec<Family>,
}

/// Whether what comes is served, as long as workers can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// By its workers.
    Here,
    /// Another process does, for which this one may stand in.
    Elsewhere,
    /// It ends, and takes nothing new.
    Ending,
}

/// One balancer.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// Its name, where there may be several.
    pub name: Option<String>,
    /// Whether it is told of no more, and only finishes what it has.
    pub leaves: bool,
    /// What it knows.
    pub snapshot: Snapshot,
    /// The workers, in the snapshot's order.
    pub workers: Vec<WorkerView>,
    /// What else is known of each worker.
    pub gauges: Vec<Gauge>,
}

/// What a face knows of one worker.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// What it is called.
    pub name: String,
    /// Whether it is told of no more, and only finishes what it has.
    pub leaves: bool,
    /// What is as an operator has steered it: `draining`, `weight`, `capacity`.
    pub steered: Vec<&'static str>,
}

/// Something of each worker.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// Its key in JSON, and a part of its metric's name.
    pub key: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Of each worker, in order.
    pub values: Vec<u64>,
}

/// Something of the whole.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its key in JSON, and a part of its metric's name.
    pub key: &'static str,
    /// What it is.
    pub help: &'static str,
    /// How much it is.
    pub value: u64,
}

/// Something of which there are several, each with its own label.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its key in JSON, and a part of its metric's name.
    pub key: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Whether it only grows.
    pub counts: bool,
    /// What the label is called.
    pub label: &'static str,
    /// Each label's value, and how much it is.
    pub values: Vec<(String, f64)>,
}

/// What is told of a pool, or of all together.
pub(crate) struct Figures {
    pending: u64,
    pub(crate) waiting: usize,
    longest_wait: Option<Duration>,
    pub(crate) wait: Times,
    pub(crate) run: Times,
    pub(crate) audits: u64,
    pub(crate) regret: f64,
    pub(crate) idle_while_waiting: u64,
}

impl Figures {
    pub(crate) fn of(pools: &[PoolView]) -> Self {
        let snapshots = || pools.iter().map(|pool| &pool.snapshot);
        let together = |times: fn(&Snapshot) -> &Times| {
            snapshots().map(times).fold(Times::new(), |mut all, some| {
                all.add(some);
                all
            })
        };
        let audits = || snapshots().map(|snapshot| &snapshot.audit);
        Self {
            pending: snapshots().map(Snapshot::pending).sum(),
            waiting: snapshots().map(|snapshot| snapshot.waiting).sum(),
            longest_wait: snapshots().filter_map(|snapshot| snapshot.longest_wait).max(),
            wait: together(|snapshot| &snapshot.wait),
            run: together(|snapshot| &snapshot.run),
            audits: audits().map(|audit| audit.audits).sum(),
            regret: audits().map(|audit| audit.regret).sum(),
            idle_while_waiting: audits().map(|audit| audit.idle_while_waiting).sum(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "pending": self.pending,
            "line": {
                "length": self.waiting,
                "longest_wait_seconds": self.longest_wait.map(|time| time.as_secs_f64()),
            },
            "wait_seconds": times(&self.wait),
            "run_seconds": times(&self.run),
            "regret": self.regret,
            "idle_while_waiting": self.idle_while_waiting,
            "audits": self.audits,
        })
    }
}

impl WorkerView {
    /// One that nobody has steered.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), leaves: false, steered: vec![] }
    }
}

/// A worker in its place: what its face and its balancer know of it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) pool: &'a PoolView,
    pub(crate) view: &'a WorkerView,
    pub(crate) stats: &'a WorkerStats,
    nth: usize,
    /// Whether another of the pool has the same name, and the better right to it.
    is_second: bool,
}

impl Seen<'_> {
    /// Its name, of which there are no two in its pool. Where one that leaves has the name of one
    /// that is told anew, it is shown with what its balancer knows it by.
    pub(crate) fn label(&self) -> Cow<'_, str> {
        let name = &self.view.name;
        if self.is_second { format!("{name}~{}", self.stats.id).into() } else { name.into() }
    }

    /// What an operator calls it: no two have the same.
    pub(crate) fn id(&self) -> String {
        match &self.pool.name {
            Some(pool) => format!("{pool}/{}", self.label()),
            None => self.label().into_owned(),
        }
    }

    pub(crate) fn json(&self, word: &str) -> Value {
        let Self { pool, view, stats, nth, .. } = self;
        let mut worker = json!({
            "id": self.id(),
            word: view.name,
            "pending": stats.pending,
            "capacity": stats.capacity,
            "capacity_in_force": stats.capacity_in_force,
            "weight": stats.weight,
            "penalty": stats.penalty,
            "health": match stats.health {
                Health::Starting => "starting",
                Health::Up => "up",
                Health::Down => "down",
            },
            "draining": stats.draining,
            "leaves": view.leaves,
            "steered": view.steered,
            "dispatched": stats.dispatched,
            "completed": stats.completed,
            "failed": stats.failed,
        });
        if let Some(pool) = &pool.name {
            worker["pool"] = pool.as_str().into();
        }
        for gauge in &pool.gauges {
            worker[gauge.key] = gauge.values.get(*nth).copied().into();
        }
        worker
    }
}

impl PoolView {
    /// Of a snapshot, with the workers in its order; the rest is empty.
    pub fn new(snapshot: Snapshot, workers: Vec<WorkerView>) -> Self {
        Self { name: None, leaves: false, snapshot, workers, gauges: vec![] }
    }

    pub(crate) fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        let named = || self.workers.iter().zip(&self.snapshot.workers).enumerate();
        // Who has a name: the first of those that stay, or else of those that go.
        let mut holders = HashMap::new();
        for (nth, (view, stats)) in named() {
            let rank = (view.leaves, stats.draining, nth);
            let best = holders.entry(view.name.as_str()).or_insert(rank);
            *best = rank.min(*best);
        }
        named().map(move |(nth, (view, stats))| {
            let is_second = holders[view.name.as_str()].2 != nth;
            Seen { pool: self, view, stats, nth, is_second }
        })
    }
}

impl Overview {
    /// Of these; the rest is empty.
    pub fn new(word: &'static str, pools: Vec<PoolView>) -> Self {
        let (counters, levels, families) = (vec![], vec![], vec![]);
        Self { word, serving: Serving::Here, pools, counters, levels, families }
    }

    pub(crate) fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        self.pools.iter().flat_map(PoolView::seen)
    }

    /// `/workers`.
    pub(crate) fn json(&self) -> String {
        let mut whole = Figures::of(&self.pools).json();
        whole["workers"] = self.seen().map(|worker| worker.json(self.word)).collect();
        for figure in self.counters.iter().chain(&self.levels) {
            whole[figure.key] = figure.value.into();
        }
        for family in &self.families {
            let values = family.values.iter().map(|(label, value)| (label.clone(), plain(*value)));
            whole[family.key] = Value::Object(values.collect::<Map<_, _>>());
        }
        let named = self.pools.iter().filter_map(|pool| {
            let mut one = Figures::of(std::slice::from_ref(pool)).json();
            one["pool"] = pool.name.as_deref()?.into();
            one["leaves"] = pool.leaves.into();
            Some(one)
        });
        let named: Vec<_> = named.collect();
        if !named.is_empty() {
            whole["pools"] = named.into();
        }
        whole.to_string()
    }
}

/// A whole number where it is one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was looked at")]
fn plain(value: f64) -> Value {
    const MOST: f64 = 9_007_199_254_740_992.0;
    let is_whole = value.fract() == 0.0 && (0.0..=MOST).contains(&value);
    if is_whole { (value as u64).into() } else { value.into() }
}

fn times(times: &Times) -> Value {
    let part = |part| times.quantile(part).as_secs_f64();
    json!({ "count": times.count(), "p50": part(0.5), "p99": part(0.99), "p999": part(0.999) })
}
