//! One connection of a client's: HTTP/1.1, a request at a time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What an answer's head may have; more is a fault.
const MOST_HEAD: usize = 16 << 10;

pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether the connection may be used again.
    pub(crate) keep: bool,
}

impl Client {
    /// From an address of this machine's, or, unspecified, from the one that
    /// the system takes. That does where connections come and go: a port that is
    /// bound first can't be one that was used in the last minute.
    pub(crate) async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if !from.is_unspecified() {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Whether it is open still, and silent.
    pub(crate) fn is_sound(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Asks, and reads the answer to its end.
    pub(crate) async fn ask(&mut self, target: &str) -> io::Result<Reply> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n");
        self.read.clear();
        self.stream.write_all(request.as_bytes()).await?;
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.read.len() > MOST_HEAD {
                return Err(io::Error::other("the head does not end"));
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("there is no status"))?;
        let field = |name: &str| {
            let mut fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
            fields.find(|(field, _)| *field == name).map(|(_, value)| value.trim())
        };
        // All proxies and backends here say how long their answers are.
        let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
        let length = length.ok_or_else(|| io::Error::other("there is no length"))?;
        let keep = field("connection") != Some("close");
        while self.read.len() < end + length {
            self.more().await?;
        }
        Ok(Reply { status, body: self.read[end..end + length].to_vec(), keep })
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The target that carries a request's id and its service time.
pub(crate) fn target(id: u32, service: Duration) -> String {
    format!("/{id}/{}", service.as_micros())
}

/// What [`target`] has put into it.
pub(crate) fn told(target: &str) -> Option<(u32, Duration)> {
    let (id, service) = target.strip_prefix('/')?.split_once('/')?;
    Some((id.parse().ok()?, Duration::from_micros(service.parse().ok()?)))
}
