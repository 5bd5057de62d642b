//! Seconds, nanoseconds and counts, one into the other.

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// Whole nanoseconds; times too long for 64 bits (584 years) are the longest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and times are not negative"
)]
pub(crate) fn nanos(seconds: f64) -> u64 {
    (seconds * SECOND).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "for measuring: 53 bits of a time are enough")]
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND
}

/// A time in nanoseconds, made longer or shorter.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the cast saturates, and factors are not negative"
)]
pub(crate) fn scaled(nanos: u64, by: f64) -> u64 {
    (nanos as f64 * by).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

/// A length, which is below 2^32 wherever it is a number of workers or jobs.
#[expect(clippy::cast_possible_truncation, reason = "see above")]
pub(crate) fn index(length: usize) -> u32 {
    length as u32
}

/// Whole nanoseconds of a number of them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and times are not negative"
)]
pub(crate) fn whole(nanos: f64) -> u64 {
    nanos.ceil() as u64
}

/// The whole part of a number, and what is left of it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and times and counts are not negative"
)]
pub(crate) fn parted(number: f64) -> (u64, f64) {
    (number as u64, number.fract())
}

/// Whether a setting is within its range, as a sentence where it is not.
pub(crate) fn within(what: &str, number: f64, from: f64, to: f64) -> Result<(), String> {
    let is_within = (from..=to).contains(&number);
    is_within.then_some(()).ok_or_else(|| format!("{what} {number} is not from {from} to {to}"))
}

/// Where the quantile `q` stands among so many sorted values.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a length"
)]
pub(crate) fn place(q: f64, length: usize) -> usize {
    ((q * length as f64).ceil() as usize).saturating_sub(1)
}
