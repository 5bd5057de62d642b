//! The command line of `plimsoll serve`, and how its values are read.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use hyper::Uri;
use ipnet::IpNet;
use plimsoll_proxy::{BackendConfig, Config, Limits, LogFormat};

use crate::listen;
use crate::values::seconds;

/// Balances HTTP requests over servers: each goes to the least-loaded one.
///
/// No server ever has more requests, or open connections, than its capacity; what has to wait
/// stands in one fair line. Ctrl-C, or SIGTERM, accepts no more and finishes what runs; a second
/// one ends at once.
///
/// Exit status: 0 ended as told, 2 usage, a bad address or an occupied port.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Where clients connect, such as :8080 or 127.0.0.1:8080; may be given more than once
    #[arg(long, value_name = "ADDRESS", required = true)]
    listen: Vec<String>,

    /// A server, with options of its own: HOST:PORT[,weight=N][,capacity=N]; once for each
    #[arg(long, value_name = "BACKEND", required = true)]
    to: Vec<String>,

    /// Where operators see /metrics and /workers, such as 127.0.0.1:9900
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,

    /// The most requests that a server has at a time
    #[arg(long, value_name = "N", default_value = "32", allow_negative_numbers = true, value_parser = count)]
    capacity: NonZeroU32,

    /// What servers are asked for every now and then, and must answer with a status from 200 to
    /// 399, such as /health [default: a connection is enough]
    #[arg(long, value_name = "PATH", value_parser = path)]
    health: Option<Uri>,

    /// From one check of a server to the next
    #[arg(long, value_name = "SECONDS", default_value = "2", allow_negative_numbers = true, value_parser = seconds)]
    health_interval: Duration,

    /// The longest that a check takes
    #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true, value_parser = seconds)]
    health_timeout: Duration,

    /// Good checks in a row that bring a server back
    #[arg(long, value_name = "N", default_value = "2", allow_negative_numbers = true, value_parser = count)]
    rise: NonZeroU32,

    /// Bad checks in a row that take a server out
    #[arg(long, value_name = "N", default_value = "3", allow_negative_numbers = true, value_parser = count)]
    fall: NonZeroU32,

    /// Failed requests in a row that take a server out for a while
    #[arg(long, value_name = "N", default_value = "5", allow_negative_numbers = true, value_parser = count)]
    failures: NonZeroU32,

    /// The share of servers, in percent, that failed requests take out at the most
    #[arg(long, value_name = "PERCENT", default_value = "50", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_ejected: u8,

    /// The time in which a server that comes back gets its full share; 0 is at once
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds_or_none)]
    slow_start: Duration,

    /// Neither check servers nor take them out
    #[arg(long, conflicts_with_all = [
        "health", "health_interval", "health_timeout", "rise", "fall", "failures", "max_ejected",
        "slow_start",
    ])]
    no_health: bool,

    /// The most requests in line; 0 refuses what would have to wait
    #[arg(long, value_name = "N", default_value = "1024", allow_negative_numbers = true, value_parser = length)]
    line: usize,

    /// The most requests in line that came from one address [default: no limit]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    line_per_client: Option<NonZeroU32>,

    /// The longest that a request waits in line
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds)]
    line_timeout: Duration,

    /// The most servers that one request is tried at
    #[arg(long, value_name = "N", default_value = "3", allow_negative_numbers = true, value_parser = count)]
    tries: NonZeroU32,

    /// The longest that connecting to a server takes
    #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true, value_parser = seconds)]
    connect_timeout: Duration,

    /// The longest from a request sent to its response's head
    #[arg(long, value_name = "SECONDS", default_value = "60", allow_negative_numbers = true, value_parser = seconds)]
    response_timeout: Duration,

    /// The longest without a byte of a body, either way
    #[arg(long, value_name = "SECONDS", default_value = "60", allow_negative_numbers = true, value_parser = seconds)]
    body_timeout: Duration,

    /// The longest that a whole request takes [default: no limit]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    request_timeout: Option<Duration>,

    /// The longest from a head's first byte to its last
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true, value_parser = seconds)]
    header_timeout: Duration,

    /// The longest without a byte through a WebSocket or another tunnel
    #[arg(long, value_name = "SECONDS", default_value = "3600", allow_negative_numbers = true, value_parser = seconds)]
    tunnel_timeout: Duration,

    /// The longest that a client's connection is kept without a request
    #[arg(long, value_name = "SECONDS", default_value = "75", allow_negative_numbers = true, value_parser = seconds)]
    idle_timeout: Duration,

    /// The longest that a connection to a server is kept without a request; less than the
    /// server's own limit
    #[arg(long, value_name = "SECONDS", default_value = "30", allow_negative_numbers = true, value_parser = seconds)]
    backend_idle_timeout: Duration,

    /// From the call to stop until what still runs is cut off
    #[arg(long, value_name = "SECONDS", default_value = "30", allow_negative_numbers = true, value_parser = seconds)]
    drain_timeout: Duration,

    /// The most bytes in a request's head
    #[arg(long, value_name = "BYTES", default_value = "16384", allow_negative_numbers = true, value_parser = head)]
    max_head: usize,

    /// The most fields in a request's head
    #[arg(long, value_name = "N", default_value = "100", allow_negative_numbers = true, value_parser = headers)]
    max_headers: usize,

    /// The most bytes in a request's target
    #[arg(long, value_name = "BYTES", default_value = "8192", allow_negative_numbers = true, value_parser = target)]
    max_target: usize,

    /// The most bytes in a request's body [default: no limit]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, value_parser = body)]
    max_body: Option<u64>,

    /// The most connections from clients at a time
    #[arg(long, value_name = "N", default_value = "10000", allow_negative_numbers = true, value_parser = count)]
    max_connections: NonZeroU32,

    /// The most requests at a time on one HTTP/2 connection
    #[arg(long, value_name = "N", default_value = "128", allow_negative_numbers = true, value_parser = count)]
    max_streams: NonZeroU32,

    /// The most requests on one connection, then it is closed [default: no limit]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    max_requests: Option<NonZeroU32>,

    /// Believe X-Forwarded-* fields of these peers, such as 10.0.0.0/8; may be given more than
    /// once
    #[arg(long, value_name = "CIDR", value_parser = network)]
    trust: Vec<IpNet>,

    /// The access log, a line a request
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogKind,

    /// Append the access log to FILE [default: standard output]
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Threads [default: one per core]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = threads)]
    threads: Option<NonZeroUsize>,
}

/// What the access log looks like.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum LogKind {
    /// `key=value` pairs.
    Text,
    /// An object a line.
    Json,
    /// None.
    Off,
}

impl Args {
    /// Where to listen.
    ///
    /// # Errors
    ///
    /// The sentence to print.
    pub(crate) fn listen(&self) -> Result<Vec<SocketAddr>, String> {
        self.listen.iter().map(|text| listen::address("--listen", text)).collect()
    }

    /// Where to listen for operators.
    ///
    /// # Errors
    ///
    /// The sentence to print.
    pub(crate) fn admin(&self) -> Result<Option<SocketAddr>, String> {
        self.admin.as_ref().map(|text| listen::address("--admin", text)).transpose()
    }

    /// What the proxy is told.
    ///
    /// # Errors
    ///
    /// The sentence to print.
    pub(crate) fn config(&self) -> Result<Config, String> {
        let backends: Result<_, _> =
            self.to.iter().map(|text| backend(text, self.capacity)).collect();
        let mut config = Config::new(backends?);
        config.threads = self.threads.unwrap_or(config.threads);
        config.tries = self.tries;
        config.trust.clone_from(&self.trust);
        config.log.format = match self.log {
            LogKind::Text => Some(LogFormat::Text),
            LogKind::Json => Some(LogFormat::Json),
            LogKind::Off => None,
        };
        if let (None, Some(file)) = (config.log.format, &self.log_file) {
            return Err(format!("--log-file {}: --log off leaves it empty", file.display()));
        }
        config.log.file.clone_from(&self.log_file);
        let health = &mut config.health;
        health.active = !self.no_health;
        health.passive = !self.no_health;
        health.path.clone_from(&self.health);
        health.interval = self.health_interval;
        health.timeout = self.health_timeout;
        health.rise = self.rise.get();
        health.fall = self.fall.get();
        health.failures = self.failures.get();
        health.most_ejected_percent = self.max_ejected;
        health.slow_start = self.slow_start;
        config.line.length = self.line;
        config.line.time = self.line_timeout;
        let share = self.line_per_client.map(|most| most.get().try_into().unwrap_or(usize::MAX));
        config.line.per_client = share;
        let times = &mut config.times;
        times.connect = self.connect_timeout;
        times.response_header = self.response_timeout;
        times.body_idle = self.body_timeout;
        times.request = self.request_timeout;
        times.client_header = self.header_timeout;
        times.tunnel_idle = self.tunnel_timeout;
        times.client_idle = self.idle_timeout;
        times.backend_idle = self.backend_idle_timeout;
        times.drain = self.drain_timeout;
        let limits = &mut config.limits;
        limits.head_bytes = self.max_head;
        limits.headers = self.max_headers;
        limits.target_bytes = self.max_target;
        limits.body_bytes = self.max_body;
        limits.connections = self.max_connections;
        limits.streams = self.max_streams.get();
        limits.requests_per_connection = self.max_requests.map(|most| most.get().into());
        Ok(config)
    }
}

/// `:8080` is every address of the machine.
fn backend(text: &str, capacity: NonZeroU32) -> Result<BackendConfig, String> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let addresses = listen::resolve("--to", text, name)?;
    if addresses.is_empty() {
        return Err(format!("--to '{text}': the name has no address"));
    }
    if addresses.iter().any(|address| address.port() == 0) {
        return Err(format!("--to '{text}': nothing listens on port 0"));
    }
    let mut backend = BackendConfig::new(name, addresses);
    backend.capacity = capacity;
    for part in parts {
        let value = |key| part.strip_prefix(key).map(str::parse::<NonZeroU32>);
        match (value("weight="), value("capacity=")) {
            (Some(Ok(weight)), _) if NonZeroU16::try_from(weight).is_ok() => {
                backend.weight = NonZeroU16::try_from(weight).unwrap_or(NonZeroU16::MIN);
            }
            (_, Some(Ok(capacity))) => backend.capacity = capacity,
            _ => {
                return Err(format!(
                    "--to '{text}': '{part}' is neither weight=N, up to 65535, nor capacity=N"
                ));
            }
        }
    }
    Ok(backend)
}

fn count(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "it is a whole number from 1 to 4294967295".into())
}

fn length(text: &str) -> Result<usize, String> {
    let number: Option<u32> = text.parse().ok();
    let length = number.and_then(|number| usize::try_from(number).ok());
    length.ok_or_else(|| "it is a whole number of requests from 0 to 4294967295".into())
}

fn head(text: &str) -> Result<usize, String> {
    up_to(text, 1 << 20)
}

fn headers(text: &str) -> Result<usize, String> {
    up_to(text, Limits::MOST_HEADERS)
}

fn target(text: &str) -> Result<usize, String> {
    up_to(text, Limits::MOST_TARGET_BYTES)
}

fn up_to(text: &str, most: usize) -> Result<usize, String> {
    let number: Option<usize> = text.parse().ok();
    let number = number.filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("it is a whole number from 1 to {most}"))
}

fn body(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it is a whole number of bytes".into())
}

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number: Option<NonZeroUsize> = text.parse().ok();
    let number = number.filter(|number| number.get() <= 1024);
    number.ok_or_else(|| "it is a whole number of threads from 1 to 1024".into())
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text.parse() == Ok(0.0) {
        return Ok(Duration::ZERO);
    }
    seconds(text).map_err(|sentence| format!("{sentence}, or 0"))
}

fn path(text: &str) -> Result<Uri, String> {
    let path = text.parse().ok().filter(|_| text.starts_with('/'));
    path.ok_or_else(|| "it is a path that begins with /, such as /health".into())
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = |_| text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(address).map_err(|_: std::net::AddrParseError| {
        "it is an address or a network, such as 127.0.0.1 or 10.0.0.0/8".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends() {
        let one = NonZeroU32::MIN;
        let plain = backend("127.0.0.1:9", one).unwrap();
        assert_eq!(
            (plain.name.as_str(), plain.capacity, plain.weight.get()),
            ("127.0.0.1:9", one, 1)
        );
        let told = backend("localhost:9,weight=2,capacity=16", one).unwrap();
        assert_eq!((told.capacity.get(), told.weight.get()), (16, 2));
        for bad in [
            "127.0.0.1:9,weight=0",
            "127.0.0.1:9,weight=65536",
            "127.0.0.1:9,capacity=0",
            "127.0.0.1:9,capacity=-1",
            "127.0.0.1:9,speed=1",
            "127.0.0.1:9,",
            "127.0.0.1:0",
            "nowhere",
        ] {
            let error = backend(bad, one).unwrap_err();
            assert!(error.starts_with(&format!("--to '{bad}': ")), "{error}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(network("10.0.0.0/8").unwrap(), "10.0.0.0/8".parse().unwrap());
        assert_eq!(network("::1").unwrap(), "::1/128".parse().unwrap());
        assert!(network("10.0.0.0/33").is_err() && network("all").is_err());
    }
}
