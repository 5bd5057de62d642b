//! Workers: of plimsoll, of a plain queue group, or of a JetStream pull consumer.
//!
//! A request is its number and how many nanoseconds it is to run. Its answer is its number, its
//! slot's, and when it began and ended. Anything else is answered at once, with itself.

use std::io;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use plimsoll_bench::precise;
use plimsoll_nats::Work;
use tokio::sync::Semaphore;

use crate::clock::now;
use crate::stream;

/// Who works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plimsoll,
    QueueGroup,
    JetStream,
}

/// Some workers of a process.
#[derive(Clone, Copy)]
pub(crate) struct Workers {
    pub(crate) kind: Kind,
    pub(crate) count: u32,
    /// What each runs at once. One of plimsoll's has twice that, where it is more than one: what
    /// runs next is there when a slot is free.
    pub(crate) slots: u32,
}

/// What a probe asks: the way there and back, without a balancer.
pub(crate) const PROBE: &str = "probe";

impl Kind {
    const ALL: [Self; 3] = [Self::Plimsoll, Self::QueueGroup, Self::JetStream];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plimsoll => "plimsoll",
            Self::QueueGroup => "queue-group",
            Self::JetStream => "jetstream",
        }
    }
}

/// A client of the server at this address.
pub(crate) async fn connect(url: &str) -> Client {
    // All that comes is kept.
    let options = ConnectOptions::new().subscription_capacity(1 << 20);
    options.connect(url).await.expect("the server is there")
}

/// Works until standard input ends.
pub(crate) fn run(url: &str, subject: &str, kind: &str, count: &str, slots: &str) {
    let kind = Kind::ALL.into_iter().find(|it| it.name() == kind).expect("it is a kind");
    let number = |text: &str| text.parse().expect("it is a number");
    let workers = Workers { kind, count: number(count), slots: number(slots) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("there are files").block_on(async {
        let client = connect(url).await;
        let probed = client.subscribe(PROBE).await.expect("it may subscribe");
        tokio::spawn(echo(client.clone(), probed));
        let late = lateness().await;
        for number in 0..workers.count {
            let (client, subject) = (client.clone(), subject.to_owned());
            let slots = Slots::new(number, workers.slots, late);
            let _working = match kind {
                Kind::Plimsoll => tokio::spawn(work(client, subject, number, slots)),
                Kind::QueueGroup => tokio::spawn(queue(client, subject, slots)),
                Kind::JetStream => tokio::spawn(stream::pull(client, slots)),
            };
        }
        input_ended().await;
    });
}

/// Waits until standard input ends.
pub(crate) async fn input_ended() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = tell.send(());
    });
    let _ = told.await;
}

/// How late sleeps end: they are begun as much shorter.
async fn lateness() -> Duration {
    let mut late = Vec::new();
    for _ in 0..100 {
        let due = Instant::now() + Duration::from_millis(1);
        precise::until(due).await;
        late.push(due.elapsed());
    }
    late.sort_unstable();
    late[late.len() / 2]
}

/// Where a worker's requests run, and how late its sleeps end.
#[derive(Clone)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    own: Arc<Mutex<Vec<u32>>>,
    count: u32,
    late: Duration,
}

impl Slots {
    fn new(worker: u32, count: u32, late: Duration) -> Self {
        let own = (worker * count..(worker + 1) * count).collect();
        let free = Arc::new(Semaphore::new(count as usize));
        Self { free, own: Arc::new(Mutex::new(own)), count, late }
    }

    /// Requests that a worker has at a time: with more than one slot, one for each slot that runs
    /// and one for each that may be next, which is there when the slot is free.
    pub(crate) fn capacity(&self) -> u32 {
        if self.count == 1 { 1 } else { self.count * 2 }
    }

    /// Runs a request when a slot is free; tells its answer.
    pub(crate) async fn answer(&self, payload: Bytes) -> Bytes {
        let _one = self.free.acquire().await.expect("it is never closed");
        let slot = self.own.lock().expect("nothing panics").pop().expect("as many as are free");
        let answer = answer(payload, slot, self.late).await;
        self.own.lock().expect("nothing panics").push(slot);
        answer
    }
}

/// Runs a request; tells its answer.
async fn answer(payload: Bytes, slot: u32, late: Duration) -> Bytes {
    let (at, began) = (Instant::now(), now());
    let parts = std::str::from_utf8(&payload).ok().and_then(|text| text.split_once(' '));
    let Some((id, Ok(service))) = parts.map(|(id, service)| (id, service.parse())) else {
        return payload;
    };
    precise::until(at + Duration::from_nanos(service).saturating_sub(late)).await;
    format!("{id} {slot} {began} {}", now()).into()
}

async fn echo(client: Client, mut asked: async_nats::Subscriber) {
    while let Some(Message { reply: Some(inbox), payload, .. }) = asked.next().await {
        client.publish(inbox, payload).await.expect("the server is there");
    }
}

/// One of plimsoll's.
async fn work(client: Client, subject: String, number: u32, slots: Slots) {
    let work = Work {
        service: subject.parse().expect("it is a subject"),
        name: format!("w{number}").parse().expect("it is a name"),
        capacity: slots.capacity(),
        weight: NonZeroU16::MIN,
        drain: Duration::ZERO,
    };
    let handler = move |request: plimsoll_nats::Request| {
        let slots = slots.clone();
        async move { Ok(slots.answer(request.payload).await) }
    };
    work.run(client, handler, std::future::pending()).await.expect("the server is there");
}

/// One of a queue group: what it cannot run yet waits in its own line.
async fn queue(client: Client, subject: String, slots: Slots) {
    let asked = client.queue_subscribe(subject, "workers".into()).await;
    let (client, slots) = (&client, &slots);
    let run = |message: Message| async move {
        let Message { reply: Some(inbox), payload, .. } = message else { return };
        let answer = slots.answer(payload).await;
        client.publish(inbox, answer).await.expect("the server is there");
    };
    let mut asked = asked.expect("it may subscribe");
    if slots.count == 1 {
        while let Some(message) = asked.next().await {
            run(message).await;
        }
    } else {
        asked.for_each_concurrent(slots.count as usize, run).await;
    }
}
