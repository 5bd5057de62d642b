//! The closing table: a row for each policy that ran.

use std::fmt::Write as _;

use plimsoll::Policy;

use super::floor::SLOWER;
use super::reading::{Row, Share};
use super::words::millis;

/// The table, with what it shows in words.
pub(crate) fn table(rows: &[Row], share: Option<&Share>) -> String {
    let mut text = String::from(
        "\n                              wait before a worker began, in ms        pending apart\n\
         policy        requests  req/s    mean     p50     p99   p99.9     max  regret   (mean)\n",
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
    text.push_str("At the end: 0 pending, 0 in line, invariants hold.\n");
    text
}

fn line(row: &Row) -> String {
    let [mean, p50, p99, p999, max] = [row.mean, row.p50, row.p99, row.p999, row.max].map(millis);
    format!(
        "{:<12} {:>9} {:>6.0} {mean:>7} {p50:>7} {p99:>7} {p999:>7} {max:>7} {:>7.2} {:>8.1}\n",
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
        .map(|row| format!("{:.1} times under {}", seconds(row) / seconds(ours), row.policy))
        .collect();
    if ratios.is_empty() {
        return String::new();
    }
    format!(
        "Same requests, same moments: the mean wait is {} that\nof least-loaded.\n",
        ratios.join(", ")
    )
}
