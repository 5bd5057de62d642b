//! What the proxy is told: backends, limits, times.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use ipnet::IpNet;

/// All that [`run`](crate::run) must know.
///
/// ```
/// use plimsoll_proxy::{BackendConfig, Config};
///
/// let backend = BackendConfig::new("127.0.0.1:9001", vec!["127.0.0.1:9001".parse()?]);
/// let config = Config::new(vec![backend]);
/// assert_eq!(config.pools[0].line.length, 1024);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Backends that serve the same, each with one line in front.
    pub pools: Vec<PoolConfig>,
    /// Which request goes to which pool; what finds no route is answered 404.
    pub routes: Vec<RouteConfig>,
    /// Threads, each with a runtime of its own; the cores by default.
    pub threads: NonZeroUsize,
    /// Bounds on what a client may send.
    pub limits: Limits,
    /// How long each part of an exchange may take.
    pub times: Times,
    /// Peers whose `X-Forwarded-*` fields are believed.
    pub trust: Vec<IpNet>,
    /// What listeners with TLS are served by.
    pub tls: Option<TlsConfig>,
    /// The access log.
    pub log: LogConfig,
    /// Every so many dispatches one is audited by a plain scan; 0 is never, and
    /// 100 the default.
    pub audit_every: u64,
}

impl Config {
    /// The defaults, with one pool of these backends, to which all requests go.
    pub fn new(backends: Vec<BackendConfig>) -> Self {
        let pool = PoolConfig::new("default", backends);
        let route = RouteConfig { host: None, path: None, pool: pool.name.clone() };
        Self {
            pools: vec![pool],
            routes: vec![route],
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            limits: Limits::default(),
            times: Times::default(),
            trust: Vec::new(),
            tls: None,
            log: LogConfig::default(),
            audit_every: 100,
        }
    }
}

/// Backends that serve the same.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// What it is called.
    pub name: String,
    /// The workers.
    pub backends: Vec<BackendConfig>,
    /// The line of requests that wait for one.
    pub line: LineConfig,
    /// How long they may take.
    pub times: PoolTimes,
    /// The most backends that one request is tried at.
    pub tries: NonZeroU32,
    /// How they are watched.
    pub health: HealthConfig,
}

impl PoolConfig {
    /// The defaults, with these backends.
    pub fn new(name: impl Into<String>, backends: Vec<BackendConfig>) -> Self {
        Self {
            name: name.into(),
            backends,
            line: LineConfig::default(),
            times: PoolTimes::default(),
            tries: NonZeroU32::MIN.saturating_add(2),
            health: HealthConfig::default(),
        }
    }
}

/// Requests that go to a pool: of those routes that a request meets, the one that
/// says most of its host has it, and of those with the same host the one with the
/// longest path.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// The host that is asked for, without a port; `*.` before it is any one under it,
    /// and none any.
    pub host: Option<String>,
    /// What the path begins with, in whole parts: `/a` is met by `/a` and `/a/b`, and
    /// not by `/ab`. Paths are compared as they come.
    pub path: Option<String>,
    /// The pool's name.
    pub pool: String,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct BackendConfig {
    /// `host:port`, as it is shown.
    pub name: String,
    /// Where it listens; tried in order. Without any it is not known yet: it gets nothing, and
    /// requests wait for it.
    pub addresses: Vec<SocketAddr>,
    /// The host that it is asked for where a request names none, and by checks.
    pub host: String,
    /// The most requests, and open connections, that it has at a time.
    pub capacity: NonZeroU32,
    /// Its share of the work, against the others'.
    pub weight: NonZeroU16,
}

impl BackendConfig {
    /// A backend of weight 1 that takes [`CAPACITY`](Self::CAPACITY) requests, and is asked for its
    /// own name.
    pub fn new(name: impl Into<String>, addresses: Vec<SocketAddr>) -> Self {
        let (name, capacity) = (name.into(), Self::CAPACITY);
        Self { host: name.clone(), name, addresses, capacity, weight: NonZeroU16::MIN }
    }

    /// The capacity of a backend that is not told otherwise.
    pub const CAPACITY: NonZeroU32 = NonZeroU32::new(32).unwrap();
}

/// How backends are watched.
#[derive(Clone, Debug)]
pub struct HealthConfig {
    /// Whether they are checked when no request tells how they are.
    pub active: bool,
    /// What is asked for, and must be answered with a status from 200 to 399;
    /// without it a connection is enough.
    pub path: Option<Uri>,
    /// From one check to the next.
    pub interval: Duration,
    /// The longest that a check takes.
    pub timeout: Duration,
    /// Good checks in a row that bring a backend back.
    pub rise: u32,
    /// Bad checks in a row that take it out.
    pub fall: u32,
    /// Whether failed requests take it out.
    pub passive: bool,
    /// Failed requests in a row that do.
    pub failures: u32,
    /// The share of all backends that failed requests take out, at the most.
    pub most_ejected_percent: u8,
    /// The time in which a backend that comes back gets its full share.
    pub slow_start: Duration,
}

impl Default for HealthConfig {
    /// A connection every 2 s within 1 s, 2 to rise, 3 to fall; 5 failures in
    /// a row, half of the backends at the most; 10 s of slow start.
    fn default() -> Self {
        Self {
            active: true,
            path: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            passive: true,
            failures: 5,
            most_ejected_percent: 50,
            slow_start: Duration::from_secs(10),
        }
    }
}

/// What listeners with TLS are served by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Which of them a client is shown is told by the name that it asks for; the first where none
    /// is for that name. At least one.
    pub certificates: Vec<CertificateConfig>,
    /// Who may connect with a certificate; without it nobody is asked for one.
    pub clients: Option<ClientsConfig>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateConfig {
    /// A file with the certificate and, behind it, those that vouch for it, in PEM.
    pub chain: PathBuf,
    /// A file with its private key, in PEM; it may be the same one.
    pub key: PathBuf,
}

/// Clients with certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientsConfig {
    /// A file with the certificates of those who vouch for them, in PEM.
    pub authorities: PathBuf,
    /// Whether clients without one are turned away.
    pub required: bool,
}

/// The access log: a line a request.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// How lines look; none by default.
    pub format: Option<LogFormat>,
    /// Where they are appended; standard output when it is not told.
    pub file: Option<PathBuf>,
}

/// How a line of the access log looks; both have the same fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value`, with spaces between.
    Text,
    /// An object a line.
    Json,
}

/// The line's bounds.
#[derive(Clone, Copy, Debug)]
pub struct LineConfig {
    /// The most requests in line; 0 refuses what would have to wait.
    pub length: usize,
    /// The longest that one waits.
    pub time: Duration,
    /// The most of one client's, by its address; no limit of its own by default.
    pub per_client: Option<usize>,
}

impl Default for LineConfig {
    /// 1,024 requests, 10 s.
    fn default() -> Self {
        Self { length: 1024, time: Duration::from_secs(10), per_client: None }
    }
}

/// Bounds on what a client may send or hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A request's head, in bytes.
    pub head_bytes: usize,
    /// Its header fields; more than [`MOST_HEADERS`](Self::MOST_HEADERS) is that.
    pub headers: usize,
    /// Its target, in bytes; more than [`MOST_TARGET_BYTES`](Self::MOST_TARGET_BYTES)
    /// is that.
    pub target_bytes: usize,
    /// Its body, in bytes; unlimited by default.
    pub body_bytes: Option<u64>,
    /// Connections from clients at a time.
    pub connections: NonZeroU32,
    /// Concurrent requests on one HTTP/2 connection.
    pub streams: u32,
    /// Requests on one connection; unlimited by default.
    pub requests_per_connection: Option<u64>,
}

impl Limits {
    /// The most header fields that can be allowed: maps of them have room for 24,576,
    /// of which the proxy's own take some.
    pub const MOST_HEADERS: usize = 16_384;

    /// The most bytes of a target that can be allowed: what is behind refuses more by
    /// itself.
    pub const MOST_TARGET_BYTES: usize = u16::MAX as usize - 1;

    pub(crate) fn bounded(self) -> Self {
        Self {
            headers: self.headers.min(Self::MOST_HEADERS),
            target_bytes: self.target_bytes.min(Self::MOST_TARGET_BYTES),
            ..self
        }
    }
}

impl Default for Limits {
    /// 16 KiB, 100 fields, 8 KiB, 10,000 connections, 128 streams.
    fn default() -> Self {
        Self {
            head_bytes: 16 << 10,
            headers: 100,
            target_bytes: 8 << 10,
            body_bytes: None,
            connections: NonZeroU32::new(10_000).expect("it is not 0"),
            streams: 128,
            requests_per_connection: None,
        }
    }
}

/// How long what clients do may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Without a byte of a body, either way.
    pub body_idle: Duration,
    /// From a head's first byte to its last.
    pub client_header: Duration,
    /// Without a byte through a tunnel, either way.
    pub tunnel_idle: Duration,
    /// A client's connection without a request.
    pub client_idle: Duration,
    /// From the call to stop until what still runs is cut off.
    pub drain: Duration,
}

impl Default for Times {
    /// 60 s, 10 s, 1 h, 75 s, 30 s.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            body_idle: seconds(60),
            client_header: seconds(10),
            tunnel_idle: seconds(3600),
            client_idle: seconds(75),
            drain: seconds(30),
        }
    }
}

/// How long what a pool does may take.
#[derive(Clone, Copy, Debug)]
pub struct PoolTimes {
    /// Connecting to a backend.
    pub connect: Duration,
    /// From the request sent to the response's head.
    pub response_header: Duration,
    /// The whole request, from its head to the end of its response; off by
    /// default.
    pub request: Option<Duration>,
    /// A connection to a backend without a request.
    pub backend_idle: Duration,
}

impl Default for PoolTimes {
    /// 1 s, 60 s, off, 30 s.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(1),
            response_header: seconds(60),
            request: None,
            backend_idle: seconds(30),
        }
    }
}
