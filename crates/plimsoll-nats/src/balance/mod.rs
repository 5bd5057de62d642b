//! The balancer: a dispatcher, and what goes over the wire for it.
//!
//! | file | what it is |
//! |---|---|
//! | `mod.rs` | leads a service for as long as it may |
//! | `election.rs` | which of several balancers leads |
//! | `intake.rs` | messages as they come, many at a time |
//! | `micro.rs` | what NATS's own tools see |
//! | `outgoing.rs` | deliveries, errors and answers, as messages |
//! | `overview.rs` | what an operator sees |
//! | `pace.rs` | when the refused may come again |

mod election;
mod intake;
mod micro;
mod outgoing;
mod overview;
mod pace;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use plimsoll::Snapshot;
use plimsoll_core::Time;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::election::{Election, Mandate};
use self::intake::{Came, Requests};
use self::micro::Micro;
use self::outgoing::{Outgoing, Sent};
use self::pace::Pace;
use crate::{Beat, Counts, Dispatcher, End, Service, Settings, Topic, WorkerName};

/// How a balancer works.
#[derive(Clone, Debug)]
pub struct Balance {
    /// What it balances.
    pub service: Service,
    /// How it dispatches.
    pub settings: Settings,
    /// How long requests in line are worked off when it ends.
    pub drain: Duration,
    /// What it is called among balancers: no two have one name.
    pub name: String,
    /// Messages that the client has lost because they came faster than they were taken, counted by
    /// who made the client and hears its [`SlowConsumer`](async_nats::Event::SlowConsumer): at
    /// least so many, as of a flood of events some are lost, too.
    pub overrun: Arc<AtomicU64>,
}

/// What a balancer tells of itself while it runs.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Its epoch, while it leads; else another leads, or nobody.
    pub epoch: Option<u64>,
    /// The names of the workers, in the snapshot's order.
    pub workers: Vec<WorkerName>,
    /// What it knows, while it leads.
    pub snapshot: Option<Snapshot>,
    /// What it has counted, since it leads.
    pub counts: Counts,
    /// Messages that were not understood.
    pub malformed: u64,
    /// Messages that the client has lost.
    pub overrun: u64,
}

/// What is seen of a running balancer from outside.
pub type Seen = Arc<Mutex<Status>>;

/// How long one that does not lead any more hears what has become of its deliveries.
const RETIRES: Duration = Duration::from_secs(1);

/// How long it takes until another leads and has heard of the workers: the key's age, a look at it,
/// some beats, and a connection that is made anew.
const TAKEOVER: Duration = Duration::from_millis(2500);

/// How often [`Status`] is told anew.
const TOLD_EVERY: Duration = Duration::from_millis(100);

impl Balance {
    /// Balances until `shutdown` is over: then it takes no more requests, works off its line for
    /// as long as [`drain`](Self::drain), and leaves what workers have to them: they answer by
    /// themselves.
    ///
    /// Where the server has JetStream any number of balancers may run: one leads, the others
    /// stand by, and take over within two seconds. `note` is told what an operator should know.
    ///
    /// ```no_run
    /// use plimsoll_nats::{Balance, Seen, Settings};
    /// use std::time::Duration;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = async_nats::connect("nats://127.0.0.1:4222").await?;
    /// let balance = Balance {
    ///     service: "upper".parse()?,
    ///     settings: Settings::default(),
    ///     drain: Duration::from_secs(10),
    ///     name: "first".into(),
    ///     overrun: std::sync::Arc::default(),
    /// };
    /// let seen = Seen::default();
    /// let told = |what: &str| eprintln!("{what}");
    /// balance.run(client, std::future::pending(), &seen, told).await?;
    /// println!("{} messages were not understood", seen.lock().unwrap().malformed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Settings that are out of bounds, or what the server would not let it do.
    pub async fn run(
        self,
        client: Client,
        shutdown: impl Future<Output = ()>,
        seen: &Seen,
        note: impl Fn(&str),
    ) -> Result<(), String> {
        self.settings.check()?;
        let mut shutdown = pin!(shutdown);
        let micro = Micro {
            service: self.service.clone(),
            id: self.name.clone(),
            seen: Arc::clone(seen),
            started: jiff::Timestamp::now(),
        };
        // It ends with this.
        let mut answering = JoinSet::new();
        answering.spawn(micro.answer(client.clone()));
        let election = Election::open(&client, &self.service, self.name.clone()).await?;
        if election.is_none() {
            note("the server has no JetStream: this must be the only balancer of its subject");
        } else if self.settings.lost_after < TAKEOVER {
            note(&format!(
                "a takeover takes up to {} s, and workers given up after {} s have let go by then",
                TAKEOVER.as_secs_f64(),
                self.settings.lost_after.as_secs_f64()
            ));
        }
        loop {
            let mandate = match &election {
                None => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    // Later than that of the balancer before.
                    Mandate::of_the_only_one(now.as_secs() << 32)
                }
                Some(election) => tokio::select! {
                    biased;
                    () = &mut shutdown => return Ok(()),
                    mandate = election.stand(|leads| note(&format!("stands by: {leads} leads")))
                        => mandate,
                },
            };
            note(&format!("leads, epoch {}", mandate.epoch));
            let mut lead = Lead::begin(&self, &client, mandate).await?;
            let ends = lead.run(&mut shutdown, self.drain, seen).await;
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Status::default();
            match ends {
                Ends::Lost => {
                    note("does not lead any more: another balancer may");
                    tokio::spawn(tokio::time::timeout(RETIRES, lead.retire()));
                }
                Ends::Asked => {
                    let ending = async {
                        lead.mandate.end().await;
                        lead.retire().await;
                        settle(&client).await;
                    };
                    // Where there is no connection nothing of it can be done.
                    let _ = tokio::time::timeout(RETIRES * 2, ending).await;
                    return Ok(());
                }
                Ends::Closed => return Err("the connection to the server is closed".into()),
            }
        }
    }
}

/// Why it does not lead any more.
enum Ends {
    Lost,
    Asked,
    Closed,
}

/// A balancer that leads.
struct Lead {
    service: Service,
    client: Client,
    mandate: Mandate,
    began: Instant,
    dispatcher: Dispatcher,
    outgoing: Outgoing,
    reports: Subscriber,
    requests: Option<Requests>,
    /// What has come and is not looked at yet.
    batch: Vec<Came>,
    malformed: u64,
    overrun: Arc<AtomicU64>,
    pace: Pace,
}

impl Lead {
    async fn begin(balance: &Balance, client: &Client, mandate: Mandate) -> Result<Self, String> {
        let reports = balance.service.reports();
        let reports = client
            .subscribe(reports.clone())
            .await
            .map_err(|error| format!("{reports} cannot be subscribed to: {error}"))?;
        let seed = mandate.epoch;
        Ok(Self {
            dispatcher: Dispatcher::new(
                balance.service.clone(),
                balance.settings,
                mandate.epoch,
                seed,
            ),
            outgoing: Outgoing::new(client.clone(), balance.service.clone()),
            service: balance.service.clone(),
            client: client.clone(),
            mandate,
            began: Instant::now(),
            reports,
            requests: None,
            batch: Vec::new(),
            malformed: 0,
            overrun: Arc::clone(&balance.overrun),
            pace: Pace::default(),
        })
    }

    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    async fn run(
        &mut self,
        mut shutdown: impl Future<Output = ()> + Unpin,
        drain: Duration,
        seen: &Seen,
    ) -> Ends {
        // When it ends, once it is asked to.
        let mut until: Option<Instant> = None;
        let mut tell_at = Instant::now();
        loop {
            let due = self.dispatcher.poll_timeout();
            let due = due.map(|due| self.began + due.since(Time::ZERO).unwrap_or_default());
            let leaves = self.requests.as_ref().and_then(Requests::due);
            let wakes = [due, leaves, until, Some(tell_at)].into_iter().flatten();
            let wake = wakes.fold(self.mandate.until(), Instant::min);
            tokio::select! {
                biased;
                () = &mut shutdown, if until.is_none() => {
                    until = Some(Instant::now() + drain);
                    self.dispatcher.close();
                }
                () = self.mandate.over() => {}
                is_open = intake::next(&mut self.reports, &mut self.requests, &mut self.batch) => {
                    if !is_open {
                        return Ends::Closed;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            // It may be another that leads, or will. What came in the meantime is not touched before
            // that is known, and requests are not answered: the other has had them, too.
            if !self.mandate.is_certain() {
                self.requests = None;
                self.batch.retain(|came| matches!(came, Came::Report(_)));
                tokio::select! {
                    biased;
                    // There may be no connection, for as long as it takes.
                    () = &mut shutdown, if until.is_none() => return Ends::Asked,
                    () = sleep_until(until) => return Ends::Asked,
                    is_certain = self.mandate.confirmed() => {
                        if !is_certain {
                            return Ends::Lost;
                        }
                    }
                }
            }
            let now = self.now();
            let mut batch = std::mem::take(&mut self.batch);
            for came in batch.drain(..) {
                self.take(came, now);
            }
            // With its room.
            self.batch = batch;
            self.dispatcher.handle_timeout(now);
            let is_late = until.is_some_and(|until| Instant::now() >= until);
            if is_late {
                self.dispatcher.clear_line();
            }
            if !self.send().await || self.attend().await.is_err() {
                return Ends::Closed;
            }
            if Instant::now() >= tell_at {
                tell_at = Instant::now() + TOLD_EVERY;
                self.tell(seen);
            }
            // Another answers workers from then on, if there can be one. Else what they work on
            // is theirs for as long as this one answers.
            let is_elsewhere = self.mandate.is_elected() || self.dispatcher.pending() == 0;
            let is_done = is_elsewhere && self.requests.is_none();
            if until.is_some() && self.dispatcher.waiting() == 0 && (is_done || is_late) {
                return Ends::Asked;
            }
        }
    }

    /// Tells those whose requests no worker began that nobody will. It had them alone: another
    /// leads only when it has not led for some time.
    async fn retire(mut self) {
        self.requests = None;
        self.dispatcher.retire();
        let until = Instant::now() + RETIRES;
        loop {
            let now = self.now();
            for came in std::mem::take(&mut self.batch) {
                if let Came::Report(message) = came
                    && let Some((_, Topic::Lease(_) | Topic::Ends)) =
                        self.service.read_report(&message.subject)
                {
                    let _ = self.report(&message, now);
                }
            }
            if !self.send().await || self.dispatcher.pending() == 0 {
                return;
            }
            let next = intake::next(&mut self.reports, &mut self.requests, &mut self.batch);
            let Ok(true) = tokio::time::timeout_at(until, next).await else { return };
        }
    }

    fn take(&mut self, came: Came, now: Time) {
        match came {
            Came::Request(message) => match outgoing::read(&self.service, message) {
                Ok((parcel, terms)) => self.dispatcher.request(parcel, terms, now),
                Err(refused) => {
                    self.malformed += 1;
                    self.outgoing.refuse_bad(refused);
                }
            },
            Came::Report(message) => {
                if self.report(&message, now).is_none() {
                    self.malformed += 1;
                }
            }
        }
    }

    fn report(&mut self, message: &async_nats::Message, now: Time) -> Option<()> {
        let (worker, topic) = self.service.read_report(&message.subject)?;
        match topic {
            Topic::Lease(lease) => {
                let end = match message.status {
                    Some(async_nats::StatusCode::NO_RESPONDERS) => End::Vanished,
                    Some(_) => return None,
                    None => End::read(&message.payload)?,
                };
                self.dispatcher.done(worker, lease, end, now);
            }
            Topic::Ends => {
                let mut is_sound = true;
                for line in End::read_lines(&message.payload) {
                    match line {
                        Some((lease, end)) => self.dispatcher.done(worker, lease, end, now),
                        None => is_sound = false,
                    }
                }
                return is_sound.then_some(());
            }
            Topic::Beat => {
                let beat = Beat::read(&message.payload).ok()?;
                self.dispatcher.beat(&worker.parse().ok()?, &beat, now);
            }
            // Not what an answer of somebody else's would be, sent there by its requester.
            Topic::Leave if message.payload.is_empty() => self.dispatcher.leave(worker, now),
            Topic::Leave => return None,
        }
        Some(())
    }

    /// Sends what the dispatcher says; `false` when the client is closed.
    async fn send(&mut self) -> bool {
        while let Some(output) = self.dispatcher.poll_output() {
            let again = || self.pace.retry_after(self.dispatcher.waiting());
            match self.outgoing.send(output, again).await {
                (Sent::Closed, _) => return false,
                (Sent::No, Some((worker, lease))) => {
                    let now = self.now();
                    self.dispatcher.done(&worker.to_string(), lease, End::Refused, now);
                }
                _ => {}
            }
        }
        self.outgoing.send_bad().await != Sent::Closed
    }

    /// Subscribes to requests, or leaves, as the dispatcher wants it.
    async fn attend(&mut self) -> Result<(), async_nats::Error> {
        let now = Instant::now();
        match (&mut self.requests, self.dispatcher.attends()) {
            (None, false) => {}
            (None, true) => {
                let subscriber = self.client.subscribe(self.service.requests().to_owned()).await?;
                self.requests = Some(Requests::new(subscriber));
            }
            (Some(requests), true) => {
                requests.stay();
                // It may be told already that it leaves.
                if requests.due().is_some() {
                    requests.leave(now).await?;
                }
            }
            (Some(requests), false) => requests.leave(now).await?,
        }
        Ok(())
    }

    fn tell(&mut self, seen: &Seen) {
        self.pace.note(self.began.elapsed(), self.dispatcher.counts().answered);
        let (workers, snapshot) = self.dispatcher.snapshot(self.now());
        let status = Status {
            epoch: Some(self.dispatcher.epoch()),
            workers,
            snapshot: Some(snapshot),
            counts: self.dispatcher.counts(),
            malformed: self.malformed,
            overrun: self.overrun.load(Ordering::Relaxed),
        };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// Ready at that time, or never.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits until the server has all that was sent: what comes back was sent after it. The client's
/// own flush is over when a socket that is full has not taken all.
async fn settle(client: &Client) {
    let inbox = client.new_inbox();
    if let Ok(mut back) = client.subscribe(inbox.clone()).await
        && client.publish(inbox, bytes::Bytes::new()).await.is_ok()
    {
        let _ = back.next().await;
    }
}
