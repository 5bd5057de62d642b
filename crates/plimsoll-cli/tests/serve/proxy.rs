//! The program under test, and what must hold when a test is over.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::backend::Backend;
use crate::wire::{self, Wire};

/// Where a file has it listen.
pub(crate) const LISTEN: &str = "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n";

/// The longest that a test waits for something to become so.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a test of random events begins with: `PLIMSOLL_SEED`, or another each time.
pub(crate) fn seed() -> u64 {
    let told = std::env::var("PLIMSOLL_SEED").ok().and_then(|told| told.parse().ok());
    let seed = told.unwrap_or_else(|| fastrand::u64(..));
    println!("PLIMSOLL_SEED={seed}");
    seed
}

pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    said: Arc<Mutex<String>>,
    descriptors: usize,
    /// What it was told by, where that is a file.
    file: Option<tempfile::NamedTempFile>,
    /// The process that serves now, where that is not the first.
    successor: Option<Pid>,
    /// What operators show.
    token: Option<String>,
}

impl Proxy {
    /// Over these backends, with these options.
    pub(crate) fn over(backends: &[&Backend], options: &[&str]) -> Self {
        let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
        Self::at(&addresses, options)
    }

    pub(crate) fn at(backends: &[SocketAddr], options: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_plimsoll")), backends, options)
    }

    /// With what the shell's `ulimit` has for it.
    pub(crate) fn limited(limit: &str, backends: &[&Backend], options: &[&str]) -> Self {
        let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
        let mut shell = Command::new("sh");
        let limited = format!("ulimit {limit}; exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_plimsoll")]);
        Self::run(shell, &addresses, options)
    }

    /// The processor time that it has used, in ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// How often each thread of this name has waited, or been made to.
    pub(crate) fn switches(&self, threads: &[&str]) -> Vec<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let mut switches = vec![0; threads.len()];
        for task in tasks {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let values = |key: &'static str| {
                let lines = status.lines().filter(move |line| line.contains(key));
                lines.map(|line| line.split_whitespace().nth(1).unwrap().to_owned())
            };
            let name = values("Name:").next().unwrap();
            if let Some(at) = threads.iter().position(|thread| *thread == name) {
                let counts = values("voluntary_ctxt_switches:");
                switches[at] = counts.map(|count| count.parse::<u64>().unwrap()).sum();
            }
        }
        switches
    }

    /// With this file, which says where the backends are.
    pub(crate) fn told(text: &str) -> Self {
        Self::told_with(text, &[])
    }

    /// The same, with options beside it.
    pub(crate) fn told_with(text: &str, options: &[&str]) -> Self {
        Self::told_all(&[LISTEN, text].concat(), options)
    }

    /// With this file, which says where it listens, too.
    pub(crate) fn told_whole(text: &str) -> Self {
        Self::told_all(text, &[])
    }

    /// With this file, by operators who have a token.
    pub(crate) fn showing(token: &str, text: &str) -> Self {
        Self::told_showing(&[LISTEN, text].concat(), &[], Some(token.into()))
    }

    /// Another token, or none, is shown from now on.
    pub(crate) fn shows(&mut self, token: Option<&str>) {
        self.token = token.map(str::to_owned);
    }

    fn told_all(text: &str, options: &[&str]) -> Self {
        Self::told_showing(text, options, None)
    }

    fn told_showing(text: &str, options: &[&str], token: Option<String>) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(["serve", "--config"]).arg(file.path()).args(options);
        let mut proxy = Self::start_showing(command, token);
        proxy.file = Some(file);
        proxy
    }

    /// Writes its file anew, as an editor does.
    pub(crate) fn write(&self, text: &str) {
        self.write_whole(&[LISTEN, text].concat());
    }

    /// The same, with where it listens.
    pub(crate) fn write_whole(&self, text: &str) {
        self.write_at(text, SystemTime::now());
    }

    /// The same as [`write`](Self::write), at the time of the one before, as some who copy files.
    pub(crate) fn write_as_old(&self, text: &str) {
        let before = self.file().metadata().unwrap().modified().unwrap();
        self.write_at(&[LISTEN, text].concat(), before);
    }

    fn write_at(&self, text: &str, time: SystemTime) {
        let other = self.file().with_extension("new");
        fs::write(&other, text).unwrap();
        fs::File::options().append(true).open(&other).unwrap().set_modified(time).unwrap();
        fs::rename(other, self.file()).unwrap();
    }

    fn file(&self) -> &Path {
        self.file.as_ref().expect("it was told by a file").path()
    }

    /// Has its file read again; the status and what is said.
    pub(crate) fn reload(&self) -> (u16, String) {
        let response = self.post("/reload", "");
        (response.status, response.text().to_owned())
    }

    /// Has something done by an operator.
    pub(crate) fn post(&self, path: &str, body: &str) -> wire::Response {
        self.operate("POST", path, body)
    }

    fn operate(&self, method: &str, path: &str, body: &str) -> wire::Response {
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let (token, length) = (token.unwrap_or_default(), body.len());
        let mut wire = Wire::connect(self.admin);
        let fields = format!("Host: x\r\nContent-Length: {length}\r\n{token}");
        wire.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n{body}"));
        wire.response()
    }

    /// What it has said on stderr since it listens.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn run(mut command: Command, backends: &[SocketAddr], options: &[&str]) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        for backend in backends {
            command.args(["--to", &backend.to_string()]);
        }
        command.args(options);
        Self::start(command)
    }

    pub(crate) fn start(command: Command) -> Self {
        Self::start_showing(command, None)
    }

    fn start_showing(command: Command, token: Option<String>) -> Self {
        let (proxy, before) = Self::begin(command, token);
        assert_eq!(before, "", "it says nothing before it says where it listens");
        proxy
    }

    /// One that may say something before it says where it listens.
    pub(crate) fn start_noting(command: Command) -> Self {
        Self::begin(command, None).0
    }

    fn begin(mut command: Command, token: Option<String>) -> (Self, String) {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        let mut before = String::new();
        let mut address = |what: &str| loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            if let Some(at) = line.strip_prefix(&format!("plimsoll: {what} on ")) {
                return at.parse().unwrap();
            }
            if !line.starts_with("plimsoll: dns ") {
                before.push_str(&(line.clone() + "\n"));
            }
            heard.lock().unwrap().push_str(&(line + "\n"));
        };
        let (address, admin) = (address("listening"), address("admin"));
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        let (descriptors, file, successor) = (0, None, None);
        let mut proxy = Self { child, address, admin, said, descriptors, file, successor, token };
        // Its threads open what they need as they start.
        proxy.workers();
        loop {
            thread::sleep(Duration::from_millis(40));
            let before = proxy.descriptors;
            proxy.descriptors = proxy.open_descriptors();
            if proxy.descriptors == before {
                break;
            }
        }
        (proxy, before)
    }

    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    pub(crate) fn get(&self, target: &str) -> wire::Response {
        wire::get(self.address, target)
    }

    pub(crate) fn workers(&self) -> Value {
        let response = self.operate("GET", "/workers", "");
        assert_eq!(response.status, 200);
        serde_json::from_str(response.text()).unwrap()
    }

    pub(crate) fn pending(&self) -> u64 {
        self.workers()["pending"].as_u64().unwrap()
    }

    pub(crate) fn in_line(&self) -> u64 {
        self.workers()["line"]["length"].as_u64().unwrap()
    }

    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.workers()["refused"][reason].as_u64().unwrap()
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "never {what}: {}\n{}",
                self.workers(),
                self.said()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Has another process serve in its place, which is the one that is meant from now on. Tells
    /// which it was, and may be still.
    pub(crate) fn restart(&mut self) -> Pid {
        let before = self.pid();
        let taken = format!("plimsoll: took over from process {before}\n");
        let handed = "plimsoll: handed over to process ";
        let times = self.said().matches(handed).count();
        self.signal(Signal::USR2);
        self.until("it is handed over", |proxy| {
            let said = proxy.said();
            said.contains(&taken) && said.matches(handed).count() > times
        });
        let said = self.said();
        let (_, process) = said.rsplit_once(handed).unwrap();
        let process = process.lines().next().unwrap().parse().unwrap();
        self.successor = Pid::from_raw(process);
        before
    }

    /// Waits until a process has ended that another has taken over from, and that one knows it.
    pub(crate) fn until_finished(&mut self, before: Pid) {
        self.until_ended(before);
        let known = format!("plimsoll: process {before}, which this one took over from, ended\n");
        self.until("it knows that the other has ended", |proxy| proxy.said().contains(&known));
    }

    /// Waits until a process has ended, whoever has started it.
    pub(crate) fn until_ended(&mut self, process: Pid) {
        let begun = Instant::now();
        loop {
            // The first one is to be asked, and others are nobody's to be asked.
            let _ = self.child.try_wait();
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
            if state.is_none_or(|state| "ZX".contains(state)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{process} does not end: {}", self.said());
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What must hold at the end of every test, whatever happened in it: no
    /// request pends, nothing was lost, and it ends when told.
    pub(crate) fn finish(mut self) {
        self.until("nothing pends", |proxy| proxy.pending() == 0 && proxy.in_line() == 0);
        let workers = self.workers();
        assert_eq!(workers["regret"].as_f64(), Some(0.0), "{workers}");
        assert_eq!(workers["idle_while_waiting"].as_u64(), Some(0), "{workers}");
        for worker in workers["workers"].as_array().unwrap() {
            let count = |what: &str| worker[what].as_u64().unwrap();
            // A check may be under way.
            assert_eq!(count("dispatched"), count("completed") + count("pending"), "{workers}");
        }
        let begun = Instant::now();
        loop {
            let workers = self.workers();
            let open = |worker: &Value| worker["open_connections"].as_u64().unwrap();
            let open: u64 = workers["workers"].as_array().unwrap().iter().map(open).sum();
            let descriptors = self.open_descriptors();
            if descriptors <= self.descriptors + usize::try_from(open).unwrap() {
                break;
            }
            let leak =
                format!("{descriptors} descriptors, {} at first, {open} idle", self.descriptors);
            assert!(begun.elapsed() < PATIENCE, "{leak}");
            thread::sleep(Duration::from_millis(10));
        }
        self.signal(Signal::TERM);
        if let Some(last) = self.successor {
            self.until_ended(last);
        }
        assert_eq!(self.wait().code(), Some(0));
        self.assert_quiet();
    }

    /// No panic, no error.
    pub(crate) fn assert_quiet(&self) {
        let said = self.said.lock().unwrap();
        assert!(!said.contains("panicked") && !said.contains("ERROR"), "{said}");
    }

    /// Descriptors that it may have: at once, and at the most.
    pub(crate) fn descriptors_allowed(&self) -> (String, String) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.pid())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let mut words = line.split_whitespace().skip(3).map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    }

    /// The addresses that it has taken, in KiB.
    pub(crate) fn address_space_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The memory that it has, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn open_descriptors(&self) -> usize {
        let folder: PathBuf = format!("/proc/{}/fd", self.pid()).into();
        std::fs::read_dir(folder).unwrap().count()
    }

    pub(crate) fn pid(&self) -> Pid {
        self.successor.unwrap_or_else(|| Pid::from_child(&self.child))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        if let Some(process) = self.successor.filter(|_| thread::panicking()) {
            let _ = kill_process(process, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
