//! One process of COMMAND: asked one thing at a time, on the thread that it belongs to.

use std::io::{self, IoSlice, PipeReader, PipeWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use super::groups::Groups;
use crate::map::{Launcher, Process, Read, in_words};

/// The longest answer.
const LONGEST: usize = 1 << 30;

/// How long a process whose output has ended may take to end itself: it says how only then.
const LAST_BREATH: Duration = Duration::from_millis(200);

/// How long a process may take to end after the end of its input, and again after SIGTERM.
const TO_END: Duration = Duration::from_secs(5);

/// How often it is looked whether a process has ended that cannot tell of it.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How copies of COMMAND are started, and what ends them.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) launcher: Launcher,
    pub(super) frame: Frame,
    pub(super) groups: Arc<Groups>,
    /// Ends when what still runs has had its time.
    over: PipeReader,
}

impl Copies {
    /// Once what comes with it is dropped, nothing is waited for any more.
    pub(super) fn new(launcher: Launcher, frame: Frame) -> io::Result<(Self, PipeWriter)> {
        let (over, until) = io::pipe()?;
        Ok((Self { launcher, frame, groups: Arc::default(), over }, until))
    }
}

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
    copies: Arc<Copies>,
    /// What was read of its answer.
    answer: Vec<u8>,
    /// How much of it is known to have no line's end.
    searched: usize,
}

impl Child {
    pub(super) fn start(copies: &Arc<Copies>, number: usize) -> io::Result<Self> {
        let process = copies.launcher.start(number)?;
        let copies = Arc::clone(copies);
        let child = Self { process, copies, answer: Vec::new(), searched: 0 };
        if !child.copies.groups.add(child.pid()) {
            return Err(io::Error::other("all is at an end"));
        }
        Ok(child)
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.process.id()).ok();
        id.and_then(Pid::from_raw).expect("the system's own number")
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
        let whole = match self.copies.frame {
            Frame::Line(end) => [payload, &[end]].concat(),
            Frame::Length => {
                let length = u32::try_from(payload.len()).map_err(|_| "cannot take 4 GiB")?;
                [&length.to_be_bytes(), payload].concat()
            }
        };
        let mut written = 0;
        loop {
            if let Some(answer) = self.taken()? {
                // The rest would pass for the next request, or the next for the rest.
                if written < whole.len() && self.process.stdin().is_some() {
                    return Err("answered before it had read its request".into());
                }
                return Ok(answer);
            }
            if self.process.stdout().is_none() {
                return Err(self.ended());
            }
            let to_write = written < whole.len();
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err("took too long".into());
            }
            if self.wait(to_write, until)? {
                return Err("was still at it when it had to end".into());
            }
            self.pass_notes();
            if to_write && self.process.stdin().is_some() {
                let rest = [IoSlice::new(&whole[written..])];
                written += self.process.write(&rest).unwrap_or(0);
            }
            self.read();
        }
    }

    /// Waits until something can be read or written; tells whether all is over.
    fn wait(&self, to_write: bool, until: Option<Instant>) -> Result<bool, String> {
        let mut fds = vec![PollFd::new(&self.copies.over, PollFlags::IN)];
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
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
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
        let (begin, end, next) = match self.copies.frame {
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
            std::thread::sleep(LOOK_EVERY / 2);
        }
        self.pass_notes();
        self.copies.groups.end(self.pid());
        in_words(self.process.end())
    }

    /// Shows it the end of its input and lets it end by itself; what is not gone after 5 s is asked
    /// to, and killed after another 5 s.
    pub(super) fn dismiss(mut self) {
        self.process.close_stdin();
        if !self.has_ended_within(TO_END) {
            self.process.ask_to_end();
            self.has_ended_within(TO_END);
        }
        self.pass_notes();
    }

    fn has_ended_within(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.process.has_exited() && Instant::now() < until {
            // Whatever it still says, it must not wait for a reader.
            self.read();
            self.answer.clear();
            self.pass_notes();
            std::thread::sleep(LOOK_EVERY);
        }
        self.process.has_exited()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Before it is reaped.
        self.copies.groups.end(self.pid());
    }
}
