//! How figures are written.

use std::time::Duration;

/// A time with its unit, in three or four digits.
pub(crate) fn time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        ..100.0 => format!("{millis:.1} ms"),
        100.0..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.2} s", millis / 1e3),
    }
}

/// Milliseconds without the unit.
pub(crate) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 1000.0 { format!("{millis:.1}") } else { format!("{millis:.0}") }
}

/// So many of them.
pub(crate) fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "a rate for showing")]
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_width() {
        let texts = [0, 150, 99_940, 100_000, 999_000, 1_000_000, 12_345_000]
            .map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(texts, ["0.0 ms", "0.1 ms", "99.9 ms", "100 ms", "999 ms", "1.00 s", "12.35 s"]);
        assert_eq!(millis(Duration::from_micros(12_340)), "12.3");
        assert_eq!(millis(Duration::from_millis(1234)), "1234");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([count(1, "worker"), count(0, "worker")], ["1 worker", "0 workers"]);
    }

    #[test]
    fn a_rate_of_no_time_is_zero() {
        assert!(per_second(5, Duration::ZERO).abs() < f64::EPSILON);
        assert!((per_second(5, Duration::from_millis(500)) - 10.0).abs() < f64::EPSILON);
    }
}
