//! One running copy of COMMAND: its pipes, its process group, its end.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// See the module. Dropping it kills the whole group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    reaped: bool,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing ever again.
    End,
}

impl Process {
    /// Starts the command in a process group of its own; `output` is our side
    /// of its stdout where that is no pipe.
    ///
    /// # Errors
    ///
    /// Why it cannot be started.
    pub(crate) fn start(mut command: Command, output: Option<OwnedFd>) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let stdin = child.stdin.take().map(OwnedFd::from);
        let stdout = output.or_else(|| child.stdout.take().map(OwnedFd::from));
        let stderr = child.stderr.take().map(OwnedFd::from);
        let process = Self { child, stdin, stdout, stderr, reaped: false };
        for fd in [&process.stdin, &process.stdout, &process.stderr].into_iter().flatten() {
            // Our ends are ours alone: the copy's are other descriptions.
            fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
        }
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdin(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn stdout(&self) -> Option<BorrowedFd<'_>> {
        self.stdout.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn stderr(&self) -> Option<BorrowedFd<'_>> {
        self.stderr.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Writes what its pipe has room for; `None` when it reads no more.
    pub(crate) fn write(&mut self, bytes: &[IoSlice<'_>]) -> Option<usize> {
        match rustix::io::writev(self.stdin.as_ref()?, bytes) {
            Ok(written) => Some(written),
            Err(Errno::AGAIN | Errno::INTR) => Some(0),
            Err(_) => {
                self.stdin = None;
                None
            }
        }
    }

    pub(crate) fn read_stdout(&mut self, buffer: &mut [u8]) -> Read {
        read(&mut self.stdout, buffer)
    }

    pub(crate) fn read_stderr(&mut self, buffer: &mut [u8]) -> Read {
        read(&mut self.stderr, buffer)
    }

    /// Whether it has ended; it stays there to be reaped, so that its group's
    /// number is nobody else's yet.
    pub(crate) fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), options).is_ok_and(|status| status.is_some())
    }

    /// Asks its group to end.
    pub(crate) fn ask_to_end(&self) {
        // Nobody is left to ask, or it ends, or it is killed later.
        let _ = kill_process_group(self.pid(), Signal::TERM);
    }

    /// Kills what is left of its group and reaps it; says how it ended.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        if !self.reaped {
            // Nobody is left to kill, or the kill is certain.
            let _ = kill_process_group(self.pid(), Signal::KILL);
            self.reaped = true;
        }
        self.child.wait()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // There is nobody to tell how it ended.
        let _ = self.end();
    }
}

fn read(from: &mut Option<OwnedFd>, buffer: &mut [u8]) -> Read {
    let Some(fd) = from else { return Read::End };
    match rustix::io::read(fd, buffer) {
        Ok(bytes @ 1..) => Read::Bytes(bytes),
        Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
        // A pseudo-terminal ends with EIO.
        Ok(0) | Err(_) => {
            *from = None;
            Read::End
        }
    }
}

/// How a process ended, in words that follow "the worker".
pub(crate) fn in_words(status: io::Result<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => format!("exited with status {code}"),
        Ok((None, Some(signal))) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown");
            format!("was killed by signal {signal} ({name})")
        }
        Ok((None, None)) => "ended".into(),
        Err(error) => format!("was lost: {error}"),
    }
}
