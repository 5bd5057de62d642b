//! How many requests runs are of, so that they tell what happens in the long run.
//!
//! Each run begins empty, and a queue forgets that after some relaxation times
//! ([`Config::relaxation`]).

use plimsoll_core::Policy as Core;
use plimsoll_sim::{Arrivals, Config, Policy};

use super::args::{MOST_JOBS, Simulation};

/// Requests a worker in a run, by default: 1000 of them are measured.
const PLENTY: f64 = 1250.0;

/// Fewer a worker tell next to nothing.
const FEW: f64 = 100.0;

/// Relaxation times in a run, by default.
const LONG: f64 = 20.0;

/// Fewer of them are told to be too few.
const SHORT: f64 = 10.0;

/// Relaxation times that are not measured.
const WARMING: f64 = 4.0;

/// Requests of a simulation by default, at least.
const LEAST: f64 = 4e6;

/// Requests of all simulations by default, if that is not the least of each: some 40 seconds
/// of one core. Of large fleets, which are slower, a quarter.
const MOST: f64 = 1e8;

/// Larger ones no longer fit into caches.
const LARGE: u32 = 100_000;

/// The requests of each simulation, over all of its runs: of one point, whose policies are to meet
/// the same requests, where there are so many simulations in all.
pub(crate) fn jobs(point: &[Config], runs: u32, simulations: usize) -> u64 {
    let Some(first) = point.first() else { return 0 };
    let budget = if first.workers > LARGE { MOST / 4.0 } else { MOST };
    let most = (budget / real(simulations as u64)).max(LEAST);
    let needed = needed(point, PLENTY, LONG) * f64::from(first.workers) * f64::from(runs);
    whole(needed.clamp(LEAST, most))
}

/// The share of a run that is not measured.
pub(crate) fn warm_up(point: &[Config], jobs: u64) -> f64 {
    let Some(first) = point.first() else { return 0.0 };
    let share = needed(point, 0.0, WARMING) * f64::from(first.workers) / real(jobs);
    // In hundredths, so that it is easily typed again.
    (share.clamp(0.2, 0.5) * 100.0).ceil() / 100.0
}

/// What is too short, and by how much; `None` where all is long enough.
pub(crate) fn note(simulations: &[Simulation], runs: u32) -> Option<String> {
    let short = |simulation: &Simulation| {
        let config = &simulation.config;
        let has = real(config.jobs) / f64::from(config.workers);
        let needs = needed(std::slice::from_ref(config), FEW, SHORT);
        let is_trace = matches!(config.arrivals, Arrivals::Trace(_));
        (!is_trace && has < needs).then_some((has, needs))
    };
    let all: Vec<(&Simulation, (f64, f64))> =
        simulations.iter().filter_map(|one| Some((one, short(one)?))).collect();
    let by = |(has, needs): (f64, f64)| needs / has;
    let (worst, (has, needs)) = *all.iter().max_by(|a, b| by(a.1).total_cmp(&by(b.1)))?;
    let jobs = needs * f64::from(worst.config.workers) * f64::from(runs);
    // Two digits, rounded up.
    let step = 10_f64.powf(jobs.log10().floor() - 1.0);
    let jobs = whole((jobs / step).ceil() * step);
    let advice = if jobs > MOST_JOBS {
        format!("which is more than --jobs takes, {MOST_JOBS}: no run is long enough")
    } else {
        format!("as with --jobs {jobs}")
    };
    let others = match all.len() - 1 {
        0 => String::new(),
        1 => "; 1 other row is too short, too".into(),
        many => format!("; {many} other rows are too short, too"),
    };
    Some(format!(
        "the runs are too short for {}: each has {} requests a worker, and about {} are needed \
         until they tell what happens in the long run, {advice}{others}",
        super::plot::name(worst),
        figure(has),
        figure(needs),
    ))
}

fn figure(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Requests a worker that a run needs: at least so many, and so many relaxation times.
fn needed(point: &[Config], least: f64, times: f64) -> f64 {
    point.iter().map(relaxation).fold(least, |needed, one| needed.max(times * one))
}

/// The relaxation time, in requests a worker; 0 where no steady state is looked for.
fn relaxation(config: &Config) -> f64 {
    let Some(seconds) = config.relaxation().filter(|_| config.faults.is_empty()) else {
        return 0.0;
    };
    let alone = seconds * config.rate() / f64::from(config.workers);
    // Where requests go to who has less, workers relax as one.
    let is_pooled = config.balancers == 1
        && !matches!(
            config.policy,
            Policy::Core(Core::Random | Core::RoundRobin)
                | Policy::Power(1)
                | Policy::LeastWork(1)
                | Policy::IdleQueue(_)
        );
    let pooled = config.subset.unwrap_or(config.workers);
    if is_pooled { alone / f64::from(pooled) } else { alone }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are below 2 to the 53")]
fn real(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests, and the cast saturates"
)]
fn whole(count: f64) -> u64 {
    count.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(policy: &str, workers: u32, load: f64) -> Config {
        Config { policy: policy.parse().unwrap(), workers, load, ..Config::default() }
    }

    #[test]
    fn runs_grow_with_the_workers_and_near_load_1_up_to_a_bound() {
        let jobs_of = |policy, workers, load| jobs(&[of(policy, workers, load)], 8, 1);
        assert_eq!(jobs_of("least-loaded", 100, 0.5), 4_000_000);
        assert_eq!(jobs_of("least-loaded", 1000, 0.5), 10_000_000);
        let near = jobs_of("random", 100, 0.95);
        assert!((12_000_000..13_000_000).contains(&near), "{near}");
        assert_eq!(jobs_of("random", 100, 0.99), 100_000_000);
        assert_eq!(jobs_of("random", 1_000_000, 0.9), 25_000_000);
        assert_eq!(jobs(&[of("random", 100, 0.99)], 8, 50), 4_000_000);
    }

    #[test]
    fn the_warm_up_is_longer_where_a_run_is_short() {
        assert!((warm_up(&[of("random", 100, 0.5)], 500_000) - 0.2).abs() < 1e-9);
        assert!((warm_up(&[of("random", 100, 0.99)], 500_000) - 0.5).abs() < 1e-9);
        let between = warm_up(&[of("random", 100, 0.95)], 1_000_000);
        assert!((0.25..0.4).contains(&between), "{between}");
    }

    #[test]
    fn what_is_too_short_is_told_with_what_would_do() {
        let simulation = |config, jobs| Simulation {
            config: Config { jobs, ..config },
            load: None,
            swept: None,
            expected: None,
        };
        let least = || simulation(of("least-loaded", 100, 0.98), 500_000);
        assert_eq!(note(&[least()], 8), None);
        let told = note(&[least(), simulation(of("random", 100, 0.98), 500_000)], 8).unwrap();
        assert!(told.contains("for random: each has 5000 requests a worker"), "{told}");
        assert!(told.contains("about 49000 are"), "{told}");
        let fault = Config { faults: vec!["stuck:0:1:2".parse().unwrap()], ..of("c3", 1000, 0.9) };
        assert_eq!(note(&[simulation(fault.clone(), 100_000)], 8), None);
        let told = note(&[simulation(fault, 50_000)], 8).unwrap();
        assert!(told.ends_with("--jobs 800000"), "{told}");
        let told = note(&[simulation(of("random", 100, 0.99999), 500_000)], 8).unwrap();
        assert!(told.ends_with("takes, 1000000000000: no run is long enough"), "{told}");
    }
}
