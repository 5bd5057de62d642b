//! Chunked bodies (section 7.1).

use super::fault::{self, Fault};
use super::field;
use super::line::{Lines, Next};
use super::{Limits, take};

/// The longest line before a chunk's data, with its CRLF.
pub(super) const CHUNK_LINE_BYTES: usize = 256;

/// 16 hexadecimal digits fill a `u64`.
const SIZE_DIGITS: usize = 16;

/// What must not come after the content: framing, routing, what says who
/// asks, what changes how the content or the request is read, and what is of
/// one connection only (RFC 9110 section 6.5.1). All that begins with
/// `X-Forwarded-` is added to them.
const NOT_IN_TRAILERS: &[&str] = &[
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Location",
    "Content-Range",
    "Content-Type",
    "Cookie",
    "Expect",
    "Forwarded",
    "Host",
    "HTTP2-Settings",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Max-Forwards",
    "Origin",
    "Pragma",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Range",
    "Set-Cookie",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Via",
    "WWW-Authenticate",
    "X-Real-IP",
    "X-HTTP-Method-Override",
];

/// Where a chunked body stands. Bytes that passed are not shown again.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    part: Part,
    /// The line that is held back, if one is.
    lines: Lines,
    /// The sizes of all chunks so far.
    total: u64,
    /// Bytes and lines of the trailer section so far.
    trailer_bytes: usize,
    trailers: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Part {
    /// The line that gives a chunk's size.
    #[default]
    Size,
    /// So many bytes of data are still to come, more than 0.
    Data(u64),
    /// The CRLF after data.
    DataEnd,
    Trailer,
    Complete,
}

impl Chunks {
    pub(super) fn are_complete(&self) -> bool {
        self.part == Part::Complete
    }

    /// How many bytes of the next part pass: 0 when its end must be seen
    /// first.
    pub(super) fn look(&mut self, rest: &[u8], limits: &Limits) -> Result<usize, Fault> {
        match &mut self.part {
            Part::Size => self.size(rest),
            Part::Data(left) => {
                let bytes = take(left, rest);
                if *left == 0 {
                    self.part = Part::DataEnd;
                }
                Ok(bytes)
            }
            Part::DataEnd => match rest {
                [] | [b'\r'] => Ok(0),
                [b'\r', b'\n', ..] => {
                    self.part = Part::Size;
                    Ok(2)
                }
                _ => Err(Fault::bad("a chunk whose data is not followed by CRLF")),
            },
            Part::Trailer => self.trailer(rest, limits),
            Part::Complete => Ok(0),
        }
    }

    fn size(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        let line = match self.lines.next(rest, CHUNK_LINE_BYTES)? {
            Next::Line(line) => line,
            Next::Part => return Ok(0),
            Next::TooLong => return Err(Fault::bad("a chunk line of more than 256 bytes")),
        };
        let bytes = self.lines.at();
        self.lines = Lines::default();
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extensions) = line.split_at(digits);
        field::text(extensions)?;
        let good_extensions =
            extensions.is_empty() || field::trim(extensions).first() == Some(&b';');
        if digits == 0 || !good_extensions {
            return Err(Fault::bad("a chunk size that is not a hexadecimal number"));
        }
        if digits > SIZE_DIGITS {
            return Err(Fault::bad("a chunk size of more than 16 digits"));
        }
        let size = size.iter().fold(0, |sum, &digit| sum << 4 | hex(digit));
        self.total = self.total.checked_add(size).ok_or(Fault::bad("chunks of 2^64 bytes"))?;
        self.part = if size == 0 { Part::Trailer } else { Part::Data(size) };
        Ok(bytes)
    }

    /// Section 7.1.2.
    fn trailer(&mut self, rest: &[u8], limits: &Limits) -> Result<usize, Fault> {
        let line = match self.lines.next(rest, limits.head_bytes - self.trailer_bytes)? {
            Next::Line(line) => line,
            Next::Part => return Ok(0),
            Next::TooLong => return Err(fault::HEAD_BYTES),
        };
        let bytes = self.lines.at();
        self.lines = Lines::default();
        self.trailer_bytes += bytes;
        if line.is_empty() {
            self.part = Part::Complete;
            return Ok(bytes);
        }
        if self.trailers == limits.headers {
            return Err(fault::HEADERS);
        }
        self.trailers += 1;
        let (name, _) = field::split(line)?;
        if NOT_IN_TRAILERS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
            || name.get(..12).is_some_and(|front| front.eq_ignore_ascii_case(b"x-forwarded-"))
        {
            return Err(Fault::bad("a field that must not be a trailer"));
        }
        Ok(bytes)
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u64 {
    u64::from(digit & 0xf) + if digit.is_ascii_alphabetic() { 9 } else { 0 }
}
