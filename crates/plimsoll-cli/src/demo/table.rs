//! The closing table: a row for each policy that ran.

use std::fmt::Write as _;

use plimsoll::Policy;

use super::floor::SLOWER;
use super::reading::{Row, Share};
use super::words::millis;

/// The table, with what it shows in words.
pub(crate) fn table(rows: &[Row], share: Option<&Share>) -> String {
    let mut text = String::from(
        "\n                              wait until a worker began, in ms\n\
         policy       requests req/s   mean    p50    p99  p99.9    max regret imbalance\n",
    );
    for row in rows {
        text.push_str(&line(row));
    }
    text.push('\n');
    for row in rows {
        text.push_str(&not_answered(row));
    }
    if let Some(share) = share {
        text.push_str(&shares(share));
    } else {
        text.push_str(&gain(rows));
    }
    text.push_str(
        "regret: load chosen minus least load. imbalance: most pending minus least.\n\
         At the end: 0 pending, 0 in line, invariants hold.\n",
    );
    text
}

fn line(row: &Row) -> String {
    let [mean, p50, p99, p999, max] = [row.mean, row.p50, row.p99, row.p999, row.max].map(millis);
    format!(
        "{:<12} {:>8} {:>5.0} {mean:>6} {p50:>6} {p99:>6} {p999:>6} {max:>6} {:>6.2} {:>9.1}\n",
        row.policy, row.requests, row.per_second, row.regret, row.imbalance
    )
}

fn not_answered(row: &Row) -> String {
    let mut text = String::new();
    if row.refused > 0 {
        let _ = writeln!(text, "{}: {} refused, the line was full.", row.policy, row.refused);
    }
    if row.not_run > 0 {
        let _ = writeln!(text, "{}: {} dropped at the end, not begun.", row.policy, row.not_run);
    }
    text
}

/// Who did least and who did most.
fn shares(share: &Share) -> String {
    let by_count = |&&(_, completed, _): &&(usize, u64, bool)| completed;
    let (Some(least), Some(most)) =
        (share.0.iter().min_by_key(by_count), share.0.iter().max_by_key(by_count))
    else {
        return String::new();
    };
    let words = |&(slot, completed, slow): &(usize, u64, bool)| {
        let slow = if slow { ", slow" } else { "" };
        format!("{completed} (worker {}{slow})", slot + 1)
    };
    let mut text = format!("Requests per worker: {} to {}.\n", words(least), words(most));
    let slow = share.0.iter().filter(|(_, _, slow)| *slow).count();
    if slow > 0 {
        let _ = writeln!(text, "Slow workers, which take {SLOWER} times as long: {slow}.");
    }
    text
}

/// What least-loaded buys, against each other policy.
fn gain(rows: &[Row]) -> String {
    let Some(ours) = rows.iter().find(|row| row.policy == Policy::LeastLoaded) else {
        return String::new();
    };
    // A wait of nothing has no ratio; a tenth of a millisecond is nothing.
    let seconds = |row: &Row| row.mean.as_secs_f64().max(1e-4);
    let others = rows.iter().filter(|row| row.policy != Policy::LeastLoaded);
    let ratios: Vec<String> = others
        .map(|row| format!("{} {:.1} times", row.policy, seconds(row) / seconds(ours)))
        .collect();
    if ratios.is_empty() {
        return String::new();
    }
    let ratios = ratios.join(", ");
    format!("The same requests at the same moments; mean wait against least-loaded's:\n{ratios}.\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(policy: Policy, mean: u64) -> Row {
        let mean = Duration::from_millis(mean);
        Row {
            policy,
            requests: 5169,
            refused: 0,
            not_run: 0,
            per_second: 1133.4,
            mean,
            p50: mean / 2,
            p99: mean * 5,
            p999: mean * 6,
            max: mean * 7,
            regret: 0.0,
            imbalance: 2.14,
        }
    }

    #[test]
    fn columns_stand_under_their_names() {
        let text = table(&[row(Policy::LeastLoaded, 12)], None);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[3].len(), lines[2].len(), "{text}");
        let expected =
            "least-loaded     5169  1133   12.0    6.0   60.0   72.0   84.0   0.00       2.1";
        assert_eq!(lines[3], expected);
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_gain_is_told_when_there_is_something_to_compare() {
        let rows = [row(Policy::LeastLoaded, 10), row(Policy::Random, 65)];
        assert!(table(&rows, None).contains("least-loaded's:\nrandom 6.5 times.\n"));
        assert_eq!(gain(&rows[..1]), "");
        assert_eq!(gain(&rows[1..]), "");
    }

    #[test]
    fn what_was_not_answered_and_who_was_slow_is_told() {
        let odd = Row { refused: 7, not_run: 3, ..row(Policy::Random, 65) };
        let share = Share(vec![(0, 50, true), (1, 400, false)]);
        let text = table(&[odd], Some(&share));
        for words in [
            "random: 7 refused, the line was full.",
            "random: 3 dropped at the end, not begun.",
            "Requests per worker: 50 (worker 1, slow) to 400 (worker 2).",
            "Slow workers, which take 4 times as long: 1.",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}
