//! `plimsoll nats balance`.

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use plimsoll_admin::Desk;
use plimsoll_nats::{Balance, Seen, Service, Settings};

use super::{Ended, asked_to_end, connect, runtime};
use crate::listen;
use crate::values::{seconds, whole};

/// Gives each request on a subject to the least-loaded worker.
///
/// No worker ever has more than its capacity; what has to wait stands in one line, and what finds
/// the line full gets an error at once. Where the server has JetStream any number may run for a
/// subject: one leads, and another takes over when it is gone. Ctrl-C, SIGTERM or SIGHUP takes no
/// more and works off the line; a second one ends at once.
///
/// Exit status: 0 ended as told, 1 the server would not, 2 usage, 128 and the signal's number at a
/// second one.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    connection: connect::Connection,

    /// The subject of requests, such as resize
    #[arg(long, value_name = "SUBJECT")]
    subject: Service,

    /// The most requests in line; what comes beyond gets an error
    #[arg(long, value_name = "REQUESTS", default_value = "1024", allow_negative_numbers = true, value_parser = line)]
    line: usize,

    /// The longest that a request is in line
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds)]
    line_timeout: Duration,

    /// The most memory, in MiB, for requests in line and for another try
    #[arg(long, value_name = "MIB", default_value = "64", allow_negative_numbers = true, value_parser = mebibytes)]
    keep: usize,

    /// How often workers are to tell how they are
    #[arg(long, value_name = "SECONDS", default_value = "0.25", allow_negative_numbers = true, value_parser = seconds)]
    beat: Duration,

    /// A worker that tells nothing for so long is given up
    #[arg(long, value_name = "SECONDS", default_value = "3", allow_negative_numbers = true, value_parser = seconds)]
    lost_after: Duration,

    /// Where operators see /metrics, /workers, /ready and /live, such as 127.0.0.1:9900
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,

    /// How long the line is worked off when it ends
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds)]
    drain_timeout: Duration,
}

fn line(text: &str) -> Result<usize, String> {
    whole(text, "requests", 0, 1_000_000)
}

fn mebibytes(text: &str) -> Result<usize, String> {
    whole(text, "MiB", 1, 1 << 20).map(|number: usize| number << 20)
}

/// Balances until it is told to end.
pub(super) fn run(args: &Args) -> Result<ExitCode, Ended> {
    if args.lost_after < args.beat * 4 {
        return Err(Ended::Usage(format!(
            "--lost-after {} is less than four times --beat {}: a beat that is late would cost a \
             worker its place",
            args.lost_after.as_secs_f64(),
            args.beat.as_secs_f64()
        )));
    }
    let admin = args.admin()?;
    let shutdown = asked_to_end(|| ())?;
    runtime()?.block_on(async {
        let name = name_of_its_own();
        let overrun = Arc::default();
        let counted = Arc::clone(&overrun);
        let client = args.connection.connect_and_count("plimsoll nats balance", counted).await?;
        let balance = Balance {
            service: args.subject.clone(),
            settings: Settings {
                line: args.line,
                line_time: Some(args.line_timeout),
                keep_bytes: args.keep,
                beat_every: args.beat,
                lost_after: args.lost_after,
                ..Settings::default()
            },
            drain: args.drain_timeout,
            name,
            overrun,
        };
        let note = |sentence: &str| eprintln!("plimsoll nats: {} {sentence}", args.subject);
        let seen = Seen::default();
        let balancing = balance.run(client, shutdown, &seen, note);
        let balanced = match admin {
            None => balancing.await,
            Some(listener) => {
                let at = listener.local_addr().map_err(|error| Ended::Failed(error.to_string()))?;
                eprintln!("plimsoll nats: admin on {at}");
                let shown = Arc::clone(&seen);
                let overview = move || {
                    shown.lock().unwrap_or_else(PoisonError::into_inner).overview()
                };
                tokio::select! {
                    balanced = balancing => balanced,
                    // Without it the balancer still balances; it ends before that only when the
                    // listener cannot be used.
                    shown = plimsoll_admin::serve(listener, Desk::new(overview), None, std::future::pending()) => {
                        Err(format!("--admin {at}: {}", shown.err().map_or_else(String::new, |error| error.to_string())))
                    }
                }
            }
        };
        balanced.map(|()| ExitCode::SUCCESS).map_err(Ended::Failed)
    })
}

impl Args {
    fn admin(&self) -> Result<Option<TcpListener>, Ended> {
        let listener =
            |text: &String| listen::listener("--admin", listen::address("--admin", text)?);
        self.admin.as_ref().map(listener).transpose().map_err(Ended::Usage)
    }
}

/// The machine's name and a number: no two have the same.
pub(super) fn name_of_its_own() -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let host: String = host().chars().map(plain).take(40).collect();
    format!("{host}-{}-{:04x}", std::process::id(), fastrand::u16(..))
}

/// The machine's name.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
