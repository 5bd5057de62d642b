//! Fields of HTTP/2 that HTTP/1 must not carry.

use hyper::header::HeaderMap;

use super::Fault;

/// Refuses what hyper lets in by HTTP/2, in heads and trailers, and the screen
/// does not by HTTP/1.
pub(crate) fn check_fields(fields: &HeaderMap) -> Result<(), Fault> {
    // The one byte that hyper takes for a token's and that is none.
    if fields.keys().any(|name| name.as_str().contains('"')) {
        return Err(Fault::new(400, "a field name that is not a token"));
    }
    // Parsers disagree on whether it belongs to the value.
    let is_padded = |value: &[u8]| value.trim_ascii().len() < value.len();
    if fields.values().any(|value| is_padded(value.as_bytes())) {
        return Err(Fault::new(400, "a value that begins or ends with whitespace"));
    }
    Ok(())
}
