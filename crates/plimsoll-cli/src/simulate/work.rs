//! Runs spread over all cores, by the product's own thread pool.
//!
//! A simulation is a fixed number of runs, and each is the same whoever runs it
//! when: results do not depend on the number of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hdrhistogram::Histogram;
use plimsoll::ThreadPool;
use plimsoll_sim::{Config, Outcome, Run, Runs, Summary};

use super::args::{Plan, Plot};
use super::progress::Progress;

/// Events between two looks at the flag to stop: some milliseconds.
const SLICE: u64 = 20_000;

/// Workers at all balancers up to which a run's invariants are checked at its end.
const CHECKED: u64 = 1_000_000;

/// What came of it: a summary for each simulation that has anything to tell.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) results: Vec<Option<Summary>>,
    /// Where a signal ended it: requests that had ended, and all that were to.
    pub(crate) interrupted: Option<(u64, u64)>,
}

/// Simulates all.
///
/// # Errors
///
/// A sentence: an invariant that does not hold, or threads that cannot be started.
pub(crate) fn work(plan: &Plan, stop: &Arc<AtomicBool>) -> Result<Done, String> {
    let most = plan.simulations.len().saturating_mul(plan.runs as usize).max(1);
    let pool = ThreadPool::new(plan.threads.min(most)).map_err(|error| error.to_string())?;
    let configs: Vec<Arc<Config>> =
        plan.simulations.iter().map(|one| Arc::new(one.config.clone())).collect();
    let runs = configs.iter().flat_map(|config| {
        let config = Arc::clone(config);
        (0..plan.runs).map(move |number| (Arc::clone(&config), number))
    });
    let requests = Arc::new(AtomicU64::new(0));
    let total: u64 = configs.iter().map(|config| config.count() * u64::from(plan.runs)).sum();
    let _progress = Progress::start(total, Arc::clone(&requests));
    let simulate = {
        let (stop, requests) = (Arc::clone(stop), Arc::clone(&requests));
        move |(): &mut (), (config, number): (Arc<Config>, u32)| {
            simulate(&config, number, &stop, &requests)
        }
    };
    let outcomes = pool.map(runs, simulate).map_err(|refused| refused.to_string())?;
    let mut results = Vec::new();
    let mut of_one = Runs::default();
    let mut is_answered = false;
    let kind = plan.plot.as_ref().map(|(_, kind)| *kind);
    for (nth, outcome) in (1..).zip(outcomes) {
        if let Some(outcome) = outcome.map_err(|failed| failed.to_string())?? {
            of_one.add(&outcome);
            is_answered |= !outcome.batches.is_empty();
        }
        if nth % plan.runs == 0 {
            let is_told = std::mem::take(&mut is_answered);
            // Where no request was answered there is nothing to tell.
            let mut summary = std::mem::take(&mut of_one).summary().filter(|_| is_told);
            if let Some(summary) = &mut summary {
                forget(summary, kind);
            }
            results.push(summary);
        }
    }
    let ended = requests.load(Ordering::Relaxed);
    // A signal after the last request has interrupted nothing.
    let is_cut = stop.load(Ordering::Relaxed) && ended < total;
    Ok(Done { results, interrupted: is_cut.then_some((ended, total)) })
}

/// Drops what no picture of this kind shows.
fn forget(summary: &mut Summary, kind: Option<Plot>) {
    if kind != Some(Plot::Distribution) {
        summary.responses = nothing();
    }
    if kind != Some(Plot::Pending) {
        summary.samples = Vec::new();
    }
}

fn nothing() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 2, 0).expect("these are bounds")
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
