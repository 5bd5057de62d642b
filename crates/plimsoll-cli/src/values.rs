//! Values of options that more than one command has.

use std::time::Duration;

/// A time in seconds, with a fraction if need be.
///
/// # Errors
///
/// What would be right.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|&seconds| (0.001..=1e9).contains(&seconds))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "it is a number of seconds from 0.001 to 1000000000, such as 2.5".into())
}
