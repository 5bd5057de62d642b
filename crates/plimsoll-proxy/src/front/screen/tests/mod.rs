//! The screen as the wrapper of a socket uses it.

mod properties;
mod rules;
mod streams;
mod table;

use super::chunks::CHUNK_LINE_BYTES;
use super::*;

const LIMITS: Limits = Limits { head_bytes: 8192, headers: 64, target_bytes: 2048 };

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    passed: Vec<u8>,
    skipped: usize,
    heads: usize,
    upgrades: usize,
    fault: Option<Fault>,
    stage: Stage,
}

impl Outcome {
    fn status(&self) -> Option<u16> {
        self.fault.map(Fault::status)
    }
}

/// Shows `bytes` as reads that end at each of `ends` and at the last byte
/// would; a head that asks for an upgrade gets it if `granted`.
fn drive(
    limits: Limits,
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
    granted: bool,
) -> Outcome {
    let mut screen = Screen::new(limits);
    let (mut passed, mut skipped, mut heads, mut upgrades) = (Vec::new(), 0, 0, 0);
    let mut from = 0;
    let mut fault = None;
    'reads: for end in ends.into_iter().chain([bytes.len()]) {
        loop {
            let shown = &bytes[from..end.max(from)];
            let look = screen.look(shown);
            assert!(look.skip + look.pass <= shown.len(), "{look:?} of {} bytes", shown.len());
            passed.extend_from_slice(&shown[look.skip..look.skip + look.pass]);
            skipped += look.skip;
            heads += look.heads;
            from += look.skip + look.pass;
            if look.fault.is_some() {
                let again = Look { fault: look.fault, ..Look::default() };
                assert_eq!(screen.look(&bytes[from..end]), again, "a fault stays");
                fault = look.fault;
                break 'reads;
            }
            if screen.stage() == Stage::Upgrade {
                upgrades += 1;
                let held = screen.look(&bytes[from..end]);
                assert_eq!(held, Look::default(), "nothing passes before the service says so");
                if granted { screen.upgraded() } else { screen.not_upgraded() }
            } else if look.skip + look.pass == 0 {
                break;
            }
        }
        let held = end.saturating_sub(from);
        let most = limits.head_bytes.max(CHUNK_LINE_BYTES).max(PREFACE.len());
        assert!(held < most, "{held} bytes are held back");
    }
    Outcome { passed, skipped, heads, upgrades, fault, stage: screen.stage() }
}

/// The outcome of a stream shown at once, which must be that of its bytes
/// shown one by one.
fn outcome_within(limits: Limits, bytes: impl AsRef<[u8]>) -> Outcome {
    let bytes = bytes.as_ref();
    let outcome = drive(limits, bytes, [], false);
    assert_eq!(outcome, drive(limits, bytes, 0..bytes.len(), false), "byte by byte");
    outcome
}

fn outcome(bytes: impl AsRef<[u8]>) -> Outcome {
    outcome_within(LIMITS, bytes)
}

/// A clean request, behind which a bad one must still be found.
const CLEAN: &[u8] = b"GET /clean HTTP/1.1\r\nHost: a\r\n\r\n";

/// `bytes` make the head they begin with faulty, at the front of a connection
/// and behind another request; nothing of it passes.
#[track_caller]
fn refused_as(status: u16, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let shown = bytes.escape_ascii();
    let alone = outcome(bytes);
    assert_eq!(alone.status(), Some(status), "{shown}: {:?}", alone.fault);
    assert_eq!((alone.passed.len(), alone.heads, alone.stage), (0, 0, Stage::Head), "{shown}");
    let behind = outcome([CLEAN, bytes].concat());
    assert_eq!((&*behind.passed, behind.heads, behind.fault), (CLEAN, 1, alone.fault), "{shown}");
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>) {
    refused_as(400, bytes);
}

/// All of `bytes` pass, as so many whole requests of which none asks for an
/// upgrade.
#[track_caller]
fn accepted_as(heads: usize, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    let outcome = outcome(bytes);
    let expected = Outcome {
        passed: bytes.to_vec(),
        skipped: 0,
        heads,
        upgrades: 0,
        fault: None,
        stage: Stage::Idle,
    };
    assert_eq!(outcome, expected, "{}", bytes.escape_ascii());
}

#[track_caller]
fn accepted(bytes: impl AsRef<[u8]>) {
    accepted_as(1, bytes);
}

/// A request with these field lines, each with its line end, behind its Host.
fn with(fields: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST / HTTP/1.1\r\nHost: a\r\n", fields.as_ref(), b"\r\n"].concat()
}

/// A request with a chunked body.
fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    [&with("Transfer-Encoding: chunked\r\n"), body.as_ref()].concat()
}

/// The head of `chunked(body)` passes and the body does not.
#[track_caller]
fn body_refused_as(status: u16, body: impl AsRef<[u8]>) {
    let bytes = chunked(body);
    let outcome = outcome(&bytes);
    let shown = bytes.escape_ascii();
    assert_eq!(outcome.status(), Some(status), "{shown}: {:?}", outcome.fault);
    assert_eq!((outcome.heads, outcome.stage), (1, Stage::Body), "{shown}");
}

#[track_caller]
fn body_refused(body: impl AsRef<[u8]>) {
    body_refused_as(400, body);
}
