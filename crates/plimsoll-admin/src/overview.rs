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

/// A balancer as an operator sees it.
#[derive(Clone, Debug)]
pub struct Overview {
    /// What a worker is called: `backend`, or `worker`. It is in the names of metrics.
    pub word: &'static str,
    /// What the balancer knows.
    pub snapshot: Snapshot,
    /// The workers' names, in the snapshot's order.
    pub names: Vec<String>,
    /// What else is known of each worker.
    pub gauges: Vec<Gauge>,
    /// What else is counted: it only grows.
    pub counters: Vec<Figure>,
    /// What else is so just now.
    pub levels: Vec<Figure>,
    /// Requests that got no worker's answer, by reason.
    pub refused: Vec<(String, u64)>,
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

impl Overview {
    /// Of a snapshot, with the workers' names in its order; the rest is empty.
    pub fn new(word: &'static str, snapshot: Snapshot, names: Vec<String>) -> Self {
        Self {
            word,
            snapshot,
            names,
            gauges: vec![],
            counters: vec![],
            levels: vec![],
            refused: vec![],
        }
    }

    fn workers(&self) -> impl Iterator<Item = (usize, &str, &WorkerStats)> {
        let named = self.names.iter().zip(&self.snapshot.workers).enumerate();
        named.map(|(nth, (name, stats))| (nth, name.as_str(), stats))
    }

    /// `/workers`.
    pub(crate) fn json(&self) -> String {
        let snapshot = &self.snapshot;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let mut whole = json!({
            "workers": self.workers().map(|worker| self.worker(worker)).collect::<Vec<_>>(),
            "pending": snapshot.pending(),
            "line": {
                "length": snapshot.waiting,
                "longest_wait_seconds": seconds(snapshot.longest_wait),
            },
            "wait_seconds": times(&snapshot.wait),
            "run_seconds": times(&snapshot.run),
            "refused": self.refused.iter().cloned().map(|(reason, count)| (reason, count.into())).collect::<Map<_, _>>(),
            "regret": snapshot.audit.regret,
            "idle_while_waiting": snapshot.audit.idle_while_waiting,
            "audits": snapshot.audit.audits,
        });
        for figure in self.counters.iter().chain(&self.levels) {
            whole[figure.key] = figure.value.into();
        }
        whole.to_string()
    }

    fn worker(&self, (nth, name, stats): (usize, &str, &WorkerStats)) -> Value {
        let mut worker = json!({
            self.word: name,
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
        for gauge in &self.gauges {
            worker[gauge.key] = gauge.values.get(nth).copied().into();
        }
        worker
    }

    /// `/metrics`: the text format of Prometheus, version 0.0.4.
    pub(crate) fn metrics(&self) -> String {
        let snapshot = &self.snapshot;
        let mut page = Page::default();
        let word = self.word;
        for (key, kind, help, value) in OF_WORKER {
            let name = format!("plimsoll_{word}_{key}");
            page.head(&name, kind, help);
            for (_, worker, stats) in self.workers() {
                page.line(&name, &[(word, worker)], value(stats));
            }
        }
        for gauge in &self.gauges {
            let name = format!("plimsoll_{word}_{}", gauge.key);
            page.head(&name, "gauge", gauge.help);
            for ((_, worker, _), &value) in self.workers().zip(&gauge.values) {
                page.line(&name, &[(word, worker)], float(value));
            }
        }
        page.head("plimsoll_line_length", "gauge", "Requests in line.");
        page.line("plimsoll_line_length", &[], float(snapshot.waiting as u64));
        page.histogram(
            "plimsoll_wait_seconds",
            "From a request's arrival to its lease.",
            &snapshot.wait,
        );
        page.histogram("plimsoll_run_seconds", "How long leases were held.", &snapshot.run);
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
        let of_audit = [
            ("audits", "Dispatches that were audited.", snapshot.audit.audits),
            (
                "idle_while_waiting",
                "Audits that found a request in line beside a worker with room.",
                snapshot.audit.idle_while_waiting,
            ),
        ];
        let of_audit = of_audit.map(|(key, help, value)| Figure { key, help, value });
        for counter in self.counters.iter().chain(&of_audit) {
            let name = format!("plimsoll_{}_total", counter.key);
            page.head(&name, "counter", counter.help);
            page.line(&name, &[], float(counter.value));
        }
        let name = "plimsoll_regret_total";
        page.head(name, "counter", "Load above the least that audited dispatches chose.");
        page.line(name, &[], snapshot.audit.regret);
        page.text
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

    fn histogram(&mut self, name: &str, help: &str, times: &Times) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for limit in BUCKETS {
            let within = float(times.within(Duration::from_secs_f64(limit)));
            self.line(&bucket, &[("le", &limit.to_string())], within);
        }
        let count = float(times.count());
        self.line(&bucket, &[("le", "+Inf")], count);
        self.line(&format!("{name}_sum"), &[], times.sum().as_secs_f64());
        self.line(&format!("{name}_count"), &[], count);
    }
}
