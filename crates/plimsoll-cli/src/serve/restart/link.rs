//! What goes between two processes: lines, and descriptors beside them.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::PATIENCE;
use super::words::Word;

/// The most descriptors beside one line; the system has room for 253.
pub(super) const MOST: usize = 200;

/// One end.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    read: Vec<u8>,
    handed: VecDeque<OwnedFd>,
}

impl Link {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        // One that does not read for so long has ended, as far as can be told.
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, read: Vec::new(), handed: VecDeque::new() })
    }

    pub(super) fn say(&mut self, word: &Word) -> io::Result<()> {
        self.stream.write_all(&line(word)?)
    }

    /// The same, with at most [`MOST`] descriptors.
    pub(super) fn hand(&mut self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let line = line(word)?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let said = sendmsg(&self.stream, &[IoSlice::new(&line)], &mut beside, SendFlags::NOSIGNAL)?;
        self.stream.write_all(&line[said..])
    }

    /// What the other says next; `None` when it says nothing for so long.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] when it has ended, [`io::ErrorKind::InvalidData`] with a
    /// sentence when it is not understood.
    pub(super) fn hear(&mut self, wait: Option<Duration>) -> io::Result<Option<Word>> {
        let until = wait.map(|wait| Instant::now() + wait);
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line: Vec<_> = self.read.drain(..=end).collect();
                let word = Word::read(&line);
                return word
                    .map(Some)
                    .map_err(|sentence| io::Error::new(io::ErrorKind::InvalidData, sentence));
            }
            if !self.has_more(until)? {
                return Ok(None);
            }
            self.take_in()?;
        }
    }

    /// The next descriptor that came.
    pub(super) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.handed.pop_front()
    }

    /// Whether there is something to read by then.
    fn has_more(&self, until: Option<Instant>) -> io::Result<bool> {
        let timespec = |left: Duration| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.map(timespec);
            match poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], left.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                // A signal is for others.
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_in(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = recvmsg(self.stream.as_fd(), &mut into, &mut beside, flags)?.bytes;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.handed.extend(descriptors);
            }
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read.extend_from_slice(&bytes[..read]);
        Ok(())
    }
}

fn line(word: &Word) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::words::{Socket, Use};
    use super::*;

    #[test]
    fn descriptors_come_with_their_lines_however_many() {
        let [mut one, mut other] = {
            let (one, other) = UnixStream::pair().unwrap();
            [one, other].map(|end| Link::new(end).unwrap())
        };
        assert_eq!(other.hear(Some(Duration::ZERO)).unwrap(), None);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let sockets = Word::Sockets(vec![Socket { at, of: Use::Clients }; MOST]);
        for _ in 0..2 {
            one.hand(&sockets, &[listener.as_fd(); MOST]).unwrap();
        }
        one.say(&Word::hello(0)).unwrap();
        for _ in 0..2 {
            assert_eq!(other.hear(None).unwrap().as_ref(), Some(&sockets));
        }
        assert_eq!(other.hear(None).unwrap(), Some(Word::hello(0)));
        let handed: Vec<_> = std::iter::from_fn(|| other.descriptor()).collect();
        assert_eq!(handed.len(), 2 * MOST);
        assert!(handed.into_iter().all(|it| TcpListener::from(it).local_addr().unwrap() == at));
        drop(one);
        let ended = other.hear(None).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }
}
