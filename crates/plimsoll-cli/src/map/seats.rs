//! The event loop's part for the copies: each sits in the seat of its number,
//! is written lines, read answers, and buried when it ends.

use plimsoll_core::Time;

use std::time::Duration;

use super::engine::Engine;
use super::framer::{Cut, Framer};
use super::machine::{Aftermath, Cause};
use super::process::{Process, Read, in_words};

/// How long a copy may take to end after its last answer and the end of its
/// input, and again after it was asked to.
const GOODBYE: Duration = Duration::from_secs(5);

/// From the end of a copy's output to its own end: it says how it ended only then.
const LAST_BREATH: Duration = Duration::from_millis(200);

/// How long a copy that reads no more may go without an answer.
const DEAF: Duration = Duration::from_secs(5);

/// The longest piece of a copy's stderr that is passed as one line.
const NOTE: usize = 64 * 1024;

/// Reads of a dead copy's stderr: more than its pipe can hold.
const LAST_NOTES: u32 = 64;

/// Deaths told one by one without `-v`.
const TOLD: u64 = 5;

/// What is done with a copy that does not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// Its group is sent SIGTERM.
    Ask,
    /// Its group is killed.
    Kill,
}

/// Copy number n, whichever process it is.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) process: Option<Process>,
    /// Cuts its stdout into answers.
    answers: Framer,
    /// Cuts its stderr into lines.
    notes: Framer,
    /// Its pipe was full.
    pub(super) blocked: bool,
    /// It gets no more lines.
    retired: bool,
    /// It was shown the end of its input.
    saw_end: bool,
    /// When it is killed, and as what, unless it ends or answers before.
    pub(super) doom: Option<(Time, Cause)>,
    /// When it is asked to end, or killed where it was asked, unless it ends
    /// before: it saw the end of its input and has answered everything.
    pub(super) goodbye: Option<(Time, Goodbye)>,
    /// When the next process may be started.
    pub(super) start_at: Option<Time>,
    started: u64,
}

impl Seat {
    pub(super) fn new(end: u8, max_line: usize, now: Time) -> Self {
        Self {
            process: None,
            answers: Framer::new(end, max_line),
            notes: Framer::new(b'\n', NOTE),
            blocked: false,
            retired: false,
            saw_end: false,
            doom: None,
            goodbye: None,
            start_at: Some(now),
            started: 0,
        }
    }
}

impl Engine {
    /// Puts a process in a seat.
    ///
    /// # Errors
    ///
    /// Why COMMAND cannot be started.
    pub(super) fn seat(&mut self, nth: usize, now: Time) -> std::io::Result<()> {
        let process = self.launcher.start(nth + 1)?;
        if self.options.verbose {
            self.voice.note(format_args!("worker {} is process {}", nth + 1, process.id()));
        }
        let seat = &mut self.seats[nth];
        let again = seat.started > 0;
        *seat = Seat {
            process: Some(process),
            start_at: None,
            started: seat.started + 1,
            ..Seat::new(self.options.end, self.options.max_line, now)
        };
        self.machine.started(nth, again, now);
        Ok(())
    }

    /// Fills the seats whose time has come.
    pub(super) fn fill_seats(&mut self, now: Time) {
        for nth in 0..self.seats.len() {
            if !self.machine.needs_copies() {
                return;
            }
            if self.seats[nth].start_at.is_none_or(|at| at > now) {
                continue;
            }
            if let Err(error) = self.seat(nth, now) {
                self.deaths += 1;
                let cause = Cause::CouldNotStart(error.to_string());
                self.tell_death(nth, &cause);
                let aftermath = self.machine.could_not_start(nth, now);
                self.after(nth, aftermath, now);
            }
        }
    }

    /// Writes each copy what it is to be written, and shows it the end of its
    /// input where there is no more.
    pub(super) fn write_lines(&mut self, now: Time) {
        for nth in 0..self.seats.len() {
            let seat = &mut self.seats[nth];
            let Some(process) = &mut seat.process else { continue };
            while !seat.blocked && process.stdin().is_some() {
                let Some(bytes) = self.machine.to_write(nth) else { break };
                let whole: usize = bytes.iter().map(|part| part.len()).sum();
                match process.write(&bytes) {
                    Some(written) => {
                        seat.blocked = written < whole;
                        self.machine.wrote(nth, written);
                    }
                    None => break,
                }
            }
            if process.stdin().is_some() {
                if self.machine.may_close(nth, now) {
                    process.close_stdin();
                    seat.saw_end = true;
                    self.retire(nth, now);
                }
            } else if !seat.saw_end {
                self.deaf(nth, now);
            } else if self.machine.pending(nth) == 0 && self.machine.needs_copies() {
                // Lines wait for its successor.
                self.see_off(nth, now);
            }
        }
    }

    /// From now on the copy has nothing left to do but to end.
    pub(super) fn see_off(&mut self, nth: usize, now: Time) {
        self.seats[nth].goodbye.get_or_insert((now + GOODBYE, Goodbye::Ask));
    }

    /// Asks copies that have nothing left to do to end, and kills those that
    /// were asked.
    pub(super) fn say_goodbye(&mut self, now: Time) {
        for nth in 0..self.seats.len() {
            let seat = &mut self.seats[nth];
            let Some(process) = seat.process.as_ref() else { continue };
            let Some((_, goodbye)) = seat.goodbye.filter(|(at, _)| *at <= now) else { continue };
            if goodbye == Goodbye::Kill {
                self.bury(nth, None, now);
                continue;
            }
            process.ask_to_end();
            seat.goodbye = Some((now + GOODBYE, Goodbye::Kill));
            if !std::mem::replace(&mut self.told_goodbye, true) {
                self.voice.note(format_args!(
                    "worker {} is still there 5 s after the end of its input and its last answer: \
                     it is sent SIGTERM, and SIGKILL after another 5 s; so are others like it",
                    nth + 1
                ));
            }
        }
    }

    /// The copy closed its input. It may answer what it has read.
    pub(super) fn deaf(&mut self, nth: usize, now: Time) {
        self.retire(nth, now);
        let seat = &mut self.seats[nth];
        if let Some(process) = &mut seat.process {
            process.close_stdin();
        }
        if seat.doom.is_none() {
            let patience = if self.machine.pending(nth) == 0 { LAST_BREATH } else { DEAF };
            seat.doom = Some((now + patience, Cause::ClosedItsInput));
        }
    }

    fn retire(&mut self, nth: usize, now: Time) {
        if !std::mem::replace(&mut self.seats[nth].retired, true) {
            self.machine.retire(nth, now);
        }
    }

    /// Reads answers once; true when there may be more.
    pub(super) fn read_answers(&mut self, nth: usize, now: Time) -> bool {
        let Some(process) = &mut self.seats[nth].process else { return false };
        // The buffer is lent out while the copy's answers are taken from it.
        let mut buffer = std::mem::take(&mut self.scratch);
        let read = process.read_stdout(&mut buffer);
        let more = match read {
            Read::Bytes(bytes) => match self.take_answers(nth, &buffer[..bytes], now) {
                Ok(()) => true,
                Err(cause) => {
                    self.bury(nth, Some(cause), now);
                    false
                }
            },
            Read::Nothing => false,
            Read::End => {
                self.retire(nth, now);
                self.seats[nth].doom = Some((now + LAST_BREATH, Cause::ClosedItsOutput));
                false
            }
        };
        self.scratch = buffer;
        more
    }

    fn take_answers(&mut self, nth: usize, bytes: &[u8], now: Time) -> Result<(), Cause> {
        let seat = &mut self.seats[nth];
        if let Some((at, Cause::ClosedItsInput)) = &mut seat.doom {
            *at = now + DEAF;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (cut, used) = seat.answers.cut(rest);
            match cut {
                Cut::Line(answer) => {
                    self.machine.answer(nth, answer, now).map_err(|_| Cause::OutOfTurn)?;
                }
                Cut::TooLong => return Err(Cause::AnswerTooLong),
                Cut::Nothing => {}
            }
            rest = &rest[used..];
        }
        if seat.answers.is_inside_a_line() && self.machine.pending(nth) == 0 {
            return Err(Cause::OutOfTurn);
        }
        Ok(())
    }

    /// Passes on what the copy said on stderr; true when there may be more.
    pub(super) fn read_notes(&mut self, nth: usize) -> bool {
        let seat = &mut self.seats[nth];
        let open = seat.process.as_mut().filter(|process| process.stderr().is_some());
        let Some(process) = open else { return false };
        let read = process.read_stderr(&mut self.scratch);
        let bytes = match read {
            Read::Bytes(bytes) => bytes,
            Read::Nothing => return false,
            Read::End => 0,
        };
        let name =
            if self.options.verbose { format!("worker {}: ", nth + 1) } else { String::new() };
        let mut passed = Vec::new();
        let mut pass = |line: &[u8]| {
            passed.extend_from_slice(name.as_bytes());
            passed.extend_from_slice(line);
            passed.push(b'\n');
        };
        let mut rest = &self.scratch[..bytes];
        while !rest.is_empty() {
            let (cut, used) = seat.notes.cut(rest);
            match cut {
                Cut::Line(line) => pass(line),
                Cut::TooLong => pass(b"(a line of more than 64 KiB is left out)"),
                Cut::Nothing => {}
            }
            rest = &rest[used..];
        }
        if read == Read::End
            && let Some(line) = seat.notes.rest()
        {
            pass(line);
        }
        if !passed.is_empty() {
            self.voice.pass(passed);
        }
        bytes > 0
    }

    /// Looks for copies that ended, and buries them.
    pub(super) fn look_for_ends(&mut self, now: Time) {
        for nth in 0..self.seats.len() {
            if self.seats[nth].process.as_ref().is_some_and(Process::has_exited) {
                // What it wrote before still counts.
                while self.read_answers(nth, now) {}
                self.bury(nth, None, now);
            }
        }
    }

    /// Kills what is left of a copy, and does what follows from its end.
    /// `cause`: why it is killed, when it did not end by itself.
    pub(super) fn bury(&mut self, nth: usize, cause: Option<Cause>, now: Time) {
        let Some(mut process) = self.seats[nth].process.take() else { return };
        let ended = process.end();
        // Its group is dead, so that its stderr has an end. A process that left
        // the group may still hold it open, and write: that is not waited for.
        self.seats[nth].process = Some(process);
        for _ in 0..LAST_NOTES {
            if !self.read_notes(nth) {
                break;
            }
        }
        self.seats[nth].process = None;
        self.retire(nth, now);
        let seat = &mut self.seats[nth];
        let half = seat.answers.is_inside_a_line();
        seat.doom = None;
        seat.goodbye = None;
        let pending = self.machine.pending(nth);
        if pending == 0 && seat.saw_end {
            if cause == Some(Cause::OutOfTurn) {
                let number = nth + 1;
                self.voice.note(format_args!(
                    "worker {number} wrote more after its last answer; that was left out"
                ));
            } else if self.options.verbose {
                self.voice.note(format_args!("worker {} {}", nth + 1, in_words(ended)));
            }
            seat.start_at = Some(now);
            return;
        }
        let cause = cause.unwrap_or_else(|| {
            let how = in_words(ended);
            Cause::Died(if half { how + " in the middle of an answer" } else { how })
        });
        self.deaths += 1;
        self.tell_death(nth, &cause);
        let aftermath = self.machine.died(nth, &cause, now);
        self.after(nth, aftermath, now);
    }

    fn after(&mut self, nth: usize, aftermath: Aftermath, now: Time) {
        match aftermath {
            Aftermath::Restart(at) => self.seats[nth].start_at = Some(at),
            Aftermath::Stop => self.stop(now),
        }
    }

    fn tell_death(&self, nth: usize, cause: &Cause) {
        if self.options.verbose || self.deaths <= TOLD {
            let held = self.machine.pending(nth);
            self.voice.note(format_args!("worker {}: {cause}; {held} pending", nth + 1));
        } else if self.deaths == TOLD + 1 {
            self.voice.note("more workers died; -v tells of each");
        }
    }
}
