//! The command line of `plimsoll map`, and how its values are read.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::values::{seconds, whole};

/// The longest line that can be allowed: lengths in a line fit 32 bits.
const LONGEST: usize = 1 << 30;

/// The largest buffer that can be allowed.
const LARGEST: usize = 64 << 30;

/// Gives each input line to the least-loaded copy of COMMAND and prints its answer.
///
/// Starts N copies of COMMAND once, writes each input line to the copy with the fewest lines
/// pending, and prints one answer line per input line, in input order. COMMAND is any filter that
/// answers each line with one line. A line may run more than once: when a copy dies, what it had
/// not answered is given to another.
///
/// Exit status: 0 all lines answered, 1 some failed, 2 usage, 3 output unwritable,
/// 126 COMMAND not executable, 127 COMMAND not found, 130 interrupted.
#[derive(clap::Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Copies of COMMAND [default: one per core]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = workers)]
    pub(crate) workers: Option<usize>,

    /// Lines a copy holds at once; more hides the way there and back, 1 never queues
    #[arg(long, value_name = "LINES", default_value = "1", allow_negative_numbers = true, value_parser = capacity)]
    pub(crate) capacity: NonZeroU32,

    /// Print answers as they come, not in input order
    #[arg(long)]
    pub(crate) unordered: bool,

    /// How often a line is tried again after its copy died over it
    #[arg(long, value_name = "N", default_value = "2", allow_negative_numbers = true, value_parser = retries)]
    pub(crate) retries: u32,

    /// The most time a line may be the next one that its copy answers; then the copy is killed
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    /// Lines and answers end with a NUL byte, not with a newline
    #[arg(short = '0', long)]
    pub(crate) null: bool,

    /// The longest line and the longest answer
    #[arg(long, value_name = "SIZE", default_value = "1MiB", allow_negative_numbers = true, value_parser = length)]
    pub(crate) max_line: usize,

    /// What unanswered lines and early answers may take together; when full, reading stops
    #[arg(long, value_name = "SIZE", default_value = "32MiB", allow_negative_numbers = true, value_parser = size)]
    pub(crate) buffer: usize,

    /// Write a record of each failed line to FILE: number, reason, line, separated by tabs
    #[arg(long, value_name = "FILE")]
    pub(crate) failed: Option<PathBuf>,

    /// Print an empty line for each failed one
    #[arg(long)]
    pub(crate) keep_place: bool,

    /// Let COMMAND write to a pseudo-terminal, for programs that flush lines only there
    #[arg(long)]
    pub(crate) pty: bool,

    /// Show lines done, rate and pending per worker; auto: when only stderr is a terminal
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) progress: When,

    /// At the end, a table per worker on stderr: lines, busy share, restarts, p50, p99
    #[arg(long)]
    pub(crate) summary: bool,

    /// Say when copies start and end, and whose each line of stderr is
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// The filter to run, with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// When to show progress.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// When stderr is a terminal and stdout is not.
    Auto,
    /// Always; as lines where stderr is no terminal.
    Always,
    /// Never.
    Never,
}

impl Args {
    /// What no single value shows to be wrong.
    ///
    /// # Errors
    ///
    /// The sentence to print.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.max_line > self.buffer {
            return Err(format!(
                "--max-line {} is more than --buffer {}: a line must fit in the buffer",
                self.max_line, self.buffer
            ));
        }
        Ok(())
    }
}

fn workers(text: &str) -> Result<usize, String> {
    whole(text, "copies", 1, 4096)
}

fn capacity(text: &str) -> Result<NonZeroU32, String> {
    let lines = whole(text, "lines", 1, 1_000_000)?;
    NonZeroU32::new(lines).ok_or_else(|| "a copy holds at least 1 line".into())
}

fn retries(text: &str) -> Result<u32, String> {
    whole(text, "retries", 0, 1_000_000)
}

fn length(text: &str) -> Result<usize, String> {
    let length = bytes(text).filter(|length| (1..=LONGEST).contains(length));
    length.ok_or_else(|| "it is a size from 1 byte to 1GiB, such as 4096, 64KiB or 1MiB".into())
}

fn size(text: &str) -> Result<usize, String> {
    let size = bytes(text).filter(|size| (1..=LARGEST).contains(size));
    size.ok_or_else(|| "it is a size from 1 byte to 64GiB, such as 4096, 64KiB or 32MiB".into())
}

fn bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: Option<usize> = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        _ => None,
    };
    let number: Option<usize> = number.parse().ok();
    number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let read = ["0", "1", "4096", "64KiB", "64k", "32MiB", "1g", "2GiB", "1.5M", "-1", "", "k"]
            .map(|text| length(text).ok());
        let (kib, mib) = (64 << 10, 32 << 20);
        let one = Some(1 << 30);
        let expected = [
            None,
            Some(1),
            Some(4096),
            Some(kib),
            Some(kib),
            Some(mib),
            one,
            None,
            None,
            None,
            None,
            None,
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn times() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "nan", "inf", "1e10", "x", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(workers("4"), Ok(4));
        assert_eq!(retries("0"), Ok(0));
        for bad in ["0", "-1", "4097", "two", ""] {
            assert!(workers(bad).is_err(), "{bad}");
        }
        assert!(capacity("0").is_err());
    }
}
