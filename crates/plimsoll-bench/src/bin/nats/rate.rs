//! The highest rate, with many requests out: through the balancer, and by a plain queue group.

use std::io;
use std::time::{Duration, Instant};

use plimsoll_bench::{Report, Rounds};

use crate::client::{self, Asker};
use crate::processes::{Process, Server};
use crate::worker::{Kind, Workers};

const CASE: &str = "12 bytes, 512 out";
/// Requests that are out at a time.
const OUT: u32 = 512;
/// None is ever full.
const COUNT: u32 = 4;
const SLOTS: u32 = 512;
/// Left out.
const WARM: Duration = Duration::from_millis(500);
const TIME: Duration = Duration::from_secs(3);
const PAYLOAD: &[u8] = b"twelve bytes";

const RATE: &str = "highest rate";
const SPENT: &str = "balancer's processor time a request";

pub(crate) fn measure(report: &mut Report, server: &Server) {
    let systems = [("queue group", Kind::QueueGroup), ("plimsoll", Kind::Plimsoll)];
    let mut rounds: Vec<Rounds<'_, 4>> = Vec::new();
    for (name, kind) in systems {
        rounds.push((name, Box::new(move || round(server, kind).expect("a run"))));
    }
    let metrics = [
        (RATE, "1/s"),
        (SPENT, "µs"),
        ("server's processor time a request", "µs"),
        ("workers' processor time a request", "µs"),
    ];
    report.measure_all(CASE, metrics, &mut rounds);
    drop(rounds);
    let rate = |system| report.value(CASE, system, RATE).expect("it was measured");
    let ratio = rate("plimsoll") / rate("queue group");
    let spent = report.value(CASE, "plimsoll", SPENT).expect("it was measured");
    println!("bar: rate at least 0.5 of the queue group's: {ratio:.2}");
    println!("bar: balancer at most 4 µs of processor time a request: {spent:.1}\n");
}

fn round(server: &Server, kind: Kind) -> io::Result<[f64; 4]> {
    let subject = Server::subject();
    let balancer = (kind == Kind::Plimsoll).then(|| server.balancer(&subject)).transpose()?;
    let workers = server.workers(&subject, Workers { kind, count: COUNT, slots: SLOTS })?;
    Asker::connect(server.port, "ready")?.wait_for(&subject, PAYLOAD)?;
    let spent = || {
        let balancer = balancer.as_ref().map_or(0.0, Process::cpu_seconds);
        [balancer, server.process.cpu_seconds(), workers.cpu_seconds()]
    };

    let (mut sender, mut receiver) = client::connect(server.port)?;
    sender.subscribe("_INBOX.rate.*")?;
    let mut next = 0_u64;
    let mut ask = |sender: &mut client::Sender| {
        next += 1;
        sender.request(&subject, &format!("_INBOX.rate.{next}"), PAYLOAD);
    };
    (0..OUT).for_each(|_| ask(&mut sender));
    let begin = Instant::now() + WARM;
    let mut measured = None;
    let mut answered = 0_u32;
    loop {
        sender.flush()?;
        receiver.fill()?;
        while let Some(message) = receiver.ready() {
            assert!(!message.is_error, "a request is refused");
            answered += 1;
            ask(&mut sender);
        }
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
                return Ok([requests / (now - since).as_secs_f64(), cost(0), cost(1), cost(2)]);
            }
            _ => {}
        }
    }
}
