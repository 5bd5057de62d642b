//! Cuts a stream of bytes into lines, without ever holding more than the
//! longest line allowed. It performs no I/O.

use memchr::memchr;

/// Above this a buffer that a long line needed is given back to the allocator.
const KEEP: usize = 64 * 1024;

/// What [`Framer::cut`] found at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut<'a> {
    /// A whole line, without its end byte.
    Line(&'a [u8]),
    /// A line longer than allowed begins or continues here; told once a line.
    TooLong,
    /// No line ends here yet.
    Nothing,
}

/// The state between two pieces of one stream.
#[derive(Debug)]
pub(crate) struct Framer {
    end: u8,
    max: usize,
    /// What was seen of a line whose end is still to come.
    part: Vec<u8>,
    /// `part` holds a line that was handed out, to be dropped at the next call.
    handed_out: bool,
    /// Within a line that was too long: nothing is kept until its end.
    skipping: bool,
}

impl Framer {
    /// Lines end with `end` and have at most `max` bytes before it.
    pub(crate) fn new(end: u8, max: usize) -> Self {
        Self { end, max, part: Vec::new(), handed_out: false, skipping: false }
    }

    /// Looks for one line at the front of `bytes`; also says how many bytes
    /// it used. Call it again with the rest until the rest is empty.
    pub(crate) fn cut<'a>(&'a mut self, bytes: &'a [u8]) -> (Cut<'a>, usize) {
        self.forget_handed_out();
        let Some(at) = memchr(self.end, bytes) else {
            let used = bytes.len();
            if self.skipping {
                return (Cut::Nothing, used);
            }
            if used > self.max - self.part.len() {
                self.skipping = true;
                self.part = Vec::new();
                return (Cut::TooLong, used);
            }
            self.part.extend_from_slice(bytes);
            return (Cut::Nothing, used);
        };
        let used = at + 1;
        if self.skipping {
            self.skipping = false;
            return (Cut::Nothing, used);
        }
        if at > self.max - self.part.len() {
            self.part = Vec::new();
            return (Cut::TooLong, used);
        }
        if self.part.is_empty() {
            return (Cut::Line(&bytes[..at]), used);
        }
        self.part.extend_from_slice(&bytes[..at]);
        self.handed_out = true;
        (Cut::Line(&self.part), used)
    }

    /// The line that the stream's end cut short, if there is one; its bytes
    /// are empty when it had been too long already.
    pub(crate) fn rest(&mut self) -> Option<&[u8]> {
        self.forget_handed_out();
        (!self.part.is_empty()).then_some(&self.part)
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn is_inside_a_line(&self) -> bool {
        self.skipping || !(self.part.is_empty() || self.handed_out)
    }

    fn forget_handed_out(&mut self) {
        if self.handed_out {
            self.handed_out = false;
            self.part.clear();
            self.part.shrink_to(KEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every line of `pieces`; `None` for one that is too long.
    fn lines(framer: &mut Framer, pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut found = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (cut, used) = framer.cut(rest);
                match cut {
                    Cut::Line(line) => found.push(Some(line.to_vec())),
                    Cut::TooLong => found.push(None),
                    Cut::Nothing => {}
                }
                rest = &rest[used..];
            }
        }
        found.extend(framer.rest().map(|rest| Some(rest.to_vec())));
        found
    }

    #[test]
    fn a_line_may_span_pieces_and_the_last_needs_no_end() {
        let mut framer = Framer::new(b'\n', 10);
        let found = lines(&mut framer, &[b"one\n\ntw", b"o", b"\nthr", b"ee"]);
        let expected = [&b"one"[..], b"", b"two", b"three"];
        assert_eq!(found, expected.map(|line| Some(line.to_vec())));
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_not_kept() {
        let mut framer = Framer::new(b'\n', 4);
        let found = lines(&mut framer, &[b"12345", b"6789", b"0\nfour\n123", b"45\nok\n12345\n"]);
        let four = Some(b"four".to_vec());
        assert_eq!(found, [None, four, None, Some(b"ok".to_vec()), None]);
        assert!(framer.part.capacity() < 16);
    }

    #[test]
    fn half_a_line_is_known_as_such() {
        let mut framer = Framer::new(0, 4);
        assert!(!framer.is_inside_a_line());
        framer.cut(b"ab");
        assert!(framer.is_inside_a_line());
        assert_eq!(framer.cut(b"c\0"), (Cut::Line(b"abc"), 2));
        assert!(!framer.is_inside_a_line());
        framer.cut(b"too long");
        assert!(framer.is_inside_a_line());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(1_usize..20, 1..50),
            max in 1_usize..12,
        ) {
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (piece, after) = rest.split_at(rest.len().min(*cut));
                pieces.push(piece);
                rest = after;
            }
            let mut whole: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
            if whole.last().is_some_and(|last| last.is_empty()) { whole.pop(); }
            let expected: Vec<_> = whole
                .into_iter()
                .map(|line| (line.len() <= max).then(|| line.to_vec()))
                .collect();
            prop_assert_eq!(lines(&mut Framer::new(b'\n', max), &pieces), expected);
        }
    }
}
