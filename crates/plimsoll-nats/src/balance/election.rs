//! Which balancer leads: the one that holds a key which expires.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Service;

/// The bucket of all services' keys, and the stream that a bucket is.
const BUCKET: &str = "plimsoll-leaders";
/// Says that a key is to be written only where its revision is this.
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// A key that is not renewed for so long is anybody's.
const AGE: Duration = Duration::from_secs(1);
/// How often the leader renews it, and others try to create it.
const EVERY: Duration = Duration::from_millis(300);
/// The leader acts for so long after it sent what renewed the key: some less than its age.
const SAFE: Duration = Duration::from_millis(800);
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bits of an epoch that are the key's revision. Above them is when the bucket was created: one
/// that is made anew counts from 1 again.
const REVISION_BITS: u32 = 32;

/// What balancers of a service agree by: a key of a bucket, as NATS's clients have them (its
/// architecture decision record 8). The three requests are made here, as a client's types are
/// stricter than servers of some age can answer.
#[derive(Clone)]
pub(super) struct Election {
    client: Client,
    /// Where the key is written.
    subject: String,
    /// What is written: who leads.
    me: String,
}

/// The right to lead, for as long as it lasts.
pub(super) struct Mandate {
    pub(super) epoch: u64,
    /// Until when it is certain; nothing when it is over.
    until: watch::Receiver<Option<Instant>>,
    /// Renews it, and ends with it.
    _renewing: JoinSet<()>,
}

/// What a server says of its bucket.
#[derive(Deserialize)]
struct Bucket {
    created: jiff::Timestamp,
}

/// What it says to a key that is written.
#[derive(Deserialize)]
struct Written {
    seq: u64,
}

/// What it says otherwise.
#[derive(Deserialize)]
struct Refused {
    error: Why,
}

#[derive(Deserialize)]
struct Why {
    code: u16,
    #[serde(default)]
    err_code: u32,
}

/// Why a request had no answer that helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// There is no JetStream.
    Absent,
    /// There is no such bucket.
    Missing,
    /// The key has another revision.
    Other,
    /// Nobody knows.
    Unknown,
}

/// "Wrong last sequence", among JetStream's errors.
const WRONG_LAST_SEQUENCE: u32 = 10_071;

impl Election {
    /// How to stand for a service; `None` on a server without JetStream.
    pub(super) async fn open(client: &Client, service: &Service, me: String) -> Option<Self> {
        // Keys have fewer characters than subjects.
        let key: String = service
            .requests()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '=' })
            .collect();
        let subject = format!("$KV.{BUCKET}.{key}");
        let election = Self { client: client.clone(), subject, me };
        // What is not known is found out later.
        (election.bucket().await.err() != Some(Failed::Absent)).then_some(election)
    }

    /// Waits until it leads.
    pub(super) async fn stand(&self) -> Mandate {
        loop {
            let sent = Instant::now();
            if let Ok((created, revision)) = self.create().await {
                let (told, until) = watch::channel(Some(sent + SAFE));
                let mut renewing = JoinSet::new();
                renewing.spawn(self.clone().renew(revision, told));
                let epoch = created << REVISION_BITS | revision;
                return Mandate { epoch, until, _renewing: renewing };
            }
            sleep(EVERY).await;
        }
    }

    /// When the bucket was created, in seconds, and the key's revision.
    async fn create(&self) -> Result<(u64, u64), Failed> {
        let created = self.bucket().await?;
        Ok((created, self.write(0).await?))
    }

    /// Makes sure that there is a bucket.
    async fn bucket(&self) -> Result<u64, Failed> {
        let made = match self.ask(format!("$JS.API.STREAM.INFO.KV_{BUCKET}"), String::new()).await {
            Err(Failed::Missing) => {
                let config = serde_json::json!({
                    "name": format!("KV_{BUCKET}"),
                    "subjects": [format!("$KV.{BUCKET}.>")],
                    "retention": "limits",
                    "discard": "new",
                    "storage": "memory",
                    "num_replicas": 1,
                    "max_age": AGE.as_nanos(),
                    "max_msgs_per_subject": 1,
                    "allow_rollup_hdrs": true,
                    "deny_delete": true,
                    "duplicate_window": AGE.as_nanos(),
                });
                let subject = format!("$JS.API.STREAM.CREATE.KV_{BUCKET}");
                self.ask(subject, config.to_string()).await
            }
            found => found,
        };
        let Bucket { created } = made?;
        Ok(u64::try_from(created.as_second()).unwrap_or(0))
    }

    /// Writes the key where its revision is this, 0 where there is none. Tells its new one.
    async fn write(&self, revision: u64) -> Result<u64, Failed> {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED, revision.to_string());
        let request = Request::new().headers(headers).payload(self.me.clone().into());
        let Written { seq } = self.send(self.subject.clone(), request).await?;
        Ok(seq)
    }

    async fn ask<T: DeserializeOwned>(&self, subject: String, text: String) -> Result<T, Failed> {
        self.send(subject, Request::new().payload(text.into())).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        subject: String,
        request: Request,
    ) -> Result<T, Failed> {
        let request = request.timeout(Some(PATIENCE));
        let reply =
            self.client.send_request(subject, request).await.map_err(|error| {
                match error.kind() {
                    RequestErrorKind::NoResponders => Failed::Absent,
                    _ => Failed::Unknown,
                }
            })?;
        if let Ok(Refused { error }) = serde_json::from_slice(&reply.payload) {
            return Err(match error {
                Why { err_code: WRONG_LAST_SEQUENCE, .. } => Failed::Other,
                Why { code: 404, .. } => Failed::Missing,
                Why { code: 503, .. } => Failed::Absent,
                Why { .. } => Failed::Unknown,
            });
        }
        serde_json::from_slice(&reply.payload).map_err(|_| Failed::Unknown)
    }

    async fn renew(self, mut revision: u64, told: watch::Sender<Option<Instant>>) {
        loop {
            sleep(EVERY).await;
            let sent = Instant::now();
            match self.write(revision).await {
                Ok(renewed) => {
                    revision = renewed;
                    told.send_replace(Some(sent + SAFE));
                }
                // It may have been written, and then the next try tells.
                Err(Failed::Unknown) => {}
                Err(_) => {
                    told.send_replace(None);
                    return;
                }
            }
        }
    }
}

impl Mandate {
    /// The only balancer's: without JetStream nobody else is asked.
    pub(super) fn of_the_only_one(epoch: u64) -> Self {
        let far = Instant::now() + Duration::from_secs(86_400 * 365 * 30);
        Self { epoch, until: watch::channel(Some(far)).1, _renewing: JoinSet::new() }
    }

    /// Whether it leads for certain now.
    pub(super) fn is_certain(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it is certain again; `false` when it is over.
    pub(super) async fn confirmed(&mut self) -> bool {
        loop {
            match *self.until.borrow_and_update() {
                None => return false,
                Some(until) if Instant::now() < until => return true,
                Some(_) => {}
            }
            if self.until.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Until when it is certain.
    pub(super) fn until(&self) -> Instant {
        self.until.borrow().unwrap_or_else(Instant::now)
    }

    /// Waits until it is over.
    pub(super) async fn over(&mut self) {
        // The only one's is never over, and nobody is there to say so.
        if self.until.wait_for(Option::is_none).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
