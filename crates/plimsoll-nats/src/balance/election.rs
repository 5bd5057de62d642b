//! Which balancer leads: the one that holds a key which expires.

use std::fmt::Write as _;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
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
/// How often a server is asked that does not answer.
const LOOKS: u32 = 3;
/// How often it is looked whether a server has JetStream that had none.
const LOOK: Duration = Duration::from_secs(5);
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bits of an epoch that are the key's revision. Above them is when the bucket was created: one
/// that is made anew counts from 1 again.
const REVISION_BITS: u32 = 32;

/// What balancers of a service agree by: a key of a bucket, as NATS's clients have them (its
/// architecture decision record 8). Its requests are made here, as a client's types are stricter
/// than servers of some age can answer.
#[derive(Clone)]
pub(super) struct Election {
    client: Client,
    /// Where the key is written.
    subject: String,
    /// What is written: who leads. Nothing is written by who leads no more.
    me: String,
}

/// The right to lead, for as long as it lasts.
pub(super) struct Mandate {
    pub(super) epoch: u64,
    /// What is known of it; nothing when it is over.
    term: watch::Receiver<Option<Term>>,
    /// Renews it, and ends with it.
    renewing: JoinSet<()>,
    /// The only one has nobody to agree with.
    election: Option<Election>,
    /// Since when it may be another's: it is not certain before it has been renewed.
    doubted: Option<Instant>,
}

/// How far it goes.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// When what renewed the key was sent.
    sent: Instant,
    /// The key's revision.
    revision: u64,
}

impl Term {
    /// Until when it is certain.
    fn until(&self) -> Instant {
        self.sent + SAFE
    }
}

/// The key.
struct Key {
    revision: u64,
    /// Empty when nobody does.
    leads: String,
}

/// What a server says of its bucket.
#[derive(Deserialize)]
struct Bucket {
    created: jiff::Timestamp,
    config: BucketConfig,
}

impl Bucket {
    /// Whether its keys expire when balancers need it.
    fn lasts_as_it_should(&self) -> bool {
        self.config.max_age == AGE.as_nanos()
    }
}

#[derive(Deserialize)]
struct BucketConfig {
    /// In nanoseconds.
    max_age: u128,
}

/// What it says of a key.
#[derive(Deserialize)]
struct Found {
    message: FoundMessage,
}

#[derive(Deserialize)]
struct FoundMessage {
    seq: u64,
    /// In base64; not there when it is empty.
    #[serde(default)]
    data: String,
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
    /// The server says that it has no JetStream.
    Absent,
    /// Nobody answers such requests.
    NobodyThere,
    /// There is no such bucket, or no such key.
    Missing,
    /// The key has another revision.
    Other,
    /// There are not enough servers for so many replicas.
    TooFew,
    /// Nobody knows.
    Unknown,
}

/// Errors of JetStream by their numbers in the server's `errors.json`; all that are not here may
/// pass.
impl From<Why> for Failed {
    fn from(Why { code, err_code }: Why) -> Self {
        match (code, err_code) {
            // "Wrong last sequence".
            (_, 10_071) => Self::Other,
            // "Not enabled", here or for this account.
            (_, 10_076 | 10_039) => Self::Absent,
            // "Replicas > 1 not supported in non-clustered mode", "no suitable peers".
            (_, 10_074 | 10_005) => Self::TooFew,
            (404, _) => Self::Missing,
            _ => Self::Unknown,
        }
    }
}

impl Election {
    /// How to stand for a service.
    pub(super) fn new(client: Client, service: &Service, me: String) -> Self {
        Self { client, subject: format!("$KV.{BUCKET}.{}", key(service.requests())), me }
    }

    /// Whether there can be one: not on a server without JetStream.
    ///
    /// # Errors
    ///
    /// When the bucket is there and is not as balancers need it.
    pub(super) async fn is_possible(&self) -> Result<bool, String> {
        for _ in 0..LOOKS {
            match self.bucket().await {
                Ok(bucket) if !bucket.lasts_as_it_should() => {
                    return Err(format!(
                        "the bucket {BUCKET} has a max_age of {} ns where balancers need {}: \
                         without it they make one",
                        bucket.config.max_age,
                        AGE.as_nanos()
                    ));
                }
                Err(Failed::Absent) => return Ok(false),
                // A cluster's other servers may have it, and not be known yet.
                Err(Failed::NobodyThere) if !self.client.server_info().jetstream => {
                    sleep(EVERY).await;
                }
                // What is not known is found out later.
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The mandate of the only balancer of a server without JetStream: it lasts until there is one.
    pub(super) fn alone(&self, epoch: u64) -> Mandate {
        let far = Instant::now() + Duration::from_secs(86_400 * 365 * 30);
        let (told, term) = watch::channel(Some(Term { sent: far, revision: 0 }));
        let mut renewing = JoinSet::new();
        renewing.spawn(self.clone().look_for_one(told));
        Mandate { epoch, term, renewing, election: None, doubted: None }
    }

    /// Another server of a cluster may have JetStream, and have been away.
    async fn look_for_one(self, told: watch::Sender<Option<Term>>) {
        // Until it could lead by it.
        while !self.bucket().await.is_ok_and(|bucket| bucket.lasts_as_it_should()) {
            sleep(LOOK).await;
        }
        told.send_replace(None);
    }

    /// Waits until it leads. `other` is told who else does, when that changes.
    pub(super) async fn stand(&self, other: impl Fn(&str)) -> Mandate {
        let mut known = String::new();
        loop {
            let sent = Instant::now();
            match self.try_to_lead().await {
                Ok(Ok((created, revision))) => {
                    let (told, term) = watch::channel(Some(Term { sent, revision }));
                    let mut renewing = JoinSet::new();
                    renewing.spawn(self.clone().renew(revision, told));
                    let epoch = created << REVISION_BITS | revision;
                    let election = Some(self.clone());
                    return Mandate { epoch, term, renewing, election, doubted: None };
                }
                Ok(Err(leads)) if leads != known => {
                    other(&leads);
                    known = leads;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            sleep(EVERY).await;
        }
    }

    /// When the bucket was created, in seconds, and the key's revision; or who leads.
    async fn try_to_lead(&self) -> Result<Result<(u64, u64), String>, Failed> {
        let created = self.bucket().await?.created.as_second();
        let expected = match self.key().await? {
            Some(Key { leads, .. }) if !leads.is_empty() => return Ok(Err(leads)),
            Some(Key { revision, .. }) => revision,
            None => 0,
        };
        let revision = self.write(expected, &self.me).await?;
        Ok(Ok((u64::try_from(created).unwrap_or(0), revision)))
    }

    /// Makes sure that there is a bucket.
    async fn bucket(&self) -> Result<Bucket, Failed> {
        match self.info().await {
            Err(Failed::Missing) => {}
            found => return found,
        }
        // A key on one server of a cluster is away when that is.
        if self.client.server_info().cluster.is_some() {
            match self.make(3).await {
                Err(Failed::TooFew) => {}
                made => return made,
            }
        }
        self.make(1).await
    }

    async fn info(&self) -> Result<Bucket, Failed> {
        self.ask(format!("$JS.API.STREAM.INFO.KV_{BUCKET}"), None).await
    }

    async fn make(&self, replicas: u8) -> Result<Bucket, Failed> {
        let config = json!({
            "name": format!("KV_{BUCKET}"),
            "subjects": [format!("$KV.{BUCKET}.>")],
            "retention": "limits",
            "discard": "new",
            "storage": "memory",
            "num_replicas": replicas,
            "max_age": AGE.as_nanos(),
            "max_msgs_per_subject": 1,
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "duplicate_window": AGE.as_nanos(),
        });
        self.ask(format!("$JS.API.STREAM.CREATE.KV_{BUCKET}"), Some(config)).await
    }

    /// The key, if there is one.
    async fn key(&self) -> Result<Option<Key>, Failed> {
        let last = json!({ "last_by_subj": self.subject });
        match self.ask(format!("$JS.API.STREAM.MSG.GET.KV_{BUCKET}"), Some(last)).await {
            Ok(Found { message: FoundMessage { seq, data } }) => {
                let leads = BASE64.decode(data).map_err(|_| Failed::Unknown)?;
                let leads = String::from_utf8_lossy(&leads).into_owned();
                Ok(Some(Key { revision: seq, leads }))
            }
            Err(Failed::Missing) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Writes the key where its revision is this, 0 where there is none. Tells its new one.
    async fn write(&self, revision: u64, leads: &str) -> Result<u64, Failed> {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED, revision.to_string());
        let request = Request::new().headers(headers).payload(leads.to_owned().into());
        let Written { seq } = self.send(self.subject.clone(), request).await?;
        Ok(seq)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        subject: String,
        what: Option<Value>,
    ) -> Result<T, Failed> {
        let text = what.map_or_else(String::new, |what| what.to_string());
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
                    RequestErrorKind::NoResponders => Failed::NobodyThere,
                    _ => Failed::Unknown,
                }
            })?;
        if let Ok(Refused { error }) = serde_json::from_slice(&reply.payload) {
            return Err(error.into());
        }
        serde_json::from_slice(&reply.payload).map_err(|_| Failed::Unknown)
    }

    async fn renew(self, mut revision: u64, told: watch::Sender<Option<Term>>) {
        loop {
            sleep(EVERY).await;
            let sent = Instant::now();
            let renewed = match self.write(revision, &self.me).await {
                Err(Failed::Other) => match self.key().await {
                    // Ours, by a renewal whose answer never came.
                    Ok(Some(Key { revision, leads })) if leads == self.me => {
                        self.write(revision, &self.me).await
                    }
                    Ok(_) => Err(Failed::Other),
                    Err(failed) => Err(failed),
                },
                // No stream has such subjects: is the bucket gone?
                Err(Failed::NobodyThere) => Err(self.info().await.err().unwrap_or(Failed::Unknown)),
                written => written,
            };
            match renewed {
                Ok(renewed) => {
                    revision = renewed;
                    told.send_replace(Some(Term { sent, revision }));
                }
                // Another's, or nobody's any more: of its own it has come to an end.
                Err(Failed::Other | Failed::Missing) => {
                    told.send_replace(None);
                    return;
                }
                // It may have been written, and then the next try tells.
                Err(_) => {}
            }
        }
    }
}

/// A service's key: keys have fewer characters than subjects.
fn key(subject: &str) -> String {
    let mut key = String::new();
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            key.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(key, "={byte:02X}");
        }
    }
    key
}

impl Mandate {
    /// Whether another may come after it.
    pub(super) fn is_elected(&self) -> bool {
        self.election.is_some()
    }

    /// Whether it leads for certain now.
    pub(super) fn is_certain(&self) -> bool {
        self.term.borrow().is_some_and(|term| self.covers(term))
    }

    fn covers(&self, term: Term) -> bool {
        Instant::now() < term.until() && self.doubted.is_none_or(|doubted| doubted < term.sent)
    }

    /// Whether it holds although somebody has heard of a later one: it was renewed since that was
    /// known here. If that is news, it is not certain from now on, and who said so is to say it again
    /// in this time. In that time it is not doubted anew, so that nobody who cries wolf keeps it from
    /// its work.
    pub(super) fn withstands(&mut self, again: Duration) -> bool {
        if !self.is_elected() {
            return true;
        }
        if self.doubted.is_some_and(|doubted| doubted.elapsed() < again) {
            return self.is_certain();
        }
        self.doubted = Some(Instant::now());
        false
    }

    /// Waits until it is certain again; `false` when it is over.
    pub(super) async fn confirmed(&mut self) -> bool {
        loop {
            let known = *self.term.borrow_and_update();
            match known {
                None => return false,
                Some(term) if self.covers(term) => return true,
                Some(_) => {}
            }
            if self.term.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Until when it is certain.
    pub(super) fn until(&self) -> Instant {
        let known = *self.term.borrow();
        known.filter(|&term| self.covers(term)).map_or_else(Instant::now, |term| term.until())
    }

    /// Waits until it is over.
    pub(super) async fn over(&mut self) {
        // Nobody may be there to say so.
        if self.term.wait_for(Option::is_none).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends it: another need not wait until the key is too old.
    pub(super) async fn end(&mut self) {
        self.renewing.shutdown().await;
        let term = *self.term.borrow();
        if let (Some(election), Some(term)) = (&self.election, term) {
            // If it comes to nothing, age does it.
            let _ = election.write(term.revision, "").await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_services_have_one_key() {
        assert_eq!(key("images.resize-2"), "images.resize-2");
        assert_eq!(key("a!b=c"), "a=21b=3Dc");
        assert_ne!(key("a!b"), key("a#b"));
    }

    #[test]
    fn only_a_server_that_says_so_has_no_jetstream() {
        let failed = |code, err_code| Failed::from(Why { code, err_code });
        assert_eq!(failed(503, 10_076), Failed::Absent);
        assert_eq!(failed(503, 10_039), Failed::Absent);
        // A cluster that is electing its own leader.
        assert_eq!(failed(503, 10_008), Failed::Unknown);
        assert_eq!(failed(404, 10_059), Failed::Missing);
        assert_eq!(failed(400, 10_071), Failed::Other);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_goes_above_others_only_after_it_has_been_renewed() {
        let client = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = client.connect("127.0.0.1:1").await.unwrap();
        let election = Election::new(client, &"a".parse().unwrap(), "me".into());
        let (told, term) = watch::channel(Some(Term { sent: Instant::now(), revision: 1 }));
        let mut mandate = Mandate {
            epoch: 1,
            term,
            renewing: JoinSet::new(),
            election: Some(election),
            doubted: None,
        };
        let again = Duration::from_secs(5);
        assert!(mandate.is_certain());
        for revision in [2, 3] {
            assert!(!mandate.withstands(again) && !mandate.is_certain());
            // By what was sent before, too.
            told.send_modify(|_| {});
            assert!(!mandate.withstands(again) && !mandate.is_certain());
            tokio::time::advance(EVERY).await;
            told.send_replace(Some(Term { sent: Instant::now(), revision }));
            assert!(mandate.confirmed().await);
            // Of however many.
            assert!((0..3).all(|_| mandate.withstands(again)) && mandate.is_certain());
            tokio::time::advance(again).await;
            told.send_replace(Some(Term { sent: Instant::now(), revision }));
        }
        assert!(!mandate.withstands(again));
        told.send_replace(None);
        assert!(!mandate.confirmed().await);
    }
}
