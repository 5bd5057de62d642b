//! Why a line failed or a copy ended, and the record that `--failed` keeps.

use std::fmt;
use std::time::Duration;

/// Why a copy of COMMAND is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It ended by itself; how, in words.
    Died(String),
    /// It closed its output and lived on.
    ClosedItsOutput,
    /// It closed its input and did not answer what it had.
    ClosedItsInput,
    /// It could not be started again; why, in words.
    CouldNotStart(String),
    /// It had a line at its head for longer than `--timeout` allows.
    TimedOut(Duration),
    /// It wrote when no line was there to be answered.
    OutOfTurn,
    /// It wrote an answer longer than `--max-line`.
    AnswerTooLong,
}

impl Cause {
    /// Whether the copy failed on its own, and not over one line: such deaths
    /// stop the run when nothing is ever answered.
    pub(crate) fn blames_the_copy(&self) -> bool {
        !matches!(self, Self::TimedOut(_) | Self::AnswerTooLong)
    }

    /// Whether trying the line again makes no sense.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::AnswerTooLong)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died(how) => write!(f, "died: the worker {how}"),
            Self::ClosedItsOutput => f.write_str("died: the worker closed its output"),
            Self::ClosedItsInput => f.write_str("died: the worker closed its input"),
            Self::CouldNotStart(why) => write!(f, "died: the worker could not be started: {why}"),
            Self::TimedOut(limit) => {
                write!(f, "timeout: no answer within {} s", limit.as_secs_f64())
            }
            Self::OutOfTurn => f.write_str("out-of-turn: the worker wrote an answer too many"),
            Self::AnswerTooLong => f.write_str("answer-too-long: the answer is over --max-line"),
        }
    }
}

/// Why a line has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its last try ended with its copy.
    Copy {
        /// How that copy ended.
        cause: Cause,
        /// How often the line was tried.
        tries: u32,
    },
    /// It is longer than `--max-line`, and was not read.
    LineTooLong,
    /// The run stopped before it was answered.
    RunStopped,
    /// The pool gave it up, which it never should: the words are the pool's.
    Refused(String),
}

impl fmt::Display for Reason {
    /// One line without tabs, its first word greppable and followed by a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy { cause, tries: 1 } => write!(f, "{cause} (1 try)"),
            Self::Copy { cause, tries } => write!(f, "{cause} ({tries} tries)"),
            Self::LineTooLong => f.write_str("line-too-long: the line is over --max-line"),
            Self::RunStopped => f.write_str("stopped: the run stopped before it was answered"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// One line that has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The line's number in the input, from 1.
    pub(crate) number: u64,
    /// Why.
    pub(crate) reason: Reason,
    /// The line without its end; `None` when it was too long to keep.
    pub(crate) line: Option<Box<[u8]>>,
}

impl Failure {
    /// Appends the record of `--failed`: number, tab, reason, and, unless the
    /// line was too long to keep, tab and the line; then `end`.
    pub(crate) fn record(&self, end: u8, to: &mut Vec<u8>) {
        to.extend_from_slice(format!("{}\t{}", self.number, self.reason).as_bytes());
        if let Some(line) = &self.line {
            to.push(b'\t');
            to.extend_from_slice(line);
        }
        to.push(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_the_line_as_it_is() {
        let cause = Cause::Died("exited with status 3".into());
        let reason = Reason::Copy { cause, tries: 3 };
        let mut record = Vec::new();
        Failure { number: 7, reason, line: Some(Box::from(&b"a\tb\xff"[..])) }
            .record(b'\n', &mut record);
        Failure { number: 8, reason: Reason::LineTooLong, line: None }.record(0, &mut record);
        let expected = b"7\tdied: the worker exited with status 3 (3 tries)\ta\tb\xff\n\
            8\tline-too-long: the line is over --max-line\0";
        assert_eq!(record, expected);
    }
}
