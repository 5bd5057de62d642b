//! The event loop: one thread that waits for whatever comes first, tells the
//! machine, and does what it says.

use std::thread;
use std::time::{Duration, Instant};

use plimsoll_core::Time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::args::Args;
use super::failed::Failed;
use super::intake::Intake;
use super::launcher::Launcher;
use super::machine::{Cause, Machine, Settings};
use super::progress::{Progress, Snapshot};
use super::reader::Reader;
use super::seats::Seat;
use super::signals::Signals;
use super::unready::Unready;
use super::voice::Voice;
use super::wake::Wakes;
use super::writer::Writer;
use super::{status, summary};

/// Bytes a read from a copy asks for: what a pipe holds.
const SCRATCH: usize = 64 * 1024;

/// How long the first answer may take before the user is told why.
const LATE: Duration = Duration::from_secs(5);

/// Output is handed over at once from here on.
const OUTPUT: usize = 32 * 1024;

/// How long less output than that may wait for more.
const LINGER: Duration = Duration::from_millis(1);

/// Descriptors per copy, and those for everything else.
const FDS: (u64, u64) = (3, 32);

/// See the module.
#[derive(Debug)]
pub(super) struct Engine {
    origin: Instant,
    pub(super) machine: Machine,
    pub(super) seats: Vec<Seat>,
    pub(super) launcher: Launcher,
    writer: Writer,
    pub(super) voice: Voice,
    signals: Signals,
    wakes: Wakes,
    failed: Failed,
    pub(super) scratch: Vec<u8>,
    intake: Intake,
    pub(super) options: Options,
    pub(super) deaths: u64,
    interrupted: bool,
    told_late: bool,
    pub(super) told_goodbye: bool,
    /// Since when there is output that was not handed over.
    output_since: Option<Time>,
    progress_every: Option<Duration>,
    progress_at: Time,
}

/// What of the command line is asked for again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) end: u8,
    pub(super) max_line: usize,
    pub(super) verbose: bool,
    summary: bool,
}

/// What came first.
#[derive(Clone, Copy)]
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
        if Writer::is_closed() {
            return Err(Unready::NoOutput);
        }
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
        let reader = Reader::start(wakes.waker()).map_err(Unready::System)?;
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
            writer: Writer::start(wakes.waker()).map_err(Unready::System)?,
            voice,
            signals,
            wakes,
            failed,
            scratch: vec![0; SCRATCH],
            intake: Intake::new(reader, end, args.max_line),
            options: Options {
                end,
                max_line: args.max_line,
                verbose: args.verbose,
                summary: args.summary,
            },
            deaths: 0,
            interrupted: false,
            told_late: false,
            told_goodbye: false,
            output_since: None,
            progress_every,
            progress_at: Time::ZERO,
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
            Err(Ending::Unwritable(what)) => {
                self.voice.note(what);
                status::UNWRITABLE
            }
            Err(Ending::Stopped) => status::FAILED,
            Ok(()) if self.interrupted => status::INTERRUPTED,
            Ok(()) if counts.failed > 0 || self.intake.error().is_some() => status::FAILED,
            Ok(()) | Err(Ending::ReaderLeft) => status::ANSWERED,
        };
        if let Some(error) = self.intake.error() {
            self.voice.note(format_args!("the input cannot be read to its end: {error}"));
        }
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
        if self.options.summary {
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
            // Copies first: nothing wakes the loop for lines that they have room for.
            self.fill_seats(now);
            let reads = !self.interrupted && !self.machine.is_stopped();
            let more = reads && self.intake.feed(&mut self.machine, now);
            self.write_lines(now);
            self.report()?;
            // Before asking whether all is done: it prints, failures too.
            self.machine.refresh_pauses(now);
            if self.machine.is_stopped() {
                // What was printed before still goes out.
                if self.output_is_out() {
                    return Err(Ending::Stopped);
                }
            } else if self.is_done(now) {
                return Ok(());
            }
            self.wait(now, more)?;
            self.look_at_the_clock();
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
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
        for nth in 0..self.seats.len() {
            self.see_off(nth, now);
        }
        self.seats.iter().all(|seat| seat.process.is_none())
    }

    /// Gives the run up.
    pub(super) fn stop(&mut self, now: Time) {
        self.voice.note(
            "the run stops: copies of COMMAND end again and again without answering anything",
        );
        let next = self.machine.counts().lines + 1;
        self.voice.note(format_args!("line {next} and all after it were not begun"));
        for nth in 0..self.seats.len() {
            self.seats[nth].process = None;
        }
        self.machine.stop(now);
    }

    /// Waits for whatever comes first, and tells the machine; `more`: only
    /// looks, since there is more to be done.
    fn wait(&mut self, now: Time, more: bool) -> Result<(), Ending> {
        self.offer_output(now);
        let deadline = if more { Some(now) } else { self.next_deadline() };
        let timeout = deadline.map(|at| at.since(now).unwrap_or_default());
        let events = self.poll(timeout);
        let now = self.now();
        events.into_iter().try_for_each(|event| self.handle(event, now))
    }

    /// Hands output over when it is much, has waited, or nothing more will
    /// soon come to it: each piece costs the waking of two threads.
    fn offer_output(&mut self, now: Time) {
        let waits = self.machine.output().len();
        if waits == 0 {
            return;
        }
        let since = *self.output_since.get_or_insert(now);
        if waits >= OUTPUT || now >= since + LINGER || self.machine.is_idle() {
            self.writer.write(self.machine.output());
            self.output_since = None;
        }
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
        let mut fds: Vec<PollFd<'_>> =
            watched.iter().map(|&(_, fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
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
            let here = seat.process.is_some();
            let goodbye = seat.goodbye.map(|(at, _)| at).filter(|_| here);
            [doom, goodbye, seat.start_at.filter(|_| needed)]
        });
        let late =
            self.machine.silent_since().filter(|_| !self.told_late).map(|since| since + LATE);
        let progress = self.progress_every.map(|_| self.progress_at);
        // While the writer is busy, it wakes the loop when it is done.
        let linger =
            self.output_since.filter(|_| self.writer.is_idle()).map(|since| since + LINGER);
        let (due, close) = (self.machine.next_due(), self.machine.next_close());
        let others = [due, close, late, progress, linger];
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
        self.say_goodbye(now);
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
