//! The authority of a request: `host[:port]` (RFC 3986 section 3.2, RFC 9110
//! sections 4.2 and 7.2).

use core::net::Ipv6Addr;
use core::str;

/// Whether these bytes are a host and perhaps a port, and nothing else.
///
/// Stricter than the grammar: a comma, which would make two hosts of one in a
/// list, a percent sign, whose decoding servers disagree about, an empty port
/// and an address of a future version are not taken.
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let (host_is_good, port) = if let Some(rest) = bytes.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|&byte| byte == b']') else {
            return false;
        };
        (is_ipv6(&rest[..end]), &rest[end + 1..])
    } else {
        let end = bytes.iter().position(|&byte| !is_name_byte(byte)).unwrap_or(bytes.len());
        (end > 0, &bytes[end..])
    };
    host_is_good && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// Letters, digits and marks of a registered name; IPv4 addresses are of them.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        )
}

fn is_ipv6(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// One to five digits, up to 65535.
fn is_port(digits: &[u8]) -> bool {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    let value = digits.iter().take(6).fold(0_u32, |sum, digit| sum * 10 + u32::from(digit & 0xf));
    all_digits && (1..=5).contains(&digits.len()) && u16::try_from(value).is_ok()
}
