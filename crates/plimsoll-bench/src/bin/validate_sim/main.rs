//! The simulator against closed forms and published tables: reference,
//! measured, interval, verdict.
//!
//! A case is run until half of its 95 % interval is within its tolerance, and
//! passes when the measured value is no farther from the reference than the two
//! together. Cases of one configuration are measured once. `short` runs a small, fixed
//! number of requests; another word runs the rows that have it in their names, and of an order
//! that has such a row all.
#![forbid(unsafe_code)]

mod cases;

use std::process::ExitCode;
use std::sync::Arc;

use plimsoll::ThreadPool;
use plimsoll_sim::{Config, Estimate, Outcome, Run, Runs, Summary};

use cases::{Case, Figure, Order};

/// Independent runs that are added at a time.
const RUNS: u32 = 8;

/// How many times fewer requests a short run has.
const SHORT: u64 = 16;

/// The most additions: a case that needs more is too wide, and says so.
const MOST: u32 = 24;

/// How far Little's law and the utilisation may be off, on every case.
const BOOKS: f64 = 0.005;

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let mut bench = Bench::new(word == "short");
    let is_meant = |name: &str| bench.is_short || name.contains(&word);
    println!("| case | reference | | measured | ± 95 % | off by | allowed | verdict |");
    println!("|---|---:|---|---:|---:|---:|---:|---|");
    let (mut passed, mut failed) = (0, 0);
    let mut count = |is_good: bool| {
        *(if is_good { &mut passed } else { &mut failed }) += 1;
    };
    let mut all = cases::all();
    let slow = all.iter().filter(|case| case.is_slow()).count();
    all.retain(|case| is_meant(&case.name) && !(bench.is_short && case.is_slow()));
    let mut orders = cases::orders();
    orders.retain(|order| bench.is_short || order.has(&word));
    for case in &all {
        let of_its_runs: Vec<&Case> = all.iter().filter(|it| it.config == case.config).collect();
        let summary = bench.measure(&case.config, &of_its_runs);
        count(tell(case, &summary, bench.is_short));
        if let Some(wrong) = books(case, &summary) {
            println!("| {} | | | | | | | {wrong} |", case.name);
            count(false);
        }
    }
    if bench.is_short {
        println!("| {slow} more in the long form | | | | | | | |");
    }
    for order in &orders {
        for is_in_order in in_order(&mut bench, order) {
            count(is_in_order);
        }
    }
    if passed + failed == 0 {
        eprintln!("validate_sim: no row has '{word}' in its name");
        return ExitCode::FAILURE;
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; the simulator against theory"
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Runs simulations over all cores, each configuration once.
struct Bench {
    pool: ThreadPool<()>,
    is_short: bool,
    measured: Vec<(Config, Summary)>,
}

impl Bench {
    fn new(is_short: bool) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = ThreadPool::new(threads).expect("threads can be started");
        Self { pool, is_short, measured: Vec::new() }
    }

    /// Runs a configuration until all cases of it are narrow enough, or as often as may be.
    fn measure(&mut self, config: &Config, cases: &[&Case]) -> Summary {
        if let Some((_, summary)) = self.measured.iter().find(|(known, _)| known == config) {
            return summary.clone();
        }
        let jobs = if self.is_short { config.jobs / SHORT } else { config.jobs };
        let sized = Arc::new(Config { jobs, batches: 4, ..config.clone() });
        let mut runs = Runs::default();
        let mut round = 0;
        let summary = loop {
            for outcome in run(&self.pool, &sized, round * RUNS) {
                runs.add(&outcome);
            }
            round += 1;
            let summary = runs.summary().expect("there is a run");
            if self.is_short || round == MOST || cases.iter().all(|case| case.is_narrow(&summary)) {
                break summary;
            }
        };
        self.measured.push((config.clone(), summary.clone()));
        summary
    }
}

/// So many runs, from this number on, over all cores.
fn run(pool: &ThreadPool<()>, config: &Arc<Config>, first: u32) -> Vec<Outcome> {
    let runs = (first..first + RUNS).map(|number| (Arc::clone(config), number));
    let simulate = |(): &mut (), (config, number): (Arc<Config>, u32)| {
        let mut run = Run::new(&config, number).expect("cases are sound");
        while !run.advance(1 << 20) {}
        run.check_invariants().expect("they hold");
        run.outcome()
    };
    let outcomes = pool.map(runs, simulate).expect("the pool is open");
    outcomes.map(|outcome| outcome.expect("no run panics")).collect()
}

/// Prints a row, and tells whether it is good.
fn tell(case: &Case, summary: &Summary, is_short: bool) -> bool {
    let figure = case.figure.of(summary);
    let off = (figure.value - case.reference).abs() / case.reference;
    let half_width = figure.half_width / case.reference;
    let is_narrow = is_short || case.is_narrow(summary);
    let is_near = off <= case.tolerance + half_width;
    let verdict = match (is_near, is_narrow) {
        (true, true) => "within",
        (true, false) => "**TOO WIDE**",
        (false, _) => "**OFF**",
    };
    println!(
        "| {} | {:.4} | {} | {:.4} | {:.4} | {:.2} % | {:.1} % + {:.2} % | {verdict} |",
        case.name,
        case.reference,
        case.source,
        figure.value,
        figure.half_width,
        off * 100.0,
        case.tolerance * 100.0,
        half_width * 100.0,
    );
    is_near && is_narrow
}

/// Little's law and the utilisation, which hold whatever the policy; what is
/// wrong with them.
fn books(case: &Case, summary: &Summary) -> Option<String> {
    let Estimate { value: little, half_width } = summary.little;
    if (little - 1.0).abs() > BOOKS + half_width {
        return Some(format!("**Little's law is off: {little:.4}**"));
    }
    let Estimate { value: utilisation, half_width } = summary.utilisation;
    let off = (utilisation - case.config.load).abs();
    (off > BOOKS * case.config.load + half_width)
        .then(|| format!("**the utilisation is {utilisation:.4}, not {:.4}**", case.config.load))
}

/// Prints a row for each two policies that must be in order beyond their intervals, and tells
/// whether they are.
fn in_order(bench: &mut Bench, order: &Order) -> Vec<bool> {
    let mut measure = |config| order.figure.of(&bench.measure(config, &[]));
    let measured: Vec<Estimate> =
        order.policies.iter().map(|(_, config)| measure(config)).collect();
    let told = measured.windows(2).zip(order.rows()).map(|(pair, name)| {
        let [least, most] = [pair[0], pair[1]];
        let is_good = least.value + least.half_width < most.value - most.half_width;
        let verdict = if is_good { "in order" } else { "**NOT IN ORDER**" };
        println!(
            "| {name} | | | {:.4}, {:.4} | {:.4}, {:.4} | | | {verdict} |",
            least.value, most.value, least.half_width, most.half_width
        );
        is_good
    });
    told.collect()
}

impl Case {
    /// Whether half of its interval is within its tolerance.
    fn is_narrow(&self, summary: &Summary) -> bool {
        self.figure.of(summary).half_width <= self.tolerance * self.reference
    }
}

impl Figure {
    fn of(self, summary: &Summary) -> Estimate {
        match self {
            Figure::Mean => summary.mean,
            Figure::Median => summary.quantiles[0],
            Figure::P99 => summary.quantiles[2],
        }
    }
}
