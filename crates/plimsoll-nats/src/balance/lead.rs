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
            // It may be another that leads, or will. What came in the meantime is not touched before
            // that is known: the other has had it, too. If there is none, nobody else has.
            if !self.mandate.is_certain() {
                tokio::select! {
                    biased;
                    // There may be no connection, for as long as it takes.
                    () = &mut shutdown, if until.is_none() => return Ends::Asked(Instant::now()),
                    at = reached(until) => return Ends::Asked(at),
                    is_certain = self.mandate.confirmed() => match (is_certain, until) {
                        (true, _) => {}
                        (false, None) => return Ends::Lost,
                        (false, Some(until)) => return Ends::Asked(until),
                    }
                }
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
            // Another answers workers from then on, if there can be one. Else what they work on
            // is theirs for as long as this one answers.
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

    /// Lets another lead at once, if there is one.
    pub(super) async fn give_up(&mut self) {
        self.mandate.end().await;
    }

    /// Hears what becomes of what is out, and tells those whose requests no worker began that nobody
    /// will: this one had them alone. Answers workers that no other balancer answers.
    pub(super) async fn retire(mut self, mut until: Instant) {
        self.requests = None;
        self.dispatcher.retire();
        let mut answers = !self.mandate.has_passed_on();
        loop {
            let now = self.now();
            for came in std::mem::take(&mut self.batch) {
                let Came::Report(message) = came else { continue };
                if answers && self.knows_of_another(&message) {
                    answers = false;
                    until = until.min(Instant::now() + RETIRES);
                }
                let topic = self.service.read_report(&message.subject).map(|(_, topic)| topic);
                if answers || matches!(topic, Some(Topic::Lease(_) | Topic::Ends)) {
                    let _ = self.report(&message, now);
                }
            }
            if answers {
                self.dispatcher.handle_timeout(now);
            }
            if !self.send().await || self.dispatcher.pending() == 0 {
                return;
            }
            let wake = self.due().filter(|_| answers).map_or(until, |due| due.min(until));
            let next = intake::next(&mut self.reports, &mut self.requests, &mut self.batch);
            match timeout_at(wake, next).await {
                Ok(false) => return,
                Err(_) if Instant::now() >= until => return,
                _ => {}
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
                if beat.epoch > self.dispatcher.epoch() && !self.mandate.withstands() {
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
