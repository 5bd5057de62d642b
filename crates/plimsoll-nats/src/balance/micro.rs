//! What NATS's own tools see of a service: `$SRV.PING`, `INFO` and `STATS`, as NATS's
//! architecture decision record 32 has them.

use async_nats::{Client, Message};
use futures_util::StreamExt;
use futures_util::stream::select_all;
use serde_json::{Value, json};

use super::outgoing::may_answer;
use super::{Seen, Status};
use crate::Service;

/// Versions there are of this crate's own.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A balancer as those tools name it.
pub(super) struct Micro {
    pub(super) service: Service,
    pub(super) id: String,
    pub(super) seen: Seen,
    /// When it began.
    pub(super) started: jiff::Timestamp,
}

impl Micro {
    /// Answers until it is dropped. Where the server does not let it, nothing else is lost.
    pub(super) async fn answer(self, client: Client) {
        let (name, id) = (self.name(), &self.id);
        let subjects =
            ["$SRV.*".to_owned(), format!("$SRV.*.{name}"), format!("$SRV.*.{name}.{id}")];
        let mut asked = Vec::new();
        for subject in subjects {
            let Ok(subscribed) = client.subscribe(subject).await else { return };
            asked.push(subscribed);
        }
        let mut asked = select_all(asked);
        while let Some(message) = asked.next().await {
            let Message { subject, reply: Some(reply), .. } = message else { continue };
            let Some(said) = subject.split('.').nth(1).and_then(|verb| self.said(verb)) else {
                continue;
            };
            if !may_answer(&self.service, &reply) {
                continue;
            }
            if client.publish(reply, said.to_string().into()).await.is_err() {
                return;
            }
        }
    }

    /// Names there have fewer characters than subjects.
    fn name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        self.service.requests().chars().map(plain).collect()
    }

    fn said(&self, verb: &str) -> Option<Value> {
        let kind = match verb {
            "PING" | "INFO" | "STATS" => verb.to_ascii_lowercase(),
            _ => return None,
        };
        let mut said = json!({
            "name": self.name(),
            "id": self.id,
            "version": VERSION,
            "metadata": {},
            "type": format!("io.nats.micro.v1.{kind}_response"),
        });
        let endpoint = json!({
            "name": "requests",
            "subject": self.service.requests(),
            "queue_group": "",
        });
        match verb {
            "INFO" => {
                said["description"] = "requests to the least-loaded worker".into();
                said["endpoints"] = json!([endpoint]);
            }
            "STATS" => {
                let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                said["started"] = self.started.to_string().into();
                said["endpoints"] = json!([counted(endpoint, &seen)]);
            }
            _ => {}
        }
        Some(said)
    }
}

/// With what it has counted.
fn counted(mut endpoint: Value, seen: &Status) -> Value {
    let refused: u64 = seen.counts.refused.iter().sum();
    endpoint["num_requests"] = seen.counts.requests.into();
    endpoint["num_errors"] = (refused + seen.counts.failed).into();
    endpoint["last_error"] = "".into();
    let average = seen.snapshot.as_ref().map_or(0, |snapshot| snapshot.run.mean().as_nanos());
    let average = u64::try_from(average).unwrap_or(u64::MAX);
    endpoint["average_processing_time"] = average.into();
    let answered = seen.counts.answered;
    endpoint["processing_time"] = average.saturating_mul(answered).into();
    endpoint
}
