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
            let slots = workers.slots;
            let _working = match kind {
                Kind::Plimsoll => tokio::spawn(work(client, subject, number, slots, late)),
                Kind::QueueGroup => tokio::spawn(queue(client, subject, number, slots, late)),
                Kind::JetStream => tokio::spawn(stream::pull(client, number, late)),
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

/// Runs a request; tells its answer.
pub(crate) async fn answer(payload: Bytes, slot: u32, late: Duration) -> Bytes {
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
async fn work(client: Client, subject: String, number: u32, slots: u32, late: Duration) {
    let work = Work {
        service: subject.parse().expect("it is a subject"),
        name: format!("w{number}").parse().expect("it is a name"),
        capacity: if slots == 1 { 1 } else { slots * 2 },
        weight: NonZeroU16::MIN,
        drain: Duration::ZERO,
    };
    let free = Arc::new(Semaphore::new(slots as usize));
    let own: Vec<u32> = (number * slots..(number + 1) * slots).collect();
    let own = Arc::new(Mutex::new(own));
    let handler = move |request: plimsoll_nats::Request| {
        let (free, own) = (Arc::clone(&free), Arc::clone(&own));
        async move {
            let _one = free.acquire().await.expect("it is never closed");
            let slot = own.lock().expect("nothing panics").pop();
            let slot = slot.expect("as many as are free");
            let answer = answer(request.payload, slot, late).await;
            own.lock().expect("nothing panics").push(slot);
            Ok(answer)
        }
    };
    work.run(client, handler, std::future::pending()).await.expect("the server is there");
}

/// One of a queue group: what it cannot run yet waits in its own line.
async fn queue(client: Client, subject: String, number: u32, slots: u32, late: Duration) {
    let asked = client.queue_subscribe(subject, "workers".into()).await;
    let client = &client;
    let run = |message: Message| async move {
        let Message { reply: Some(inbox), payload, .. } = message else { return };
        let answer = answer(payload, number, late).await;
        client.publish(inbox, answer).await.expect("the server is there");
    };
    let mut asked = asked.expect("it may subscribe");
    if slots == 1 {
        while let Some(message) = asked.next().await {
            run(message).await;
        }
    } else {
        asked.for_each_concurrent(slots as usize, run).await;
    }
}
