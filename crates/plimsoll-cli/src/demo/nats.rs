//! `plimsoll demo --nats`: a NATS server, a balancer, two groups of workers and requesters, all of
//! the real kind, on this machine.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use hdrhistogram::Histogram;
use plimsoll_nats::{Balance, Seen, Settings, Work, headers};
use tokio::sync::watch;

use super::run::{Ending, Fault};
use super::stop::Stop;
use super::words::{count, time};

/// Where a server may be that no PATH leads to.
const SERVERS: [&str; 3] = ["nats-server", "/usr/sbin/nats-server", "/usr/local/sbin/nats-server"];

/// The subject of requests.
const SUBJECT: &str = "demo";

/// The groups of workers: what they are called, and how many workers each has.
const GROUPS: [(&str, u16); 2] = [("big", 6), ("small", 2)];

/// Requesters, each of which sends a request, waits for its answer and thinks.
const REQUESTERS: u32 = 40;

/// Milliseconds that one thinks, on average. With these requests all workers are some 85 % busy.
const THINK: f64 = 71.0;

/// How long it takes unless it is told.
const LENGTH: Duration = Duration::from_secs(10);

/// How long the balancer and the groups may take to find each other.
const STARTS: Duration = Duration::from_secs(5);

/// How long it may take to end.
const ENDS: Duration = Duration::from_secs(3);

/// How often it is looked whether a signal came.
const TICK: Duration = Duration::from_millis(50);

/// nats-server, ended with the demo.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Result<Self, Fault> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Fault::System)?;
        let port = free.local_addr().map_err(Fault::System)?.port();
        drop(free);
        let start = |program: &&str| {
            let mut command = Command::new(program);
            command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
            // Not the terminal's: Ctrl-C is for the demo, which ends it.
            command
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        };
        let Some(child) = SERVERS.iter().find_map(start) else {
            let missing = "nats-server is not installed: Debian has it as nats-server, and \
                           https://nats.io for other systems";
            return Err(Fault::System(io::Error::other(missing)));
        };
        let server = Self { child, url: format!("nats://127.0.0.1:{port}") };
        let until = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > until {
                return Err(Fault::System(io::Error::other("nats-server does not listen")));
            }
            std::thread::sleep(TICK);
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing that must be kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What requesters have seen.
struct Told {
    answered: u64,
    failed: u64,
    /// Beyond what each request takes by itself, in microseconds.
    waits: Histogram<u64>,
}

/// Shows it until its time is over or a signal comes.
///
/// # Errors
///
/// When there is no server, or the output cannot be written.
pub(crate) fn show(length: Option<Duration>) -> Result<Ending, Fault> {
    let stop = Stop::catch().map_err(Fault::System)?;
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut out = io::stdout();
    let shown = runtime.map_err(Fault::System)?.block_on(async {
        let connect = || async {
            let connected = async_nats::connect(&server.url).await;
            connected.map_err(|error| Fault::System(io::Error::other(error)))
        };
        let (end, ends) = watch::channel(());
        let seen = Seen::default();
        let balance = Balance {
            service: SUBJECT.parse().expect("it is a subject"),
            // All dispatches are audited: in a few seconds there are few.
            settings: Settings { audit_every: 1, ..Settings::default() },
            drain: Duration::from_secs(1),
            name: "demo".into(),
            overrun: Arc::default(),
        };
        let mut running = tokio::task::JoinSet::new();
        let (client, watched, until) = (connect().await?, Arc::clone(&seen), over(ends.clone()));
        running.spawn(async move { balance.run(client, until, &watched, |_| {}).await });
        for (name, workers) in GROUPS {
            let work = Work {
                service: SUBJECT.parse().expect("it is a subject"),
                name: name.parse().expect("it is a name"),
                capacity: u32::from(workers),
                weight: NonZeroU16::new(workers).unwrap_or(NonZeroU16::MIN),
                drain: Duration::from_secs(1),
            };
            running.spawn(work.run(connect().await?, sleep_for, over(ends.clone())));
        }
        // Requests would find nobody before.
        let until = Instant::now() + STARTS;
        while known(&seen) < GROUPS.len() && Instant::now() < until && !stop.is_asked() {
            tokio::time::sleep(TICK).await;
        }
        let waits = Histogram::new_with_bounds(1, 60_000_000, 3).expect("these are bounds");
        let told = Arc::new(Mutex::new(Told { answered: 0, failed: 0, waits }));
        for _ in 0..REQUESTERS {
            let asks = requester(connect().await?, Arc::clone(&told));
            let until = over(ends.clone());
            running.spawn(async {
                tokio::select! {
                    () = asks => {}
                    () = until => {}
                }
                Ok(())
            });
        }
        writeln!(
            out,
            "nats-server at {}, a balancer of '{SUBJECT}', workers {} and {}, {}",
            server.url,
            group(GROUPS[0]),
            group(GROUPS[1]),
            count(REQUESTERS as usize, "requester")
        )?;
        let ending = watch(&stop, length.unwrap_or(LENGTH), &seen, &told, &mut out).await?;
        drop(end);
        let all = async {
            while let Some(ended) = running.join_next().await {
                ended.map_err(io::Error::other)?.map_err(io::Error::other)?;
            }
            Ok(())
        };
        // Whatever has not ended by then, the program does.
        tokio::time::timeout(ENDS, all).await.unwrap_or(Ok(())).map_err(Fault::System)?;
        Ok(ending)
    });
    drop(server);
    shown
}

/// How many groups the balancer knows.
fn known(seen: &Seen) -> usize {
    seen.lock().unwrap_or_else(PoisonError::into_inner).workers.len()
}

fn group((name, workers): (&str, u16)) -> String {
    format!("'{name}' ({workers})")
}

/// Over when the demo is.
async fn over(mut ends: watch::Receiver<()>) {
    // The only news is that who tells is gone.
    while ends.changed().await.is_ok() {}
}

/// A worker's work: to sleep for as many microseconds as the request says.
async fn sleep_for(request: plimsoll_nats::Request) -> Result<Bytes, plimsoll_nats::Failure> {
    tokio::time::sleep(micros(&request.payload)).await;
    Ok(request.payload)
}

fn micros(payload: &[u8]) -> Duration {
    let number = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
    Duration::from_micros(number.unwrap_or(0))
}

/// Asks and thinks: most requests are short, one in twenty is not.
async fn requester(client: Client, told: Arc<Mutex<Told>>) {
    loop {
        let think = -THINK * (1.0 - fastrand::f64()).ln();
        tokio::time::sleep(Duration::from_secs_f64(think / 1000.0)).await;
        let least = if fastrand::u32(..20) == 0 { 100_000 } else { 5_000 };
        let needs = fastrand::u64(least..=least * 2);
        let began = Instant::now();
        let reply = client.request(SUBJECT, needs.to_string().into()).await;
        let took = began.elapsed();
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        match reply {
            Ok(reply) if headers::read_error(reply.headers.as_ref()).is_none() => {
                told.answered += 1;
                let waited = took.saturating_sub(Duration::from_micros(needs));
                told.waits.saturating_record(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
            }
            _ => told.failed += 1,
        }
    }
}

/// Prints a line a second, and what it came to.
async fn watch(
    stop: &Stop,
    length: Duration,
    seen: &Seen,
    told: &Mutex<Told>,
    out: &mut impl Write,
) -> Result<Ending, Fault> {
    let began = Instant::now();
    let (mut second, mut before) = (1, 0);
    let ending = loop {
        tokio::time::sleep(TICK).await;
        if stop.is_asked() {
            break Ending::Interrupted;
        }
        if began.elapsed() >= Duration::from_secs(second) {
            let answered = told.lock().unwrap_or_else(PoisonError::into_inner).answered;
            writeln!(out, "{}", line(second, answered - before, seen))?;
            out.flush()?;
            (second, before) = (second + 1, answered);
        }
        if began.elapsed() >= length {
            break Ending::Over;
        }
    };
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = |q| time(Duration::from_micros(told.waits.value_at_quantile(q)));
    let answered = usize::try_from(told.answered).unwrap_or(usize::MAX);
    let audit =
        seen.lock().unwrap_or_else(PoisonError::into_inner).snapshot.as_ref().map(|it| it.audit);
    writeln!(
        out,
        "{} answered, {} failed; wait p50 {}, p99 {}; regret {:.2}",
        count(answered, "request"),
        told.failed,
        wait(0.5),
        wait(0.99),
        audit.map_or(0.0, |audit| audit.mean_regret())
    )?;
    out.flush()?;
    Ok(ending)
}

fn line(second: u64, answered: u64, seen: &Seen) -> String {
    let mut text = format!("{second:>4} s {answered:>5} req/s  pending");
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(snapshot) = &seen.snapshot else { return text + " of nobody yet" };
    for (name, stats) in seen.workers.iter().zip(&snapshot.workers) {
        let _ = write!(text, "  {name} {}/{}", stats.pending, stats.capacity);
    }
    let _ = write!(text, "  line {}", snapshot.waiting);
    text
}
