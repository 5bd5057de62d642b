//! The highest rate, with many requests out: through the balancer, and by a plain queue group.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use plimsoll_bench::{Report, Rounds};

use crate::client::{self, Asker};
use crate::processes::{Process, Server};
use crate::worker::{Kind, Workers, connect};

/// Requesters that spend little, and a process of ordinary ones: each has its share of the machine.
const LITTLE: &str = "12 bytes, 512 out";
const ORDINARY: &str = "12 bytes, 512 out, async-nats requesters";
/// Requests that are out at a time.
const OUT: u32 = 512;
/// None is ever full.
const COUNT: u32 = 4;
const SLOTS: u32 = 512;
/// Left out.
const WARM: Duration = Duration::from_millis(500);
const TIME: Duration = Duration::from_secs(3);
const PAYLOAD: &[u8; 12] = b"twelve bytes";
/// How often it is looked how far ordinary requesters are.
const LOOK: Duration = Duration::from_millis(10);

const RATE: &str = "highest rate";
const SPENT: &str = "balancer's processor time a request";

pub(crate) fn measure(report: &mut Report, server: &Server) {
    for (case, load) in [(LITTLE, little as Load), (ORDINARY, ordinary)] {
        let systems = [("queue group", Kind::QueueGroup), ("plimsoll", Kind::Plimsoll)];
        let mut rounds: Vec<Rounds<'_, 4>> = Vec::new();
        for (name, kind) in systems {
            rounds.push((name, Box::new(move || round(server, kind, load).expect("a run"))));
        }
        let metrics = [
            (RATE, "1/s"),
            (SPENT, "µs"),
            ("server's processor time a request", "µs"),
            ("workers' processor time a request", "µs"),
        ];
        report.measure_all(case, metrics, &mut rounds);
        drop(rounds);
        let rate = |system| report.value(case, system, RATE).expect("it was measured");
        let ratio = rate("plimsoll") / rate("queue group");
        let spent = report.value(case, "plimsoll", SPENT).expect("it was measured");
        println!("{case}");
        println!("bar: rate at least 0.5 of the queue group's: {ratio:.2}");
        println!("bar: balancer at most 4 µs of processor time a request: {spent:.1}\n");
    }
}

/// Asks a subject, and tells how many answers have come, again and again, until it is told to
/// end.
type Load = fn(&Server, &str, &mut dyn FnMut(u32) -> bool) -> io::Result<()>;

fn round(server: &Server, kind: Kind, load: Load) -> io::Result<[f64; 4]> {
    let subject = Server::subject();
    let balancer = (kind == Kind::Plimsoll).then(|| server.balancer(&subject)).transpose()?;
    let workers = server.workers(&subject, Workers { kind, count: COUNT, slots: SLOTS })?;
    Asker::connect(server.port, "ready")?.wait_for(&subject, PAYLOAD)?;
    let spent = || {
        let balancer = balancer.as_ref().map_or(0.0, Process::cpu_seconds);
        [balancer, server.process.cpu_seconds(), workers.cpu_seconds()]
    };
    let begin = Instant::now() + WARM;
    let mut measured = None;
    let mut answered = 0_u32;
    let mut figures = [0.0; 4];
    load(server, &subject, &mut |came| {
        answered += came;
        let now = Instant::now();
        match measured {
            None if now >= begin => {
                measured = Some((now, spent()));
                answered = 0;
            }
            Some((since, before)) if now >= since + TIME => {
                let requests = f64::from(answered);
                let after = spent();
                let cost = |nth: usize| (after[nth] - before[nth]) / requests * 1e6;
                let rate = requests / (now - since).as_secs_f64();
                figures = [rate, cost(0), cost(1), cost(2)];
                return false;
            }
            _ => {}
        }
        true
    })?;
    Ok(figures)
}

/// By our own client.
fn little(server: &Server, subject: &str, came: &mut dyn FnMut(u32) -> bool) -> io::Result<()> {
    let (mut sender, mut receiver) = client::connect(server.port)?;
    sender.subscribe("_INBOX.rate.*")?;
    let mut next = 0_u64;
    let mut ask = |sender: &mut client::Sender| {
        next += 1;
        sender.request(subject, &format!("_INBOX.rate.{next}"), PAYLOAD);
    };
    (0..OUT).for_each(|_| ask(&mut sender));
    let mut answered = 0;
    while came(answered) {
        sender.flush()?;
        receiver.fill()?;
        answered = 0;
        while let Some(message) = receiver.ready() {
            assert!(!message.is_error, "a request is refused");
            answered += 1;
            ask(&mut sender);
        }
    }
    Ok(())
}

/// By tasks of an ordinary client.
fn ordinary(server: &Server, subject: &str, came: &mut dyn FnMut(u32) -> bool) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connect(&server.url()).await;
        let answered = Arc::new(AtomicU32::new(0));
        for _ in 0..OUT {
            let (client, subject) = (client.clone(), subject.to_owned());
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                loop {
                    let reply = client.request(subject.clone(), PAYLOAD.as_slice().into()).await;
                    assert!(reply.expect("it is answered").headers.is_none(), "it is refused");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while came(answered.swap(0, Ordering::Relaxed)) {
            tokio::time::sleep(LOOK).await;
        }
    });
    Ok(())
}
