//! Lines that end with CRLF, and with nothing else (section 2.2).

use memchr::memchr;

use super::fault::{self, Fault};

/// What [`Lines::next`] found.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// A line, without its CRLF.
    Line(&'a [u8]),
    /// The line's end is still to come.
    Part,
    /// No line ends within the limit.
    TooLong,
}

/// A place in bytes that may be shown again with more behind them.
#[derive(Debug, Default)]
pub(super) struct Lines {
    at: usize,
    /// No line feed stands from `at` to here, so that bytes that come one by
    /// one are not searched again and again.
    searched: usize,
}

impl Lines {
    /// Where the next line begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next line, which must end within the first `limit` bytes.
    #[inline]
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8], limit: usize) -> Result<Next<'a>, Fault> {
        let window = &bytes[..bytes.len().min(limit)];
        let Some(further) = memchr(b'\n', &window[self.searched..]) else {
            self.searched = window.len();
            return Ok(if window.len() == limit { Next::TooLong } else { Next::Part });
        };
        let end = self.searched + further;
        let Some(line) = window[self.at..end].strip_suffix(b"\r") else {
            return Err(fault::BARE_LF);
        };
        self.at = end + 1;
        self.searched = self.at;
        Ok(Next::Line(line))
    }
}
