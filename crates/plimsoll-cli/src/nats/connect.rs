//! The server, and who we are there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};

use super::Ended;

/// Messages that may wait in the program, for each subscription: beyond them they are lost, and
/// that is told.
const MOST_WAITING: usize = 1 << 16;

/// How often the server is asked whether it is there: after two that it has not answered the connection
/// counts as lost at the next.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// How long a first connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest pause between two tries to come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The same sentence is not told again within this.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(clap::Args, Clone, Debug)]
pub(super) struct Connection {
    /// The server; several, separated by commas, are of one cluster
    #[arg(long, value_name = "URL", env = "NATS_URL", default_value = "nats://127.0.0.1:4222", value_delimiter = ',', value_parser = server)]
    server: Vec<ServerAddr>,

    /// Credentials: a file with a JWT and its key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nkey", "user", "token"])]
    creds: Option<PathBuf>,

    /// A file with an nkey's seed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "token"])]
    nkey: Option<PathBuf>,

    /// A user's name
    #[arg(long, value_name = "NAME", requires = "password_file", conflicts_with = "token")]
    user: Option<String>,

    /// A file with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,

    /// A file with a token
    #[arg(long = "token-file", id = "token", value_name = "FILE")]
    token: Option<PathBuf>,

    /// Certificates that the server's must come from, in PEM; connects by TLS only [default: the
    /// system's]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// Our certificate, in PEM; connects by TLS only
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Connect by TLS only
    #[arg(long)]
    tls: bool,

    /// What the subjects of our own inboxes begin with, where a user may not use all
    #[arg(long, value_name = "PREFIX", default_value = "_INBOX", value_parser = inbox)]
    inbox_prefix: String,
}

fn inbox(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic() && c != '*' && c != '>';
    let is_sound = text.split('.').all(|word| !word.is_empty() && word.chars().all(is_plain));
    let text = is_sound.then(|| text.to_owned());
    text.ok_or_else(|| "it is a subject without wildcards, such as _INBOX_me".into())
}

fn server(text: &str) -> Result<ServerAddr, String> {
    let read: Option<ServerAddr> = text.parse().ok();
    read.filter(|address| !address.host().is_empty())
        .ok_or_else(|| "it is an address such as nats://127.0.0.1:4222".into())
}

impl Connection {
    /// Connects. What happens to the connection later is told on stderr.
    pub(super) async fn connect(&self, name: &str) -> Result<Client, Ended> {
        self.connect_and_count(name, Arc::default()).await
    }

    /// As [`connect`](Self::connect); counts messages that are lost because they came faster than
    /// they were taken.
    pub(super) async fn connect_and_count(
        &self,
        name: &str,
        overrun: Arc<AtomicU64>,
    ) -> Result<Client, Ended> {
        let options = self.options()?.name(name).subscription_capacity(MOST_WAITING);
        let news = Arc::new(Mutex::new(News::default()));
        let options = options.connection_timeout(PATIENCE).event_callback(move |event| {
            if matches!(event, Event::SlowConsumer(_)) {
                overrun.fetch_add(1, Ordering::Relaxed);
            }
            let sentence = news.lock().unwrap_or_else(PoisonError::into_inner).told(&event);
            async move {
                if let Some(sentence) = sentence {
                    eprintln!("plimsoll nats: {sentence}");
                }
            }
        });
        let options = options.reconnect_delay_callback(pause).ping_interval(ASKED_EVERY);
        options.connect(self.server.clone()).await.map_err(|error| {
            let servers: Vec<_> = self.server.iter().map(shown).collect();
            Ended::Failed(format!("{}: {error}", servers.join(", ")))
        })
    }

    fn options(&self) -> Result<ConnectOptions, Ended> {
        let mut options = ConnectOptions::new().custom_inbox_prefix(&self.inbox_prefix);
        if let Some(file) = &self.creds {
            // Its last line must have an end, which reading takes away.
            options = options
                .credentials(&(read("--creds", file)? + "\n"))
                .map_err(|error| Ended::Usage(format!("--creds {}: {error}", file.display())))?;
        }
        if let Some(file) = &self.nkey {
            options = options.nkey(read("--nkey", file)?);
        }
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            options = options.user_and_password(user.clone(), read("--password-file", file)?);
        }
        if let Some(file) = &self.token {
            options = options.token(read("--token-file", file)?);
        }
        if let Some(file) = &self.tls_ca {
            read("--tls-ca", file)?;
            options = options.add_root_certificates(file.clone());
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            read("--tls-cert", cert)?;
            read("--tls-key", key)?;
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        // Who says what to trust, or who one is, means it: a server without TLS gets no password.
        let tls = self.tls || self.tls_ca.is_some() || self.tls_cert.is_some();
        Ok(options.require_tls(tls))
    }
}

fn read(option: &str, file: &PathBuf) -> Result<String, Ended> {
    let text = std::fs::read_to_string(file);
    let text =
        text.map_err(|error| Ended::Usage(format!("{option} {}: {error}", file.display())))?;
    Ok(text.trim_end().to_owned())
}

/// Without a password that may be in it.
fn shown(server: &ServerAddr) -> String {
    format!("{}://{}:{}", server.scheme(), server.host(), server.port())
}

/// Some time that doubles, half of it drawn, so that those who lost one server do not come to
/// another at once.
fn pause(tries: usize) -> Duration {
    let doubled = 50_u64 << tries.min(6);
    let longest = u64::try_from(LONGEST_PAUSE.as_millis()).unwrap_or(2000);
    let whole = doubled.min(longest);
    Duration::from_millis(whole / 2 + fastrand::u64(0..=whole / 2))
}

/// What is worth telling of what happens to a connection.
#[derive(Default)]
struct News {
    was_lost: bool,
    last: Option<(String, Instant)>,
}

impl News {
    fn told(&mut self, event: &Event) -> Option<String> {
        let sentence = match event {
            // The first one is no news.
            Event::Connected if !std::mem::take(&mut self.was_lost) => return None,
            Event::Connected => "connected again".into(),
            Event::Disconnected if std::mem::replace(&mut self.was_lost, true) => return None,
            Event::Disconnected => "the connection is lost, and tried again".into(),
            Event::SlowConsumer(subscription) => format!(
                "messages came faster than they were taken, and are lost: subscription \
                 {subscription}"
            ),
            Event::LameDuckMode => "the server is about to end".into(),
            Event::ServerError(error) => format!("the server says: {error}"),
            Event::ClientError(error) => error.to_string(),
            Event::Draining | Event::Closed => return None,
        };
        let now = Instant::now();
        let is_old = |(last, at): &(String, Instant)| *last == sentence && now < *at + AGAIN;
        if self.last.as_ref().is_some_and(is_old) {
            return None;
        }
        self.last = Some((sentence.clone(), now));
        Some(sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_are_told() {
        let mut news = News::default();
        assert_eq!(news.told(&Event::Connected), None);
        assert!(news.told(&Event::Disconnected).unwrap().contains("lost"));
        assert_eq!(news.told(&Event::Disconnected), None);
        assert_eq!(news.told(&Event::Connected).unwrap(), "connected again");
        assert!(news.told(&Event::SlowConsumer(3)).is_some());
        assert_eq!(news.told(&Event::SlowConsumer(3)), None);
        assert!(news.told(&Event::SlowConsumer(4)).is_some());
    }

    #[test]
    fn pauses_grow_and_are_drawn() {
        assert!(pause(0) <= Duration::from_millis(50));
        let long: Vec<_> = (0..20).map(|_| pause(100)).collect();
        assert!(long.iter().all(|pause| (LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(pause)));
        assert!(long.iter().any(|pause| *pause != long[0]));
    }
}
