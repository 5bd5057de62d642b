//! What an operator sees.

use plimsoll::Balancer;
use plimsoll_admin::{Figure, Overview, PoolView};

use super::Status;
use crate::Error;

impl Status {
    /// As `/workers` and `/metrics` show it.
    pub fn overview(&self) -> Overview {
        let counts = &self.counts;
        let figure = |key, help, value| Figure { key, help, value };
        let names = self.workers.iter().map(ToString::to_string).collect();
        let reasons = Error::ALL.iter().map(|error| error.name().to_owned());
        // One that does not lead knows nobody.
        let snapshot = self.snapshot.clone().unwrap_or_else(|| Balancer::<()>::new().snapshot());
        let leads = u64::from(self.epoch.is_some());
        Overview {
            levels: vec![
                figure("leads", "1 while this balancer is the one that leads.", leads),
                figure("epoch", "Its epoch while it leads.", self.epoch.unwrap_or(0)),
            ],
            counters: vec![
                figure("requests", "Requests that came.", counts.requests),
                figure("answered", "Requests that a worker has answered.", counts.answered),
                figure("again", "Requests that were given to another worker.", counts.again),
                figure("vanished", "Deliveries that found nobody.", counts.vanished),
                figure(
                    "lost",
                    "Requests that were lost with a worker, or on their way.",
                    counts.lost,
                ),
                figure("adopted", "Requests that workers had as they joined.", counts.adopted),
                figure("given_up", "Workers that were given up.", counts.given_up),
                figure("unknown", "Reports on leases that are not out.", counts.unknown),
                figure("stale", "Beats of the past.", counts.stale),
                figure("malformed", "Messages that were not understood.", self.malformed),
                figure(
                    "overrun",
                    "Messages that were lost because they came faster than they were taken.",
                    self.overrun,
                ),
            ],
            refused: reasons.zip(counts.refused).collect(),
            ..Overview::new("worker", vec![PoolView::new(snapshot, names)])
        }
    }
}
