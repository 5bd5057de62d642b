//! The command line of `plimsoll demo`, and what it settles.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll::Policy;

use super::floor::SLOWER;
use super::words::count;
use super::workload::Workload;
use crate::values::whole;

/// The most workers and the most requesters: each is a thread.
pub(crate) const MOST_THREADS: u32 = 1000;

/// How long a run takes where nobody can quit it.
const SECONDS: Duration = Duration::from_secs(10);

/// How long each policy takes when all are compared: 20 seconds in all, the
/// requests that are left at the end of each included.
const SECONDS_EACH: Duration = Duration::from_millis(4500);

/// Shows least-loaded balancing at work: requesters, workers, random fake load.
///
/// Requesters send requests at random moments, workers sleep for as long as each request says:
/// most are short, a few are long. On a terminal a live view shows what each worker has pending,
/// and keys change the run; elsewhere there is a line a second. Both close with a table.
///
/// See what least-loaded buys: plimsoll demo --policy all
///
/// Exit status: 0 done or quit, 1 a closing check failed, 2 usage, 3 output unwritable,
/// 130 interrupted.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Worker threads
    #[arg(short, long, value_name = "N", default_value = "8", allow_negative_numbers = true, value_parser = workers)]
    workers: u32,

    /// Requesters, a thread each
    #[arg(long, value_name = "N", default_value = "100", allow_negative_numbers = true, value_parser = requesters)]
    requesters: u32,

    /// How long, for each policy [default: until quit on a terminal, 10 elsewhere, 4.5 for all]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,

    /// least-loaded, power-of-two, round-robin, random, or all: each on the same requests
    #[arg(long, value_name = "POLICY", default_value = "least-loaded", value_parser = policies)]
    policy: Policies,

    /// Draws the requests; the same seed is the same work [default: a new one]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = seed)]
    seed: Option<u64>,

    /// The most requests a worker may have pending; at 1 all policies are one queue
    #[arg(long, value_name = "REQUESTS", default_value = "64", allow_negative_numbers = true, value_parser = capacity)]
    capacity: NonZeroU32,

    /// The most requests that wait while every worker is at capacity; others are refused
    #[arg(long, value_name = "REQUESTS", default_value = "1024", allow_negative_numbers = true, value_parser = line)]
    line: u32,

    /// How busy the requesters keep the workers
    #[arg(long, value_name = "PERCENT", default_value = "85", allow_negative_numbers = true, value_parser = load)]
    load: u32,

    /// Workers that take four times as long
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true, value_parser = slow)]
    slow: u32,

    /// Show machines as workers instead: starts nats-server, a balancer, two groups of workers and
    /// requesters, and prints a line a second
    #[arg(long, conflicts_with_all = ["workers", "requesters", "policy", "seed", "capacity", "line", "load", "slow"])]
    pub(crate) nats: bool,
}

/// The policies of `--policy`, in the order they run.
#[derive(Clone, Debug)]
struct Policies(Vec<Policy>);

/// What the demo runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: u32,
    pub(crate) capacity: NonZeroU32,
    pub(crate) line: u32,
    pub(crate) slow: u32,
    /// One, or all to be compared.
    pub(crate) policies: Vec<Policy>,
    /// For each policy; `None` is until somebody quits.
    pub(crate) length: Option<Duration>,
    pub(crate) workload: Workload,
    load: u32,
}

impl Args {
    /// What is asked for, with a seed drawn when there is none.
    ///
    /// # Errors
    ///
    /// The sentence to print.
    pub(crate) fn settings(&self, live: bool) -> Result<Settings, String> {
        if self.slow > self.workers {
            return Err(format!(
                "--slow {} is more than --workers {}: it says how many of them are slow",
                self.slow, self.workers
            ));
        }
        let policies = self.policy.0.clone();
        let usual = match (policies.len(), live) {
            (1, true) => None,
            (1, false) => Some(SECONDS),
            _ => Some(SECONDS_EACH),
        };
        // Short, so that it is easily typed again.
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(1..100_000));
        let strength =
            f64::from(self.workers - self.slow) + f64::from(self.slow) / f64::from(SLOWER);
        let load = f64::from(self.load) / 100.0;
        Ok(Settings {
            workers: self.workers,
            capacity: self.capacity,
            line: self.line,
            slow: self.slow,
            policies,
            length: self.seconds.or(usual),
            workload: Workload::new(seed, self.requesters, strength * load),
            load: self.load,
        })
    }
}

impl Settings {
    /// Whether policies are compared, so that nothing may disturb a run.
    pub(crate) fn is_comparison(&self) -> bool {
        self.policies.len() > 1
    }

    pub(crate) fn line_bound(&self) -> usize {
        usize::try_from(self.line).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Settings {
    /// All that a run depends on, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = match self.policies.as_slice() {
            [policy] => policy.name(),
            _ => "all policies",
        };
        let workers = count(self.workers as usize, "worker");
        let requesters = count(self.workload.requesters() as usize, "requester");
        write!(
            f,
            "{policy}, seed {}: {workers} of capacity {}",
            self.workload.seed(),
            self.capacity
        )?;
        if self.slow > 0 {
            write!(f, " ({} of them slow: {SLOWER} times as long)", self.slow)?;
        }
        write!(f, ", {requesters}, load {} %", self.load)
    }
}

fn workers(text: &str) -> Result<u32, String> {
    whole(text, "workers", 1, MOST_THREADS)
}

fn requesters(text: &str) -> Result<u32, String> {
    whole(text, "requesters", 1, MOST_THREADS)
}

fn slow(text: &str) -> Result<u32, String> {
    whole(text, "workers", 0, MOST_THREADS)
}

fn line(text: &str) -> Result<u32, String> {
    whole(text, "requests", 0, 1_000_000)
}

fn load(text: &str) -> Result<u32, String> {
    whole(text, "percent", 1, 1000)
}

fn capacity(text: &str) -> Result<NonZeroU32, String> {
    let requests: u32 = whole(text, "requests", 1, 1_000_000)?;
    NonZeroU32::new(requests).ok_or_else(|| "a worker has room for at least 1 request".into())
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("it is a whole number from 0 to {}", u64::MAX))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|seconds| (0.1..=1e6).contains(seconds))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "it is a number of seconds from 0.1 to 1000000, such as 2.5".into())
}

fn policies(text: &str) -> Result<Policies, String> {
    if text == "all" {
        return Ok(Policies(Policy::ALL.to_vec()));
    }
    let names = Policy::ALL.map(Policy::name).join(", ");
    text.parse()
        .map(|policy| Policies(vec![policy]))
        .map_err(|_| format!("it is one of {names}, all"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Demo {
        #[command(flatten)]
        args: Args,
    }

    fn settings(words: &[&str], live: bool) -> Settings {
        let words = ["demo"].iter().chain(words);
        Demo::try_parse_from(words).unwrap().args.settings(live).unwrap()
    }

    #[test]
    fn who_can_quit_decides_when() {
        let each = Some(SECONDS_EACH);
        assert_eq!(settings(&[], true).length, None);
        assert_eq!(settings(&[], false).length, Some(SECONDS));
        assert_eq!(settings(&["--policy", "all"], true).length, each);
        assert_eq!(settings(&["--policy", "all"], false).length, each);
        let given = Some(Duration::from_millis(2500));
        assert_eq!(settings(&["--policy", "all", "--seconds", "2.5"], true).length, given);
    }

    #[test]
    fn all_policies_begin_with_the_product() {
        let all = settings(&["--policy", "all"], false);
        assert_eq!(all.policies, Policy::ALL);
        assert!(all.is_comparison());
        assert_eq!(settings(&["--policy", "random"], false).policies, [Policy::Random]);
    }

    #[test]
    fn the_head_says_what_a_run_depends_on() {
        let head = settings(&["--slow", "1", "--seed", "7"], false).to_string();
        let expected = "least-loaded, seed 7: 8 workers of capacity 64 (1 of them slow: 4 times as \
            long), 100 requesters, load 85 %";
        assert_eq!(head, expected);
    }
}
