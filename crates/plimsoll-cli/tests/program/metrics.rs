//! What a page of metrics must be like: Prometheus's text format and its naming conventions,
//! looked at strictly, and by the parser of its own client library.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::process::{Command, Stdio};

/// Units that are no base units, and other words that a name must not have.
const BAD_WORDS: [&str; 17] = [
    "ms",
    "milliseconds",
    "us",
    "microseconds",
    "ns",
    "nanoseconds",
    "minutes",
    "hours",
    "kb",
    "mb",
    "kilobytes",
    "megabytes",
    "percent",
    "gauge",
    "counter",
    "histogram",
    "summary",
];

/// Fails with all that is wrong with it.
pub(crate) fn assert_good(page: &str) {
    let faults = faults(page);
    assert!(faults.is_empty(), "{faults:#?} in\n{page}");
    let read = "import sys\nfrom prometheus_client.parser import text_string_to_metric_families\n\
        print(sum(len(family.samples) for family in text_string_to_metric_families(sys.stdin.read())))";
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", read]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "python3-prometheus-client does not read it");
    let samples = page.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), samples.to_string());
}

#[derive(Default)]
struct Family {
    help: usize,
    kind: Option<String>,
    /// By labels without `le`: each bucket's bound and count, in order.
    buckets: HashMap<String, Vec<(f64, f64)>>,
    counts: HashMap<String, f64>,
    sums: HashSet<String>,
}

fn faults(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut families: HashMap<String, Family> = HashMap::new();
    let mut series = HashSet::new();
    let (mut current, mut closed) = (String::new(), HashSet::new());
    if !page.ends_with('\n') {
        faults.push("the last line does not end".into());
    }
    for line in page.lines() {
        let mut fault = |what: &str| faults.push(format!("{what}: {line}"));
        let comment = line.strip_prefix("# ").and_then(|rest| {
            let (key, rest) = rest.split_once(' ')?;
            let (name, text) = rest.split_once(' ')?;
            Some((key, name, text))
        });
        let (name, base) = match (comment, sample(line)) {
            (Some((_, name, _)), _) => (name.to_owned(), name.to_owned()),
            (None, Some((name, _, _))) => {
                let is_histogram = |base: &str| {
                    families
                        .get(base)
                        .is_some_and(|family| family.kind.as_deref() == Some("histogram"))
                };
                let ends = ["_bucket", "_sum", "_count"];
                let base = ends
                    .iter()
                    .find_map(|end| name.strip_suffix(end).filter(|base| is_histogram(base)));
                (name.clone(), base.unwrap_or(&name).to_owned())
            }
            (None, None) => {
                fault("it cannot be read");
                continue;
            }
        };
        if base != current {
            if closed.contains(&base) {
                fault("its family was over");
            }
            closed.insert(std::mem::replace(&mut current, base.clone()));
        }
        let family = families.entry(base.clone()).or_default();
        if let Some((key, _, text)) = comment {
            match key {
                "HELP" => {
                    family.help += 1;
                    if family.help > 1 || family.kind.is_some() || text.trim().is_empty() {
                        fault("a family has one help text, first");
                    }
                }
                "TYPE" => {
                    let known = ["gauge", "counter", "histogram"].contains(&text);
                    if family.kind.replace(text.into()).is_some() || !known || family.help == 0 {
                        fault("a family has one type, behind its help");
                    }
                    misnamed(&base, text).into_iter().for_each(&mut fault);
                }
                _ => fault("it is no comment of the format"),
            }
            continue;
        }
        let (_, labels, value) = sample(line).unwrap();
        if family.kind.is_none() {
            fault("it has no type");
        }
        if family.kind.as_deref() != Some("gauge") && value < 0.0 {
            fault("a count is not below 0");
        }
        let mut sorted = labels.clone();
        sorted.sort();
        if sorted.windows(2).any(|two| two[0].0 == two[1].0) {
            fault("it has a label twice");
        }
        if !series.insert((name.clone(), sorted.clone())) {
            fault("it was there already");
        }
        let bound =
            sorted.iter().position(|(label, _)| label == "le").map(|at| sorted.remove(at).1);
        let key = format!("{sorted:?}");
        match (bound, name.strip_prefix(&*base)) {
            (Some(bound), Some("_bucket")) => {
                let bound = bound.parse().unwrap_or(f64::NAN);
                family.buckets.entry(key).or_default().push((bound, value));
            }
            (None, Some("_count")) => drop(family.counts.insert(key, value)),
            (None, Some("_sum")) => drop(family.sums.insert(key)),
            (None, Some("")) if family.kind.as_deref() != Some("histogram") => {}
            _ => fault("it is no part of its family"),
        }
    }
    faults.extend(families.iter().flat_map(|(name, family)| unfinished(name, family)));
    faults
}

/// What is wrong with a family's name.
fn misnamed(name: &str, kind: &str) -> Vec<&'static str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let ends = |end: &&str| name.ends_with(end);
    let rules = [
        (
            name.starts_with("plimsoll_") && name.chars().all(plain),
            "a name is plimsoll_ and small letters",
        ),
        (
            !name.split('_').any(|word| BAD_WORDS.contains(&word)),
            "a name has base units, and not its type",
        ),
        (
            (kind == "counter") == name.ends_with("_total"),
            "a counter, and nothing else, ends in _total",
        ),
        (
            !["_count", "_sum", "_bucket"].iter().any(ends),
            "that is the name of a part of a histogram",
        ),
        (kind != "histogram" || name.ends_with("_seconds"), "a histogram has its unit"),
    ];
    rules.into_iter().filter_map(|(holds, rule)| (!holds).then_some(rule)).collect()
}

/// What a family lacks at the end.
fn unfinished(name: &str, family: &Family) -> Vec<String> {
    let mut faults = Vec::new();
    if family.help != 1 || family.kind.is_none() {
        faults.push(format!("{name} has no help or no type"));
    }
    for (labels, buckets) in &family.buckets {
        let rises = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        let last = buckets.last().copied();
        let whole = last == family.counts.get(labels).map(|count| (f64::INFINITY, *count));
        if !rises || !whole || !family.sums.contains(labels) {
            faults.push(format!("{name}{labels} is no whole histogram"));
        }
    }
    faults
}

type Labels = Vec<(String, String)>;

/// Its name, labels and value.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            if label.is_empty() || !label.chars().all(plain) {
                return None;
            }
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next()?.1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        _ => return None,
                    },
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    Some((name.to_owned(), labels, value))
}

const GOOD: &str = "# HELP plimsoll_up Whether it is up.\n# TYPE plimsoll_up gauge\n\
    plimsoll_up{a=\"x\\\"\\\\\"} 1\nplimsoll_up{a=\"y\"} 0\n\
    # HELP plimsoll_done_total What is done.\n# TYPE plimsoll_done_total counter\n\
    plimsoll_done_total 5\n# HELP plimsoll_run_seconds How long.\n\
    # TYPE plimsoll_run_seconds histogram\nplimsoll_run_seconds_bucket{le=\"0.1\"} 1\n\
    plimsoll_run_seconds_bucket{le=\"+Inf\"} 2\nplimsoll_run_seconds_sum 3.5\n\
    plimsoll_run_seconds_count 2\n";

#[test]
fn the_look_at_metrics_sees_what_is_wrong() {
    assert_good(GOOD);
    for (there, instead) in [
        ("# HELP plimsoll_up Whether it is up.\n", ""),
        ("# TYPE plimsoll_up gauge\n", ""),
        ("Whether it is up.", " "),
        ("# TYPE plimsoll_up gauge", "# TYPE plimsoll_up counter"),
        ("plimsoll_done_total", "plimsoll_done"),
        ("plimsoll_done_total", "plimsoll_doneMore_total"),
        ("plimsoll_done_total", "done_total"),
        ("plimsoll_run_seconds", "plimsoll_run_milliseconds"),
        ("plimsoll_up", "plimsoll_up_gauge"),
        ("plimsoll_up", "plimsoll_up_total"),
        ("plimsoll_up", "plimsoll_up_count"),
        ("{a=\"y\"} 0", "{a=\"x\\\"\\\\\"} 0"),
        ("{a=\"y\"} 0", "{a=\"y\",a=\"z\"} 0"),
        ("{a=\"y\"} 0", "{a=\"y\"z\"} 0"),
        ("{a=\"y\"} 0", "{a=\"\\y\"} 0"),
        ("{a=\"y\"} 0", "{a=\"y\"} none"),
        ("plimsoll_done_total 5", "plimsoll_done_total -5"),
        ("plimsoll_done_total 5\n", "plimsoll_done_total 5\nplimsoll_up{a=\"z\"} 1\n"),
        ("plimsoll_done_total 5\n", "plimsoll_done_total 5\nother 1\n"),
        ("plimsoll_run_seconds_count 2", "plimsoll_run_seconds_count 3"),
        ("plimsoll_run_seconds_sum 3.5\n", ""),
        ("plimsoll_run_seconds_bucket{le=\"+Inf\"} 2\n", ""),
        ("{le=\"0.1\"} 1", "{le=\"0.1\"} 3"),
        ("plimsoll_run_seconds_count 2\n", "plimsoll_run_seconds_count 2"),
    ] {
        let page = GOOD.replace(there, instead);
        assert!(page != GOOD && !faults(&page).is_empty(), "nothing is wrong with\n{page}");
    }
}
