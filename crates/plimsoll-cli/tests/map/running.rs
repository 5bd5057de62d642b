//! Runs the built program, bounded in time, and checks that no copy of
//! COMMAND outlives it.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// No test's run takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The variable that every process of one run inherits.
const MARK: &str = "PLIMSOLL_TEST_MARK";

/// One run to be started.
pub(crate) struct Map {
    command: Command,
    mark: String,
    folder: tempfile::TempDir,
}

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Pieces,
    pub(crate) stderr: Pieces,
    mark: String,
    folder: tempfile::TempDir,
}

/// What a finished run left.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) folder: tempfile::TempDir,
}

/// Output as it comes.
pub(crate) struct Pieces {
    pieces: Receiver<Vec<u8>>,
    pub(crate) so_far: Vec<u8>,
}

/// `plimsoll map` with these words.
pub(crate) fn map<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Map {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let mark = format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::SeqCst));
    let folder = tempfile::tempdir().expect("a folder for the test");
    // Tests may have been started by what ignores a hangup, which `map` heeds.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_plimsoll"), "map"]);
    command.args(words).env(MARK, &mark).current_dir(folder.path());
    Map { command, mark, folder }
}

impl Map {
    /// Puts an executable script where the run finds it as `./NAME`.
    pub(crate) fn script(self, name: &str, text: &str) -> Self {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script to run");
        self
    }

    /// More words.
    pub(crate) fn also<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command.args(words);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Starts it with pipes.
    pub(crate) fn start(self) -> Running {
        self.start_with(Stdio::piped())
    }

    /// Starts it with this stdout.
    pub(crate) fn start_with(mut self, stdout: impl Into<Stdio>) -> Running {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let stdin = child.stdin.take();
        let stdout = Pieces::of(child.stdout.take());
        let stderr = Pieces::of(child.stderr.take());
        Running { child, stdin, stdout, stderr, mark: self.mark, folder: self.folder }
    }

    /// Runs it on this input to its end.
    pub(crate) fn on(self, input: impl Into<Vec<u8>>) -> Done {
        let mut running = self.start();
        running.feed(input.into());
        running.finish()
    }
}

impl Running {
    /// Writes the whole input from a thread, then closes it.
    pub(crate) fn feed(&mut self, input: Vec<u8>) {
        let mut stdin = self.stdin.take().expect("input not closed");
        // A run that ends before its input has its reasons; the test looks at them.
        thread::spawn(move || stdin.write_all(&input));
    }

    /// Writes some input now.
    pub(crate) fn write(&mut self, input: &[u8]) {
        self.stdin.as_mut().expect("input not closed").write_all(input).expect("a reader");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a process to signal");
    }

    /// The most memory it ever had, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for its end; it must leave no process behind.
    pub(crate) fn finish(mut self) -> Done {
        drop(self.stdin.take());
        let pid = self.pid();
        let (ended, end) = channel();
        let mut child = self.child;
        thread::spawn(move || ended.send(child.wait().expect("an exit status")));
        let status = end.recv_timeout(LIMIT).unwrap_or_else(|_| {
            let _ = kill_process(pid, Signal::KILL);
            let stderr = String::from_utf8_lossy(&self.stderr.rest()).into_owned();
            panic!("not done after {LIMIT:?}; stderr: {stderr}");
        });
        // Those killed with their group vanish a moment after their leader.
        let start = Instant::now();
        let mut left = left_behind(&self.mark);
        while !left.is_empty() && start.elapsed() < Duration::from_secs(5) {
            thread::yield_now();
            left = left_behind(&self.mark);
        }
        assert!(left.is_empty(), "processes left behind: {left:?}");
        Done {
            code: status.code(),
            stdout: self.stdout.rest(),
            stderr: String::from_utf8_lossy(&self.stderr.rest()).into_owned(),
            folder: self.folder,
        }
    }
}

impl Pieces {
    fn of(from: Option<impl Read + Send + 'static>) -> Self {
        let (to, pieces) = channel();
        if let Some(mut from) = from {
            thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    if to.send(buffer[..read].to_vec()).is_err() {
                        break;
                    }
                }
            });
        }
        Self { pieces, so_far: Vec::new() }
    }

    /// Waits until the output so far satisfies this.
    pub(crate) fn wait_for(&mut self, what: impl Fn(&[u8]) -> bool) {
        let start = Instant::now();
        while !what(&self.so_far) {
            let left = LIMIT.checked_sub(start.elapsed()).unwrap_or_default();
            let so_far = String::from_utf8_lossy(&self.so_far).into_owned();
            let piece = self.pieces.recv_timeout(left);
            self.so_far.extend(piece.unwrap_or_else(|_| panic!("no more came after: {so_far}")));
        }
    }

    /// Waits for these words.
    pub(crate) fn wait_for_text(&mut self, text: &str) {
        self.wait_for(|so_far| String::from_utf8_lossy(so_far).contains(text));
    }

    fn rest(&mut self) -> Vec<u8> {
        while let Ok(piece) = self.pieces.recv() {
            self.so_far.extend(piece);
        }
        std::mem::take(&mut self.so_far)
    }
}

impl Done {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    pub(crate) fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).expect("a file of the run")
    }

    /// Its exit status must be this.
    pub(crate) fn expect(self, code: i32) -> Self {
        let start = &self.stdout[..self.stdout.len().min(500)];
        let stdout = String::from_utf8_lossy(start);
        assert_eq!(self.code, Some(code), "stderr: {}\nstdout: {stdout}", self.stderr);
        self
    }
}

/// The numbers 1 to `last`, a line each.
pub(crate) fn numbers(last: u64) -> String {
    text(1..=last)
}

/// Each item on a line of its own.
pub(crate) fn text(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().fold(String::new(), |text, item| text + &format!("{item}\n"))
}

/// Processes that carry the mark, as "number name"; not those that are dead and
/// only wait to be reaped.
fn left_behind(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.parse::<u32>().is_err() {
            continue;
        }
        let Ok(environ) = fs::read(entry.path().join("environ")) else { continue };
        if !environ.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes()) {
            continue;
        }
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        if matches!(state, Some('Z' | 'X') | None) {
            continue;
        }
        let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        left.push(format!("{name} {}", command.trim()));
    }
    left
}
