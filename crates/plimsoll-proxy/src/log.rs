//! The access log: a line a request, written by a thread of its own.
//!
//! Traffic never waits for it. Lines that the writer has no room for, since
//! its disk is full or nobody reads its pipe, are dropped and counted.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::config::{LogConfig, LogFormat};
use crate::exchange::Record;

/// Lines on their way to the writer.
const ROOM: usize = 8192;
/// Bytes that are written in one go.
const BATCH: usize = 64 << 10;

/// The longest that the last lines are waited for. Nobody may read the pipe
/// that they go to.
const FAREWELL: Duration = Duration::from_secs(1);

/// Dropped, it has its last lines written.
pub(crate) struct Log {
    /// What lines look like: a place in [`FORMATS`].
    format: AtomicUsize,
    sender: Option<SyncSender<Entry>>,
    /// Says that the writer has ended, by being closed; in a lock only to be shared.
    ended: Mutex<Receiver<()>>,
    dropped: Arc<AtomicU64>,
}

const FORMATS: [Option<LogFormat>; 3] = [None, Some(LogFormat::Text), Some(LogFormat::Json)];

/// Where lines go, and what they look like.
pub(crate) struct Target {
    to: Box<dyn Write + Send>,
    format: Option<LogFormat>,
}

/// What the writer gets.
enum Entry {
    Line(String),
    /// Where lines go from here on.
    To(Box<dyn Write + Send>),
}

impl Target {
    /// Opens the file, again if need be, as it may have been moved. That may take for ever: a pipe
    /// is open when somebody reads it.
    pub(crate) fn open(config: &LogConfig) -> io::Result<Self> {
        let to: Box<dyn Write + Send> = match &config.file {
            None => Box::new(io::stdout()),
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                let told = |error| io::Error::other(format!("{}: {error}", path.display()));
                Box::new(opened.map_err(told)?)
            }
        };
        Ok(Self { to, format: config.format })
    }

    /// The same within a time; a thread that waits for longer is left behind.
    pub(crate) fn open_within(limit: Duration, config: &LogConfig) -> io::Result<Self> {
        let (tell, opened) = sync_channel(1);
        let told = config.clone();
        let thread = std::thread::Builder::new().name("serve-log-open".into());
        thread.spawn(move || {
            // Nobody hears it when it comes too late.
            let _ = tell.send(Self::open(&told));
        })?;
        opened.recv_timeout(limit).unwrap_or_else(|_| {
            let path = config.file.as_deref().unwrap_or(Path::new("stdout")).display();
            let within = format!("{path}: it cannot be opened within {} s", limit.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, within))
        })
    }
}

impl Log {
    /// Opens the file and starts the writer.
    pub(crate) fn start(config: &LogConfig) -> io::Result<Self> {
        let dropped = Arc::new(AtomicU64::new(0));
        let Target { to, format } = Target::open(config)?;
        let (sender, entries) = sync_channel(ROOM);
        let (ends, ended) = sync_channel(0);
        let counted = Arc::clone(&dropped);
        let thread = std::thread::Builder::new().name("serve-log".into());
        thread.spawn(move || {
            write(&entries, to, &counted);
            drop(ends);
        })?;
        let format = AtomicUsize::new(place(format));
        Ok(Self { format, sender: Some(sender), ended: Mutex::new(ended), dropped })
    }

    /// Logs there from now on. It waits for nothing.
    ///
    /// # Errors
    ///
    /// A sentence, when there is no room for it.
    pub(crate) fn set(&self, Target { to, format }: Target) -> Result<(), String> {
        if let Some(sender) = &self.sender {
            // Behind the lines that are on their way.
            let sent = sender.try_send(Entry::To(to));
            sent.map_err(|_| "the log is behind by as many lines as may wait: try again")?;
        }
        self.format.store(place(format), Ordering::Relaxed);
        Ok(())
    }

    /// Notes an exchange that is over.
    pub(crate) fn line(&self, record: &Record) {
        let line = match FORMATS[self.format.load(Ordering::Relaxed)] {
            None => return,
            Some(LogFormat::Text) => text(record),
            Some(LogFormat::Json) => json(record),
        };
        let sent = self.sender.as_ref().map(|sender| sender.try_send(Entry::Line(line)));
        if sent.is_some_and(|sent| sent.is_err()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were not written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Its end is what the writer waits for.
        self.sender = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(FAREWELL);
    }
}

fn place(format: Option<LogFormat>) -> usize {
    FORMATS.iter().position(|one| *one == format).unwrap_or(0)
}

/// Writes what there is in one go: a line at a time when there is little, many
/// when there is much.
fn write(entries: &Receiver<Entry>, mut to: Box<dyn Write + Send>, dropped: &AtomicU64) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut next = entries.recv().ok();
    while let Some(first) = next.take() {
        let mut count = 0;
        batch.clear();
        let mut entry = Some(first);
        while let Some(Entry::Line(line)) = entry {
            batch.extend_from_slice(line.as_bytes());
            count += 1;
            entry = if batch.len() < BATCH { entries.try_recv().ok() } else { None };
        }
        if count > 0 && to.write_all(&batch).and_then(|()| to.flush()).is_err() {
            dropped.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(Entry::To(other)) = entry {
            to = other;
        }
        next = entries.recv().ok();
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn backend(record: &Record) -> &str {
    record.backend.as_ref().map_or("-", |backend| &backend.name)
}

fn text(record: &Record) -> String {
    let mut line = String::with_capacity(256);
    let client = record.asking().client().peer.ip().to_canonical();
    // Writing to a string does not fail. A target has no spaces; a quote within it
    // begins no value.
    let _ = write!(
        line,
        "time={} client={client} method={} path={} status={} bytes={} backend={} pending={} \
         line={:.6} tries={} connect={:.6}",
        Timestamp::now(),
        record.method(),
        record.target(),
        record.status,
        record.bytes,
        backend(record),
        record.pending,
        seconds(record.line),
        record.tries,
        seconds(record.connect),
    );
    if let Some(first_byte) = record.first_byte {
        let _ = write!(line, " first_byte={:.6}", seconds(first_byte));
    }
    let _ = write!(line, " total={:.6}", seconds(record.elapsed()));
    if let Some(reason) = record.reason {
        let _ = write!(line, " reason=\"{reason}\"");
    }
    line.push('\n');
    line
}

fn json(record: &Record) -> String {
    let line = json!({
        "time": Timestamp::now().to_string(),
        "client": record.asking().client().peer.ip().to_canonical().to_string(),
        "method": record.method(),
        "path": record.target(),
        "status": record.status,
        "bytes": record.bytes,
        "backend": record.backend.as_ref().map(|backend| &backend.name),
        "pending": record.pending,
        "line": seconds(record.line),
        "tries": record.tries,
        "connect": seconds(record.connect),
        "first_byte": record.first_byte.map(seconds),
        "total": seconds(record.elapsed()),
        "reason": record.reason,
    });
    line.to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("plimsoll-{}.log", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let config = LogConfig { file: Some(path.clone()), ..LogConfig::default() };
        let limit = Duration::from_millis(50);
        let told = Target::open_within(limit, &config).err().unwrap().to_string();
        assert!(told.contains("log: it cannot be opened within"), "{told}");
        // It lets the thread go that waits still.
        let reader = std::fs::File::open(&path).unwrap();
        Target::open_within(Duration::from_secs(10), &config).unwrap();
        drop(reader);
        std::fs::remove_file(&path).unwrap();
    }
}
