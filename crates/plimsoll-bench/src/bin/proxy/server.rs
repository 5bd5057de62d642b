//! Servers of others' making: started with the configurations in
//! `peers/proxy`, ended when they are dropped.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// The longest that a server takes to listen.
const START: Duration = Duration::from_secs(10);

/// A server, and the folder with its files.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    pub(crate) fn start(mut command: Command, folder: PathBuf, port: u16) -> io::Result<Self> {
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

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the system tells of the server's process and of its children: a
    /// folder each.
    pub(crate) fn processes(&self) -> impl Iterator<Item = PathBuf> {
        let root = self.child.id();
        let entries = fs::read_dir("/proc").expect("Linux tells").flatten();
        entries.map(|entry| entry.path()).filter(move |path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let id = name.and_then(|name| name.parse::<u32>().ok());
            id == Some(root) || id.is_some() && parent(path) == Some(root)
        })
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

/// The fields of a process after its name; none when it has ended meanwhile.
pub(crate) fn stat(process: &Path) -> Vec<String> {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.map(str::to_owned).collect()
}

fn parent(process: &Path) -> Option<u32> {
    stat(process).get(1)?.parse().ok()
}

/// nginx with this configuration.
pub(crate) fn nginx(told: &str, folder: &Path) -> io::Result<Command> {
    let file = folder.join("nginx.conf");
    fs::write(&file, told.replace("FOLDER", &folder.to_string_lossy()))?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file);
    Ok(command)
}

pub(crate) fn template(name: &str) -> io::Result<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/proxy").join(name))
}

/// A new folder.
pub(crate) fn folder(name: &str) -> io::Result<PathBuf> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let nth = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("plimsoll-bench-{}-{nth}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Ports that are free now.
pub(crate) fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: io::Result<Vec<_>> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    listeners?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
