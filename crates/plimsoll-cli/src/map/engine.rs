//! The event loop: one thread that waits for whatever comes first, tells the
//! machine, and does what it says.

use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_core::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::args::Args;
use super::failed::Failed;
use super::framer::{Cut, Framer};
use super::launcher::Launcher;
use super::machine::{Cause, Machine, Settings};
use super::progress::{Progress, Snapshot};
use super::reader::{Input, Reader};
use super::seats::Seat;
use super::signals::Signals;
use super::voice::Voice;
use super::wake::Wakes;
use super::writer::Writer;
use super::{status, summary};

/// Bytes a read from a copy asks for: what a pipe holds.
const SCRATCH: usize = 64 * 1024;

/// How long the first answer may take before the user is told why.
const LATE: Duration = Duration::from_secs(5);

/// How long copies may take to end after the end of their input.
const GOODBYE: Duration = Duration::from_secs(5);

/// Output is handed over at once from here on, and when nothing else is to do.
const OUTPUT: usize = 32 * 1024;

/// How long less output than that may wait while there is something to do.
const LINGER: Duration = Duration::from_millis(5);

/// Descriptors per copy, and those for everything else.
const FDS: (u64, u64) = (3, 32);

/// See the module.
#[derive(Debug)]
pub(super) struct Engine {
    origin: Instant,
    pub(super) machine: Machine,
    pub(super) seats: Vec<Seat>,
    pub(super) launcher: Launcher,
    reader: Reader,
    writer: Writer,
    pub(super) voice: Voice,
    signals: Signals,
    wakes: Wakes,
    failed: Failed,
    pub(super) scratch: Vec<u8>,
    /// Cuts the input into lines.
    lines: Framer,
    /// The piece of input that lines are cut from, and how far.
    chunk: Option<(Vec<u8>, usize)>,
    /// A line that no copy had room for.
    held_over: Option<Vec<u8>>,
    input_failed: bool,
    pub(super) end: u8,
    pub(super) max_line: usize,
    pub(super) verbose: bool,
    summary: bool,
    pub(super) deaths: u64,
    interrupted: bool,
    told_late: bool,
    /// Since when there is output that was not handed over.
    output_since: Option<Time>,
    progress_every: Option<Duration>,
    progress_at: Time,
    /// When copies that have nothing left to do are killed.
    goodbye: Option<Time>,
}

/// Why a run did not begin.
#[derive(Debug)]
pub(super) enum Unready {
    /// An option is wrong; the sentence that says how.
    Usage(String),
    /// COMMAND cannot be started; its name and why.
    Command(String, std::io::Error),
    /// The system has not what a run needs.
    System(std::io::Error),
}

/// What came first.
enum Event {
    /// A signal that asks to stop.
    Stop,
    /// A child ended.
    Children,
    /// The reader, the writer or the voice has news.
    Wake,
    /// A copy's stdout has something, or its end.
    Answers(usize),
    /// A copy's stderr has something, or its end.
    Notes(usize),
    /// A copy's stdin has room again.
    Room(usize),
    /// A copy closed its stdin.
    Deaf(usize),
}

/// How a run ended before its time.
enum Ending {
    /// Asked to, twice.
    AtOnce,
    /// Whoever read the answers has left.
    ReaderLeft,
    /// Output cannot be written; which, and why.
    Unwritable(String),
    /// Copies die without answering.
    Stopped,
}

impl Engine {
    /// Gets everything ready and starts the copies.
    ///
    /// # Errors
    ///
    /// [`Unready`].
    pub(super) fn start(args: &Args) -> Result<Self, Unready> {
        let workers = match args.workers {
            Some(workers) => workers,
            None => thread::available_parallelism().map_or(1, usize::from),
        };
        let needed = FDS.0 * u64::try_from(workers).unwrap_or(u64::MAX / 4) + FDS.1;
        if let Some(limit) = getrlimit(Resource::Nofile).current
            && limit < needed
        {
            return Err(Unready::Usage(format!(
                "--workers {workers} needs {needed} open files, and {limit} are allowed: ask for \
                 fewer workers, or raise the limit with 'ulimit -n {needed}'"
            )));
        }
        let end = if args.null { 0 } else { b'\n' };
        let failed = Failed::new(args.failed.as_deref(), end).map_err(|error| {
            let file = args.failed.as_deref().unwrap_or_else(|| "".as_ref()).display();
            Unready::Usage(format!("--failed {file} cannot be created: {error}"))
        })?;
        let progress = Progress::new(args.progress);
        let progress_every = progress.as_ref().map(Progress::every);
        let signals = Signals::catch().map_err(Unready::System)?;
        let wakes = Wakes::new().map_err(Unready::System)?;
        let voice = Voice::start(progress, wakes.waker()).map_err(Unready::System)?;
        let settings = Settings {
            workers,
            capacity: args.capacity,
            retries: args.retries,
            timeout: args.timeout,
            buffer: args.buffer,
            ordered: !args.unordered,
            keep_place: args.keep_place,
            end,
            keep_times: args.summary,
            seed: u64::from(std::process::id()),
        };
        let mut engine = Self {
            origin: Instant::now(),
            machine: Machine::new(settings, Time::ZERO),
            seats: (0..workers).map(|_| Seat::new(end, args.max_line, Time::ZERO)).collect(),
            launcher: Launcher::new(&args.command, args.null, args.pty),
            reader: Reader::start(wakes.waker()).map_err(Unready::System)?,
            writer: Writer::start(wakes.waker()).map_err(Unready::System)?,
            voice,
            signals,
            wakes,
            failed,
            scratch: vec![0; SCRATCH],
            lines: Framer::new(end, args.max_line),
            chunk: None,
            held_over: None,
            input_failed: false,
            end,
            max_line: args.max_line,
            verbose: args.verbose,
            summary: args.summary,
            deaths: 0,
            interrupted: false,
            told_late: false,
            output_since: None,
            progress_every,
            progress_at: Time::ZERO,
            goodbye: None,
        };
        for nth in 0..workers {
            if let Err(error) = engine.seat(nth, engine.now()) {
                return Err(Unready::Command(engine.launcher.name(), error));
            }
        }
        Ok(engine)
    }

    /// Runs to the end; tells the exit status.
    pub(super) fn run(mut self) -> u8 {
        let ended = self.work();
        // Whatever the copies do now, nobody waits for it.
        self.seats.clear();
        let counts = self.machine.counts();
        let status = match &ended {
            Err(Ending::AtOnce) => std::process::exit(i32::from(status::INTERRUPTED)),
            Err(Ending::ReaderLeft) => status::ANSWERED,
            Err(Ending::Unwritable(what)) => {
                self.voice.note(what);
                status::UNWRITABLE
            }
            Err(Ending::Stopped) => status::FAILED,
            Ok(()) if self.interrupted => status::INTERRUPTED,
            Ok(()) if counts.failed > 0 || self.input_failed => status::FAILED,
            Ok(()) => status::ANSWERED,
        };
        if self.interrupted {
            self.voice.note(format_args!(
                "interrupted: {} lines answered, {} failed; line {} and all after it were not begun",
                counts.answered,
                counts.failed,
                counts.lines + 1
            ));
        } else if counts.failed > 0 {
            self.voice.note(format_args!("{} of {} lines failed", counts.failed, counts.lines));
        }
        if self.summary {
            let table = summary::table(self.machine.stats(), counts, self.origin.elapsed());
            self.voice.pass(table.into_bytes());
        }
        self.signals.end_at_once();
        self.voice.finish();
        status
    }

    fn work(&mut self) -> Result<(), Ending> {
        loop {
            let now = self.now();
            self.feed(now);
            self.fill_seats(now);
            self.write_lines(now);
            self.report()?;
            if self.machine.is_stopped() {
                // What was printed before still goes out.
                if self.output_is_out() {
                    return Err(Ending::Stopped);
                }
            } else if self.is_done(now) {
                return Ok(());
            }
            self.machine.refresh_pauses(now);
            self.wait(now)?;
            self.look_at_the_clock();
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// Gives lines of the input to copies while these have room.
    fn feed(&mut self, now: Time) {
        if self.interrupted || self.machine.is_stopped() {
            return;
        }
        if let Some(line) = &self.held_over {
            if !self.machine.offer(line, now) {
                return;
            }
            self.held_over = None;
        }
        loop {
            let Some((chunk, at)) = &mut self.chunk else {
                match self.reader.next() {
                    Input::Chunk(chunk) => self.chunk = Some((chunk, 0)),
                    Input::End(end) => return self.end_input(end, now),
                    Input::Nothing => return,
                }
                continue;
            };
            let (cut, used) = self.lines.cut(&chunk[*at..]);
            *at += used;
            let is_used_up = *at == chunk.len();
            let mut room = true;
            match cut {
                Cut::Line(line) if !self.machine.offer(line, now) => {
                    self.held_over = Some(line.to_vec());
                    room = false;
                }
                Cut::Line(_) | Cut::Nothing => {}
                Cut::TooLong => self.machine.too_long(),
            }
            if is_used_up && let Some((chunk, _)) = self.chunk.take() {
                self.reader.recycle(chunk);
            }
            if !room {
                return;
            }
        }
    }

    /// The input has ended; its last line may lack its end byte.
    fn end_input(&mut self, end: std::io::Result<()>, now: Time) {
        if let Err(error) = end {
            self.input_failed = true;
            self.voice.note(format_args!("the input cannot be read on: {error}"));
        }
        if let Some(line) = self.lines.rest()
            && !self.machine.offer(line, now)
        {
            // It comes back here when there is room; the reader stays at its end.
            return;
        }
        self.machine.end_input();
    }

    /// Hands out failures and output.
    fn report(&mut self) -> Result<(), Ending> {
        while let Some(failure) = self.machine.poll_failure() {
            self.failed.report(&failure, &self.voice);
        }
        self.failed
            .flush()
            .map_err(|error| Ending::Unwritable(format!("--failed cannot be written: {error}")))?;
        Ok(())
    }

    /// Whether nothing is left to print.
    fn output_is_out(&mut self) -> bool {
        self.machine.output().is_empty() && self.writer.is_idle()
    }

    /// Whether every line is done, every answer written and every copy gone.
    fn is_done(&mut self, now: Time) -> bool {
        if !self.machine.is_finished() || !self.writer.is_idle() {
            return false;
        }
        if self.goodbye.is_none() {
            self.goodbye = Some(now + GOODBYE);
        }
        self.seats.iter().all(|seat| seat.process.is_none())
    }

    /// Gives the run up.
    pub(super) fn stop(&mut self, now: Time) {
        self.voice.note(
            "the run stops: copies of COMMAND end again and again without answering anything",
        );
        for nth in 0..self.seats.len() {
            self.seats[nth].process = None;
        }
        self.machine.stop(now);
    }

    /// Waits for whatever comes first, and tells the machine.
    fn wait(&mut self, now: Time) -> Result<(), Ending> {
        let waits = !self.machine.output().is_empty();
        if !waits {
            self.output_since = None;
        }
        let since = *self.output_since.get_or_insert(now);
        if waits && (self.machine.output().len() >= OUTPUT || now >= since + LINGER) {
            self.hand_over();
        }
        let timeout = self.next_deadline().map(|at| at.since(now).unwrap_or_default());
        let events = if waits && self.writer.is_idle() {
            // Whatever is ready now may add to the piece.
            let ready = self.poll(Some(Duration::ZERO));
            if ready.is_empty() {
                self.hand_over();
                self.poll(timeout)
            } else {
                ready
            }
        } else {
            self.poll(timeout)
        };
        let now = self.now();
        events.into_iter().try_for_each(|event| self.handle(event, now))
    }

    fn hand_over(&mut self) {
        self.writer.write(self.machine.output());
        self.output_since = None;
    }

    fn poll(&self, timeout: Option<Duration>) -> Vec<Event> {
        let (stop, children) = (self.signals.stop_fd(), self.signals.child_fd());
        let mut watched = vec![
            (Event::Stop, stop, PollFlags::IN),
            (Event::Children, children, PollFlags::IN),
            (Event::Wake, self.wakes.fd(), PollFlags::IN),
        ];
        let hears = !self.voice.is_full();
        for (nth, seat) in self.seats.iter().enumerate() {
            let Some(process) = &seat.process else { continue };
            if let Some(stdout) = process.stdout().filter(|_| self.machine.may_read(nth)) {
                watched.push((Event::Answers(nth), stdout, PollFlags::IN));
            }
            if let Some(stderr) = process.stderr().filter(|_| hears) {
                watched.push((Event::Notes(nth), stderr, PollFlags::IN));
            }
            if let Some(stdin) = process.stdin() {
                // Without flags too it is told when the copy closes its end.
                let room = if seat.blocked { PollFlags::OUT } else { PollFlags::empty() };
                watched.push((Event::Room(nth), stdin, room));
            }
        }
        let mut fds: Vec<PollFd<'_>> = watched
            .iter()
            .map(|&(_, fd, flags)| PollFd::from_borrowed_fd(fd, flags))
            .collect();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        if poll(&mut fds, timeout.as_ref()).is_err() {
            // A signal came between; its pipe is readable next time.
            return Vec::new();
        }
        watched
            .into_iter()
            .zip(fds.iter().map(PollFd::revents))
            .filter(|(_, ready)| !ready.is_empty())
            .map(|((event, ..), ready)| match event {
                Event::Room(nth) if ready.contains(PollFlags::ERR) => Event::Deaf(nth),
                event => event,
            })
            .collect()
    }

    fn handle(&mut self, event: Event, now: Time) -> Result<(), Ending> {
        match event {
            Event::Stop => {
                for _ in 0..self.signals.stops() {
                    if self.interrupted {
                        return Err(Ending::AtOnce);
                    }
                    self.interrupted = true;
                    self.machine.end_input();
                    self.voice.note("stopping: lines already begun are finished; again to end now");
                }
            }
            Event::Children => {
                if self.signals.children() {
                    self.look_for_ends(now);
                }
            }
            Event::Wake => {
                self.wakes.clear();
                self.writer.check().map_err(|error| match error {
                    Errno::PIPE => Ending::ReaderLeft,
                    error => Ending::Unwritable(format!("stdout cannot be written: {error}")),
                })?;
            }
            Event::Answers(nth) => drop(self.read_answers(nth, now)),
            Event::Notes(nth) => drop(self.read_notes(nth)),
            Event::Room(nth) => self.seats[nth].blocked = false,
            Event::Deaf(nth) => self.deaf(nth, now),
        }
        Ok(())
    }

    /// When something is due by the clock.
    fn next_deadline(&self) -> Option<Time> {
        let needed = self.machine.needs_copies();
        let seats = self.seats.iter().flat_map(|seat| {
            let doom = seat.doom.as_ref().map(|(at, _)| *at);
            [doom, seat.start_at.filter(|_| needed)]
        });
        let late = self.machine.silent_since().filter(|_| !self.told_late).map(|since| since + LATE);
        let progress = self.progress_every.map(|_| self.progress_at);
        let others = [self.machine.next_due(), late, progress, self.goodbye];
        seats.chain(others).flatten().min()
    }

    /// Does what is due by the clock.
    fn look_at_the_clock(&mut self) {
        let now = self.now();
        while let Some(nth) = self.machine.overdue(now) {
            let limit = self.machine.timeout().unwrap_or_default();
            self.bury(nth, Some(Cause::TimedOut(limit)), now);
        }
        for nth in 0..self.seats.len() {
            if let Some((_, cause)) = self.seats[nth].doom.take_if(|(at, _)| *at <= now) {
                self.bury(nth, Some(cause), now);
            }
        }
        if self.goodbye.is_some_and(|at| at <= now) {
            for nth in 0..self.seats.len() {
                self.bury(nth, None, now);
            }
        }
        if !self.told_late && self.machine.silent_since().is_some_and(|since| since + LATE <= now) {
            self.told_late = true;
            let (name, advice) = (self.launcher.name(), self.launcher.advice());
            self.voice.note(format_args!("no answer from {name} for 5 s: {advice}"));
        }
        if let Some(every) = self.progress_every
            && self.progress_at <= now
        {
            self.progress_at = now + every;
            let pending = (0..self.seats.len()).map(|nth| self.machine.pending(nth)).collect();
            self.voice.progress(Snapshot { counts: self.machine.counts(), pending });
        }
    }
}

impl Unready {
    pub(super) fn status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => crate::usage::STATUS,
            Self::Command(_, error) if error.kind() == ErrorKind::NotFound => status::NOT_FOUND,
            Self::Command(..) => status::NOT_EXECUTABLE,
            Self::System(_) => status::FAILED,
        })
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(sentence) => f.write_str(sentence),
            Self::Command(name, error) if error.kind() == ErrorKind::NotFound => {
                write!(f, "COMMAND '{name}' was not found: give a program in PATH or a path to one")
            }
            Self::Command(name, error) => write!(f, "COMMAND '{name}' cannot be run: {error}"),
            Self::System(error) => write!(f, "the run cannot begin: {error}"),
        }
    }
}
