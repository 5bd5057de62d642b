//! The proxies.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use crate::server::{Server, folder, free_ports, nginx, stat, template};

const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plimsoll,
    Nginx,
    NginxRoundRobin,
    Haproxy,
    /// With a limit for each backend, and one queue in front.
    HaproxyMaxconn,
    HaproxyTcp,
    /// hyper on both sides, and nothing else; one thread.
    BareHyper,
}

/// What a proxy is told.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) kind: Kind,
    pub(crate) threads: usize,
    /// The ports of its backends.
    pub(crate) backends: &'a [u16],
    /// The most requests that a backend gets at once, where the proxy knows
    /// such a limit.
    pub(crate) capacity: u32,
    /// The longest that a request waits for a backend that has room, where the
    /// proxy has a line.
    pub(crate) line: Duration,
    /// The kind of key that it shows in TLS, where it serves that.
    pub(crate) key: Option<Key>,
    /// Options for plimsoll alone.
    pub(crate) options: &'a [&'a str],
    /// Whether plimsoll logs what it does.
    pub(crate) log: bool,
}

impl<'a> Setup<'a> {
    /// Without bounds that would be felt.
    pub(crate) fn new(kind: Kind, threads: usize, backends: &'a [u16]) -> Self {
        let line = Duration::from_secs(60);
        let (key, options) = (None, &[]);
        Self { kind, threads, backends, capacity: 1024, line, key, options, log: false }
    }
}

/// A kind of private key, and its certificate with it.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    P256,
    Rsa2048,
}

impl Key {
    /// Makes one, with its certificate: `site.key`, `site.pem`, and both in `site.both`.
    fn make(self, folder: &Path) -> io::Result<()> {
        let kind: &[&str] = match self {
            Self::P256 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::Rsa2048 => &["-newkey", "rsa:2048"],
        };
        let made = Command::new("openssl")
            .current_dir(folder)
            .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-keyout", "site.key", "-out", "site.pem"])
            .args(kind)
            .output()?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let read = |name| fs::read_to_string(folder.join(name));
        fs::write(folder.join("site.both"), read("site.pem")? + &read("site.key")?)
    }
}

/// One proxy before some backends.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) http2_port: u16,
    pub(crate) tls_port: u16,
    admin_port: u16,
    server: Server,
}

impl Proxy {
    pub(crate) fn start(setup: Setup<'_>) -> io::Result<Self> {
        let folder = folder("proxy")?;
        let ports = free_ports(4)?;
        let (port, mut http2_port, admin_port, tls_port) = (ports[0], ports[1], ports[2], ports[3]);
        if let Some(key) = setup.key {
            key.make(&folder)?;
        }
        let in_folder = |name: &str| folder.join(name).display().to_string();
        // How each peer is told of it.
        let tls = |told: String| if setup.key.is_some() { told } else { String::new() };
        let list = |line: &dyn Fn(usize, u16) -> String| {
            let lines = setup.backends.iter().enumerate().map(|(nth, &port)| line(nth, port));
            lines.collect::<Vec<_>>().join("\n")
        };
        let filled = |name: &str, backends: &str, in_tls: &str| -> io::Result<String> {
            Ok(template(name)?
                .replace("TLS", in_tls)
                .replace("H2PORT", &http2_port.to_string())
                .replace("PORT", &port.to_string())
                .replace("THREADS", &setup.threads.to_string())
                .replace("QUEUE", &format!("{}ms", setup.line.as_millis()))
                .replace("BACKENDS", backends))
        };
        let command = match setup.kind {
            Kind::Plimsoll => {
                http2_port = port;
                let program = std::env::current_exe()?.with_file_name("plimsoll");
                let mut command = Command::new(program);
                command.args(["serve", "--capacity", &setup.capacity.to_string()]);
                command.args(["--threads", &setup.threads.to_string()]);
                command.args(["--line-timeout", &setup.line.as_secs_f64().to_string()]);
                command.args(["--listen", &format!("127.0.0.1:{port}")]);
                command.args(["--admin", &format!("127.0.0.1:{admin_port}")]);
                if setup.key.is_some() {
                    command.args(["--tls-listen", &format!("127.0.0.1:{tls_port}")]);
                    command.args(["--certificate", &in_folder("site.both")]);
                }
                if setup.log {
                    command.arg("--log-file").arg(folder.join("access.log"));
                } else {
                    command.args(["--log", "off"]);
                }
                for backend in setup.backends {
                    command.args(["--to", &format!("127.0.0.1:{backend}")]);
                }
                command.args(setup.options);
                command
            }
            Kind::BareHyper => {
                let program = std::env::current_exe()?.with_file_name("bare_hyper");
                let mut command = Command::new(program);
                command.arg(port.to_string());
                command.args(setup.backends.iter().map(u16::to_string));
                command
            }
            Kind::Nginx | Kind::NginxRoundRobin => {
                let policy = if setup.kind == Kind::Nginx { "least_conn;" } else { "" };
                let servers = list(&|_, port| format!("server 127.0.0.1:{port};"));
                let in_tls = tls(format!(
                    "listen 127.0.0.1:{tls_port} ssl http2 backlog=8192 reuseport; \
                     ssl_certificate {}; ssl_certificate_key {}; \
                     ssl_session_cache shared:tls:16m;",
                    in_folder("site.pem"),
                    in_folder("site.key"),
                ));
                nginx(&filled("nginx.conf", &servers, &in_tls)?.replace("POLICY", policy), &folder)?
            }
            Kind::Haproxy | Kind::HaproxyMaxconn | Kind::HaproxyTcp => {
                let (name, limit) = match setup.kind {
                    Kind::HaproxyTcp => ("haproxy-tcp.cfg", None),
                    Kind::HaproxyMaxconn => ("haproxy-maxconn.cfg", Some(setup.capacity)),
                    _ => ("haproxy.cfg", None),
                };
                let servers = list(&|nth, port| {
                    let mut line = format!("    server s{nth} 127.0.0.1:{port}");
                    if let Some(limit) = limit {
                        let _ = write!(line, " maxconn {limit}");
                    }
                    line
                });
                let file = folder.join(name);
                let in_tls = tls(format!(
                    "bind 127.0.0.1:{tls_port} ssl crt {} alpn h2,http/1.1",
                    in_folder("site.both")
                ));
                fs::write(&file, filled(name, &servers, &in_tls)?)?;
                let mut command = Command::new("haproxy");
                command.arg("-q").arg("-db").arg("-f").arg(file);
                command
            }
        };
        Ok(Self {
            port,
            http2_port,
            tls_port,
            admin_port,
            server: Server::start(command, folder, port)?,
        })
    }

    /// The processor time of the proxy's processes so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let spent = self.server.processes().flat_map(|process| {
            let fields = stat(&process);
            let ticks = fields.iter().skip(11).take(2).map(|ticks| ticks.parse::<f64>());
            ticks.filter_map(Result::ok).collect::<Vec<_>>()
        });
        spent.sum::<f64>() / TICKS_PER_SECOND
    }

    /// The memory of the proxy's processes in KiB, what they share counted
    /// once ("proportional set size"). What the kernel keeps for a socket is
    /// not in it.
    pub(crate) fn memory_kib(&self) -> f64 {
        let sizes = self.server.processes().filter_map(|process| {
            let told = fs::read_to_string(process.join("smaps_rollup")).ok()?;
            let line = told.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        });
        sizes.sum()
    }

    /// A number that plimsoll tells in `/workers`.
    pub(crate) fn told(&self, name: &str) -> io::Result<f64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port))?;
        stream.write_all(b"GET /workers HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        let value = said.split(&format!("\"{name}\":")).nth(1).and_then(|rest| {
            rest.split([',', '}']).next().and_then(|number| number.trim().parse().ok())
        });
        value.ok_or_else(|| io::Error::other(format!("/workers tells no {name}: {said}")))
    }

    /// Plimsoll's access log so far.
    pub(crate) fn log(&self) -> io::Result<String> {
        fs::read_to_string(self.server.folder().join("access.log"))
    }
}
