//! What an operator sees.

use plimsoll::Balancer;
use plimsoll_admin::{Counter, Overview};

use super::Status;
use crate::Error;

impl Status {
    /// As `/workers` and `/metrics` show it.
    pub fn overview(&self) -> Overview {
        let counts = &self.counts;
        let counter = |key, help, value| Counter { key, help, value };
        let names = self.workers.iter().map(ToString::to_string).collect();
        let reasons = Error::ALL.iter().map(|error| error.name().to_owned());
        // One that does not lead knows nobody.
        let snapshot = self.snapshot.clone().unwrap_or_else(|| Balancer::<()>::new().snapshot());
        Overview {
            counters: vec![
                counter("requests", "Requests that came.", counts.requests),
                counter("answered", "Requests that a worker has answered.", counts.answered),
                counter("again", "Requests that were given to another worker.", counts.again),
                counter("vanished", "Deliveries that found nobody.", counts.vanished),
                counter(
                    "lost",
                    "Requests that were lost with a worker, or on their way.",
                    counts.lost,
                ),
                counter("adopted", "Requests that workers had as they joined.", counts.adopted),
                counter("given_up", "Workers that were given up.", counts.given_up),
                counter("unknown", "Reports on leases that are not out.", counts.unknown),
                counter("stale", "Beats of the past.", counts.stale),
                counter("malformed", "Messages that were not understood.", self.malformed),
            ],
            refused: reasons.zip(counts.refused).collect(),
            ..Overview::new("worker", snapshot, names)
        }
    }
}
