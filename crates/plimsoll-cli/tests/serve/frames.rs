//! An HTTP/2 client that sends whatever it is told to, well-formed or not.

use std::net::SocketAddr;

use crate::wire::Wire;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds of frames (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

// Flags.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What a client is told when it has gone too far (section 7).
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A field's name and its value.
pub(crate) type Field<'a> = (&'a str, &'a [u8]);

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that no table remembers, without any look at what it says.
pub(crate) fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name.as_ref(), value.as_ref()] {
        match text.len() {
            short @ 0..127 => block.push(u8::try_from(short).unwrap()),
            long => {
                block.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap());
            }
        }
        block.extend_from_slice(text);
    }
    block
}

pub(crate) fn block(fields: &[Field<'_>]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// What every request needs, and these.
pub(crate) fn request(method: &str, more: &[Field<'_>]) -> Vec<u8> {
    let own: [Field<'_>; 4] = [
        (":method", method.as_bytes()),
        (":scheme", b"http"),
        (":path", b"/"),
        (":authority", b"test"),
    ];
    block(&[&own, more].concat())
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What a request led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As far as it is told here: 200, 400, or 0 for any other.
    Status(u16),
    Reset,
    /// The whole connection was ended, for this reason if one was given.
    Ended(Option<u32>),
}

pub(crate) struct Frames {
    pub(crate) wire: Wire,
}

impl Frames {
    /// After an exchange of settings.
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::connect_with(to, &[])
    }

    /// With settings of its own.
    pub(crate) fn connect_with(to: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut wire = Wire::connect(to);
        let encode =
            |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = settings.iter().flat_map(encode).collect();
        wire.send([PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat());
        let mut frames = Self { wire };
        let theirs = frames.next().expect("settings");
        assert_eq!((theirs.kind, theirs.flags), (SETTINGS, 0));
        frames.send(SETTINGS, ACK, 0, &[]);
        frames
    }

    /// The same connection, to read from elsewhere.
    pub(crate) fn twin(&self) -> Self {
        Self { wire: self.wire.twin() }
    }

    /// The other side may have gone.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.wire.try_send(frame(kind, flags, stream, payload))
    }

    /// The next frame, or `None` at the connection's end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let head = self.wire.bytes(9);
        let &[high, middle, low, kind, flags, a, b, c, d] = &head[..] else { return None };
        let length = u32::from_be_bytes([0, high, middle, low]);
        let stream = u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1);
        let payload = self.wire.bytes(length.try_into().unwrap());
        Some(Frame { kind, flags, stream, payload })
    }

    /// What becomes of a stream.
    pub(crate) fn outcome(&mut self, stream: u32) -> Outcome {
        let mut reason = None;
        while let Some(frame) = self.next() {
            match frame.kind {
                HEADERS if frame.stream == stream => {
                    // Both stand in HPACK's static table.
                    return Outcome::Status(match frame.payload.first() {
                        Some(0x88) => 200,
                        Some(0x8c) => 400,
                        _ => 0,
                    });
                }
                RST_STREAM if frame.stream == stream => return Outcome::Reset,
                GOAWAY => reason = Some(reason_of(&frame)),
                _ => {}
            }
        }
        Outcome::Ended(reason)
    }

    /// Reads to the connection's end: why, if that was said.
    pub(crate) fn ends(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                reason = Some(reason_of(&frame));
            }
        }
        reason
    }
}

fn reason_of(goaway: &Frame) -> u32 {
    u32::from_be_bytes(goaway.payload[4..8].try_into().unwrap())
}
