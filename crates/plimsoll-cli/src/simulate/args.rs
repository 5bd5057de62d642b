//! The command line of `plimsoll simulate`, and the simulations that it asks for.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use plimsoll_sim::theory::{self, Expected};
use plimsoll_sim::{Arrival, Arrivals, Config, Discipline, Fault, Policy, Service};

use super::sweep::Sweep;
use super::{size, trace};

/// Batches of all runs of one simulation together, at least.
const BATCHES: u32 = 24;

/// The most requests of a simulation.
pub(super) const MOST_JOBS: u64 = 1_000_000_000_000;

/// Samples of pending over time in a run.
const SAMPLES: f64 = 400.0;

/// Simulates balancers and workers: what a policy does before machines are bought.
///
/// Drives the very core that the other commands run, in virtual time. Each policy meets the same
/// requests. Times are in seconds, and the mean service time is 1 s unless a file says otherwise, so
/// that times read as multiples of it.
///
/// See what least-loaded buys: plimsoll simulate --policy least-loaded,power-of-2,round-robin,random
///
/// Exit status: 0 done, 1 a check failed, 2 usage, 3 output unwritable, 130 interrupted, with
/// what there was.
#[derive(clap::Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Workers, up to 10000000
    #[arg(short, long, value_name = "N", default_value = "100", allow_negative_numbers = true, value_parser = count)]
    workers: u32,

    /// Work that comes over work that can be done [default: 0.9]
    #[arg(long, value_name = "LOAD", allow_negative_numbers = true, value_parser = load)]
    load: Option<f64>,

    /// Policies, separated by commas: least-loaded, power-of-D, round-robin, random, central-queue,
    /// join-idle-queue[:TOKENS], least-work-of-D, snapshot:AGE, snapshot-two:AGE, snapshot-own:AGE,
    /// prequal[:NAME=NUMBER...], c3
    #[arg(long, value_name = "POLICIES", value_delimiter = ',', default_value = "least-loaded,power-of-2,round-robin,random,central-queue", value_parser = policy)]
    policy: Vec<Policy>,

    /// A policy that draws may draw a worker twice
    #[arg(long)]
    with_replacement: bool,

    /// Balancers, each of which knows only its own requests
    #[arg(long, value_name = "D", default_value = "1", allow_negative_numbers = true, value_parser = count)]
    balancers: u32,

    /// Each balancer uses K workers of a ring [default: all]
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = count)]
    subset: Option<u32>,

    /// All balancers begin with the same order of their workers
    #[arg(long)]
    same_shuffle: bool,

    /// The most a balancer gives to a worker at once [default: no bound]
    #[arg(long, value_name = "REQUESTS", allow_negative_numbers = true, value_parser = count)]
    capacity: Option<u32>,

    /// The most requests that wait in a balancer's line; others are refused [default: no bound]
    #[arg(long, value_name = "REQUESTS", allow_negative_numbers = true, value_parser = line)]
    line: Option<u32>,

    /// Requests that a worker runs at once, each at full speed
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true, value_parser = count)]
    slots: u32,

    /// A worker runs all that it has at once, sharing its slots
    #[arg(long)]
    sharing: bool,

    /// Speeds of the workers, in turn, as in 1,1,0.5
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1", value_parser = number)]
    speeds: Vec<f64>,

    /// Weights of the workers, in turn, as in 2,2,1
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "1", value_parser = weight)]
    weights: Vec<u16>,

    /// Requests cost a whole number between these, and take as much longer
    #[arg(long, value_name = "FROM..TO", default_value = "1..1", value_parser = costs)]
    costs: (u32, u32),

    /// poisson, bursts:FACTOR:SECONDS or closed:REQUESTERS:THINK
    #[arg(long, value_name = "ARRIVALS", default_value = "poisson", value_parser = arrivals)]
    arrivals: Arrivals,

    /// exponential, deterministic, lognormal:SIGMA, bimodal:SHARE:TIMES, pareto:EXPONENT:SPAN,
    /// normal:DEVIATION, hyperexponential:VARIATION, or `file:PATH`, a time in seconds a line
    #[arg(long, value_name = "SERVICE", default_value = "exponential", value_parser = service)]
    service: Service,

    /// Requests from a file: arrival and service times as CSV or JSON Lines, or the access log of
    /// `plimsoll serve`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["load", "service", "arrivals", "costs", "jobs", "runs"])]
    trace: Option<PathBuf>,

    /// slow:WORKERS:FROM:TO:TIMES, or stuck, failing or gone:WORKERS:FROM:TO, as in gone:0-4:1000:2000;
    /// may be given more than once
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    fault: Vec<Fault>,

    /// A worker that comes back is eased in over this time
    #[arg(long, value_name = "SECONDS", default_value = "0", allow_negative_numbers = true, value_parser = seconds)]
    slow_start: f64,

    /// A failure leaves no penalty on its worker
    #[arg(long)]
    no_penalty: bool,

    /// Draws everything; the same seed is the same output [default: a new one]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = seed)]
    seed: Option<u64>,

    /// Requests of each simulation, over all of its runs [default: 4000000, and more of many workers
    /// and near load 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = jobs)]
    jobs: Option<u64>,

    /// Independent runs of each simulation: what is spread over the cores, not more of them
    #[arg(long, value_name = "N", default_value = "8", allow_negative_numbers = true, value_parser = count)]
    runs: u32,

    /// The share of each run that is not measured [default: 0.2, more near load 1, and
    /// 0 of a trace]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true, value_parser = share)]
    warm_up: Option<f64>,

    /// load=, workers=, balancers= or capacity=, and values: 0.5,0.7,0.9 or 0.5..0.99 or 0.5..0.99:20
    #[arg(long, value_name = "NAME=VALUES")]
    sweep: Option<Sweep>,

    /// Print a list of objects
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Print comma-separated values
    #[arg(long)]
    csv: bool,

    /// Draw a picture: latency over what is swept, pending over time with a trace or faults, or how
    /// response times are distributed
    #[arg(long, value_name = "FILE.svg|png")]
    plot: Option<PathBuf>,

    /// What to draw, if not what is said above
    #[arg(long, value_name = "KIND", requires = "plot")]
    plot_kind: Option<Plot>,

    /// Threads that simulate [default: one per core]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    threads: Option<u32>,
}

/// What a picture shows.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plot {
    /// The mean response time over what is swept.
    Latency,
    /// How many response times are longer than which time.
    Distribution,
    /// Requests at workers and in line over time.
    Pending,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Csv,
}

/// One row: a policy at a point of the sweep.
#[derive(Clone, Debug)]
pub(crate) struct Simulation {
    pub(crate) config: Config,
    /// What is offered: as asked for, or as the trace has it.
    pub(crate) load: Option<f64>,
    /// The swept setting's value.
    pub(crate) swept: Option<f64>,
    /// What theory says of its mean: told in several places, and not always at once.
    pub(crate) expected: Option<Expected>,
}

/// All that is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) simulations: Vec<Simulation>,
    pub(crate) runs: u32,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    pub(crate) form: Form,
    pub(crate) plot: Option<(PathBuf, Plot)>,
    pub(crate) sweep: Option<Sweep>,
    /// What whoever asked should know.
    pub(crate) notes: Vec<String>,
}

impl Args {
    /// What is asked for, with a seed drawn when there is none.
    ///
    /// # Errors
    ///
    /// The sentence to print.
    pub(crate) fn plan(&self) -> Result<Plan, String> {
        let mut notes = Vec::new();
        // Short, so that it is easily typed again.
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(1..100_000));
        let trace = match &self.trace {
            None => None,
            Some(path) => {
                let trace = trace::read(path)?;
                notes.extend(trace.note(path));
                Some(trace.requests)
            }
        };
        let base = self.config(seed, trace.as_ref())?;
        let points: Vec<Option<f64>> = match &self.sweep {
            None => vec![None],
            Some(sweep) => sweep.values.iter().copied().map(Some).collect(),
        };
        let mut simulations = Vec::new();
        for &swept in &points {
            let mut point = base.clone();
            if let (Some(sweep), Some(value)) = (&self.sweep, swept) {
                if self.trace.is_some() && sweep.is_load() {
                    return Err(
                        "--sweep load= does not go with --trace: its load is its own".into()
                    );
                }
                if matches!(self.arrivals, Arrivals::Closed { .. }) && sweep.is_load() {
                    return Err(
                        "--sweep load= does not go with a closed loop: requesters ask when answered"
                            .into(),
                    );
                }
                sweep.apply(&mut point, value);
            }
            let mut configs: Vec<Config> =
                self.policy.iter().map(|&policy| Config { policy, ..point.clone() }).collect();
            self.size(&mut configs, self.policy.len() * points.len())?;
            for config in configs {
                config.check()?;
                let (load, expected) = (load_of(&config), theory::expected(&config));
                simulations.push(Simulation { config, load, swept, expected });
            }
        }
        let plot = self.plot.as_deref().map(|path| self.plot(path)).transpose()?;
        notes.extend(size::note(&simulations, self.runs));
        let shows_all = matches!(plot, Some((_, Plot::Pending)));
        notes.extend(unseen(&simulations, shows_all));
        let form = match (self.json, self.csv) {
            (true, _) => Form::Json,
            (_, true) => Form::Csv,
            _ => Form::Text,
        };
        Ok(Plan {
            simulations,
            runs: if trace.is_some() { 1 } else { self.runs },
            threads: match self.threads {
                Some(threads) => threads as usize,
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            seed,
            form,
            plot,
            sweep: self.sweep.clone(),
            notes,
        })
    }

    fn config(&self, seed: u64, trace: Option<&Arc<[Arrival]>>) -> Result<Config, String> {
        let batches = match trace {
            // At least some hundred requests in each.
            Some(requests) => {
                u32::try_from(requests.len() / 200).map_or(20, |many| many.clamp(1, 20))
            }
            None => BATCHES.div_ceil(self.runs).max(4),
        };
        let config = Config {
            workers: self.workers,
            with_replacement: self.with_replacement,
            load: self.load.unwrap_or(0.9),
            balancers: self.balancers,
            subset: self.subset,
            same_shuffle: self.same_shuffle,
            capacity: self.capacity.and_then(NonZeroU32::new),
            line: self.line,
            discipline: if self.sharing { Discipline::Sharing } else { Discipline::FirstCome },
            slots: NonZeroU32::new(self.slots).unwrap_or(NonZeroU32::MIN),
            speeds: self.speeds.clone(),
            weights: self.weights.clone(),
            costs: self.costs,
            arrivals: trace
                .map_or_else(|| self.arrivals.clone(), |it| Arrivals::Trace(Arc::clone(it))),
            service: self.service.clone(),
            faults: self.fault.clone(),
            slow_start: self.slow_start,
            penalty: !self.no_penalty,
            seed,
            batches,
            ..Config::default()
        };
        if matches!(config.arrivals, Arrivals::Closed { .. }) && self.load.is_some() {
            return Err(
                "--load does not go with a closed loop: requesters ask when answered".into()
            );
        }
        Ok(config)
    }

    /// How long the runs of one point are, where there are so many simulations in all.
    fn size(&self, configs: &mut [Config], simulations: usize) -> Result<(), String> {
        let is_trace = self.trace.is_some();
        let all = self.jobs.unwrap_or_else(|| size::jobs(configs, self.runs, simulations));
        let jobs = all / u64::from(self.runs);
        let warm_up = self
            .warm_up
            .unwrap_or_else(|| if is_trace { 0.0 } else { size::warm_up(configs, jobs.max(1)) });
        for config in configs {
            (config.jobs, config.warm_up) = (jobs, warm_up);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of requests, and the cast saturates"
            )]
            let needed = (f64::from(config.batches) / (1.0 - warm_up)).ceil() as u64;
            if !is_trace && jobs < needed {
                return Err(format!(
                    "--jobs {all} is too few: over {} runs it makes {jobs} in each, and it takes \
                     {needed} in each, {} in all",
                    self.runs,
                    needed * u64::from(self.runs)
                ));
            }
            if self.plot.is_some() {
                config.sample_every = config.expected_seconds().map_or(0.0, |all| all / SAMPLES);
            }
        }
        Ok(())
    }

    fn plot(&self, path: &Path) -> Result<(PathBuf, Plot), String> {
        let kind = self.plot_kind.unwrap_or(match (&self.sweep, &self.trace) {
            (Some(_), _) => Plot::Latency,
            (None, None) if self.fault.is_empty() => Plot::Distribution,
            _ => Plot::Pending,
        });
        if kind == Plot::Latency && self.sweep.is_none() {
            return Err("--plot-kind latency is drawn over what --sweep says".into());
        }
        if kind == Plot::Pending && matches!(self.arrivals, Arrivals::Closed { .. }) {
            return Err(
                "--plot: how long a closed loop takes is not known beforehand, so that pending over \
                 time cannot be drawn; --plot-kind distribution can"
                    .into(),
            );
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !matches!(ending, "svg" | "png") {
            return Err(format!("--plot {}: it is a FILE.svg or a FILE.png", path.display()));
        }
        Ok((path.to_owned(), kind))
    }
}

/// A fault that no measured request can meet, as far as time can be told beforehand. Counts are of
/// the warm-up, too, and a picture may be.
fn unseen(simulations: &[Simulation], is_warm_up_shown: bool) -> Option<String> {
    simulations.iter().find_map(|Simulation { config, .. }| {
        let end = config.expected_seconds()?;
        let begin = config.measured_from()?;
        let is_trace = matches!(config.arrivals, Arrivals::Trace(_));
        config.faults.iter().find_map(|fault| {
            let what = if fault.to <= begin {
                let who =
                    if is_warm_up_shown { "the counts and the picture" } else { "and the counts," };
                format!(
                    "is over before measuring begins, at about {begin:.0} s: only what it left \
                     behind, {who} show it"
                )
            } else if fault.from >= end && is_trace {
                format!(
                    "begins when no more requests come, from {end:.3} s on: it meets only what is \
                     left then"
                )
            } else if fault.from >= end {
                format!("begins after the end of a run, at about {end:.0} s: no figure shows it")
            } else {
                return None;
            };
            Some(format!("the fault {fault} {what}"))
        })
    })
}

/// What is offered, where it can be told beforehand.
fn load_of(config: &Config) -> Option<f64> {
    match &config.arrivals {
        Arrivals::Closed { .. } => None,
        Arrivals::Trace(requests) => {
            #[expect(clippy::cast_precision_loss, reason = "for showing")]
            let work = requests.iter().map(|request| request.service as f64 / 1e9).sum::<f64>();
            let able =
                Config { load: 1.0, service: Service::Deterministic, ..config.clone() }.rate();
            let span = config.expected_seconds().unwrap_or_default();
            (span > 0.0).then(|| work / (able * span))
        }
        _ => Some(config.load),
    }
}

/// How many there are of something.
pub(super) fn count(text: &str) -> Result<u32, String> {
    let number: Option<u32> = text.parse().ok();
    number
        .filter(|number| (1..=10_000_000).contains(number))
        .ok_or_else(|| "it is a whole number from 1 to 10000000".into())
}

fn line(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("it is a whole number of requests from 0 to {}", u32::MAX))
}

fn load(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|load| *load > 0.0 && *load <= 1000.0)
        .ok_or_else(|| "it is a number above 0 and up to 1000, such as 0.9".into())
}

fn policy(text: &str) -> Result<Policy, String> {
    text.parse()
}

fn service(text: &str) -> Result<Service, String> {
    match text.strip_prefix("file:") {
        Some(path) => Ok(Service::Empirical(trace::times(Path::new(path))?)),
        None => text.parse(),
    }
}

fn fault(text: &str) -> Result<Fault, String> {
    text.parse()
}

fn arrivals(text: &str) -> Result<Arrivals, String> {
    const KNOWN: &str = "it is poisson, bursts:FACTOR:SECONDS or closed:REQUESTERS:THINK, as in \
        bursts:5:10 or closed:200:1";
    let parts: Vec<&str> = text.split(':').collect();
    let number = |text: &str| text.parse::<f64>().map_err(|_| KNOWN.to_owned());
    match *parts.as_slice() {
        ["poisson"] => Ok(Arrivals::Poisson),
        ["bursts", factor, length] => {
            Ok(Arrivals::Bursts { factor: number(factor)?, length: number(length)? })
        }
        ["closed", requesters, think] => {
            let requesters = count(requesters).map_err(|_| KNOWN.to_owned())?;
            Ok(Arrivals::Closed { requesters, think: number(think)? })
        }
        _ => Err(KNOWN.into()),
    }
}

fn costs(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once("..").map(|(from, to)| (from.parse().ok(), to.parse().ok()));
    match sides {
        Some((Some(from), Some(to))) => Ok((from, to)),
        _ => Err("it is two whole numbers, as in 1..8".into()),
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|number| (1e-6..=1e6).contains(number))
        .ok_or_else(|| "they are numbers from 0.000001 to 1000000, as in 1,1,0.5".into())
}

fn weight(text: &str) -> Result<u16, String> {
    let number: Option<u16> = text.parse().ok();
    number
        .filter(|&number| number > 0)
        .ok_or_else(|| "they are whole numbers from 1 to 65535, as in 2,2,1".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|seconds| (0.0..=1e9).contains(seconds))
        .ok_or_else(|| "it is a number of seconds from 0 to 1000000000".into())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("it is a whole number from 0 to {}", u64::MAX))
}

fn jobs(text: &str) -> Result<u64, String> {
    let number: Option<u64> = text.parse().ok();
    number
        .filter(|number| (1..=MOST_JOBS).contains(number))
        .ok_or_else(|| format!("it is a whole number of requests from 1 to {MOST_JOBS}"))
}

fn share(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|share| (0.0..1.0).contains(share))
        .ok_or_else(|| "it is a share from 0 to below 1, such as 0.3".into())
}
