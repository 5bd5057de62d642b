//! What goes wrong with which workers, when.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What a fault does to a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// Everything takes so many times as long, what runs included.
    Slow(f64),
    /// Nothing goes on until the fault is over.
    Stuck,
    /// What begins fails, after a hundredth of its time.
    Failing,
    /// It is removed from all balancers, and what it has fails at once; then it is
    /// added again.
    Gone,
}

/// One fault.
///
/// ```
/// use plimsoll_sim::{Fault, FaultKind};
///
/// let fault: Fault = "slow:0-4:1000:2000:5".parse().unwrap();
/// assert_eq!((fault.kind, fault.workers), (FaultKind::Slow(5.0), 0..=4));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// To which workers.
    pub workers: RangeInclusive<u32>,
    /// From when, in seconds.
    pub from: f64,
    /// Until when, in seconds.
    pub to: f64,
}

impl Fault {
    pub(crate) fn check(&self) -> Result<(), String> {
        let wrong = if self.workers.is_empty() {
            "has its last worker before its first"
        } else if ![self.from, self.to].iter().all(|time| (0.0..=1e9).contains(time)) {
            "is not within 0 and 1000000000 seconds"
        } else if self.to <= self.from {
            "ends before it begins, or as it does"
        } else if matches!(self.kind, FaultKind::Slow(times) if !(1e-3..=1e6).contains(&times)) {
            "has a factor that is not from 0.001 to 1000000"
        } else {
            return Ok(());
        };
        Err(format!("the fault {self} {wrong}"))
    }
}

impl FromStr for Fault {
    type Err = String;

    /// `KIND:WORKERS:FROM:TO`, and for slow the factor after it.
    fn from_str(text: &str) -> Result<Self, String> {
        const KNOWN: &str = "it is slow:WORKERS:FROM:TO:TIMES, or stuck, failing or \
            gone:WORKERS:FROM:TO, as in gone:0-4:1000:2000";
        let known = || KNOWN.to_owned();
        let parts: Vec<&str> = text.split(':').collect();
        let (kind, workers, from, to) = match *parts.as_slice() {
            ["slow", workers, from, to, times] => {
                let times = times.parse().map_err(|_| known())?;
                (FaultKind::Slow(times), workers, from, to)
            }
            ["stuck", workers, from, to] => (FaultKind::Stuck, workers, from, to),
            ["failing", workers, from, to] => (FaultKind::Failing, workers, from, to),
            ["gone", workers, from, to] => (FaultKind::Gone, workers, from, to),
            _ => return Err(known()),
        };
        let (first, last) = workers.split_once('-').unwrap_or((workers, workers));
        let worker = |text: &str| text.parse().map_err(|_| known());
        let workers: RangeInclusive<u32> = worker(first)?..=worker(last)?;
        let time = |text: &str| text.parse::<f64>().map_err(|_| known());
        let (from, to) = (time(from)?, time(to)?);
        let fault = Self { kind, workers, from, to };
        fault.check().map_err(|wrong| format!("{wrong}; {KNOWN}"))?;
        Ok(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, times) = match self.kind {
            FaultKind::Slow(times) => ("slow", format!(":{times}")),
            FaultKind::Stuck => ("stuck", String::new()),
            FaultKind::Failing => ("failing", String::new()),
            FaultKind::Gone => ("gone", String::new()),
        };
        let (first, last) = (self.workers.start(), self.workers.end());
        write!(f, "{kind}:{first}-{last}:{}:{}{times}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        for text in ["slow:0-4:10:20:5", "stuck:3-3:0:1", "failing:0-0:1:2", "gone:2-7:0.5:9"] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        let bad = ["", "slow:0:1:2", "stuck:0:2:1", "gone:4-2:1:2", "gone:x:1:2", "lost:0:1:2"];
        for text in
            bad.into_iter().chain(["stuck:0:-1:2", "stuck:0:1:1", "slow:0:1:2:0", "stuck:0:1:nan"])
        {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
        let told = |text: &str| text.parse::<Fault>().unwrap_err();
        assert!(told("stuck:0:1:2e9").contains("is not within"));
        assert!(told("stuck:0:2:1").contains("ends before"));
        assert!(told("slow:0:1:2:0").contains("a factor that is not from"));
        assert!(told("stuck:4-2:1:2").contains("its last worker before"));
    }
}
