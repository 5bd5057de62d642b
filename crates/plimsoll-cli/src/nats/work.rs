//! `plimsoll nats work`.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::ValueEnum;
use plimsoll::{Shutdown, ThreadPool};
use plimsoll_nats::{Failure, MOST_CAPACITY, Service, Work, WorkerName};

use super::balance::name_of_its_own;
use super::child::{Child, Copies, Frame};
use super::{Ended, asked_to_end, connect, runtime};
use crate::map::Launcher;
use crate::values::{seconds, whole};

/// Offers this machine's workers: copies of COMMAND that answer requests.
///
/// COMMAND is any filter that answers each line with one line, as for `plimsoll map`. Start it on
/// any number of machines, at any time. Ctrl-C, SIGTERM or SIGHUP takes no more and ends what runs;
/// a second one kills it and ends at once.
///
/// Exit status: 0 ended as told, 1 the server would not, 2 usage, 126 COMMAND not executable,
/// 127 COMMAND not found, 128 and the signal's number at a second one.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    connection: connect::Connection,

    /// The subject of requests, such as resize
    #[arg(long, value_name = "SUBJECT")]
    subject: Service,

    /// Copies of COMMAND [default: one per core]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = workers)]
    workers: Option<u16>,

    /// The most requests that a copy has at a time; more hides the way there and back
    #[arg(long, value_name = "REQUESTS", default_value = "1", allow_negative_numbers = true, value_parser = capacity)]
    capacity: u32,

    /// What this machine's workers are called together [default: its name and a number]
    #[arg(long, value_name = "NAME")]
    name: Option<WorkerName>,

    /// How requests and answers are told apart on COMMAND's pipes
    #[arg(long, value_name = "HOW", default_value = "line")]
    frame: Framing,

    /// The most time for a request; then its copy of COMMAND is killed
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    timeout: Option<Duration>,

    /// How long what runs may go on when it ends
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds)]
    drain_timeout: Duration,

    /// The filter to run, with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Framing {
    /// Each ends with a newline.
    Line,
    /// Each ends with a NUL byte.
    Null,
    /// Each begins with its length, as 4 bytes, the highest first.
    Length,
}

fn workers(text: &str) -> Result<u16, String> {
    whole(text, "copies", 1, 4096)
}

fn capacity(text: &str) -> Result<u32, String> {
    whole(text, "requests", 1, 100)
}

/// A copy of COMMAND in its thread, or the place for the next.
struct Seat {
    number: usize,
    child: Option<Child>,
}

/// Works until it is told to end.
pub(super) fn run(args: &Args) -> Result<ExitCode, Ended> {
    let number = args.workers.unwrap_or_else(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        u16::try_from(cores).unwrap_or(4096).min(4096)
    });
    let capacity = u32::from(number) * args.capacity;
    if capacity > MOST_CAPACITY {
        return Err(Ended::Usage(format!(
            "{number} workers of capacity {} are {capacity} requests at a time: of one program \
             there are at most {MOST_CAPACITY}",
            args.capacity
        )));
    }
    let frame = match args.frame {
        Framing::Line => Frame::Line(b'\n'),
        Framing::Null => Frame::Line(0),
        Framing::Length => Frame::Length,
    };
    let launcher = Launcher::new(&args.command, matches!(args.frame, Framing::Null), false);
    let copies = Copies::new(launcher, frame);
    let (copies, until) = copies.map_err(|error| Ended::Failed(error.to_string()))?;
    let copies = Arc::new(copies);
    let groups = Arc::clone(&copies.groups);
    let shutdown = asked_to_end(move || groups.end_all())?;
    // Before anybody is told that there are workers: a start may take its time.
    let mut started = Vec::new();
    for nth in 1..=usize::from(number) {
        started.push(Some(Child::start(&copies, nth).map_err(|error| {
            let status = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
            Ended::Command(format!("{}: {error}", copies.launcher.name()), status)
        })?));
    }
    let started = Mutex::new(started);
    // What is more than one each waits in the pool's line, for whichever copy is free first.
    let pool = ThreadPool::builder().workers(usize::from(number)).line(capacity as usize);
    let pool = pool.name("nats-work");
    let pool = pool.build(move |nth: usize| {
        let mut started = started.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let child = started.get_mut(nth).and_then(Option::take);
        Ok(Seat { number: nth + 1, child })
    });
    let pool = pool.map_err(|error| Ended::Failed(error.to_string()))?;
    let limit = args.timeout;
    let handler = |request: plimsoll_nats::Request| {
        let copies = Arc::clone(&copies);
        let reply =
            pool.try_submit(move |seat: &mut Seat| seat.answer(&copies, &request.payload, limit));
        async move {
            let reply = reply.map_err(|refused| Failure::Worker(refused.reason.to_string()))?;
            reply.await.unwrap_or_else(|lost| Err(Failure::Worker(lost.to_string())))
        }
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of_its_own().parse().expect("it is made of what names are made of"),
    };
    let worked = runtime()?.block_on(async {
        let client = args.connection.connect("plimsoll nats work").await?;
        let work = Work {
            service: args.subject.clone(),
            name,
            capacity,
            weight: NonZeroU16::new(number).unwrap_or(NonZeroU16::MIN),
            drain: args.drain_timeout,
        };
        let of_what = if number == 1 { "copy" } else { "copies" };
        eprintln!("plimsoll nats: {} works on {}, {number} {of_what}", work.name, work.service);
        work.run(client, handler, shutdown).await.map_err(Ended::Failed)
    });
    // Copies without a request are shown the end of their input; those that still have one had
    // their time.
    pool.shutdown(Shutdown::DrainFor(Duration::ZERO));
    drop(until);
    drop(pool);
    worked.map(|()| ExitCode::SUCCESS)
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            child.dismiss();
        }
    }
}

impl Seat {
    /// What COMMAND answers; one that breaks is started anew at the next request.
    fn answer(
        &mut self,
        copies: &Arc<Copies>,
        payload: &[u8],
        limit: Option<Duration>,
    ) -> Result<bytes::Bytes, Failure> {
        if let Frame::Line(end) = copies.frame
            && payload.contains(&end)
        {
            return Err(Failure::Request(format!(
                "the request contains the byte {end}, which ends lines: workers of --frame length \
                 take it"
            )));
        }
        if self.child.as_mut().is_some_and(|child| !child.is_sound()) {
            self.child = None;
        }
        let child = if let Some(child) = &mut self.child {
            child
        } else {
            let started = Child::start(copies, self.number).map_err(|error| {
                Failure::Worker(format!("{} cannot be started: {error}", copies.launcher.name()))
            })?;
            self.child.insert(started)
        };
        let answer = child.ask(payload, limit);
        answer.map(bytes::Bytes::from).map_err(|broken| {
            self.child = None;
            Failure::Worker(format!("the worker {broken}"))
        })
    }
}
