//! `/metrics`: the text format of Prometheus, version 0.0.4, and names as its conventions have
//! them.

use std::fmt::Write as _;
use std::time::Duration;

use plimsoll::{Health, Times};

use crate::overview::{Figures, Overview, Seen};

/// The upper bounds of what times are counted in, in seconds.
const BUCKETS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// Counts as Prometheus has them.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

type OfWorker = (&'static str, &'static str, &'static str, fn(&Seen<'_>) -> f64);

const OF_WORKER: [OfWorker; 8] = [
    ("pending", "gauge", "Requests that it has.", |worker| f64::from(worker.stats.pending)),
    ("capacity", "gauge", "The most that it has at a time.", |worker| {
        f64::from(worker.stats.capacity_in_force)
    }),
    ("weight", "gauge", "Its share of the work.", |worker| f64::from(worker.stats.weight.get())),
    ("up", "gauge", "1 when it is up.", |worker| {
        f64::from(u8::from(worker.stats.health == Health::Up))
    }),
    ("draining", "gauge", "1 when it gets nothing new, or leaves.", |worker| {
        f64::from(u8::from(worker.stats.draining || worker.view.leaves))
    }),
    ("dispatched_total", "counter", "Leases given.", |worker| float(worker.stats.dispatched)),
    ("completed_total", "counter", "Leases given back.", |worker| float(worker.stats.completed)),
    ("failed_total", "counter", "Of those, for a failure.", |worker| float(worker.stats.failed)),
];

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

impl Overview {
    /// The page.
    pub(crate) fn metrics(&self) -> String {
        let mut page = Page::default();
        self.metrics_of_workers(&mut page);
        self.metrics_of_pools(&mut page);
        for family in &self.families {
            let end = if family.counts { "_total" } else { "" };
            let name = format!("plimsoll_{}{end}", family.key);
            page.head(&name, if family.counts { "counter" } else { "gauge" }, family.help);
            for (label, value) in &family.values {
                page.line(&name, &[(family.label, label)], *value);
            }
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
                for worker in pool.seen() {
                    let label = worker.label();
                    let labels = [labels(pool.name.as_ref()), vec![(word, &label)]];
                    page.line(&name, &labels.concat(), value(&worker));
                }
            }
        }
        // All pools have the same.
        let gauges = self.pools.first().map_or(&[][..], |pool| &pool.gauges);
        for (which, gauge) in gauges.iter().enumerate() {
            let name = format!("plimsoll_{word}_{}", gauge.key);
            page.head(&name, "gauge", gauge.help);
            for pool in &self.pools {
                for (worker, &value) in pool.seen().zip(&pool.gauges[which].values) {
                    let label = worker.label();
                    let labels = [labels(pool.name.as_ref()), vec![(word, &label)]];
                    page.line(&name, &labels.concat(), float(value));
                }
            }
        }
    }

    fn metrics_of_pools(&self, page: &mut Page) {
        let one = |pool| Figures::of(std::slice::from_ref(pool));
        let pools: Vec<_> =
            self.pools.iter().map(|pool| (labels(pool.name.as_ref()), one(pool))).collect();
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

/// What a pool's metrics carry.
fn labels(name: Option<&String>) -> Vec<(&str, &str)> {
    name.map(|name| ("pool", name.as_str())).into_iter().collect()
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
