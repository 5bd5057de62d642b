//! The head of a request: its request line and its fields (sections 3, 5, 6).

use core::ops::Range;

use super::Limits;
use super::fault::{self, Fault};
use super::field;
use super::host::is_authority;
use super::line::{Lines, Next};
use super::words;

/// So many digits of a Content-Length never overflow.
const LENGTH_DIGITS: usize = 18;

/// What was seen of a head so far. The bytes stay with the caller, who shows
/// them from the first again.
#[derive(Debug, Default)]
pub(super) struct Head {
    lines: Lines,
    /// None before the request line.
    version: Option<Version>,
    fields: usize,
    /// Where the authority of a target in absolute form stands.
    authority: Option<Range<usize>>,
    host: bool,
    framing: Framing,
    /// Connection names `upgrade`.
    names_upgrade: bool,
    upgrade: Upgrade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// What the fields so far say of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    #[default]
    Unsaid,
    Length(u64),
    Chunked,
}

/// What the Upgrade fields ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Upgrade {
    #[default]
    Nothing,
    OneProtocol,
    /// HTTP/2, several to choose from, or what is no protocol's name.
    Other,
}

/// What follows a clean head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next head.
    Nothing,
    /// So many bytes, more than 0.
    Sized(u64),
    Chunked,
    /// What the service says.
    Upgrade,
}

impl Head {
    /// Looks at the bytes from the head's first; says how many the head has
    /// and what follows, once its end is there.
    pub(super) fn look(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<(usize, After)>, Fault> {
        loop {
            let from = self.lines.at();
            match self.lines.next(bytes, limits.head_bytes)? {
                Next::Line(line) if self.version.is_none() => self.request_line(line, limits)?,
                Next::Line([]) => return Ok(Some((self.lines.at(), self.end()?))),
                Next::Line(_) if self.fields == limits.headers => return Err(fault::HEADERS),
                Next::Line(line) => {
                    self.fields += 1;
                    self.field(line, bytes)?;
                }
                Next::Part => return Ok(None),
                Next::TooLong => return Err(self.too_long(&bytes[from..limits.head_bytes], limits)),
            }
        }
    }

    /// `method SP target SP version` (section 3).
    fn request_line(&mut self, line: &[u8], limits: &Limits) -> Result<(), Fault> {
        let (method, rest) = line.split_at(field::token_length(line));
        let Some(rest) = rest.strip_prefix(b" ") else {
            return Err(fault::METHOD);
        };
        let (target, version) = rest
            .len()
            .checked_sub(b" HTTP/1.1".len())
            .map(|end| rest.split_at(end))
            .filter(|(target, _)| !target.is_empty())
            .ok_or(NO_VERSION)?;
        self.version = match version {
            b" HTTP/1.1" => Some(Version::Http11),
            b" HTTP/1.0" => Some(Version::Http10),
            [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Fault::new(505, "a version other than HTTP/1.1 and HTTP/1.0"));
            }
            _ => return Err(NO_VERSION),
        };
        if target.len() > limits.target_bytes {
            return Err(TARGET_BYTES);
        }
        if !is_plain(target)
            && let Some(fault) = target_fault(target)
        {
            return Err(fault);
        }
        if method == b"CONNECT" {
            return Err(Fault::new(405, "CONNECT is not served"));
        }
        match target {
            [b'/', ..] => Ok(()),
            b"*" if method == b"OPTIONS" => Ok(()),
            _ => self.absolute_form(method, target),
        }
    }

    /// A target that is none of the usual (section 3.2.2).
    #[cold]
    fn absolute_form(&mut self, method: &[u8], target: &[u8]) -> Result<(), Fault> {
        let scheme = ["http://", "https://"].into_iter().find(|scheme| {
            let front = target.get(..scheme.len());
            front.is_some_and(|front| front.eq_ignore_ascii_case(scheme.as_bytes()))
        });
        let Some(scheme) = scheme else {
            return Err(Fault::bad("a target that is not a path, an http URI or `*` of OPTIONS"));
        };
        let rest = &target[scheme.len()..];
        let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
        if !is_authority(&rest[..end]) {
            return Err(Fault::bad("a target whose authority is not host[:port]"));
        }
        if method == b"OPTIONS" && end == rest.len() {
            return Err(Fault::bad("OPTIONS of a URI without a path, which is `OPTIONS *`"));
        }
        let from = method.len() + 1 + scheme.len();
        self.authority = Some(from..from + end);
        Ok(())
    }

    #[inline]
    fn field(&mut self, line: &[u8], bytes: &[u8]) -> Result<(), Fault> {
        let (name, value) = field::split(line).map_err(|fault| self.folded(line, fault))?;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => self.host(field::trim(value), bytes),
            6 if is(b"expect") => expect(field::trim(value)),
            7 if is(b"upgrade") => {
                self.upgrade(field::trim(value));
                Ok(())
            }
            10 if is(b"connection") => {
                let mut names = value.split(|&byte| byte == b',').map(field::trim);
                self.names_upgrade |= names.any(|name| name.eq_ignore_ascii_case(b"upgrade"));
                Ok(())
            }
            14 if is(b"content-length") => self.content_length(field::trim(value)),
            17 if is(b"transfer-encoding") => self.transfer_encoding(field::trim(value)),
            _ => Ok(()),
        }
    }

    /// Whitespace at the front of a line means more after the first field.
    #[cold]
    fn folded(&self, line: &[u8], fault: Fault) -> Fault {
        match line.first() {
            Some(b' ' | b'\t') if self.fields > 1 => Fault::bad("a folded field line"),
            _ => fault,
        }
    }

    /// Section 3.2.
    fn host(&mut self, value: &[u8], bytes: &[u8]) -> Result<(), Fault> {
        if self.host {
            return Err(Fault::bad("two Host fields"));
        }
        self.host = true;
        if !is_authority(value) {
            return Err(Fault::bad("a Host that is not host[:port]"));
        }
        match &self.authority {
            Some(place) if !bytes[place.clone()].eq_ignore_ascii_case(value) => {
                Err(Fault::bad("a target whose authority is not the Host"))
            }
            _ => Ok(()),
        }
    }

    /// RFC 9110 section 8.6.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        match self.framing {
            Framing::Unsaid => {}
            Framing::Length(_) => return Err(Fault::bad("two Content-Length fields")),
            Framing::Chunked => return Err(BOTH),
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Fault::bad("a Content-Length that is not a number"));
        }
        if value.len() > LENGTH_DIGITS {
            return Err(Fault::bad("a Content-Length of more than 18 digits"));
        }
        let length = value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit & 0xf));
        self.framing = Framing::Length(length);
        Ok(())
    }

    /// Section 6.1.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        match self.framing {
            _ if self.version == Some(Version::Http10) => {
                return Err(Fault::bad("Transfer-Encoding in HTTP/1.0"));
            }
            Framing::Unsaid => {}
            Framing::Length(_) => return Err(BOTH),
            Framing::Chunked => return Err(Fault::bad("two Transfer-Encoding fields")),
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::bad("a Transfer-Encoding other than chunked"));
        }
        self.framing = Framing::Chunked;
        Ok(())
    }

    /// RFC 9110 section 7.8.
    fn upgrade(&mut self, value: &[u8]) {
        let mut parts = value.splitn(2, |&byte| byte == b'/');
        let name = parts.next().unwrap_or_default();
        let one = field::is_token(name) && parts.next().is_none_or(field::is_token);
        self.upgrade = match self.upgrade {
            Upgrade::Nothing if one && !name.eq_ignore_ascii_case(b"h2c") => Upgrade::OneProtocol,
            _ => Upgrade::Other,
        };
    }

    /// What only the whole head shows.
    fn end(&self) -> Result<After, Fault> {
        let http_1_1 = self.version == Some(Version::Http11);
        if http_1_1 && !self.host {
            return Err(Fault::bad("no Host field"));
        }
        let upgrade = self.names_upgrade && self.upgrade == Upgrade::OneProtocol;
        Ok(match self.framing {
            Framing::Chunked => After::Chunked,
            Framing::Length(length @ 1..) => After::Sized(length),
            _ if upgrade && http_1_1 => After::Upgrade,
            _ => After::Nothing,
        })
    }

    /// No line ends within the limit: `part` of one stands there.
    #[cold]
    fn too_long(&self, part: &[u8], limits: &Limits) -> Fault {
        let mut words = part.split(|&byte| byte == b' ');
        match words.nth(1) {
            Some(target) if self.version.is_none() && target.len() > limits.target_bytes => {
                TARGET_BYTES
            }
            _ => fault::HEAD_BYTES,
        }
    }
}

const NO_VERSION: Fault = Fault::bad("a request line that is not `method target HTTP/1.1`");
const TARGET_BYTES: Fault = Fault::new(414, "a target longer than allowed");
const BOTH: Fault = Fault::bad("Content-Length beside Transfer-Encoding");

/// RFC 9110 section 10.1.1.
fn expect(value: &[u8]) -> Result<(), Fault> {
    if value.eq_ignore_ascii_case(b"100-continue") {
        return Ok(());
    }
    Err(Fault::new(417, "an Expect other than 100-continue"))
}

/// Visible ASCII without what [`target_fault`] must look at.
#[inline]
fn is_plain(target: &[u8]) -> bool {
    // The second of two that differ in one bit is the first with it.
    const ONE: u64 = u64::MAX / 0xff;
    words::all(target, |word| {
        let control = words::below(word, 0x21) | words::equal(word, 0x7f);
        let quotes = words::equal(word | ONE, b'#') | words::equal(word, b'`');
        let angles = words::equal(word | (2 * ONE), b'>');
        control | words::high(word) | quotes | angles == 0
    })
}

/// What stands in a target and must not. The quotes are those that hyper's type
/// of a target does not take; it would refuse the request unseen.
#[cold]
fn target_fault(target: &[u8]) -> Option<Fault> {
    let query = target.iter().position(|&byte| byte == b'?').unwrap_or(target.len());
    let mut bytes = target.iter().enumerate();
    let (_, byte) = bytes.find(|&(at, byte)| match byte {
        b'#' | b'<' | b'>' => true,
        b'"' => at > query,
        b'`' => at < query,
        byte => !byte.is_ascii_graphic(),
    })?;
    Some(match byte {
        b'#' => Fault::bad("a target with a fragment"),
        b'"' | b'<' | b'>' | b'`' => Fault::bad("a target with a quote that is not encoded"),
        b' ' => Fault::bad("a request line with more than two spaces"),
        b'\r' => fault::BARE_CR,
        0x80.. => Fault::bad("a target with a byte outside ASCII"),
        _ => fault::CONTROL,
    })
}
