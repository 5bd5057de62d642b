//! What an operator sees.

use plimsoll::Balancer;
use plimsoll_admin::{Family, Figure, Overview, PoolView, Serving, WorkerView};

use super::Status;
use crate::Error;

impl Status {
    /// As `/workers` and `/metrics` show it.
    pub fn overview(&self) -> Overview {
        let counts = &self.counts;
        let figure = |key, help, value| Figure { key, help, value };
        let workers = self.workers.iter().map(|name| WorkerView::new(name.to_string())).collect();
        let reasons = Error::ALL.iter().map(|error| error.name().to_owned());
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        let refused = counts.refused.map(|count| count as f64);
        // One that does not lead knows nobody.
        let snapshot = self.snapshot.clone().unwrap_or_else(|| Balancer::<()>::new().snapshot());
        let leads = u64::from(self.epoch.is_some());
        Overview {
            serving: match self.epoch {
                Some(_) if self.is_ending => Serving::Ending,
                Some(_) => Serving::Here,
                None => Serving::Elsewhere,
            },
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
            families: vec![Family {
                key: "refused",
                help: "Requests that got no worker's answer, by reason.",
                counts: true,
                label: "reason",
                values: reasons.zip(refused).collect(),
            }],
            ..Overview::new("worker", vec![PoolView::new(snapshot, workers)])
        }
    }
}
