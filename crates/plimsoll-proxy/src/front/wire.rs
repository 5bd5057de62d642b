//! A client's bytes: as they come, or out of TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::linger;
use crate::stream::SharedStream;

/// What TLS begins with.
const HANDSHAKE: u8 = 22;

/// What a client is told that takes a port for another.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-length: 46\r\n\r\n400 this port speaks TLS: ask it with https://";

pub(super) enum Wire {
    Plain(SharedStream),
    Tls(Box<TlsStream<SharedStream>>),
}

impl Wire {
    /// What is left of a stream once it is agreed with the client how it is kept secret.
    ///
    /// # Errors
    ///
    /// When that cannot be, or the client is gone.
    pub(super) async fn secured(
        mut stream: SharedStream,
        server: Arc<ServerConfig>,
    ) -> io::Result<Self> {
        if stream.peek().await? != Some(HANDSHAKE) {
            stream.write_all(NOT_TLS).await?;
            stream.shut_down()?;
            linger(stream).await;
            return Err(io::ErrorKind::InvalidData.into());
        }
        let secured = TlsAcceptor::from(server).accept(stream).await?;
        Ok(Self::Tls(Box::new(secured)))
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The client's certificate, which was verified, as backends are told it (RFC 9440).
    pub(super) fn certificate(&self) -> Option<HeaderValue> {
        let Self::Tls(stream) = self else { return None };
        let own = stream.get_ref().1.peer_certificates()?.first()?;
        HeaderValue::from_str(&format!(":{}:", STANDARD.encode(own))).ok()
    }

    /// The socket under it.
    pub(super) fn stream(&self) -> &SharedStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Reads what a new connection came with.
    pub(super) fn read_at_once(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_at_once(buf),
            // It has read all that there was.
            Self::Tls(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Reads what there is, or the end.
    pub(super) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => stream.poll_read_into(cx, buf),
            Self::Tls(stream) => tokio_util::io::poll_read_buf(Pin::new(stream), cx, buf),
        }
    }

    /// Ready when there is something to read, or the end.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // Out of the socket, and not asked for yet.
            Self::Tls(stream) if !stream.get_ref().1.wants_read() => Poll::Ready(Ok(())),
            _ => self.stream().poll_readable(cx),
        }
    }

    /// Whether there is something to read, or the end.
    pub(super) fn has_news(&self) -> bool {
        self.stream().has_news()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
