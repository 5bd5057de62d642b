//! The simulator against closed forms and published tables: reference,
//! measured, interval, verdict.
//!
//! A case is run until half of its 95 % interval is within its tolerance, and
//! passes when the measured value is no farther from the reference than the two
//! together. `short` runs a small, fixed number of requests; another word runs the
//! cases that have it in their names, orders being those with `<`.
#![forbid(unsafe_code)]

mod cases;

use std::process::ExitCode;
use std::sync::Arc;

use plimsoll::ThreadPool;
use plimsoll_sim::{Config, Estimate, Outcome, Run, Summary};

use cases::{Case, Figure};

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
    let is_short = word == "short";
    let only = if is_short { "" } else { word.as_str() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = ThreadPool::new(threads).expect("threads can be started");
    println!("| case | reference | | measured | ± 95 % | off by | allowed | verdict |");
    println!("|---|---:|---|---:|---:|---:|---:|---|");
    let (mut passed, mut failed) = (0, 0);
    let mut count = |is_good: bool| {
        *(if is_good { &mut passed } else { &mut failed }) += 1;
    };
    let all = cases::all();
    let slow = all.iter().filter(|case| case.is_slow()).count();
    for case in all {
        if is_short && case.is_slow() || !case.name.contains(only) {
            continue;
        }
        let summary = measure(&pool, &case, is_short, MOST);
        count(tell(&case, &summary, is_short));
        if let Some(wrong) = books(&case, &summary) {
            println!("| {} | | | | | | | {wrong} |", case.name);
            count(false);
        }
    }
    if is_short {
        println!("| {slow} more in the long form | | | | | | | |");
    }
    let in_order = if "<".contains(only) { orders(&pool, is_short) } else { Vec::new() };
    for (name, least, most) in in_order {
        let is_in_order = least.value + least.half_width < most.value - most.half_width;
        let verdict = if is_in_order { "in order" } else { "**NOT IN ORDER**" };
        println!(
            "| {name} | | | {:.4}, {:.4} | {:.4}, {:.4} | | | {verdict} |",
            least.value, most.value, least.half_width, most.half_width
        );
        count(is_in_order);
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; the simulator against theory"
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Runs a case as long as it takes, and at most so many times.
fn measure(pool: &ThreadPool<()>, case: &Case, is_short: bool, most: u32) -> Summary {
    let mut config = case.config.clone();
    config.batches = 4;
    if is_short {
        config.jobs /= SHORT;
    }
    let config = Arc::new(config);
    let mut outcomes = Vec::new();
    for round in 0..most {
        outcomes.extend(run(pool, &config, round * RUNS));
        let summary = Summary::of(&outcomes);
        let figure = case.figure.of(&summary);
        if is_short || figure.half_width <= case.tolerance * case.reference {
            break;
        }
    }
    Summary::of(&outcomes)
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
    let is_narrow = is_short || half_width <= case.tolerance;
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

/// Figures that must be in order beyond their intervals.
fn orders(pool: &ThreadPool<()>, is_short: bool) -> Vec<(String, Estimate, Estimate)> {
    let mut found = Vec::new();
    for (figure, configs) in cases::orders() {
        let measured: Vec<(String, Estimate)> = configs
            .into_iter()
            .map(|(name, config)| {
                let case =
                    Case { name, config, figure, reference: 1.0, tolerance: 0.01, source: "" };
                // Some of these pend without end, and so have no width to wait for.
                let summary = measure(pool, &case, is_short, 1);
                (case.name, figure.of(&summary))
            })
            .collect();
        for pair in measured.windows(2) {
            let name = format!("{} {} < {}", figure.name(), pair[0].0, pair[1].0);
            found.push((name, pair[0].1, pair[1].1));
        }
    }
    found
}

impl Figure {
    fn of(self, summary: &Summary) -> Estimate {
        match self {
            Figure::Mean => summary.mean,
            Figure::Median => summary.quantiles[0],
            Figure::P99 => summary.quantiles[2],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Figure::Mean => "mean",
            Figure::Median => "p50",
            Figure::P99 => "p99",
        }
    }
}
