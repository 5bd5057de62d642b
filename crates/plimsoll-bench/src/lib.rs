//! What the suites share: rounds in which every system takes its turn, the
//! table of medians and ratios, and the JSON file.
//!
//! A suite is a binary in `src/bin`, named as `scripts/bench` names it.
#![forbid(unsafe_code)]

pub mod precise;

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

/// Rounds that a suite runs unless `PLIMSOLL_BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 7;

/// One figure: the median over the rounds.
#[derive(Clone, Debug)]
struct Figure {
    case: String,
    system: String,
    metric: &'static str,
    value: f64,
    unit: &'static str,
}

/// The figures of one suite.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    rounds: usize,
    figures: Vec<Figure>,
}

/// A system under measurement: its name, and a round of it that tells one figure.
pub type System<'a> = (&'a str, Box<dyn FnMut() -> f64 + 'a>);

/// A system whose round tells several figures.
pub type Rounds<'a, const N: usize> = (&'a str, Box<dyn FnMut() -> [f64; N] + 'a>);

/// The processor time of this process and of the children that it has waited
/// for, in seconds, from the kernel's ticks.
///
/// # Panics
///
/// Where there is no `/proc`.
pub fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux tells");
    // User and system time, its own and its children's, after the name.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

impl Report {
    /// An empty report; its file will be `target/bench/NAME.json`.
    ///
    /// # Panics
    ///
    /// When `PLIMSOLL_BENCH_ROUNDS` is not a number.
    pub fn new(name: &'static str) -> Self {
        let rounds = env::var("PLIMSOLL_BENCH_ROUNDS")
            .map_or(ROUNDS, |text| text.parse().expect("PLIMSOLL_BENCH_ROUNDS is a number"));
        Self { name, rounds, figures: Vec::new() }
    }

    /// Measures one case: every system once a round, so that what else the
    /// machine does falls on all alike. Prints the case as it is done.
    pub fn measure(
        &mut self,
        case: &str,
        metric: &'static str,
        unit: &'static str,
        systems: &mut [System<'_>],
    ) {
        let mut rounds: Vec<Rounds<'_, 1>> = systems
            .iter_mut()
            .map(|(name, round)| (*name, Box::new(|| [round()]) as Box<dyn FnMut() -> [f64; 1]>))
            .collect();
        self.measure_all(case, [(metric, unit)], &mut rounds);
    }

    /// As [`measure`](Self::measure), for rounds that tell several figures,
    /// each a metric and its unit.
    pub fn measure_all<const N: usize>(
        &mut self,
        case: &str,
        metrics: [(&'static str, &'static str); N],
        systems: &mut [Rounds<'_, N>],
    ) {
        let mut samples = vec![[const { Vec::new() }; N]; systems.len()];
        for _ in 0..self.rounds {
            for ((_, round), samples) in systems.iter_mut().zip(&mut samples) {
                for (samples, figure) in samples.iter_mut().zip(round()) {
                    samples.push(figure);
                }
            }
        }
        for ((system, _), samples) in systems.iter().zip(&mut samples) {
            for ((metric, unit), samples) in metrics.iter().zip(samples) {
                let value = median(samples);
                self.add(case, system, metric, value, unit);
                eprintln!("{case} | {system} | {metric} {value:.3} {unit}");
            }
        }
    }

    /// Adds a figure that was taken in another way.
    pub fn add(
        &mut self,
        case: &str,
        system: &str,
        metric: &'static str,
        value: f64,
        unit: &'static str,
    ) {
        let (case, system) = (case.to_owned(), system.to_owned());
        self.figures.push(Figure { case, system, metric, value, unit });
    }

    /// A figure that was added or measured before.
    pub fn value(&self, case: &str, system: &str, metric: &str) -> Option<f64> {
        let is_it = |f: &&Figure| f.case == case && f.system == system && f.metric == metric;
        self.figures.iter().find(is_it).map(|figure| figure.value)
    }

    /// The metrics of which there are figures, in the order in which they came.
    pub fn metrics(&self) -> Vec<&'static str> {
        let mut metrics = Vec::new();
        for figure in &self.figures {
            if !metrics.contains(&figure.metric) {
                metrics.push(figure.metric);
            }
        }
        metrics
    }

    /// The figures of one metric as a Markdown table: a row a case, a column a
    /// system, each with its ratio to the first system of the table.
    pub fn table(&self, metric: &str) -> String {
        let figures = || self.figures.iter().filter(|figure| figure.metric == metric);
        let mut cases: Vec<&str> = Vec::new();
        let mut systems: Vec<&str> = Vec::new();
        for figure in figures() {
            if !cases.contains(&figure.case.as_str()) {
                cases.push(&figure.case);
            }
            if !systems.contains(&figure.system.as_str()) {
                systems.push(&figure.system);
            }
        }
        let unit = figures().next().map_or("", |figure| figure.unit);
        let mut table = format!("| {metric}, {unit} | {} |\n|---|", systems.join(" | "));
        table.push_str(&"---:|".repeat(systems.len()));
        for case in cases {
            let value = |system: &str| {
                figures().find(|f| f.case == case && f.system == system).map(|f| f.value)
            };
            let first = value(systems[0]);
            let _ = write!(table, "\n| {case} |");
            for system in &systems {
                let _ = match (value(system), first) {
                    (Some(value), Some(first)) if *system != systems[0] && first != 0.0 => {
                        write!(table, " {} ({:.2}) |", short(value), value / first)
                    }
                    (Some(value), _) => write!(table, " {} |", short(value)),
                    (None, _) => write!(table, " – |"),
                };
            }
        }
        table.push('\n');
        table
    }

    /// Writes `target/bench/NAME.json`.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn write(&self) -> io::Result<()> {
        let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let folder = Path::new(&target).join("bench");
        fs::create_dir_all(&folder)?;
        let rows: Vec<String> = self
            .figures
            .iter()
            .map(|Figure { case, system, metric, value, unit }| {
                format!(
                    "  {{\"case\": {case:?}, \"system\": {system:?}, \"metric\": {metric:?}, \
                     \"value\": {value}, \"unit\": {unit:?}}}"
                )
            })
            .collect();
        fs::write(
            folder.join(format!("{}.json", self.name)),
            format!("[\n{}\n]\n", rows.join(",\n")),
        )
    }
}

/// The middle sample.
///
/// # Panics
///
/// When there is none.
pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Three digits or so.
fn short(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
