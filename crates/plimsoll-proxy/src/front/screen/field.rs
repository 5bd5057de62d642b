//! Field lines, of heads and of trailer sections (section 5).

use super::fault::{self, Fault};
use super::words;

/// Bytes of a token (RFC 9110 section 5.6.2).
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"!#$%&'*+-.^_`|~";
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_length(bytes) == bytes.len()
}

/// How many bytes at the front are of a token.
#[inline]
pub(super) fn token_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(&byte) = bytes.get(length)
        && is_token_byte(byte)
    {
        length += 1;
    }
    length
}

/// The name and the value of a field line that is not empty; the value with
/// the whitespace around it.
#[inline]
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let length = token_length(line);
    let (name, value) = line.split_at(length);
    match value.split_first() {
        Some((b':', value)) if length > 0 => {
            text(value)?;
            Ok((name, value))
        }
        _ => Err(bad_name(length, value)),
    }
}

#[cold]
fn bad_name(length: usize, rest: &[u8]) -> Fault {
    Fault::bad(match (length, rest) {
        (0, [b':', ..]) => "a field without a name",
        (0, [b' ' | b'\t', ..]) => "a field line that begins with whitespace",
        (_, [b' ' | b'\t', ..]) => "whitespace after a field name",
        (_, []) => "a field line without a colon",
        _ => "a field name that is not a token",
    })
}

/// Checks what may stand in a value: HTAB, SP, visible bytes and those from
/// 0x80 (RFC 9110 section 5.5).
#[inline]
pub(super) fn text(value: &[u8]) -> Result<(), Fault> {
    // HTAB, which is rare, is told from other control bytes one by one.
    let clean = words::all(value, |word| words::below(word, 0x20) | words::equal(word, 0x7f) == 0);
    if clean { Ok(()) } else { control(value) }
}

#[cold]
fn control(value: &[u8]) -> Result<(), Fault> {
    match value.iter().find(|&&byte| byte != b'\t' && byte.is_ascii_control()) {
        None => Ok(()),
        Some(b'\r') => Err(fault::BARE_CR),
        Some(_) => Err(fault::CONTROL),
    }
}

/// `value` without the whitespace around it (RFC 9110 section 5.6.3).
#[inline]
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
