//! A backend of the tests' own: it notes what it gets, byte by byte, and
//! answers as it is told.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A request as it came over the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) head: String,
    /// Without its framing.
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) whole: bool,
    /// The lines of fields behind a chunked body.
    pub(crate) trailers: String,
}

impl Seen {
    /// The value of a field that stands there once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// The value of a head's field; more than one is a failure of the test.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut found = head.lines().skip(1).filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    let value = found.next();
    assert!(found.next().is_none(), "{name} stands there twice in\n{head}");
    value
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
}

/// What has come on a connection so far.
type Noted = Arc<Mutex<Vec<u8>>>;

/// Notes what is read through it.
struct Noting {
    stream: TcpStream,
    noted: Noted,
}

impl Read for Noting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.noted.lock().unwrap().extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    active: AtomicUsize,
    most_active: AtomicUsize,
    open: AtomicUsize,
    connections: AtomicUsize,
    most_open: AtomicUsize,
    over: AtomicBool,
    /// What came on each connection, where that is noted.
    streams: Mutex<Vec<Noted>>,
    /// What an answer asserts holds, or the test fails.
    panicked: AtomicBool,
}

impl Shared {
    /// Notes a panic of the thread that it is dropped on.
    fn guard(self: &Arc<Self>) -> impl Drop + use<> {
        struct Guard(Arc<Shared>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.panicked.fetch_or(thread::panicking(), Ordering::SeqCst);
            }
        }
        Guard(Arc::clone(self))
    }
}

/// Runs until the end of the test.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Backend {
    /// Reads whole requests and has each answered.
    pub(crate) fn start(
        answer: impl Fn(&Seen, &mut TcpStream) -> Then + Send + Sync + 'static,
    ) -> Self {
        Self::raw(reading(answer))
    }

    /// Reads heads alone, and leaves bodies to the answer.
    pub(crate) fn heads(
        answer: impl Fn(&Seen, &mut TcpStream) -> Then + Send + Sync + 'static,
    ) -> Self {
        Self::raw(move |stream, shared| {
            let mut reader = BufReader::with_capacity(1, stream.try_clone().unwrap());
            while let Some(head) = read_head(&mut reader) {
                let seen = Seen { head, ..Seen::default() };
                shared.seen.lock().unwrap().push(seen.clone());
                if answer(&seen, stream) == Then::Close {
                    return;
                }
            }
        })
    }

    /// Answers every request with its own name for this text.
    pub(crate) fn says(text: &'static str) -> Self {
        Self::start(move |_, stream| respond(stream, text.as_bytes()))
    }

    /// The same, at this address.
    pub(crate) fn says_at(at: impl ToSocketAddrs, text: &'static str) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        Self::on(listener, reading(move |_, stream| respond(stream, text.as_bytes())))
    }

    /// Notes every byte, and closes after so many requests.
    pub(crate) fn recording(requests: usize) -> Self {
        Self::raw(move |stream, shared| {
            let noted = Noted::default();
            shared.streams.lock().unwrap().push(Arc::clone(&noted));
            let mut reader = BufReader::new(Noting { stream: stream.try_clone().unwrap(), noted });
            for n in 1..=requests {
                let Some(head) = read_head(&mut reader) else { return };
                let mut seen = Seen { head, ..Seen::default() };
                seen.whole = read_body(&mut seen, &mut reader);
                let closes = if n == requests { "Connection: close\r\n" } else { "" };
                shared.seen.lock().unwrap().push(seen);
                let answer = format!("HTTP/1.1 200 OK\r\n{closes}Content-Length: 0\r\n\r\n");
                if say(stream, answer.as_bytes()) == Then::Close {
                    return;
                }
            }
        })
    }

    /// What a recording backend has got, on each connection; all must have been
    /// closed on the other side.
    pub(crate) fn streams(&self) -> Vec<Vec<u8>> {
        let begun = Instant::now();
        while self.open() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(10), "a connection stays open");
            thread::sleep(Duration::from_millis(2));
        }
        let streams = self.shared.streams.lock().unwrap();
        streams.iter().map(|noted| noted.lock().unwrap().clone()).collect()
    }

    fn raw(serve: impl Fn(&mut TcpStream, &Shared) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), serve)
    }

    fn on(
        listener: TcpListener,
        serve: impl Fn(&mut TcpStream, &Shared) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (theirs, serve) = (Arc::clone(&shared), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.over.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, serve) = (Arc::clone(&theirs), Arc::clone(&serve));
                thread::spawn(move || {
                    let _guard = shared.guard();
                    let mut stream = stream.unwrap();
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    count(&shared.open, &shared.most_open);
                    serve(&mut stream, &shared);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The most requests that it had at a time.
    pub(crate) fn most_active(&self) -> usize {
        self.shared.most_active.load(Ordering::SeqCst)
    }

    /// The most connections that it had at a time.
    pub(crate) fn most_open(&self) -> usize {
        self.shared.most_open.load(Ordering::SeqCst)
    }

    /// The connections that it ever had.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // The listener's thread looks when somebody comes.
        let _ = TcpStream::connect(self.address);
        let panicked = self.shared.panicked.load(Ordering::SeqCst);
        assert!(!panicked || thread::panicking(), "the backend panicked");
    }
}

/// Reads whole requests and has each answered.
fn reading(answer: impl Fn(&Seen, &mut TcpStream) -> Then) -> impl Fn(&mut TcpStream, &Shared) {
    move |stream, shared| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(head) = read_head(&mut reader) {
            let mut seen = Seen { head, ..Seen::default() };
            seen.whole = read_body(&mut seen, &mut reader);
            shared.seen.lock().unwrap().push(seen.clone());
            count(&shared.active, &shared.most_active);
            let then = answer(&seen, stream);
            shared.active.fetch_sub(1, Ordering::SeqCst);
            if then == Then::Close {
                return;
            }
        }
    }
}

/// A whole 200 with this body.
pub(crate) fn respond(stream: &mut TcpStream, body: &[u8]) -> Then {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    say(stream, &[head.as_bytes(), body].concat())
}

/// These bytes; the other side may have gone.
pub(crate) fn say(stream: &mut TcpStream, bytes: &[u8]) -> Then {
    if stream.write_all(bytes).is_ok() { Then::Keep } else { Then::Close }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn count(now: &AtomicUsize, most: &AtomicUsize) {
    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        if reader.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
        if &head[before..] == b"\r\n" {
            return Some(head.into_iter().map(char::from).collect());
        }
    }
}

/// A line with its end, a character for each byte.
fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let read = reader.read_until(b'\n', &mut line).ok()?;
    (read > 0).then(|| line.into_iter().map(char::from).collect())
}

/// Reads what stands behind a head; true when it came to its end.
fn read_body(seen: &mut Seen, reader: &mut impl BufRead) -> bool {
    let body = &mut seen.body;
    if let Some(length) = field(&seen.head, "content-length") {
        let length: u64 = length.parse().unwrap();
        return reader.take(length).read_to_end(body).is_ok() && body.len() as u64 == length;
    }
    if field(&seen.head, "transfer-encoding").is_none() {
        return true;
    }
    loop {
        let Some(line) = read_line(reader) else { return false };
        let size = u64::from_str_radix(line.trim_end(), 16).expect("a chunk's size");
        if reader.take(size).read_to_end(body).is_err() {
            return false;
        }
        if size == 0 {
            // Trailers, if any, up to the empty line.
            loop {
                let Some(line) = read_line(reader) else { return false };
                if line == "\r\n" {
                    return true;
                }
                seen.trailers.push_str(&line);
            }
        }
        let mut end = [0; 2];
        if reader.read_exact(&mut end).is_err() {
            return false;
        }
        assert_eq!(&end, b"\r\n");
    }
}
