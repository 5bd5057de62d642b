//! Headers of requests, and of errors.

use std::num::NonZeroU32;
use std::time::Duration;

use async_nats::HeaderMap;

use crate::Terms;

/// How much a request adds to its worker's pending; 1 without it.
pub const COST: &str = "Plimsoll-Cost";
/// In milliseconds: a request is not delivered later than this after it came.
pub const TIMEOUT: &str = "Plimsoll-Timeout";
/// `true`: a request may run twice.
pub const REPEATABLE: &str = "Plimsoll-Repeatable";
/// The text of an error, as in NATS's own services.
pub const SERVICE_ERROR: &str = "Nats-Service-Error";
/// Its code, as HTTP has them.
pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
/// In seconds: when to ask again.
pub const RETRY_AFTER: &str = "Retry-After";

/// What a request's headers say.
///
/// # Errors
///
/// Which header is wrong, and what would be right.
///
/// ```
/// use async_nats::HeaderMap;
/// use plimsoll_nats::headers;
///
/// let mut map = HeaderMap::new();
/// map.insert(headers::COST, "3");
/// assert_eq!(headers::terms(&map).unwrap().cost.get(), 3);
/// map.insert(headers::TIMEOUT, "soon");
/// assert!(headers::terms(&map).unwrap_err().contains("milliseconds"));
/// ```
pub fn terms(headers: &HeaderMap) -> Result<Terms, String> {
    let mut terms = Terms::default();
    if let Some(cost) = headers.get(COST) {
        let cost = cost.as_str();
        terms.cost = cost
            .parse::<NonZeroU32>()
            .map_err(|_| format!("{COST} '{cost}': it is a whole number from 1 to {}", u32::MAX))?;
    }
    if let Some(timeout) = headers.get(TIMEOUT) {
        let timeout = timeout.as_str();
        let millis = timeout
            .parse::<u32>()
            .map_err(|_| format!("{TIMEOUT} '{timeout}': it is a whole number of milliseconds"))?;
        terms.timeout = Some(Duration::from_millis(millis.into()));
    }
    if let Some(repeatable) = headers.get(REPEATABLE) {
        let repeatable = repeatable.as_str();
        terms.is_repeatable = repeatable
            .parse()
            .map_err(|_| format!("{REPEATABLE} '{repeatable}': it is true or false"))?;
    }
    Ok(terms)
}

/// The headers of an error; a text on one line.
pub fn error(code: u16, text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SERVICE_ERROR_CODE, code.to_string());
    // A header ends where its line does.
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    headers.insert(SERVICE_ERROR, line.as_str());
    headers
}

/// The code and the text of an error, where a reply is one.
///
/// ```
/// use plimsoll_nats::headers;
///
/// let reply = headers::error(503, "the line is full");
/// assert_eq!(headers::read_error(Some(&reply)), Some((503, "the line is full".to_owned())));
/// assert_eq!(headers::read_error(None), None);
/// ```
pub fn read_error(headers: Option<&HeaderMap>) -> Option<(u16, String)> {
    let headers = headers?;
    let code = headers.get(SERVICE_ERROR_CODE)?.as_str().parse().ok()?;
    let text = headers.get(SERVICE_ERROR).map(|text| text.as_str().to_owned());
    Some((code, text.unwrap_or_default()))
}
