//! A balancer that leads, until it does no more.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Subscriber};
use plimsoll_core::Time;
use tokio::time::{Instant, timeout_at};

use super::election::Mandate;
use super::intake::{self, Came, Requests};
use super::outgoing::{self, Outgoing, Sent};
use super::pace::Pace;
use super::{Balance, RETIRES, Seen, Status};
use crate::{Beat, Dispatcher, End, Service, Topic};

/// Requests that come are kept for so long while it is not certain that it leads: another does by then,
/// or requesters are told that nobody is there.
const UNCERTAIN: Duration = Duration::from_secs(1);

/// What is not believed is to be said again in this time, at the least.
const UNBELIEVED: Duration = Duration::from_secs(5);

/// How often [`Status`] is told anew.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// Why it does not lead any more.
pub(super) enum Ends {
    /// Another may.
    Lost,
    /// It was asked to end, until then at the latest.
    Asked(Instant),
    /// The client is closed.
    Closed,
}

/// See the module.
pub(super) struct Lead {
    service: Service,
    client: Client,
    mandate: Mandate,
    /// In this time a worker says again what its balancer would not believe.
    again: Duration,
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
    pub(super) async fn begin(
        balance: &Balance,
        client: &Client,
        mandate: Mandate,
    ) -> Result<Self, String> {
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
            again: UNBELIEVED.max(balance.settings.beat_every * 3),
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

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// When the dispatcher has something to do.
    fn due(&self) -> Option<Instant> {
        let due = self.dispatcher.poll_timeout()?;
        Some(self.began + due.since(Time::ZERO).unwrap_or_default())
    }

    pub(super) async fn run(
        &mut self,
        mut shutdown: impl Future<Output = ()> + Unpin,
        drain: Duration,
        seen: &Seen,
    ) -> Ends {
        // When it ends, once it is asked to.
        let mut until: Option<Instant> = None;
        let mut tell_at = Instant::now();
        loop {
            let due = self.due();
            let leaves = self.requests.as_ref().and_then(Requests::due);
            let leaves = leaves.filter(|_| self.is_connected());
            let wakes = [due, leaves, until, Some(tell_at)].into_iter().flatten();
            let wake = wakes.fold(self.mandate.until(), Instant::min);
            tokio::select! {
                biased;
                () = &mut shutdown, if until.is_none() => until = Some(Instant::now() + drain),
                () = self.mandate.over() => {}
                is_open = intake::next(&mut self.reports, &mut self.requests, &mut self.batch) => {
                    if !is_open {
                        return Ends::Closed;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            if let Some(ends) = self.be_certain(&mut shutdown, &mut until, drain).await {
                return ends;
            }
            if until.is_some() {
                self.dispatcher.close();
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
            if let Some(ends) = self.go_on(&mut shutdown, &mut until, drain).await {
                return ends;
            }
            if Instant::now() >= tell_at {
                tell_at = Instant::now() + TOLD_EVERY;
                self.tell(seen);
            }
            // Where another may lead it lets that one, and only answers workers from then on. Else it
            // leads on, and gives what comes back unbegun to others, until nothing is out.
            let is_elsewhere = self.mandate.is_elected() || self.dispatcher.pending() == 0;
            let is_done = is_elsewhere && self.requests.is_none();
            if let Some(until) = until
                && self.dispatcher.waiting() == 0
                && (is_done || is_late)
            {
                return Ends::Asked(until);
            }
        }
    }

    /// Waits until it leads for certain: it may be another that does, or will. What came in the meantime
    /// is not touched before that is known: the other has had it, too. If there is none nobody else
    /// has; but it may take long.
    async fn be_certain(
        &mut self,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
        until: &mut Option<Instant>,
        drain: Duration,
    ) -> Option<Ends> {
        if self.mandate.is_certain() {
            return None;
        }
        let long = Instant::now() + UNCERTAIN;
        loop {
            tokio::select! {
                biased;
                () = &mut *shutdown, if until.is_none() => {
                    // There may be no connection, for as long as it takes.
                    if !self.is_connected() {
                        return Some(Ends::Asked(Instant::now()));
                    }
                    *until = Some(Instant::now() + drain);
                }
                at = reached(*until) => return Some(Ends::Asked(at)),
                is_certain = self.mandate.confirmed() => match (is_certain, *until) {
                    (true, _) => return None,
                    (false, None) => return Some(Ends::Lost),
                    (false, Some(until)) => return Some(Ends::Asked(until)),
                },
                () = tokio::time::sleep_until(long), if self.requests.is_some() => {
                    self.requests = None;
                    self.batch.retain(|came| matches!(came, Came::Report(_)));
                }
            }
        }
    }

    /// Sends what there is to send, and subscribes as it should be. Without a connection that waits,
    /// where it is in nobody's way: the client holds little, and then takes nothing for as long as a
    /// server takes nothing of it.
    async fn go_on(
        &mut self,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
        until: &mut Option<Instant>,
        drain: Duration,
    ) -> Option<Ends> {
        if !self.is_connected() {
            return None;
        }
        let mut going = pin!(async { self.send().await && self.attend().await.is_ok() });
        loop {
            let latest = until.map(|until| until + RETIRES);
            tokio::select! {
                biased;
                goes_on = &mut going => return (!goes_on).then_some(Ends::Closed),
                () = &mut *shutdown, if until.is_none() => *until = Some(Instant::now() + drain),
                at = reached(latest) => return Some(Ends::Asked(at)),
            }
        }
    }

    /// Whether workers have requests.
    pub(super) fn has_something_out(&self) -> bool {
        self.dispatcher.pending() > 0
    }

    /// Lets another lead at once, if there is one.
    pub(super) async fn give_up(&mut self) {
        self.mandate.end().await;
    }

    /// Hears what becomes of what is out, and tells those whose requests no worker began that nobody
    /// will: this one had them alone. Another answers workers.
    pub(super) async fn retire(mut self, until: Instant) {
        self.requests = None;
        self.dispatcher.retire();
        while self.hear_reports().await && self.dispatcher.pending() > 0 {
            let next = intake::next(&mut self.reports, &mut self.requests, &mut self.batch);
            let Ok(true) = timeout_at(until, next).await else { return };
        }
    }

    /// Looks at reports alone, and sends what there is to send; `false` when the client is closed.
    async fn hear_reports(&mut self) -> bool {
        let now = self.now();
        for came in std::mem::take(&mut self.batch) {
            if let Came::Report(message) = came
                && let Some((_, Topic::Lease(_) | Topic::Ends)) =
                    self.service.read_report(&message.subject)
            {
                let _ = self.report(&message, now);
            }
        }
        self.send().await
    }

    /// As [`retire`](Self::retire), and answers workers that no other balancer answers, so that they go on
    /// with what they have.
    pub(super) async fn finish(mut self, until: Instant, seen: &Seen) {
        self.requests = None;
        self.dispatcher.retire();
        loop {
            let mut batch = std::mem::take(&mut self.batch);
            batch.retain(|came| matches!(came, Came::Report(_)));
            let is_another = |came: &Came| matches!(came, Came::Report(message) if self.knows_of_another(message));
            if batch.iter().any(is_another) {
                self.batch = batch;
                return self.retire(until.min(Instant::now() + RETIRES)).await;
            }
            let now = self.now();
            for came in batch {
                self.take(came, now);
            }
            // While it hears nobody it gives nobody up.
            if self.is_connected() {
                self.dispatcher.handle_timeout(now);
                if !self.send().await {
                    return;
                }
            }
            self.tell(seen);
            if self.dispatcher.pending() == 0 || Instant::now() >= until {
                return;
            }
            let wake = until.min(Instant::now() + TOLD_EVERY);
            let next = intake::next(&mut self.reports, &mut self.requests, &mut self.batch);
            if let Ok(false) = timeout_at(wake, next).await {
                return;
            }
        }
    }

    /// Whether a worker tells by its beat that one leads who came later.
    fn knows_of_another(&self, message: &async_nats::Message) -> bool {
        let topic = self.service.read_report(&message.subject).map(|(_, topic)| topic);
        matches!(topic, Some(Topic::Beat))
            && Beat::read(&message.payload).is_ok_and(|beat| beat.epoch > self.dispatcher.epoch())
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
                // It is another's that leads, or epochs began anew. Its worker beats again.
                if beat.epoch > self.dispatcher.epoch() && !self.mandate.withstands(self.again) {
                    return Some(());
                }
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
            is_ending: self.dispatcher.is_closed(),
        };
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// Ready at that time, or never.
async fn reached(at: Option<Instant>) -> Instant {
    match at {
        Some(at) => {
            tokio::time::sleep_until(at).await;
            at
        }
        None => std::future::pending().await,
    }
}
