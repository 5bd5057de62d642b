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

/// A whole number of something, within bounds.
///
/// # Errors
///
/// What would be right.
pub(crate) fn whole<N>(text: &str, of: &str, least: u32, most: u32) -> Result<N, String>
where
    N: TryFrom<u32>,
{
    let number: Option<u32> = text.parse().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .and_then(|number| N::try_from(number).ok())
        .ok_or_else(|| format!("it is a whole number of {of} from {least} to {most}"))
}
