//! A client that says exactly what it is told, and reads what comes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::backend::field;

/// The longest that a test waits for one read.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Wire {
    stream: TcpStream,
    /// What it says is said in, if anything.
    tls: Option<Box<ClientConnection>>,
    read: Vec<u8>,
}

/// A response, whole or not.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to the end that its head announced.
    pub(crate) whole: bool,
    /// The lines of fields behind a chunked body.
    pub(crate) trailers: String,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Wire {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, tls: None, read: Vec::new() }
    }

    /// In TLS, to a server of this name.
    pub(crate) fn secure(to: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        Self { tls: Some(Box::new(tls)), ..Self::connect(to) }
    }

    /// Agrees with the server, or says why not.
    pub(crate) fn handshake(&mut self) -> Result<&ClientConnection, String> {
        let tls = self.tls.as_mut().expect("it is in TLS");
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream).map_err(|error| error.to_string())?;
        }
        Ok(tls)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => {
                let mut stream = rustls::Stream::new(&mut **tls, &mut self.stream);
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write(bytes.as_ref()).unwrap();
    }

    /// Sends what may find the other side gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write(bytes.as_ref()).is_ok()
    }

    /// Sends until nothing more is taken for a moment.
    pub(crate) fn send_until_full(&mut self) {
        self.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let piece = vec![b'x'; 65536];
        while self.stream.write(&piece).is_ok() {}
    }

    /// Sends what must be taken within this time, whole.
    pub(crate) fn try_send_for(&mut self, bytes: &[u8], limit: Duration) -> bool {
        self.stream.set_write_timeout(Some(limit)).unwrap();
        let sent = self.stream.write_all(bytes).is_ok();
        self.stream.set_write_timeout(None).unwrap();
        sent
    }

    /// Whether the other side has thrown the connection away.
    pub(crate) fn has_been_reset(&mut self) -> bool {
        // A write that was refused has taken the error.
        let mut left = vec![0; 1 << 16];
        self.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        loop {
            match self.stream.read(&mut left) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// The same connection, to read from elsewhere.
    pub(crate) fn twin(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), tls: None, read: Vec::new() }
    }

    /// Closes both ways, for whoever holds it.
    pub(crate) fn shut(&self) {
        // Closed already is as good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Has closing reset the connection.
    pub(crate) fn reset_on_close(&self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next response to a request that was no HEAD.
    pub(crate) fn response(&mut self) -> Response {
        self.answer(false).expect("a response")
    }

    /// The next response, if the connection does not end, however it does.
    pub(crate) fn try_answer(&mut self) -> Option<Response> {
        let mut first = [0];
        match self.read(&mut first) {
            Ok(1..) => self.read.extend(first),
            _ => return None,
        }
        self.answer(false)
    }

    pub(crate) fn response_to_head(&mut self) -> Response {
        self.answer(true).expect("a response")
    }

    /// The next response, or `None` when the connection was closed.
    pub(crate) fn answer(&mut self, to_head: bool) -> Option<Response> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                assert!(self.read.is_empty(), "half a head: {:?}", self.read);
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let none = to_head || status < 200 || status == 204 || status == 304;
        let mut trailers = String::new();
        let (body, whole) = if none { (Vec::new(), true) } else { self.body(&head, &mut trailers) };
        Some(Response { status, head, body, whole, trailers })
    }

    fn body(&mut self, head: &str, trailers: &mut String) -> (Vec<u8>, bool) {
        if let Some(length) = field(head, "content-length") {
            return self.take(length.parse().unwrap());
        }
        let mut body = Vec::new();
        if field(head, "transfer-encoding").is_none() {
            while self.more() {}
            return (std::mem::take(&mut self.read), true);
        }
        loop {
            let Some(line) = self.line() else { return (body, false) };
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            if size == 0 {
                return (body, self.trailers(trailers));
            }
            let (mut chunk, whole) = self.take(size);
            body.append(&mut chunk);
            if !whole || self.line().is_none() {
                return (body, false);
            }
        }
    }

    /// Up to the empty line; false when that does not come.
    fn trailers(&mut self, into: &mut String) -> bool {
        while let Some(line) = self.line() {
            if line == "\r\n" {
                return true;
            }
            into.push_str(&line);
        }
        false
    }

    fn take(&mut self, count: usize) -> (Vec<u8>, bool) {
        while self.read.len() < count && self.more() {}
        let there = count.min(self.read.len());
        (self.read.drain(..there).collect(), there == count)
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        let end = loop {
            if let Some(at) = self.read.iter().position(|&byte| byte == b'\n') {
                break at + 1;
            }
            if !self.more() {
                return None;
            }
        };
        String::from_utf8(self.read.drain(..end).collect()).ok()
    }

    /// So many bytes of whatever comes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.take(count).0
    }

    /// Whether the other side has closed, and said nothing more before.
    pub(crate) fn is_closed(&mut self) -> bool {
        !self.more() && self.read.is_empty()
    }

    /// Reads to the end, which is none if the connection is reset, or cut off in TLS.
    pub(crate) fn ends_cleanly(&mut self) -> bool {
        let mut left = vec![0; 1 << 16];
        loop {
            match self.read(&mut left) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Reads until the other side has closed.
    pub(crate) fn until_closed(&mut self) {
        while self.more() {
            self.read.clear();
        }
    }

    /// All that comes until the other side has closed.
    pub(crate) fn all(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.read)
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(buffer),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(buffer),
        }
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.read.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing to read: {error}"),
        }
    }
}

/// One request on a connection of its own.
pub(crate) fn get(from: SocketAddr, target: &str) -> Response {
    let mut wire = Wire::connect(from);
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    wire.response()
}
