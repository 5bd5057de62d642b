//! A TCP stream with several holders: one reads and writes, others look.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::poll_proceed;

/// Makes a new connection fit for requests and answers: what is small goes at once, and
/// what comes is acknowledged by the answer to it, where the system would else begin with
/// a packet of its own.
///
/// # Errors
///
/// When it is gone already.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_quickack(stream, false)?;
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) struct SharedStream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: TcpStream,
    /// Bytes that may be read still; [`UNLIMITED`] does not count down.
    left: AtomicUsize,
}

const UNLIMITED: usize = usize::MAX;

impl SharedStream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(Shared { stream, left: AtomicUsize::new(UNLIMITED) }))
    }

    /// Notes that all there was has been read, so that the next read waits for
    /// an event and does not ask the system first. Nothing is lost: events come
    /// by the runtime of the thread that reads, and not in between.
    fn mark_drained(&self) {
        let _ = self.0.stream.try_io(Interest::READABLE, || -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        });
    }

    /// Whether the runtime has heard that there is something to read, or the
    /// end, since all there was has been read. For a stream that nobody waits
    /// for.
    pub(crate) fn has_news(&self) -> bool {
        self.0.stream.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    /// Reads what there is, or the end.
    pub(crate) fn poll_read_into(
        &self,
        cx: &mut Context<'_>,
        buf: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        let room = buf.chunk_mut().len();
        // Who sends without end must not have the thread for itself.
        let turn = ready!(poll_proceed(cx));
        loop {
            match self.0.stream.try_read_buf(buf) {
                Ok(read) => {
                    turn.made_progress();
                    self.count(read)?;
                    if 0 < read && read < room {
                        self.mark_drained();
                    }
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.stream.poll_read_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads what there is without asking the runtime, which has not heard of a
    /// new stream what came with it.
    pub(crate) fn read_at_once(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        Ok(rustix::io::read(self, rustix::buffer::spare_capacity(buf))?)
    }

    /// The first byte to read, left where it is; none at the end.
    pub(crate) async fn peek(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        Ok((self.0.stream.peek(&mut first).await? > 0).then_some(first[0]))
    }

    /// Ready when there is something to read, or the end.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.stream.poll_read_ready(cx)
    }

    /// The stream itself, from its last holder.
    pub(crate) fn into_inner(self) -> Option<TcpStream> {
        Arc::into_inner(self.0).map(|shared| shared.stream)
    }

    /// Lets no more than this be read from here on, until it is said anew.
    pub(crate) fn limit_reading(&self, most: Option<usize>) {
        self.0.left.store(most.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }

    fn count(&self, read: usize) -> io::Result<()> {
        let left = self.0.left.load(Ordering::Relaxed);
        if left == UNLIMITED {
            return Ok(());
        }
        let left = left.checked_sub(read).ok_or(io::ErrorKind::InvalidData)?;
        self.0.left.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the other side has ended its writing, whatever of it is unread.
    pub(crate) fn has_hung_up(&self) -> bool {
        let mut polled = [PollFd::new(&self.0.stream, PollFlags::RDHUP)];
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut polled, Some(&Timespec::default())).is_ok()
            && polled[0].revents().intersects(gone)
    }

    /// Says whether its end is a reset, which nobody takes for the end of what was said.
    pub(crate) fn resets(&self, resets: bool) {
        // One that is gone needs neither.
        let linger = resets.then_some(Duration::ZERO);
        let _ = rustix::net::sockopt::set_socket_linger(self, linger);
    }

    /// Ends this side's writing.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        match rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Write) {
            // The other side was faster.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for SharedStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.stream.as_fd()
    }
}

impl AsyncRead for SharedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_read_into(cx, buf).map_ok(|_| ())
    }
}

impl AsyncWrite for SharedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.0.stream.try_write_vectored(bufs) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.0.stream.poll_write_ready(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shut_down())
    }
}
