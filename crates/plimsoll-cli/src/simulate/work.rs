//! Runs spread over all cores, by the product's own thread pool.
//!
//! A simulation is a fixed number of runs, and each is the same whoever runs it
//! when: results do not depend on the number of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plimsoll::ThreadPool;
use plimsoll_sim::{Config, Outcome, Run, Summary};

use super::args::Plan;
use super::progress::Progress;

/// Events between two looks at the flag to stop: some milliseconds.
const SLICE: u64 = 20_000;

/// Workers at all balancers up to which a run's invariants are checked at its end.
const CHECKED: u64 = 1_000_000;

/// What came of it: a summary for each simulation that has anything to tell.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) results: Vec<Option<Summary>>,
    pub(crate) interrupted: bool,
}

/// Simulates all.
///
/// # Errors
///
/// A sentence: an invariant that does not hold, or threads that cannot be started.
pub(crate) fn work(plan: &Plan, stop: &Arc<AtomicBool>) -> Result<Done, String> {
    let pool = ThreadPool::new(plan.threads).map_err(|error| error.to_string())?;
    let configs: Vec<Arc<Config>> =
        plan.simulations.iter().map(|one| Arc::new(one.config.clone())).collect();
    let runs = configs.iter().flat_map(|config| {
        (0..plan.runs).map(|number| (Arc::clone(config), number)).collect::<Vec<_>>()
    });
    let requests = Arc::new(AtomicU64::new(0));
    let total = configs.iter().map(|config| requests_of(config) * u64::from(plan.runs)).sum();
    let progress = Progress::start(total, Arc::clone(&requests));
    let simulate = {
        let (stop, requests) = (Arc::clone(stop), Arc::clone(&requests));
        move |(): &mut (), (config, number): (Arc<Config>, u32)| {
            simulate(&config, number, &stop, &requests)
        }
    };
    let outcomes = pool.map(runs, simulate).map_err(|refused| refused.to_string())?;
    let mut results = Vec::new();
    let mut of_one: Vec<Outcome> = Vec::new();
    for (nth, outcome) in (1..).zip(outcomes) {
        // A run that was stopped before its first batch has nothing to tell.
        let outcome = outcome.map_err(|failed| failed.to_string())??;
        of_one.extend(outcome.filter(|outcome| !outcome.batches.is_empty()));
        if nth % plan.runs == 0 {
            results.push((!of_one.is_empty()).then(|| Summary::of(&of_one)));
            of_one.clear();
        }
    }
    progress.end();
    Ok(Done { results, interrupted: stop.load(Ordering::Relaxed) })
}

fn simulate(
    config: &Config,
    number: u32,
    stop: &AtomicBool,
    requests: &AtomicU64,
) -> Result<Option<Outcome>, String> {
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut run = Run::new(config, number)?;
    let mut told = 0;
    loop {
        let is_over = run.advance(SLICE);
        let (ended, _) = run.progress();
        requests.fetch_add(ended - told, Ordering::Relaxed);
        told = ended;
        if is_over {
            let places = u64::from(config.workers) * u64::from(config.balancers);
            if places <= CHECKED {
                let where_it_is =
                    || format!("{}, seed {}, run {number}", config.policy, config.seed);
                run.check_invariants()
                    .map_err(|broken| format!("{}: this is a bug: {broken}", where_it_is()))?;
            }
            break;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(Some(run.outcome()))
}

fn requests_of(config: &Config) -> u64 {
    match &config.arrivals {
        plimsoll_sim::Arrivals::Trace(requests) => requests.len() as u64,
        _ => config.jobs,
    }
}
