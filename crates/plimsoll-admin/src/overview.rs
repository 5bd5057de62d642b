//! What is shown, and as what.

use std::fmt::Write as _;
use std::time::Duration;

use plimsoll::{Health, Snapshot, Times, WorkerStats};
use serde_json::{Map, Value, json};

/// The upper bounds of what `/metrics` counts times in, in seconds.
const BUCKETS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// Balancers as an operator sees them.
#[derive(Clone, Debug)]
pub struct Overview {
    /// What a worker is called: `backend`, or `worker`. It is in the names of metrics.
    pub word: &'static str,
    /// Each balancer and its workers.
    pub pools: Vec<PoolView>,
    /// What is counted: it only grows.
    pub counters: Vec<Figure>,
    /// What else is so just now.
    pub levels: Vec<Figure>,
    /// Requests that got no worker's answer, by reason.
    pub refused: Vec<(String, u64)>,
}

/// One balancer.
#[derive(Clone, Debug)]
pub struct PoolView {
    /// Its name, where there may be several.
    pub name: Option<String>,
    /// What it knows.
    pub snapshot: Snapshot,
    /// The workers' names, in the snapshot's order.
    pub workers: Vec<String>,
    /// What else is known of each worker.
    pub gauges: Vec<Gauge>,
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

/// Counts as Prometheus has them.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

type OfWorker = (&'static str, &'static str, &'static str, fn(&WorkerStats) -> f64);

const OF_WORKER: [OfWorker; 7] = [
    ("pending", "gauge", "Requests that it has.", |stats| f64::from(stats.pending)),
    ("capacity", "gauge", "The most that it has at a time.", |stats| {
        f64::from(stats.capacity_in_force)
    }),
    ("weight", "gauge", "Its share of the work.", |stats| f64::from(stats.weight.get())),
    ("up", "gauge", "1 when it is up.", |stats| f64::from(u8::from(stats.health == Health::Up))),
    ("dispatched_total", "counter", "Leases given.", |stats| float(stats.dispatched)),
    ("completed_total", "counter", "Leases given back.", |stats| float(stats.completed)),
    ("failed_total", "counter", "Of those, for a failure.", |stats| float(stats.failed)),
];

/// What is told of a pool, or of all together.
struct Figures {
    pending: u64,
    waiting: usize,
    longest_wait: Option<Duration>,
    wait: Times,
    run: Times,
    audits: u64,
    regret: f64,
    idle_while_waiting: u64,
}

type OfPool = (&'static str, &'static str, &'static str, fn(&Figures) -> f64);

const OF_POOL: [OfPool; 4] = [
    ("plimsoll_line_length", "gauge", "Requests in line.", |figures| float(figures.waiting as u64)),
    ("plimsoll_audits_total", "counter", "Dispatches that were audited.", |figures| {
        float(figures.audits)
    }),
    (
        "plimsoll_idle_while_waiting_total",
        "counter",
        "Audits that found a request in line beside a worker with room.",
        |figures| float(figures.idle_while_waiting),
    ),
    (
        "plimsoll_regret_total",
        "counter",
        "Load above the least that audited dispatches chose.",
        |figures| figures.regret,
    ),
];

type TimesOfPool = (&'static str, &'static str, fn(&Figures) -> &Times);

const TIMES_OF_POOL: [TimesOfPool; 2] = [
    ("plimsoll_wait_seconds", "From a request's arrival to its lease.", |figures| &figures.wait),
    ("plimsoll_run_seconds", "How long leases were held.", |figures| &figures.run),
];

impl Figures {
    fn of(pools: &[PoolView]) -> Self {
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

impl PoolView {
    /// Of a snapshot, with the workers' names in its order; the rest is empty.
    pub fn new(snapshot: Snapshot, workers: Vec<String>) -> Self {
        Self { name: None, snapshot, workers, gauges: vec![] }
    }

    fn workers(&self) -> impl Iterator<Item = (usize, &str, &WorkerStats)> {
        let named = self.workers.iter().zip(&self.snapshot.workers).enumerate();
        named.map(|(nth, (name, stats))| (nth, name.as_str(), stats))
    }

    /// What its metrics carry.
    fn labels(&self) -> Vec<(&str, &str)> {
        self.name.iter().map(|name| ("pool", name.as_str())).collect()
    }

    fn json_of(&self, word: &str, (nth, name, stats): (usize, &str, &WorkerStats)) -> Value {
        let mut worker = json!({
            word: name,
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
            "dispatched": stats.dispatched,
            "completed": stats.completed,
            "failed": stats.failed,
        });
        if let Some(pool) = &self.name {
            worker["pool"] = pool.as_str().into();
        }
        for gauge in &self.gauges {
            worker[gauge.key] = gauge.values.get(nth).copied().into();
        }
        worker
    }
}

impl Overview {
    /// Of these; the rest is empty.
    pub fn new(word: &'static str, pools: Vec<PoolView>) -> Self {
        Self { word, pools, counters: vec![], levels: vec![], refused: vec![] }
    }

    /// `/workers`.
    pub(crate) fn json(&self) -> String {
        let mut whole = Figures::of(&self.pools).json();
        let workers = |pool| {
            let of_one = move |worker| PoolView::json_of(pool, self.word, worker);
            PoolView::workers(pool).map(of_one)
        };
        whole["workers"] = self.pools.iter().flat_map(workers).collect();
        let refused = self.refused.iter().map(|(reason, count)| (reason.clone(), (*count).into()));
        whole["refused"] = Value::Object(refused.collect::<Map<_, _>>());
        for figure in self.counters.iter().chain(&self.levels) {
            whole[figure.key] = figure.value.into();
        }
        let named = self.pools.iter().filter_map(|pool| {
            let mut one = Figures::of(std::slice::from_ref(pool)).json();
            one["pool"] = pool.name.as_deref()?.into();
            Some(one)
        });
        let named: Vec<_> = named.collect();
        if !named.is_empty() {
            whole["pools"] = named.into();
        }
        whole.to_string()
    }

    /// `/metrics`: the text format of Prometheus, version 0.0.4.
    pub(crate) fn metrics(&self) -> String {
        let mut page = Page::default();
        self.metrics_of_workers(&mut page);
        self.metrics_of_pools(&mut page);
        let name = "plimsoll_refused_total";
        page.head(name, "counter", "Requests that got no worker's answer, by reason.");
        for (reason, count) in &self.refused {
            page.line(name, &[("reason", reason)], float(*count));
        }
        for level in &self.levels {
            let name = format!("plimsoll_{}", level.key);
            page.head(&name, "gauge", level.help);
            page.line(&name, &[], float(level.value));
        }
        for counter in &self.counters {
            let name = format!("plimsoll_{}_total", counter.key);
            page.head(&name, "counter", counter.help);
            page.line(&name, &[], float(counter.value));
        }
        page.text
    }

    fn metrics_of_workers(&self, page: &mut Page) {
        let word = self.word;
        for (key, kind, help, value) in OF_WORKER {
            let name = format!("plimsoll_{word}_{key}");
            page.head(&name, kind, help);
            for pool in &self.pools {
                for (_, worker, stats) in pool.workers() {
                    let labels = [pool.labels(), vec![(word, worker)]].concat();
                    page.line(&name, &labels, value(stats));
                }
            }
        }
        // All pools have the same.
        let gauges = self.pools.first().map_or(&[][..], |pool| &pool.gauges);
        for (which, gauge) in gauges.iter().enumerate() {
            let name = format!("plimsoll_{word}_{}", gauge.key);
            page.head(&name, "gauge", gauge.help);
            for pool in &self.pools {
                for ((_, worker, _), &value) in pool.workers().zip(&pool.gauges[which].values) {
                    let labels = [pool.labels(), vec![(word, worker)]].concat();
                    page.line(&name, &labels, float(value));
                }
            }
        }
    }

    fn metrics_of_pools(&self, page: &mut Page) {
        let one = |pool| Figures::of(std::slice::from_ref(pool));
        let pools: Vec<_> = self.pools.iter().map(|pool| (pool.labels(), one(pool))).collect();
        for (name, kind, help, value) in OF_POOL {
            page.head(name, kind, help);
            for (labels, figures) in &pools {
                page.line(name, labels, value(figures));
            }
        }
        for (name, help, times) in TIMES_OF_POOL {
            page.head(name, "histogram", help);
            for (labels, figures) in &pools {
                page.histogram(name, labels, times(figures));
            }
        }
    }
}

fn times(times: &Times) -> Value {
    let part = |part| times.quantile(part).as_secs_f64();
    json!({ "count": times.count(), "p50": part(0.5), "p99": part(0.99), "p999": part(0.999) })
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (nth, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{}{label}=\"{text}\"", if nth == 0 { '{' } else { ',' });
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], times: &Times) {
        let bucket = format!("{name}_bucket");
        let mut line = |limit: &str, count| {
            self.line(&bucket, &[labels, &[("le", limit)]].concat(), float(count));
        };
        for limit in BUCKETS {
            line(&limit.to_string(), times.within(Duration::from_secs_f64(limit)));
        }
        line("+Inf", times.count());
        self.line(&format!("{name}_sum"), labels, times.sum().as_secs_f64());
        self.line(&format!("{name}_count"), labels, float(times.count()));
    }
}
