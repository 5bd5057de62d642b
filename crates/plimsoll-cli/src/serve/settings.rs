//! What `plimsoll serve` can be told: by options, or by a file, whose keys are the options' names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use plimsoll_admin::{Token, is_near};
use plimsoll_proxy::{
    BackendConfig, CertificateConfig, ClientsConfig, Config, Limits, LogFormat, PoolConfig,
    RouteConfig, TlsConfig,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::dns::Named;
use super::kinds::{
    Certificate, ClientCertificate, Count, Dns, DnsServer, LogKind, Network, Path, Seconds,
    SecondsOrNone, To, Whole,
};
use crate::listen;

const MOST_HEADERS: u64 = Limits::MOST_HEADERS as u64;
const MOST_TARGET_BYTES: u64 = Limits::MOST_TARGET_BYTES as u64;

/// What `plimsoll serve` is told.
#[derive(clap::Args, Deserialize, JsonSchema, Clone, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where clients connect, such as :8080 or 127.0.0.1:8080; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Vec<String>,

    /// Where clients connect in TLS, such as :8443; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    pub(super) tls_listen: Vec<String>,

    /// A certificate for TLS, with those that vouch for it, and its private key, in PEM; the key
    /// may be in the same file. Of several the client's name for this server chooses
    #[arg(long, value_name = "FILE[,key=FILE]")]
    pub(super) certificate: Vec<Certificate>,

    /// Ask clients for a certificate that one of those in FILE vouches for
    #[arg(long, value_name = "FILE")]
    pub(super) client_ca: Option<PathBuf>,

    /// Whether clients without a certificate are turned away [default: required]
    #[arg(long, value_name = "RULE")]
    pub(super) client_certificate: Option<ClientCertificate>,

    /// Where operators see /metrics and /workers and steer, such as 127.0.0.1:9900
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin: Option<String>,

    /// Ask operators for the token in FILE, which the rest of the machine must not read
    /// [default: whoever reaches the address is heard]
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub(super) admin_token_file: Option<PathBuf>,

    /// Who is asked for the names in dns, such as 10.0.0.2 or 127.0.0.1:5353 [default: the system's]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) dns_server: Option<DnsServer>,

    /// Threads [default: one per core]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) threads: Option<Whole<1, 1024>>,

    /// From the call to stop until what still runs is cut off
    #[arg(long, value_name = "SECONDS", default_value = "30", allow_negative_numbers = true)]
    pub(super) drain_timeout: Seconds,

    /// The access log, a line a request
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(super) log: LogKind,

    /// Append the access log to FILE [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,

    /// Believe X-Forwarded-* fields of these peers, such as 10.0.0.0/8; may be given more than
    /// once
    #[arg(long, value_name = "CIDR")]
    pub(super) trust: Vec<Network>,

    /// The longest without a byte of a body, either way
    #[arg(long, value_name = "SECONDS", default_value = "60", allow_negative_numbers = true)]
    pub(super) body_timeout: Seconds,

    /// The longest from a head's first byte to its last
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true)]
    pub(super) header_timeout: Seconds,

    /// The longest without a byte through a WebSocket or another tunnel
    #[arg(long, value_name = "SECONDS", default_value = "3600", allow_negative_numbers = true)]
    pub(super) tunnel_timeout: Seconds,

    /// The longest that a client's connection is kept without a request
    #[arg(long, value_name = "SECONDS", default_value = "75", allow_negative_numbers = true)]
    pub(super) idle_timeout: Seconds,

    /// The most bytes in a request's head
    #[arg(long, value_name = "BYTES", default_value = "16384", allow_negative_numbers = true)]
    pub(super) max_head: Whole<1, 1_048_576>,

    /// The most fields in a request's head
    #[arg(long, value_name = "N", default_value = "100", allow_negative_numbers = true)]
    pub(super) max_headers: Whole<1, MOST_HEADERS>,

    /// The most bytes in a request's target
    #[arg(long, value_name = "BYTES", default_value = "8192", allow_negative_numbers = true)]
    pub(super) max_target: Whole<1, MOST_TARGET_BYTES>,

    /// The most bytes in a request's body [default: no limit]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(super) max_body: Option<Whole<0, { u64::MAX }>>,

    /// The most connections from clients at a time
    #[arg(long, value_name = "N", default_value = "10000", allow_negative_numbers = true)]
    pub(super) max_connections: Count,

    /// The most requests at a time on one HTTP/2 connection
    #[arg(long, value_name = "N", default_value = "128", allow_negative_numbers = true)]
    pub(super) max_streams: Count,

    /// The most requests on one connection, then it is closed [default: no limit]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) max_requests: Option<Count>,

    /// The pools, by name: servers that serve the same
    #[arg(skip)]
    pub(super) pool: BTreeMap<String, PoolSettings>,

    /// Which request goes to which pool; may be left out where there is one pool
    #[arg(skip)]
    pub(super) route: Vec<Route>,
}

/// Servers that serve the same, with one line in front.
#[derive(clap::Args, Deserialize, JsonSchema, Clone, Debug)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PoolSettings {
    /// A server, with options of its own: HOST:PORT[,weight=N][,capacity=N]; once for each
    #[arg(long, value_name = "BACKEND")]
    pub(super) to: Vec<To>,

    /// A name that DNS knows servers of, HOST:PORT or a service such as _http._tcp.web.internal,
    /// with [,weight=N][,capacity=N]; once for each
    #[arg(long, value_name = "NAME")]
    pub(super) dns: Vec<Dns>,

    /// The most requests that a server has at a time
    #[arg(long, value_name = "N", default_value = "32", allow_negative_numbers = true)]
    pub(super) capacity: Count,

    /// The most requests in line; 0 refuses what would have to wait
    #[arg(long, value_name = "N", default_value = "1024", allow_negative_numbers = true)]
    pub(super) line: Whole<0, 4_294_967_295>,

    /// The most requests in line that came from one address [default: no limit]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) line_per_client: Option<Count>,

    /// The longest that a request waits in line
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true)]
    pub(super) line_timeout: Seconds,

    /// The most servers that one request is tried at
    #[arg(long, value_name = "N", default_value = "3", allow_negative_numbers = true)]
    pub(super) tries: Count,

    /// The longest that connecting to a server takes
    #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true)]
    pub(super) connect_timeout: Seconds,

    /// The longest from a request sent to its response's head
    #[arg(long, value_name = "SECONDS", default_value = "60", allow_negative_numbers = true)]
    pub(super) response_timeout: Seconds,

    /// The longest that a whole request takes [default: no limit]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(super) request_timeout: Option<Seconds>,

    /// The longest that a connection to a server is kept without a request; less than the
    /// server's own limit
    #[arg(long, value_name = "SECONDS", default_value = "30", allow_negative_numbers = true)]
    pub(super) backend_idle_timeout: Seconds,

    /// What servers are asked for every now and then, and must answer with a status from 200 to
    /// 399, such as /health [default: a connection is enough]
    #[arg(long, value_name = "PATH")]
    pub(super) health: Option<Path>,

    /// From one check of a server to the next
    #[arg(long, value_name = "SECONDS", default_value = "2", allow_negative_numbers = true)]
    pub(super) health_interval: Seconds,

    /// The longest that a check takes
    #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true)]
    pub(super) health_timeout: Seconds,

    /// Good checks in a row that bring a server back
    #[arg(long, value_name = "N", default_value = "2", allow_negative_numbers = true)]
    pub(super) rise: Count,

    /// Bad checks in a row that take a server out
    #[arg(long, value_name = "N", default_value = "3", allow_negative_numbers = true)]
    pub(super) fall: Count,

    /// Failed requests in a row that take a server out for a while
    #[arg(long, value_name = "N", default_value = "5", allow_negative_numbers = true)]
    pub(super) failures: Count,

    /// The share of servers, in percent, that failed requests take out at the most
    #[arg(long, value_name = "PERCENT", default_value = "50", allow_negative_numbers = true)]
    pub(super) max_ejected: Whole<0, 100>,

    /// The time in which a server that comes back gets its full share; 0 is at once
    #[arg(long, value_name = "SECONDS", default_value = "10", allow_negative_numbers = true)]
    pub(super) slow_start: SecondsOrNone,

    /// Neither check servers nor take them out
    #[arg(long, conflicts_with_all = [
        "health", "health_interval", "health_timeout", "rise", "fall", "failures", "max_ejected",
        "slow_start",
    ])]
    pub(super) no_health: bool,
}

/// Requests that go to a pool. Of those routes that a request meets, the one that says most of its
/// host has it, and of those with the same host the one with the longest path.
#[derive(Deserialize, JsonSchema, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// The host that is asked for, such as example.com, or *.example.com for any under it
    /// [default: any]
    pub(super) host: Option<String>,

    /// What the path begins with, in whole parts: /a is met by /a and /a/b, and not by /ab
    /// [default: any]
    pub(super) path: Option<Path>,

    /// The pool's name
    pub(super) pool: String,
}

/// Something told that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The key, such as `pool.web.to[1]`.
    pub(super) at: String,
    /// What it was told.
    pub(super) told: String,
    /// What would be right.
    pub(super) sentence: String,
}

impl Wrong {
    pub(super) fn new(
        at: impl Into<String>,
        told: impl Into<String>,
        sentence: impl Into<String>,
    ) -> Self {
        Self { at: at.into(), told: told.into(), sentence: sentence.into() }
    }
}

/// The name of the pool that options tell of.
pub(super) const ONE: &str = "default";

impl Settings {
    /// Where to listen for clients, and whether in TLS.
    pub(super) fn listen(&self) -> Result<Vec<(SocketAddr, bool)>, Wrong> {
        if self.listen.is_empty() && self.tls_listen.is_empty() {
            return Err(Wrong::new("listen", "", "there is no address, such as \":8080\""));
        }
        let mut listen: Vec<(SocketAddr, bool)> = Vec::new();
        let both = [("listen", &self.listen, false), ("tls_listen", &self.tls_listen, true)];
        for (key, told, tls) in both {
            for (nth, text) in told.iter().enumerate() {
                let wrong = |sentence| Wrong::new(format!("{key}[{nth}]"), text, sentence);
                let at = listen::place(text).map_err(wrong)?;
                if listen.contains(&(at, !tls)) {
                    return Err(wrong("it is told in listen, without TLS".into()));
                }
                listen.push((at, tls));
            }
        }
        Ok(listen)
    }

    /// What is served in TLS.
    fn tls(&self) -> Result<Option<TlsConfig>, Wrong> {
        let mut certificates = Vec::new();
        for (nth, Certificate { chain, key }) in self.certificate.iter().enumerate() {
            let certificate = CertificateConfig { chain: chain.clone(), key: key.clone() };
            let wrong = |sentence| Wrong::new(format!("certificate[{nth}]"), "", sentence);
            certificate.check().map_err(wrong)?;
            certificates.push(certificate);
        }
        let clients = match &self.client_ca {
            Some(authorities) => {
                let required = self.client_certificate != Some(ClientCertificate::Optional);
                let clients = ClientsConfig { authorities: authorities.clone(), required };
                clients.check().map_err(|sentence| Wrong::new("client_ca", "", sentence))?;
                Some(clients)
            }
            None => None,
        };
        let missing = |key, sentence: &str| Err(Wrong::new(key, "", sentence));
        if clients.is_some() && self.tls_listen.is_empty() {
            // Operators are asked for a token.
            return missing("client_ca", "no client is served in TLS: tell tls_listen");
        }
        if clients.is_none() && self.client_certificate.is_some() {
            return missing("client_certificate", "nobody is asked for one: tell client_ca");
        }
        let listens = !self.tls_listen.is_empty() || self.admin()?.is_some_and(|at| !is_near(at));
        match (!listens, certificates.is_empty()) {
            (false, true) if self.tls_listen.is_empty() => Ok(None),
            (false, true) => missing("tls_listen", "it needs a certificate, such as \"site.pem\""),
            (true, false) => missing("certificate", "nothing listens for TLS: tell tls_listen"),
            (true, true) => Ok(None),
            (false, false) => Ok(Some(TlsConfig { certificates, clients })),
        }
    }

    /// Where to listen for operators.
    pub(super) fn admin(&self) -> Result<Option<SocketAddr>, Wrong> {
        let one = |text: &String| {
            listen::place(text).map_err(|sentence| Wrong::new("admin", text, sentence))
        };
        self.admin.as_ref().map(one).transpose()
    }

    /// What operators must show.
    pub(super) fn admin_token(&self) -> Result<Option<Token>, Wrong> {
        let Some(file) = &self.admin_token_file else { return Ok(None) };
        let wrong =
            |sentence: String| Wrong::new("admin_token_file", file.display().to_string(), sentence);
        if self.admin.is_none() {
            return Err(wrong("there is no admin address to ask for it at".into()));
        }
        Token::read(file).map(Some).map_err(wrong)
    }

    /// What the proxy is told.
    pub(super) fn config(&self) -> Result<Config, Wrong> {
        if self.pool.is_empty() {
            return Err(Wrong::new("pool", "", "there is no pool, such as [pool.web]"));
        }
        let pool = |(name, pool): (&String, &PoolSettings)| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                let sentence = "a pool's name has letters, digits, - and _ alone";
                return Err(Wrong::new("pool", name, sentence));
            }
            pool.config(name)
        };
        let mut config = Config::new(Vec::new());
        config.pools = self.pool.iter().map(pool).collect::<Result<_, _>>()?;
        config.routes = self.routes()?;
        config.threads = self
            .threads
            .and_then(|threads| NonZeroUsize::new(threads.size()))
            .unwrap_or(config.threads);
        config.trust = self.trust.iter().map(|network| network.0).collect();
        config.tls = self.tls()?;
        config.log.format = match self.log {
            LogKind::Text => Some(LogFormat::Text),
            LogKind::Json => Some(LogFormat::Json),
            LogKind::Off => None,
        };
        if let Some(file) = &self.log_file {
            let told = file.display().to_string();
            let wrong = |sentence: String| Wrong::new("log_file", &told, sentence);
            if config.log.format.is_none() {
                return Err(wrong("the log is off, which leaves it empty".into()));
            }
            config.log.file = Some(file.clone());
        }
        let times = &mut config.times;
        times.body_idle = self.body_timeout.0;
        times.client_header = self.header_timeout.0;
        times.tunnel_idle = self.tunnel_timeout.0;
        times.client_idle = self.idle_timeout.0;
        times.drain = self.drain_timeout.0;
        let limits = &mut config.limits;
        limits.head_bytes = self.max_head.size();
        limits.headers = self.max_headers.size();
        limits.target_bytes = self.max_target.size();
        limits.body_bytes = self.max_body.map(|most| most.0);
        limits.connections = self.max_connections.number();
        limits.streams = self.max_streams.number().get();
        limits.requests_per_connection = self.max_requests.map(|most| most.0);
        Ok(config)
    }

    /// The names of each pool that has any.
    pub(super) fn names(&self) -> BTreeMap<String, Vec<Named>> {
        let pools = self.pool.iter().filter(|(_, pool)| !pool.dns.is_empty());
        let named = |pool: &PoolSettings, dns: &Dns| Named {
            question: dns.question.clone(),
            weight: dns.weight,
            capacity: dns.capacity.unwrap_or(pool.capacity.number()),
        };
        let named = |(name, pool): (&String, &PoolSettings)| {
            (name.clone(), pool.dns.iter().map(|dns| named(pool, dns)).collect())
        };
        pools.map(named).collect()
    }

    fn routes(&self) -> Result<Vec<RouteConfig>, Wrong> {
        if self.route.is_empty() {
            let mut names = self.pool.keys();
            return match (names.next(), names.next()) {
                (Some(only), None) => {
                    Ok(vec![RouteConfig { host: None, path: None, pool: only.clone() }])
                }
                _ => Err(Wrong::new(
                    "route",
                    "",
                    "of several pools each needs a [[route]] that leads to it",
                )),
            };
        }
        let mut routes: Vec<RouteConfig> = Vec::new();
        for (nth, told) in self.route.iter().enumerate() {
            let at = |key: &str| format!("route[{nth}].{key}");
            if !self.pool.contains_key(&told.pool) {
                let known: Vec<_> = self.pool.keys().map(String::as_str).collect();
                let sentence = format!("there is no such pool, but {}", known.join(", "));
                return Err(Wrong::new(at("pool"), &told.pool, sentence));
            }
            if let Some(host) = told.host.as_deref().filter(|host| !is_host(host)) {
                let sentence = "it is a host without a port, such as example.com or *.example.com";
                return Err(Wrong::new(at("host"), host, sentence));
            }
            if let Some(path) = told.path.as_ref().filter(|path| path.0.query().is_some()) {
                let sentence = "a route looks at the path alone: leave out the query";
                return Err(Wrong::new(at("path"), path.0.to_string(), sentence));
            }
            let path =
                told.path.as_ref().map(|path| path.0.path().trim_end_matches('/').to_owned());
            let host = told.host.as_ref().map(|host| host.to_ascii_lowercase());
            let same = |other: &RouteConfig| {
                (&other.host, other.path.as_deref().unwrap_or_default())
                    == (&host, path.as_deref().unwrap_or_default())
            };
            if let Some(first) = routes.iter().position(same) {
                let sentence = format!("route[{first}] has the same host and path");
                return Err(Wrong::new(format!("route[{nth}]"), &told.pool, sentence));
            }
            routes.push(RouteConfig { host, path, pool: told.pool.clone() });
        }
        Ok(routes)
    }
}

/// A name, or any under one.
fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.chars().all(plain),
    }
}

impl PoolSettings {
    fn config(&self, name: &str) -> Result<PoolConfig, Wrong> {
        let at = |key: &str| format!("pool.{name}.{key}");
        if self.to.is_empty() && self.dns.is_empty() {
            return Err(Wrong::new(
                at("to"),
                "",
                "there is no backend, such as \"127.0.0.1:9001\", and no name in dns",
            ));
        }
        for (nth, dns) in self.dns.iter().enumerate() {
            if self.dns[..nth].iter().any(|other| other.question == dns.question) {
                let at = at(&format!("dns[{nth}]"));
                return Err(Wrong::new(at, dns.question.to_string(), "it is told twice"));
            }
        }
        let mut backends: Vec<BackendConfig> = Vec::new();
        for (nth, to) in self.to.iter().enumerate() {
            let wrong = |sentence| Wrong::new(at(&format!("to[{nth}]")), &to.name, sentence);
            if self.to[..nth].iter().any(|other| other.name == to.name) {
                return Err(wrong("it is told twice: a greater weight gives it more".into()));
            }
            let addresses = listen::lookup(&to.name).map_err(wrong)?;
            if addresses.is_empty() {
                return Err(wrong("the name has no address".into()));
            }
            let mut backend = BackendConfig::new(&to.name, addresses);
            backend.capacity = to.capacity.unwrap_or(self.capacity.number());
            backend.weight = to.weight;
            backends.push(backend);
        }
        if let (true, Some(path)) = (self.no_health, &self.health) {
            let told = path.0.to_string();
            return Err(Wrong::new(at("health"), told, "with no_health nothing is asked for"));
        }
        let mut config = PoolConfig::new(name, backends);
        config.tries = self.tries.number();
        config.line.length = self.line.size();
        config.line.time = self.line_timeout.0;
        config.line.per_client = self.line_per_client.map(Count::size);
        config.times.connect = self.connect_timeout.0;
        config.times.response_header = self.response_timeout.0;
        config.times.request = self.request_timeout.map(|limit| limit.0);
        config.times.backend_idle = self.backend_idle_timeout.0;
        let health = &mut config.health;
        health.active = !self.no_health;
        health.passive = !self.no_health;
        health.path = self.health.as_ref().map(|path| path.0.clone());
        health.interval = self.health_interval.0;
        health.timeout = self.health_timeout.0;
        health.rise = self.rise.number().get();
        health.fall = self.fall.number().get();
        health.failures = self.failures.number().get();
        health.most_ejected_percent = u8::try_from(self.max_ejected.0).unwrap_or(100);
        health.slow_start = self.slow_start.0;
        Ok(config)
    }
}

/// What is so when nothing is told: as the options have it.
fn defaults<T: clap::Args>() -> T {
    let command = T::augment_args(clap::Command::new("defaults"));
    let told = command.get_matches_from(["defaults"]);
    T::from_arg_matches(&told).expect("no option is required")
}

impl Default for Settings {
    fn default() -> Self {
        defaults()
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        defaults()
    }
}
