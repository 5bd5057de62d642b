//! `plimsoll nats request`.

use std::io::{self, BufRead, ErrorKind, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use plimsoll_nats::{Service, headers};
use tokio::sync::{mpsc, oneshot};

use super::{Ended, FAILED, connect, runtime};
use crate::values::{seconds, whole};

/// stdout cannot be written.
const UNWRITABLE: u8 = 3;

/// How long an answer may take unless it is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends requests and prints the answers.
///
/// Each line of stdin is a request, and its answer a line of stdout, in the same order; with
/// `--file` each file is one, and its answer is printed as it is. Requests that fail are told on
/// stderr.
///
/// Exit status: 0 all answered, 1 some were not, 2 usage, 3 stdout unwritable.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    connection: connect::Connection,

    /// The subject of requests, such as resize
    #[arg(value_name = "SUBJECT")]
    subject: Service,

    /// A file whose bytes are a request; may be given more than once
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// Requests that may be out at a time
    #[arg(long, value_name = "N", default_value = "64", allow_negative_numbers = true, value_parser = concurrency)]
    concurrency: usize,

    /// The longest that an answer may take; no later than that a worker begins it [default: 30, and
    /// the balancer's own time]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    timeout: Option<Duration>,

    /// How much each request adds to its worker's pending
    #[arg(long, value_name = "COST", default_value = "1", allow_negative_numbers = true, value_parser = cost)]
    cost: NonZeroU32,

    /// Requests may run twice: one whose worker is lost is given to another
    #[arg(long)]
    repeatable: bool,
}

fn concurrency(text: &str) -> Result<usize, String> {
    whole(text, "requests", 1, 100_000)
}

fn cost(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("it is a whole number from 1 to {}", u32::MAX))
}

/// A request: what it is called, and its bytes, if they could be read.
type Asked = (String, io::Result<Bytes>);

/// Sends all, and tells whether all were answered.
pub(super) fn run(args: &Args) -> Result<ExitCode, Ended> {
    let runtime = runtime()?;
    let status = runtime.block_on(async {
        let client = args.connection.connect("plimsoll nats request").await?;
        let asked = read(args.file.clone(), args.concurrency);
        let asked = stream::unfold(asked, |mut asked| async {
            let next = asked.recv().await?;
            Some((next, asked))
        });
        let headers = args.headers();
        let (client, headers) = (&client, headers.as_ref());
        let answers = asked.map(|(name, bytes)| async move {
            let answer = match bytes {
                Ok(bytes) => ask(client, args, headers, bytes).await,
                Err(error) => Err(error.to_string()),
            };
            (name, answer)
        });
        let mut answers = std::pin::pin!(answers.buffered(args.concurrency));
        let (to_print, printed) = print(if args.file.is_empty() { b"\n" } else { b"" });
        let mut failed = 0_u64;
        while let Some((name, answer)) = answers.next().await {
            match answer {
                Ok(bytes) => {
                    if to_print.send(bytes).await.is_err() {
                        break;
                    }
                }
                Err(why) => {
                    failed += 1;
                    eprintln!("plimsoll nats: {name}: {why}");
                }
            }
        }
        drop(to_print);
        match printed.await {
            // Whoever reads has seen enough.
            Ok(Err(error)) if error.kind() != ErrorKind::BrokenPipe => {
                eprintln!("plimsoll nats: stdout cannot be written: {error}");
                return Ok(UNWRITABLE);
            }
            _ => {}
        }
        Ok(if failed > 0 { FAILED } else { 0 })
    });
    // A thread may still wait for a line.
    runtime.shutdown_background();
    status.map(ExitCode::from)
}

/// Reads in a thread of its own, since stdin may block.
fn read(files: Vec<PathBuf>, ahead: usize) -> mpsc::Receiver<Asked> {
    let (asked, receiver) = mpsc::channel(ahead);
    std::thread::spawn(move || {
        if !files.is_empty() {
            for file in files {
                let bytes = std::fs::read(&file).map(Bytes::from);
                if asked.blocking_send((file.display().to_string(), bytes)).is_err() {
                    return;
                }
            }
            return;
        }
        let mut input = io::stdin().lock();
        for number in 1_u64.. {
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line);
            let bytes = match read {
                Ok(0) => return,
                Ok(_) => {
                    if line.last() == Some(&b'\n') {
                        line.pop();
                    }
                    Ok(Bytes::from(line))
                }
                Err(error) => Err(error),
            };
            let is_last = bytes.is_err();
            if asked.blocking_send((format!("line {number}"), bytes)).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// Prints in a thread of its own, since stdout may block: meanwhile answers come, and are in time.
/// Each has this end.
fn print(end: &'static [u8]) -> (mpsc::Sender<Bytes>, oneshot::Receiver<io::Result<()>>) {
    let (to_print, mut answers) = mpsc::channel::<Bytes>(1);
    let (ended, result) = oneshot::channel();
    std::thread::spawn(move || {
        let mut out = io::stdout().lock();
        let mut written = Ok(());
        while let (Ok(()), Some(answer)) = (&written, answers.blocking_recv()) {
            written = out.write_all(&answer).and_then(|()| out.write_all(end));
            written = written.and_then(|()| out.flush());
        }
        // What is sent from here on finds nobody.
        drop(answers);
        let _ = ended.send(written);
    });
    (to_print, result)
}

async fn ask(
    client: &Client,
    args: &Args,
    headers: Option<&HeaderMap>,
    bytes: Bytes,
) -> Result<Bytes, String> {
    let mut request = Request::new().payload(bytes).timeout(Some(args.patience()));
    if let Some(headers) = headers {
        request = request.headers(headers.clone());
    }
    let subject = args.subject.requests().to_owned();
    let reply =
        client.send_request(subject, request).await.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => format!("nobody serves {}", args.subject),
            RequestErrorKind::TimedOut => {
                format!("no answer within {} s", args.patience().as_secs_f64())
            }
            _ => error.to_string(),
        })?;
    match headers::read_error(reply.headers.as_ref()) {
        Some((code, text)) => Err(format!("{code} {text}")),
        None => Ok(reply.payload),
    }
}

impl Args {
    fn patience(&self) -> Duration {
        self.timeout.unwrap_or(PATIENCE)
    }

    fn headers(&self) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        if self.cost.get() > 1 {
            map.insert(headers::COST, self.cost.to_string());
        }
        if self.repeatable {
            map.insert(headers::REPEATABLE, "true");
        }
        if let Some(timeout) = self.timeout {
            // Nobody waits for it then: it need not begin.
            let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
            map.insert(headers::TIMEOUT, millis.max(1).to_string());
        }
        (!map.is_empty()).then_some(map)
    }
}
