//! One process of COMMAND: asked one thing at a time, on the thread that it belongs to.

use std::io::{self, IoSlice, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::map::{Launcher, Process, Read, in_words};

/// The longest answer.
const LONGEST: usize = 1 << 30;

/// How long a process whose output has ended may take to end itself: it says how only then.
const LAST_BREATH: Duration = Duration::from_millis(200);

/// How requests and answers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// This byte ends each.
    Line(u8),
    /// Its length begins each, as 4 bytes, the highest first.
    Length,
}

/// See the module. Dropping it kills the process and all that it has started.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    frame: Frame,
    /// What was read of its answer.
    answer: Vec<u8>,
    /// How much of it is known to have no line's end.
    searched: usize,
}

impl Child {
    pub(super) fn start(launcher: &Launcher, number: usize, frame: Frame) -> io::Result<Self> {
        let process = launcher.start(number)?;
        Ok(Self { process, frame, answer: Vec::new(), searched: 0 })
    }

    /// Whether it is there and has said nothing that it was not asked.
    pub(super) fn is_sound(&mut self) -> bool {
        self.pass_notes();
        self.read();
        self.answer.is_empty() && self.process.stdout().is_some() && !self.process.has_exited()
    }

    /// Its answer; or what became of it, in words that follow "the worker".
    pub(super) fn ask(
        &mut self,
        payload: &[u8],
        limit: Option<Duration>,
    ) -> Result<Vec<u8>, String> {
        let until = limit.map(|limit| Instant::now() + limit);
        let whole = match self.frame {
            Frame::Line(end) => [payload, &[end]].concat(),
            Frame::Length => {
                let length = u32::try_from(payload.len()).map_err(|_| "cannot take 4 GiB")?;
                [&length.to_be_bytes(), payload].concat()
            }
        };
        let mut written = 0;
        loop {
            if let Some(answer) = self.taken()? {
                return Ok(answer);
            }
            if self.process.stdout().is_none() {
                return Err(self.ended());
            }
            let to_write = written < whole.len();
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err("took too long".into());
            }
            self.wait(to_write, until)?;
            self.pass_notes();
            if to_write && self.process.stdin().is_some() {
                let rest = [IoSlice::new(&whole[written..])];
                written += self.process.write(&rest).unwrap_or(0);
            }
            self.read();
        }
    }

    /// Waits until something can be read or written.
    fn wait(&self, to_write: bool, until: Option<Instant>) -> Result<(), String> {
        let mut fds = Vec::with_capacity(3);
        let outputs = [self.process.stdout(), self.process.stderr()];
        for fd in outputs.iter().flatten() {
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        let stdin = self.process.stdin().filter(|_| to_write);
        if let Some(fd) = &stdin {
            fds.push(PollFd::new(fd, PollFlags::OUT));
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(format!("cannot be waited for: {error}")),
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 8 << 10];
        while let Read::Bytes(bytes) = self.process.read_stdout(&mut buffer) {
            self.answer.extend_from_slice(&buffer[..bytes]);
            if bytes < buffer.len() {
                break;
            }
        }
    }

    /// The whole answer, once it is there; what follows it is nobody's.
    fn taken(&mut self) -> Result<Option<Vec<u8>>, String> {
        let (begin, end, next) = match self.frame {
            Frame::Line(byte) => match memchr::memchr(byte, &self.answer[self.searched..]) {
                Some(at) => (0, self.searched + at, self.searched + at + 1),
                None => return self.not_yet(),
            },
            Frame::Length => {
                let Some((length, _)) = self.answer.split_first_chunk::<4>() else {
                    return Ok(None);
                };
                let length = u32::from_be_bytes(*length) as usize;
                if length > LONGEST {
                    return Err(format!("answers with a length of {length}, above {LONGEST}"));
                }
                if self.answer.len() < 4 + length {
                    return Ok(None);
                }
                (4, 4 + length, 4 + length)
            }
        };
        if next < self.answer.len() {
            return Err("answers more than it was asked".into());
        }
        self.searched = 0;
        let mut answer = std::mem::take(&mut self.answer);
        answer.truncate(end);
        answer.drain(..begin);
        Ok(Some(answer))
    }

    fn not_yet(&mut self) -> Result<Option<Vec<u8>>, String> {
        self.searched = self.answer.len();
        if self.answer.len() > LONGEST {
            return Err(format!("answers with a line above {LONGEST} bytes"));
        }
        Ok(None)
    }

    /// Passes on what it says to whoever watches.
    fn pass_notes(&mut self) {
        let mut buffer = [0; 4096];
        while let Read::Bytes(bytes) = self.process.read_stderr(&mut buffer) {
            // Nobody may be there to read it.
            let _ = io::stderr().write_all(&buffer[..bytes]);
        }
    }

    fn ended(&mut self) -> String {
        let until = Instant::now() + LAST_BREATH;
        while !self.process.has_exited() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.pass_notes();
        in_words(self.process.end())
    }
}
