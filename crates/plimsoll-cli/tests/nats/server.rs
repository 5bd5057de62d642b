//! A nats-server, and the program's commands beside it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// What happens on loopback happens within this.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Waits until it is so.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "it does not come to that");
        sleep(Duration::from_millis(10));
    }
}

/// A nats-server on a port of its own; it ends with the test.
pub(crate) struct Server {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    config: String,
}

impl Server {
    /// With JetStream.
    pub(crate) fn start() -> Self {
        Self::with("jetstream { store_dir: FOLDER }")
    }

    /// With these lines in its configuration; FOLDER is a folder of its own.
    pub(crate) fn with(config: &str) -> Self {
        let (port, folder) = (free_port(), TempDir::new().unwrap());
        let mut server = Self { child: None, port, folder, config: String::new() };
        server.begin_with(config);
        server
    }

    /// Begins again where it was, with other lines in its configuration.
    pub(crate) fn begin_with(&mut self, config: &str) {
        let store = format!("\"{}\"", self.folder.path().join("store").display());
        let config = config.replace("FOLDER", &store);
        self.config = format!("listen: 127.0.0.1:{}\n{config}\n", self.port);
        self.begin();
    }

    /// Begins again where it was.
    pub(crate) fn begin(&mut self) {
        let file = self.folder.path().join("server.conf");
        fs::write(&file, &self.config).unwrap();
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.stderr(log.unwrap()).spawn().expect("nats-server is installed"));
        let until = Instant::now() + SOON;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < until, "nats-server does not listen");
            sleep(Duration::from_millis(10));
        }
    }

    /// Kills it.
    pub(crate) fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// One of the program's commands, with this server.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = crate::program::program("nats", words);
        command.env("NATS_URL", self.url());
        command
    }

    /// A command that runs beside the test.
    pub(crate) fn run(&self, words: &[&str]) -> Running {
        self.spawn(self.command(words))
    }

    fn spawn(&self, mut command: Command) -> Running {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let said = self.folder.path().join(format!("said-{number}"));
        let child = command.stderr(File::create(&said).unwrap()).spawn().unwrap();
        Running { child, said }
    }

    /// A command that was told not to mind when its terminal goes.
    pub(crate) fn run_nohup(&self, words: &[&str]) -> Running {
        let program = self.command(words);
        let mut command = Command::new("nohup");
        command.arg(program.get_program()).args(program.get_args());
        command.env("NATS_URL", self.url()).stdin(Stdio::null()).stdout(Stdio::null());
        self.spawn(command)
    }

    /// A balancer of `work`, once it leads.
    pub(crate) fn balance(&self, words: &[&str]) -> Running {
        let admin = ["--admin", "127.0.0.1:0"];
        let words = [&["balance", "--subject", "work"], &admin[..], words].concat();
        let running = self.run(&words);
        running.wait_for("leads");
        running
    }

    /// A worker of `work`, once it works.
    pub(crate) fn work(&self, words: &[&str]) -> Running {
        let words = [&["work", "--subject", "work"], words].concat();
        let running = self.run(&words);
        running.wait_for("works on");
        running
    }
}

/// What is shown at an address.
pub(crate) fn page(at: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// One that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command beside the test: killed with it, and nothing that it said was a panic.
pub(crate) struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    pub(crate) fn wait_for(&self, words: &str) {
        self.wait_for_times(words, 1);
    }

    pub(crate) fn wait_for_times(&self, words: &str, times: usize) {
        let until = Instant::now() + SOON;
        while self.said().matches(words).count() < times {
            assert!(Instant::now() < until, "it does not say {words}: {}", self.said());
            sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What a balancer shows.
    pub(crate) fn page(&self, path: &str) -> String {
        self.wait_for("admin on ");
        let said = self.said();
        page(said.split("admin on ").nth(1).unwrap().lines().next().unwrap(), path)
    }

    /// `/workers`.
    pub(crate) fn workers(&self) -> Value {
        serde_json::from_str(&self.page("/workers")).unwrap()
    }

    /// A balancer's books: nothing is out, nobody waits, and audits found nothing. What it shows is a
    /// tenth of a second old.
    pub(crate) fn is_settled(&self) -> Value {
        sleep(Duration::from_millis(250));
        let until = Instant::now() + SOON;
        loop {
            let workers = self.workers();
            if workers["pending"] == 0 && workers["line"]["length"] == 0 {
                assert_eq!(workers["regret"], 0.0, "{workers}");
                assert_eq!(workers["idle_while_waiting"], 0, "{workers}");
                return workers;
            }
            assert!(Instant::now() < until, "{workers}");
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end; its exit status must be 0.
    pub(crate) fn end(mut self) -> String {
        self.signal(Signal::TERM);
        assert_eq!(self.status(), Some(0), "{}", self.said());
        self.said()
    }

    /// Waits for its end; tells its exit status.
    pub(crate) fn status(&mut self) -> Option<i32> {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end: {}", self.said());
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said = self.said();
        if !std::thread::panicking() {
            assert!(!said.contains("panicked") && !said.contains("ERROR"), "{said}");
        }
    }
}
