//! A strict look at the bytes of an HTTP/1 client connection before they are
//! parsed. It performs no I/O, reads no clock and allocates nothing.
//!
//! The parser behind it forgives, or hides, some of what two servers may read
//! in two ways: both lengths on one message, a length twice, bare line feeds,
//! two hosts. Here such a message ends its connection instead. docs/STRICT.md
//! has every case; section numbers without a name are those of RFC 9112.

mod chunks;
mod fault;
mod field;
mod head;
mod host;
mod line;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use fault::Fault;
pub(crate) use host::is_authority;

use chunks::Chunks;
use head::{After, Head};

/// What a client that knows HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much a head may hold, and how much a trailer section. None is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes, from the first of the request line to the end of the empty line.
    pub(crate) head_bytes: usize,
    /// Field lines.
    pub(crate) headers: usize,
    /// Bytes of the request target.
    pub(crate) target_bytes: usize,
}

/// Where one client connection stands.
#[derive(Debug)]
pub(crate) struct Screen {
    limits: Limits,
    state: State,
}

/// What [`Screen::look`] made of the bytes it was shown: the first `skip` of
/// them are dropped, the next `pass` go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Bytes of an empty line before a request line (section 2.2).
    pub(crate) skip: usize,
    /// Bytes of whole heads and of bodies.
    pub(crate) pass: usize,
    /// How many heads end within `pass`.
    pub(crate) heads: usize,
    /// What is wrong right after `pass`; nothing passes any more.
    pub(crate) fault: Option<Fault>,
}

/// Where a connection stands, for time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Between requests: no byte of the next head was seen.
    Idle,
    /// A head has begun. Also where a fault in one leaves the connection.
    Head,
    /// Within a body. Also where a fault in one leaves the connection.
    Body,
    /// A head that asks for an upgrade has passed, and nothing will until the
    /// service says what became of it.
    Upgrade,
    /// Bytes pass unseen.
    Opaque,
}

#[derive(Debug)]
enum State {
    Idle(Idle),
    Head(Head),
    /// A body with a length, of which this many bytes are still to come.
    Sized(u64),
    Chunked(Chunks),
    Upgrade,
    Opaque,
    Failed(Fault, Stage),
}

/// Before a head.
#[derive(Debug, Default)]
struct Idle {
    /// The connection is new: the preface of HTTP/2 may come.
    preface: bool,
    /// An empty line was dropped.
    blank: bool,
    /// Bytes are held that are too few to say what begins.
    begun: bool,
}

/// One step of a look.
enum Step {
    /// So many bytes pass; 0 after a mere change of state.
    Pass(usize),
    /// So many bytes pass, and a head ends with them.
    Head(usize),
    Skip(usize),
    /// All that is left must be shown again, with more behind it.
    Hold,
}

impl Screen {
    /// For a connection of which nothing was read yet.
    pub(crate) fn new(limits: Limits) -> Self {
        let Limits { head_bytes, headers, target_bytes } = limits;
        debug_assert!(head_bytes > 0 && headers > 0 && target_bytes > 0, "a limit is 0");
        Self { limits, state: State::Idle(Idle { preface: true, ..Idle::default() }) }
    }

    /// Looks at bytes that follow those that were passed or dropped before.
    /// The rest must be shown again: at once if anything was passed or
    /// dropped now, else with more bytes behind it.
    ///
    /// What is held back is never more than the largest of the limit on
    /// heads, the one on a chunk's line and an unfinished preface of HTTP/2,
    /// but for what stands behind a head that asks for an upgrade.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Look {
        let mut look = Look::default();
        loop {
            let rest = &bytes[look.skip + look.pass..];
            // An empty line is dropped from the front only.
            if look.pass > 0 && matches!(self.state, State::Idle(_)) && rest.first() == Some(&b'\r')
            {
                return look;
            }
            match self.step(rest) {
                Ok(Step::Pass(bytes)) => look.pass += bytes,
                Ok(Step::Head(bytes)) => {
                    look.pass += bytes;
                    look.heads += 1;
                }
                Ok(Step::Skip(bytes)) => look.skip += bytes,
                Ok(Step::Hold) => return look,
                Err(fault) => {
                    self.state = State::Failed(fault, self.stage());
                    look.fault = Some(fault);
                    return look;
                }
            }
        }
    }

    /// Where the connection stands.
    pub(crate) fn stage(&self) -> Stage {
        match &self.state {
            State::Idle(Idle { begun: false, .. }) => Stage::Idle,
            State::Idle(_) | State::Head(_) => Stage::Head,
            State::Sized(_) | State::Chunked(_) => Stage::Body,
            State::Upgrade => Stage::Upgrade,
            State::Opaque => Stage::Opaque,
            State::Failed(_, stage) => *stage,
        }
    }

    /// The upgrade was granted: all further bytes pass unseen.
    pub(crate) fn upgraded(&mut self) {
        if matches!(self.state, State::Upgrade) {
            self.state = State::Opaque;
        }
    }

    /// The upgrade was not granted: the next byte begins a head.
    pub(crate) fn not_upgraded(&mut self) {
        if matches!(self.state, State::Upgrade) {
            self.state = State::Idle(Idle::default());
        }
    }

    fn step(&mut self, rest: &[u8]) -> Result<Step, Fault> {
        match &mut self.state {
            State::Idle(idle) => match idle.look(rest)? {
                Begins::Unknown => return Ok(Step::Hold),
                Begins::EmptyLine => return Ok(Step::Skip(2)),
                Begins::Head => self.state = State::Head(Head::default()),
                Begins::Http2 => self.state = State::Opaque,
            },
            State::Head(head) => {
                let Some((bytes, after)) = head.look(rest, &self.limits)? else {
                    return Ok(Step::Hold);
                };
                self.state = match after {
                    After::Nothing => State::Idle(Idle::default()),
                    After::Sized(length) => State::Sized(length),
                    After::Chunked => State::Chunked(Chunks::default()),
                    After::Upgrade => State::Upgrade,
                };
                return Ok(Step::Head(bytes));
            }
            State::Chunked(chunks) => {
                let bytes = chunks.look(rest, &self.limits)?;
                if chunks.are_complete() {
                    self.state = State::Idle(Idle::default());
                }
                return Ok(if bytes == 0 { Step::Hold } else { Step::Pass(bytes) });
            }
            State::Failed(fault, _) => return Err(*fault),
            State::Upgrade => return Ok(Step::Hold),
            State::Sized(_) | State::Opaque if rest.is_empty() => return Ok(Step::Hold),
            State::Opaque => return Ok(Step::Pass(rest.len())),
            State::Sized(left) => {
                let bytes = take(left, rest);
                if *left == 0 {
                    self.state = State::Idle(Idle::default());
                }
                return Ok(Step::Pass(bytes));
            }
        }
        Ok(Step::Pass(0))
    }
}

/// Takes as many bytes of a body as are there from those `left` to come.
fn take(left: &mut u64, there: &[u8]) -> usize {
    let bytes = usize::try_from(*left).map_or(there.len(), |left| left.min(there.len()));
    *left -= bytes as u64;
    bytes
}

/// What stands before a head.
enum Begins {
    /// Nothing, or too little to say.
    Unknown,
    EmptyLine,
    Head,
    Http2,
}

impl Idle {
    fn look(&mut self, rest: &[u8]) -> Result<Begins, Fault> {
        let Some(&first) = rest.first() else {
            return Ok(Begins::Unknown);
        };
        self.begun = true;
        if self.preface {
            if rest.starts_with(PREFACE) {
                return Ok(Begins::Http2);
            }
            if PREFACE.starts_with(rest) {
                return Ok(Begins::Unknown);
            }
            self.preface = false;
        }
        // The first byte is judged before its line is whole: what is no HTTP
        // at all, a TLS handshake say, need not be waited for.
        match (first, rest.get(1)) {
            (b'\r', _) if self.blank => Err(Fault::bad("two empty lines before a request line")),
            (b'\r', None) => Ok(Begins::Unknown),
            (b'\r', Some(b'\n')) => {
                *self = Self { blank: true, ..Self::default() };
                Ok(Begins::EmptyLine)
            }
            (b'\r', Some(_)) => Err(fault::BARE_CR),
            (b'\n', _) => Err(fault::BARE_LF),
            (b' ' | b'\t', _) => Err(Fault::bad("whitespace before a request line")),
            _ if !field::is_token_byte(first) => Err(fault::METHOD),
            _ => Ok(Begins::Head),
        }
    }
}
