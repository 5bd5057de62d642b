//! The proxies and their backends: started with the configurations in
//! `peers/proxy`, ended when they are dropped.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// The longest that a server takes to listen.
const START: Duration = Duration::from_secs(10);
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Plimsoll,
    Nginx,
    Haproxy,
    HaproxyTcp,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plimsoll => "plimsoll",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::HaproxyTcp => "HAProxy, TCP mode",
        }
    }
}

/// A server of others' making, and the folder with its files.
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    fn start(mut command: Command, folder: PathBuf, port: u16) -> io::Result<Self> {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, folder };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > START {
                return Err(io::Error::other(format!("{command:?} does not listen")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By a signal that lets it end its own processes.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Backends, all in one nginx.
pub(crate) struct Backends {
    ports: Vec<u16>,
    _server: Server,
}

impl Backends {
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let folder = folder("backends")?;
        fs::create_dir(folder.join("files"))?;
        for (name, size) in [("10k", 10 << 10), ("1m", 1 << 20)] {
            fs::write(folder.join("files").join(name), vec![b'x'; size])?;
        }
        let ports = free_ports(count)?;
        let listen = ports.iter().fold(String::new(), |mut text, port| {
            let _ = writeln!(text, "listen 127.0.0.1:{port} backlog=8192;");
            text
        });
        let told = template("backend.conf")?.replace("LISTEN", &listen);
        let command = nginx(&told, &folder)?;
        let server = Server::start(command, folder, ports[0])?;
        Ok(Self { ports, _server: server })
    }
}

/// One proxy before some backends.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) http2_port: u16,
    server: Server,
}

impl Proxy {
    pub(crate) fn start(kind: Kind, threads: usize, backends: &Backends) -> io::Result<Self> {
        let folder = folder(kind.name())?;
        let ports = free_ports(2)?;
        let (port, mut http2_port) = (ports[0], ports[1]);
        let list = |line: fn(usize, u16) -> String| {
            let lines = backends.ports.iter().enumerate().map(|(nth, &port)| line(nth, port));
            lines.collect::<Vec<_>>().join("\n")
        };
        let filled = |text: String, backends: &str| {
            text.replace("H2PORT", &http2_port.to_string())
                .replace("PORT", &port.to_string())
                .replace("THREADS", &threads.to_string())
                .replace("BACKENDS", backends)
        };
        let command = match kind {
            Kind::Plimsoll => {
                http2_port = port;
                let program = std::env::current_exe()?.with_file_name("plimsoll");
                let mut command = Command::new(program);
                command.args(["serve", "--log", "off", "--capacity", "1024"]);
                command.args(["--threads", &threads.to_string()]);
                command.args(["--listen", &format!("127.0.0.1:{port}")]);
                for backend in &backends.ports {
                    command.args(["--to", &format!("127.0.0.1:{backend}")]);
                }
                command
            }
            Kind::Nginx => {
                let servers = list(|_, port| format!("server 127.0.0.1:{port};"));
                nginx(&filled(template("nginx.conf")?, &servers), &folder)?
            }
            Kind::Haproxy | Kind::HaproxyTcp => {
                let tcp = matches!(kind, Kind::HaproxyTcp);
                let name = if tcp { "haproxy-tcp.cfg" } else { "haproxy.cfg" };
                let servers = list(|nth, port| format!("    server s{nth} 127.0.0.1:{port}"));
                let file = folder.join(name);
                fs::write(&file, filled(template(name)?, &servers))?;
                let mut command = Command::new("haproxy");
                command.arg("-q").arg("-db").arg("-f").arg(file);
                command
            }
        };
        Ok(Self { port, http2_port, server: Server::start(command, folder, port)? })
    }

    /// The processor time of the proxy's processes so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let root = self.server.child.id();
        let mut ticks = 0.0;
        for entry in fs::read_dir("/proc").expect("Linux tells").flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end meanwhile.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let fields: Vec<_> =
                stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let parent = fields.get(1).and_then(|parent| parent.parse().ok());
            if id == root || parent == Some(root) {
                let spent = fields.iter().skip(11).take(2);
                ticks += spent.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>();
            }
        }
        ticks / TICKS_PER_SECOND
    }
}

fn nginx(told: &str, folder: &Path) -> io::Result<Command> {
    let file = folder.join("nginx.conf");
    fs::write(&file, told.replace("FOLDER", &folder.to_string_lossy()))?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file);
    Ok(command)
}

fn template(name: &str) -> io::Result<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/proxy").join(name))
}

fn folder(name: &str) -> io::Result<PathBuf> {
    let name = name.replace([' ', ','], "-");
    let folder = std::env::temp_dir().join(format!("plimsoll-bench-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Ports that are free now.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: io::Result<Vec<_>> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    listeners?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
