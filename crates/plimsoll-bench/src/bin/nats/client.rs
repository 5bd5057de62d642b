//! A NATS client that does little: what it spends is not measured as anybody's.
//!
//! It blocks, writes when it is told to, and leaves pings unanswered, which the server is told
//! to bear.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

/// Room for what is read at a time.
const ROOM: usize = 1 << 16;

/// What is written to a server.
pub(crate) struct Sender {
    stream: TcpStream,
    unsent: Vec<u8>,
}

/// What is read from it.
pub(crate) struct Receiver {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of the buffer is not yet taken.
    rest: Range<usize>,
}

/// A message, its parts.
pub(crate) struct Message<'a> {
    pub(crate) payload: &'a [u8],
    /// It has headers: only errors have, of what is asked here.
    pub(crate) is_error: bool,
}

/// A client of the server at this port.
pub(crate) fn connect(port: u16) -> io::Result<(Sender, Receiver)> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    // Nothing that is measured takes as long.
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let receiver = Receiver { stream: stream.try_clone()?, buffer: vec![0; ROOM], rest: 0..0 };
    let mut sender = Sender { stream, unsent: Vec::with_capacity(ROOM) };
    let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
    write!(sender.unsent, "CONNECT {options}\r\n")?;
    sender.flush()?;
    Ok((sender, receiver))
}

impl Sender {
    pub(crate) fn subscribe(&mut self, subject: &str) -> io::Result<()> {
        write!(self.unsent, "SUB {subject} 1\r\n")?;
        self.flush()
    }

    /// Notes a request; [`flush`](Self::flush) writes it.
    pub(crate) fn request(&mut self, subject: &str, inbox: &str, payload: &[u8]) {
        // A vector takes everything.
        let _ = write!(self.unsent, "PUB {subject} {inbox} {}\r\n", payload.len());
        self.unsent.extend_from_slice(payload);
        self.unsent.extend_from_slice(b"\r\n");
    }

    /// Notes a message whose headers say where its answer goes.
    pub(crate) fn publish(&mut self, subject: &str, inbox: &str, payload: &[u8]) {
        let headers = format!("NATS/1.0\r\n{}: {inbox}\r\n\r\n", crate::stream::INBOX);
        let (first, all) = (headers.len(), headers.len() + payload.len());
        let _ = write!(self.unsent, "HPUB {subject} {first} {all}\r\n{headers}");
        self.unsent.extend_from_slice(payload);
        self.unsent.extend_from_slice(b"\r\n");
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.unsent)?;
        self.unsent.clear();
        Ok(())
    }
}

impl Receiver {
    /// The next message; what is not there yet is waited for.
    pub(crate) fn next(&mut self) -> io::Result<Message<'_>> {
        let (payload, is_error) = loop {
            if let Some(found) = self.take() {
                break found;
            }
            self.fill()?;
        };
        Ok(Message { payload: &self.buffer[payload], is_error })
    }

    /// The next message, if all of it is there.
    pub(crate) fn ready(&mut self) -> Option<Message<'_>> {
        let (payload, is_error) = self.take()?;
        Some(Message { payload: &self.buffer[payload], is_error })
    }

    /// Waits for more.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.rest.clone(), 0);
        self.rest = 0..self.rest.len();
        if self.rest.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.rest.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.rest.end += read;
                Ok(())
            }
        }
    }

    /// Where the next message's payload is, and whether it is an error.
    fn take(&mut self) -> Option<(Range<usize>, bool)> {
        loop {
            let rest = &self.buffer[self.rest.clone()];
            let line = rest.windows(2).position(|pair| pair == b"\r\n")?;
            let begin = self.rest.start + line + 2;
            let text = std::str::from_utf8(&rest[..line]).unwrap_or_default();
            let is_error = text.starts_with("HMSG ");
            if !is_error && !text.starts_with("MSG ") {
                assert!(!text.starts_with("-ERR"), "the server says {text}");
                self.rest.start = begin;
                continue;
            }
            let size = text.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
            let end = begin + size.expect("a message has a size");
            if end + 2 > self.rest.end {
                return None;
            }
            self.rest.start = end + 2;
            return Some((begin..end, is_error));
        }
    }
}

/// A client that asks one thing at a time.
pub(crate) struct Asker {
    sender: Sender,
    receiver: Receiver,
    inbox: String,
    asked: u64,
}

impl Asker {
    /// `name` is unlike all others' at a time.
    pub(crate) fn connect(port: u16, name: &str) -> io::Result<Self> {
        let (mut sender, receiver) = connect(port)?;
        let inbox = format!("_INBOX.{name}");
        sender.subscribe(&format!("{inbox}.*"))?;
        Ok(Self { sender, receiver, inbox, asked: 0 })
    }

    /// The answer; `None` where it is an error.
    pub(crate) fn ask(&mut self, subject: &str, payload: &[u8]) -> io::Result<Option<&[u8]>> {
        self.asked += 1;
        let inbox = format!("{}.{}", self.inbox, self.asked);
        self.sender.request(subject, &inbox, payload);
        self.sender.flush()?;
        let Message { payload, is_error } = self.receiver.next()?;
        Ok((!is_error).then_some(payload))
    }

    /// Asks until it is answered.
    pub(crate) fn wait_for(&mut self, subject: &str, payload: &[u8]) -> io::Result<()> {
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while self.ask(subject, payload)?.is_none() {
            if std::time::Instant::now() > until {
                return Err(io::Error::other(format!("nobody answers {subject}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
