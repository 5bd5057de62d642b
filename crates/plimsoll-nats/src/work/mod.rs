//! The worker's side: requests as they are delivered, run by a handler.

mod hold;

use std::future::Future;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::client::PublishErrorKind;
use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use plimsoll_core::Time;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use self::hold::{Hold, Taken};
use crate::{Answer, Delivery, End, LeaseId, MOST_CAPACITY, Service, WorkerName, headers};

/// The most messages, and the most ends of requests, that are taken at a time: one report tells
/// of all that have ended.
const MOST: usize = 256;

/// A report of so many bytes is sent: it is shorter than any server's limit, and a worker that
/// is killed has not answered much that is not told.
const LONG_REPORT: usize = 1000;

/// How often it is looked whether the connection is back.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A worker: what it serves, and how much at a time.
#[derive(Clone, Debug)]
pub struct Work {
    /// What it serves.
    pub service: Service,
    /// What it is called; no two of a service have one name.
    pub name: WorkerName,
    /// The most cost that it has at a time, up to [`MOST_CAPACITY`].
    pub capacity: u32,
    /// Its strength relative to other workers.
    pub weight: NonZeroU16,
    /// How long what runs may go on when it ends.
    pub drain: Duration,
}

/// A request as a handler sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its payload.
    pub payload: Bytes,
    /// Its headers.
    pub headers: Option<HeaderMap>,
}

/// Why a handler has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request is wrong: its requester gets an error of code 400.
    Request(String),
    /// The worker is: the requester gets an error of code 500, and for some time the worker
    /// counts as busier.
    Worker(String),
}

impl Failure {
    fn code(&self) -> u16 {
        match self {
            Self::Request(_) => 400,
            Self::Worker(_) => 500,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Request(text) | Self::Worker(text) => text,
        }
    }

    fn end(&self) -> End {
        match self {
            Self::Request(_) => End::Finished,
            Self::Worker(_) => End::Failed,
        }
    }
}

/// A request that has ended.
struct Ended {
    lease: LeaseId,
    inbox: Option<String>,
    result: Result<Bytes, Failure>,
}

impl Work {
    /// Works until `shutdown` is over: then it takes no more, ends what runs, and leaves when the
    /// balancer knows of it, at the latest after [`drain`](Self::drain).
    ///
    /// `handler` is called on the task that runs this; the futures that it returns are spawned on
    /// its tokio runtime, as many at a time as there is capacity. A panic in either costs the one
    /// request, whose requester gets an error. For functions that block, let it
    /// submit to a `plimsoll::ThreadPool`, whose replies are futures.
    ///
    /// ```no_run
    /// use plimsoll_nats::{Failure, Request, Work};
    /// use std::{num::NonZeroU16, time::Duration};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = async_nats::connect("nats://127.0.0.1:4222").await?;
    /// let work = Work {
    ///     service: "upper".parse()?,
    ///     name: "here".parse()?,
    ///     capacity: 8,
    ///     weight: NonZeroU16::MIN,
    ///     drain: Duration::from_secs(10),
    /// };
    /// let handler = |request: Request| async move {
    ///     match std::str::from_utf8(&request.payload) {
    ///         Ok(text) => Ok(text.to_uppercase().into()),
    ///         Err(error) => Err(Failure::Request(error.to_string())),
    ///     }
    /// };
    /// work.run(client, handler, std::future::pending()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A capacity that is out of bounds, or what the server would not let it do.
    pub async fn run<H, F>(
        self,
        client: Client,
        mut handler: H,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), String>
    where
        H: FnMut(Request) -> F,
        F: Future<Output = Result<Bytes, Failure>> + Send + 'static,
    {
        if !(1..=MOST_CAPACITY).contains(&self.capacity) {
            let capacity = self.capacity;
            return Err(format!(
                "a worker's capacity is from 1 to {MOST_CAPACITY}, not {capacity}"
            ));
        }
        let generation = by_the_clock();
        let (ended, mut ends) = mpsc::unbounded_channel();
        let mut working = Working {
            hold: Hold::new(generation, self.capacity, self.weight),
            deliveries: subscribe(&client, &self, generation).await?,
            work: self,
            client,
            began: Instant::now(),
            ended,
            unsent: Vec::new(),
            report: Vec::new(),
        };
        let mut shutdown = pin!(shutdown);
        let mut until: Option<Instant> = None;
        loop {
            let due =
                working.due().min(until.unwrap_or_else(|| Instant::now() + LOOK_EVERY * 1000));
            tokio::select! {
                biased;
                () = &mut shutdown, if until.is_none() => {
                    until = Some(Instant::now() + working.work.drain);
                    working.hold.end();
                    working.beat().await?;
                }
                _ = ends.recv_many(&mut working.unsent, MOST) => {}
                message = working.deliveries.next() => match message {
                    Some(message) => {
                        working.take(message, &mut handler).await?;
                        for _ in 1..MOST {
                            let Some(Some(more)) = working.deliveries.next().now_or_never() else {
                                break;
                            };
                            working.take(more, &mut handler).await?;
                        }
                    }
                    None => return Err("the connection to the server is closed".into()),
                },
                () = tokio::time::sleep_until(due) => {}
            }
            working.look().await?;
            let is_late = until.is_some_and(|until| Instant::now() >= until);
            if is_late || working.hold.may_leave(working.now()) {
                return working.leave().await;
            }
        }
    }
}

/// A generation: the time in milliseconds, so that a process that begins anew has a greater one.
fn by_the_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Calls a handler. Whether that panics or its future does, it costs the one request: what panics
/// is dropped, and nothing else has a part of it.
fn call<F>(handler: &mut impl FnMut(Request) -> F, request: Request) -> thread::Result<F> {
    catch_unwind(AssertUnwindSafe(|| handler(request)))
}

/// What came of a call.
async fn result_of<F>(called: thread::Result<F>) -> Result<Bytes, Failure>
where
    F: Future<Output = Result<Bytes, Failure>>,
{
    let ended = match called {
        Ok(running) => AssertUnwindSafe(running).catch_unwind().await,
        Err(panic) => Err(panic),
    };
    ended.unwrap_or_else(|_| Err(Failure::Worker("the handler panicked".into())))
}

async fn subscribe(client: &Client, work: &Work, generation: u64) -> Result<Subscriber, String> {
    let subject = work.service.deliveries(&work.name, generation);
    let subscribed = client.subscribe(subject.clone()).await;
    subscribed.map_err(|error| format!("{subject} cannot be subscribed to: {error}"))
}

/// A worker at work.
struct Working {
    work: Work,
    client: Client,
    hold: Hold,
    deliveries: Subscriber,
    began: Instant,
    ended: mpsc::UnboundedSender<Ended>,
    /// What has ended and is not yet answered: while the server is away it waits here, and not in
    /// the client, which would send it however late.
    unsent: Vec<Ended>,
    /// What has become of leases, to be told next.
    report: Vec<u8>,
}

impl Working {
    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    fn due(&self) -> Instant {
        let due = self.began + self.hold.poll_timeout().since(Time::ZERO).unwrap_or_default();
        if self.unsent.is_empty() { due } else { due.min(Instant::now() + LOOK_EVERY) }
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    async fn take<H, F>(&mut self, message: Message, handler: &mut H) -> Result<(), String>
    where
        H: FnMut(Request) -> F,
        F: Future<Output = Result<Bytes, Failure>> + Send + 'static,
    {
        let now = self.now();
        let Some(delivered) = self.work.service.read_delivery(&message.subject) else {
            return Ok(());
        };
        match delivered.what {
            Delivery::Answer => {
                if let Some(answer) = Answer::read(&message.payload) {
                    self.hold.answered(delivered.epoch, &answer, now);
                }
            }
            // A balancer's before the one that it works for knows nothing of its present.
            Delivery::Gone if delivered.epoch < self.hold.epoch() => {}
            Delivery::Gone => {
                let above =
                    std::str::from_utf8(&message.payload).ok().and_then(|it| it.parse().ok());
                self.begin_anew(above.unwrap_or(0)).await?;
            }
            Delivery::Request => {
                let reply = message.reply.as_deref();
                let done = reply.and_then(|it| self.work.service.read_done(&self.work.name, it));
                let Some((lease, inbox)) = done else { return Ok(()) };
                let terms = message.headers.as_ref().map(headers::terms);
                let cost = terms.and_then(Result::ok).unwrap_or_default().cost;
                match self.hold.take(delivered.epoch, lease, cost, now) {
                    Taken::Twice => {}
                    Taken::No => self.tell(lease, End::Refused).await,
                    Taken::Yes => {
                        let inbox = inbox.map(str::to_owned);
                        let Message { payload, headers, .. } = message;
                        let called = call(handler, Request { payload, headers });
                        let ended = self.ended.clone();
                        tokio::spawn(async move {
                            let result = result_of(called).await;
                            // Nobody hears it when the worker has left.
                            let _ = ended.send(Ended { lease, inbox, result });
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// It was given up: it joins again, as another, of a generation above this.
    async fn begin_anew(&mut self, above: u64) -> Result<(), String> {
        self.hold.begin_anew(by_the_clock().max(above.checked_add(1).unwrap_or(above)));
        self.deliveries = subscribe(&self.client, &self.work, self.hold.generation()).await?;
        Ok(())
    }

    /// Does what is due: gives up what may have been given to others, answers, beats.
    async fn look(&mut self) -> Result<(), String> {
        let wants_beat = self.hold.handle_timeout(self.now());
        if !self.is_connected() {
            if wants_beat {
                // Noted as sent, and never answered.
                let _ = self.hold.beat(self.now());
            }
            return Ok(());
        }
        let mut unsent = std::mem::take(&mut self.unsent);
        for ended in unsent.drain(..) {
            self.answer(ended).await;
        }
        self.unsent = unsent;
        self.send_report().await;
        if wants_beat {
            self.beat().await?;
        }
        Ok(())
    }

    async fn answer(&mut self, ended: Ended) {
        let Ended { lease, inbox, result } = ended;
        if !self.hold.finished(lease) {
            return;
        }
        let mut end = result.as_ref().map_or_else(Failure::end, |_| End::Finished);
        if let Some(inbox) = inbox {
            let sent = match &result {
                Ok(payload) => self.client.publish(inbox.clone(), payload.clone()).await,
                Err(failure) => {
                    let headers = headers::error(failure.code(), failure.text());
                    self.client.publish_with_headers(inbox.clone(), headers, Bytes::new()).await
                }
            };
            if let Err(error) = sent {
                // Larger than the server takes.
                let headers = headers::error(500, &format!("the answer cannot be sent: {error}"));
                let _ = self.client.publish_with_headers(inbox, headers, Bytes::new()).await;
                end = End::Failed;
            }
        }
        self.tell(lease, end).await;
    }

    /// Notes what has become of a lease, after its answer was sent.
    async fn tell(&mut self, lease: LeaseId, end: End) {
        end.write_line(lease, &mut self.report);
        if self.report.len() >= LONG_REPORT {
            self.send_report().await;
        }
    }

    /// Tells what was noted.
    async fn send_report(&mut self) {
        if self.report.is_empty() {
            return;
        }
        let subject = self.work.service.ends(&self.work.name);
        // A client that is closed is noticed where it is read.
        let _ = self.client.publish(subject, std::mem::take(&mut self.report).into()).await;
    }

    async fn beat(&mut self) -> Result<(), String> {
        // A lease that is neither in a beat nor reported before it is lost.
        self.send_report().await;
        let beat = self.hold.beat(self.now());
        let subject = self.work.service.beat(&self.work.name);
        match self.client.publish(subject, beat.text().into()).await {
            // Larger than this server takes: a later one has fewer leases. It was noted as sent,
            // and is never answered.
            Err(error) if error.kind() != PublishErrorKind::Send => Ok(()),
            sent => sent.map_err(|error| format!("a beat cannot be sent: {error}")),
        }
    }

    async fn leave(&self) -> Result<(), String> {
        let subject = self.work.service.leave(&self.work.name);
        let _ = self.client.publish(subject, Bytes::new()).await;
        // Without a server nobody has to be told.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.client.flush()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client of no server.
    async fn client() -> Client {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        options.connect("127.0.0.1:1").await.unwrap()
    }

    #[tokio::test]
    async fn a_capacity_that_no_balancer_would_take_is_refused_at_once() {
        for capacity in [0, MOST_CAPACITY + 1] {
            let work = Work {
                service: "resize".parse().unwrap(),
                name: "a".parse().unwrap(),
                capacity,
                weight: NonZeroU16::MIN,
                drain: Duration::ZERO,
            };
            let handler = |request: Request| async { Ok(request.payload) };
            let told = work.run(client().await, handler, std::future::pending()).await;
            assert_eq!(
                told.unwrap_err(),
                format!("a worker's capacity is from 1 to 16384, not {capacity}")
            );
        }
    }

    #[test]
    fn a_handler_that_panics_costs_one_request_wherever_it_does() {
        let mut handler = |request: Request| {
            assert_ne!(request.payload, "call", "a panic that is meant");
            async move {
                assert_ne!(request.payload, "future", "a panic that is meant");
                Ok(request.payload)
            }
        };
        let mut run = |text: &'static str| {
            let payload = Bytes::from_static(text.as_bytes());
            let request = Request { payload, headers: None };
            result_of(call(&mut handler, request)).now_or_never().expect("it waits for nothing")
        };
        for panics in ["call", "future"] {
            assert_eq!(run(panics), Err(Failure::Worker("the handler panicked".into())));
        }
        assert_eq!(run("well"), Ok(Bytes::from_static(b"well")));
    }
}
