//! What is wrong with a request, in the words its client is told.

use core::fmt;

/// A reason to refuse a request and to close its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    status: u16,
    what: &'static str,
}

pub(super) const BARE_CR: Fault = Fault::bad("a carriage return without a line feed");
pub(super) const BARE_LF: Fault = Fault::bad("a line feed without a carriage return");
pub(super) const CONTROL: Fault = Fault::bad("a control byte");
pub(super) const METHOD: Fault = Fault::bad("a method that is not a token");
pub(super) const HEAD_BYTES: Fault = Fault::new(431, "a head or trailers longer than allowed");
pub(super) const HEADERS: Fault = Fault::new(431, "more fields than allowed");

impl Fault {
    pub(crate) const fn new(status: u16, what: &'static str) -> Self {
        Self { status, what }
    }

    /// The fault of most malformed requests.
    pub(super) const fn bad(what: &'static str) -> Self {
        Self::new(400, what)
    }

    /// The HTTP status that answers it.
    pub(crate) fn status(self) -> u16 {
        self.status
    }

    /// One short clause, without the status.
    pub(crate) fn what(self) -> &'static str {
        self.what
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}
