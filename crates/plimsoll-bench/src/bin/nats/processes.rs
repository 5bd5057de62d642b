//! The processes of a run: a server, a balancer, workers. Each ends with its value.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::worker::Workers;

/// A process.
pub(crate) struct Process(Child);

impl Process {
    /// Another role of this program: it ends when its standard input does, with ours.
    fn role(arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    /// The processor time that its threads have had, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("Linux tells");
        let nanos = tasks.flatten().filter_map(|task| {
            let told = fs::read_to_string(task.path().join("schedstat")).ok()?;
            told.split_whitespace().next()?.parse::<f64>().ok()
        });
        nanos.sum::<f64>() / 1e9
    }

    /// Asks a role to end, and tells what it says.
    pub(crate) fn end(mut self) -> io::Result<String> {
        drop(self.0.stdin.take());
        let mut said = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        self.0.wait()?;
        Ok(said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A nats-server with JetStream, on a port of its own.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl Server {
    pub(crate) fn start() -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = env::temp_dir().join(format!("plimsoll-bench-nats-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let store = folder.join("store").display().to_string();
        let file = folder.join("server.conf");
        // Our own client answers no pings.
        let config = format!(
            "listen: 127.0.0.1:{port}\nping_interval: \"1h\"\n\
             jetstream {{ store_dir: {store:?}, max_memory_store: 1G }}\n"
        );
        fs::write(&file, config)?;
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process(command.stderr(Stdio::null()).spawn()?);
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return Err(io::Error::other("nats-server does not listen"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { process, port, folder })
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A subject that nothing has used: what was there before is not waited out.
    pub(crate) fn subject() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("bench{}", COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// The program's own balancer.
    pub(crate) fn balancer(&self, subject: &str) -> io::Result<Process> {
        let program = env::current_exe()?.with_file_name("plimsoll");
        let mut command = Command::new(program);
        command.args(["nats", "balance", "--subject", subject, "--server", &self.url()]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        Ok(Process(command.spawn()?))
    }

    /// The library's balancer, which audits and at its end tells what it found.
    pub(crate) fn audited(&self, subject: &str) -> io::Result<Process> {
        Process::role(&["balance", &self.url(), subject])
    }

    /// Workers, in a process of their own.
    pub(crate) fn workers(&self, subject: &str, workers: Workers) -> io::Result<Process> {
        let numbers = [workers.count, workers.slots].map(|number| number.to_string());
        let [count, slots] = &numbers;
        Process::role(&["work", &self.url(), subject, workers.kind.name(), count, slots])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
