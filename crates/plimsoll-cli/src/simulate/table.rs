//! Results as text, JSON and CSV: the same columns, under the same names.

use std::fmt::Write as _;

use plimsoll_sim::{Arrivals, Config, Discipline, Estimate, Summary};
use serde_json::{Map, Value};

use super::args::{Plan, Simulation};

/// One figure of a row.
#[derive(Clone, Debug)]
enum Cell {
    Text(String),
    Count(u64),
    /// A figure, and half of its 95 % interval where there is one.
    Real(f64, Option<f64>),
    /// A closed form of a number of workers that grows without end.
    Limit(f64),
    Truth(bool),
    Nothing,
}

/// A row, its columns by name.
type Row = Vec<(&'static str, Cell)>;

fn row(simulation: &Simulation, summary: &Summary) -> Row {
    let Config { policy, workers, balancers, .. } = &simulation.config;
    let capacity = simulation.config.capacity_in_force();
    let real =
        |it: Estimate| Cell::Real(it.value, it.half_width.is_finite().then_some(it.half_width));
    let [p50, p90, p99, p999] = summary.quantiles.map(real);
    let closed_form = match simulation.expected {
        Some(expected) if expected.is_exact => Cell::Real(expected.mean, None),
        Some(expected) => Cell::Limit(expected.mean),
        None => Cell::Nothing,
    };
    let is_exact = simulation.expected.map(|expected| expected.is_exact);
    vec![
        ("policy", Cell::Text(policy.to_string())),
        ("workers", Cell::Count(u64::from(*workers))),
        ("balancers", Cell::Count(u64::from(*balancers))),
        ("capacity", capacity.map_or(Cell::Nothing, |it| Cell::Count(u64::from(it.get())))),
        ("load", simulation.load.map_or(Cell::Nothing, |load| Cell::Real(load, None))),
        ("mean", real(summary.mean)),
        ("closed_form", closed_form),
        ("closed_form_is_exact", is_exact.map_or(Cell::Nothing, Cell::Truth)),
        ("p50", p50),
        ("p90", p90),
        ("p99", p99),
        ("p99.9", p999),
        ("max", Cell::Real(summary.max, None)),
        ("waiting", real(summary.waiting)),
        ("imbalance", real(summary.imbalance)),
        ("variation", real(summary.variation)),
        ("longest_line", Cell::Count(summary.longest_line)),
        ("most_pending", Cell::Count(u64::from(summary.most_pending))),
        ("answered", Cell::Count(summary.answered)),
        ("refused", Cell::Count(summary.refused)),
        ("failed", Cell::Count(summary.failed)),
        ("regret", real(summary.regret)),
    ]
}

fn rows(plan: &Plan, results: &[Option<Summary>]) -> Vec<Row> {
    let all = plan.simulations.iter().zip(results);
    all.filter_map(|(simulation, summary)| Some(row(simulation, summary.as_ref()?))).collect()
}

/// A list of one object per policy and point; of each figure with an interval half
/// of that under `NAME_half_width`.
pub(crate) fn json(plan: &Plan, results: &[Option<Summary>]) -> String {
    let object = |row: Row| {
        let mut object = Map::new();
        for (name, cell) in row {
            if let Cell::Real(_, Some(half_width)) = cell {
                object.insert(format!("{name}_half_width"), half_width.into());
            }
            let value = match cell {
                Cell::Text(text) => text.into(),
                Cell::Count(count) => count.into(),
                Cell::Truth(truth) => truth.into(),
                Cell::Real(value, _) | Cell::Limit(value) => value.into(),
                Cell::Nothing => Value::Null,
            };
            object.insert(name.into(), value);
        }
        object.insert("seed".into(), plan.seed.into());
        Value::Object(object)
    };
    let objects: Vec<String> =
        rows(plan, results).into_iter().map(|row| format!("  {}", object(row))).collect();
    if objects.is_empty() {
        return "[]\n".into();
    }
    format!("[\n{}\n]\n", objects.join(",\n"))
}

/// The columns, in order, and whether half of an interval may follow: always the same ones.
const COLUMNS: [(&str, bool); 22] = [
    ("policy", false),
    ("workers", false),
    ("balancers", false),
    ("capacity", false),
    ("load", false),
    ("mean", true),
    ("closed_form", false),
    ("closed_form_is_exact", false),
    ("p50", true),
    ("p90", true),
    ("p99", true),
    ("p99.9", true),
    ("max", false),
    ("waiting", true),
    ("imbalance", true),
    ("variation", true),
    ("longest_line", false),
    ("most_pending", false),
    ("answered", false),
    ("refused", false),
    ("failed", false),
    ("regret", true),
];

/// A line of names, then a line per policy and point.
pub(crate) fn csv(plan: &Plan, results: &[Option<Summary>]) -> String {
    let rows = rows(plan, results);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let is_measured = |name: &str| COLUMNS.contains(&(name, true));
    let mut names = Vec::new();
    for (name, has_interval) in COLUMNS {
        names.push(name.to_owned());
        if has_interval {
            names.push(format!("{name}_half_width"));
        }
    }
    names.push("seed".into());
    // Writing to memory does not fail.
    let _ = writer.write_record(&names);
    for row in &rows {
        let mut fields = Vec::new();
        for (name, cell) in row {
            fields.push(match cell {
                Cell::Text(text) => text.clone(),
                Cell::Count(count) => count.to_string(),
                Cell::Truth(truth) => truth.to_string(),
                Cell::Real(value, _) | Cell::Limit(value) => value.to_string(),
                Cell::Nothing => String::new(),
            });
            if is_measured(name) {
                fields.push(match cell {
                    Cell::Real(_, Some(half_width)) => half_width.to_string(),
                    _ => String::new(),
                });
            }
        }
        fields.push(plan.seed.to_string());
        let _ = writer.write_record(&fields);
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// What all rows have in common in one line, how it was `cut` short, if it was, and the table:
/// below each row what half of its 95 % intervals are.
pub(crate) fn text(plan: &Plan, results: &[Option<Summary>], cut: Option<&str>) -> String {
    let mut text = head(plan);
    if let Some(sentence) = cut {
        let _ = writeln!(text, "{sentence}");
    }
    text.push_str("times in seconds; below a figure half of its 95 % interval\n\n");
    let swept = plan.sweep.as_ref().map(|sweep| sweep.name.as_str());
    // What stands in the head, or is nothing everywhere, needs no column.
    let rows = rows(plan, results);
    let constant = ["workers", "balancers", "capacity", "load"];
    let is_shown = |name: &str| {
        let is_some = |(found, cell): &(&str, Cell)| {
            *found == name && !matches!(cell, Cell::Nothing | Cell::Count(0))
        };
        let kept = name == "refused" || rows.iter().any(|row| row.iter().any(is_some));
        let varies = Some(name) == swept || name == "load" && !has_one_load(plan);
        kept && name != "closed_form_is_exact" && (varies || !constant.contains(&name))
    };
    let mut lines: Vec<Vec<String>> = Vec::new();
    if let Some(first) = rows.first() {
        lines.push(first.iter().filter(|(name, _)| is_shown(name)).map(|it| label(it.0)).collect());
    }
    for row in &rows {
        let shown: Vec<&Cell> =
            row.iter().filter(|(name, _)| is_shown(name)).map(|(_, cell)| cell).collect();
        lines.push(shown.iter().map(|cell| value(cell)).collect());
        let widths: Vec<String> = shown.iter().map(|cell| half_width(cell)).collect();
        if widths.iter().any(|width| !width.is_empty()) {
            lines.push(widths);
        }
    }
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for line in &lines {
        let _ = write!(text, "{:<1$}", line[0], widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    if rows.iter().any(|row| row.iter().any(|(_, cell)| matches!(cell, Cell::Limit(_)))) {
        text.push_str("~: of a number of workers that grows without end\n");
    }
    for doubt in doubts(plan, results) {
        let _ = writeln!(text, "{doubt}");
    }
    let missing = plan.simulations.len() - rows.len();
    if missing > 0 {
        let _ =
            writeln!(text, "{missing} of {} rows had nothing to tell yet", plan.simulations.len());
    }
    text
}

/// Rows whose figures are not what they would be in the long run: sentences.
pub(crate) fn doubts(plan: &Plan, results: &[Option<Summary>]) -> Vec<String> {
    let names = |is_meant: &dyn Fn(&Simulation, &Summary) -> bool| {
        let told = plan.simulations.iter().zip(results);
        let meant = told.filter(|(simulation, summary)| {
            summary.as_ref().is_some_and(|summary| is_meant(simulation, summary))
        });
        let names: Vec<String> =
            meant.map(|(simulation, _)| super::plot::name(simulation)).collect();
        (!names.is_empty()).then(|| names.join("; "))
    };
    let restless =
        names(&|simulation, summary| simulation.config.faults.is_empty() && !summary.is_steady())
            .map(|names| {
                format!(
                    "not steady, as 1 steady row in 20 seems by chance; more --jobs or a longer \
                     --warm-up will tell more: {names}"
                )
            });
    let missed = names(&|simulation, summary| {
        simulation.expected.is_some_and(|expected| summary.misses(&expected))
    });
    let missed = missed.map(|names| {
        format!("away from an exact closed form, so that more --jobs will tell more: {names}")
    });
    let cold = names(&|_, summary| !summary.is_warm);
    let cold = cold.map(|names| format!("ended in their warm-up, which is told: {names}"));
    let told = plan.simulations.iter().zip(results);
    let gave_up = told.filter_map(|(simulation, summary)| {
        let why = summary.as_ref()?.gave_up.as_ref()?;
        Some(format!("{}: {why}", super::plot::name(simulation)))
    });
    restless.into_iter().chain(missed).chain(cold).chain(gave_up).collect()
}

/// Whether all rows are of one load: those of a trace are not when workers are swept.
fn has_one_load(plan: &Plan) -> bool {
    let first = plan.simulations.first().and_then(|one| one.load);
    plan.simulations.iter().all(|one| one.load == first)
}

/// All that the rows have in common: a line.
fn head(plan: &Plan) -> String {
    let Some(first) = plan.simulations.first() else { return String::new() };
    let config = &first.config;
    let mut text = format!("seed {}", plan.seed);
    let swept = plan.sweep.as_ref().map(|sweep| sweep.name.as_str());
    let mut part = |name: &str, part: String| {
        if swept != Some(name) && !part.is_empty() {
            let _ = write!(text, ", {part}");
        }
    };
    part("workers", format!("{} workers", config.workers));
    if has_one_load(plan) {
        part("load", first.load.map_or(String::new(), |load| format!("load {}", short(load))));
    }
    if config.balancers > 1 {
        part("balancers", format!("{} balancers", config.balancers));
    }
    part("subset", config.subset.map_or(String::new(), |subset| format!("{subset} workers each")));
    let is_central = plan.simulations.iter().any(|one| one.config.policy.is_central());
    let slots = if is_central { ", its slots under central-queue" } else { "" };
    part("capacity", config.capacity.map_or(String::new(), |it| format!("capacity {it}{slots}")));
    part("line", config.line.map_or(String::new(), |line| format!("line {line}")));
    if config.slots.get() > 1 {
        part("slots", format!("{} slots", config.slots));
    }
    if config.discipline == Discipline::Sharing {
        part("sharing", "shared".into());
    }
    match &config.arrivals {
        Arrivals::Trace(requests) => {
            part("trace", format!("{} requests of a trace", requests.len()));
        }
        arrivals => {
            part("arrivals", coming(arrivals));
            part("service", config.service.to_string());
        }
    }
    part(
        "costs",
        if config.costs == (1, 1) {
            String::new()
        } else {
            format!("costs {}..{}", config.costs.0, config.costs.1)
        },
    );
    part("speeds", varying("speeds", &config.speeds));
    part("weights", varying("weights", &config.weights));
    if config.with_replacement {
        part("replacement", "drawn with replacement".into());
    }
    if config.same_shuffle {
        part("shuffle", "one order for all balancers".into());
    }
    if config.slow_start > 0.0 {
        part("slow start", format!("slow start {} s", config.slow_start));
    }
    if !config.penalty {
        part("penalty", "no penalty".into());
    }
    let all = || plan.simulations.iter().map(|one| &one.config);
    if !matches!(config.arrivals, Arrivals::Trace(_)) {
        let (least, most) = ends(all().map(|config| config.jobs)).unwrap_or_default();
        part("jobs", format!("{} runs of {} requests", plan.runs, between(&least, &most)));
    }
    let percents = all().map(|config| (config.warm_up * 1000.0).round() / 10.0);
    let least = percents.clone().fold(f64::INFINITY, f64::min);
    let most = percents.fold(0.0, f64::max);
    if most > 0.0 || !matches!(config.arrivals, Arrivals::Trace(_)) {
        part("warm-up", format!("{} % of each not measured", between(&least, &most)));
    }
    for fault in &config.faults {
        part("fault", fault.to_string());
    }
    text.push('\n');
    text
}

fn coming(arrivals: &Arrivals) -> String {
    match arrivals {
        Arrivals::Bursts { factor, length } => format!("bursts:{factor}:{length}"),
        Arrivals::Closed { requesters, think } => format!("closed:{requesters}:{think}"),
        Arrivals::Poisson | Arrivals::Trace(_) => String::new(),
    }
}

/// Numbers of workers in turn, where they are not all 1.
fn varying<T: ToString>(name: &str, numbers: &[T]) -> String {
    let texts: Vec<String> = numbers.iter().map(T::to_string).collect();
    if texts.iter().all(|text| text == "1") {
        return String::new();
    }
    // A long list is told by its beginning.
    let more = if texts.len() > 8 { ",..." } else { "" };
    format!("{name} {}{more}", texts[..texts.len().min(8)].join(","))
}

fn ends(counts: impl Iterator<Item = u64> + Clone) -> Option<(u64, u64)> {
    Some((counts.clone().min()?, counts.max()?))
}

fn between<T: PartialOrd + ToString>(least: &T, most: &T) -> String {
    if least < most {
        format!("{} to {}", least.to_string(), most.to_string())
    } else {
        least.to_string()
    }
}

/// A column's name, as a heading.
fn label(name: &str) -> String {
    name.replace('_', " ")
}

fn value(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Count(count) => count.to_string(),
        Cell::Truth(truth) => truth.to_string(),
        Cell::Real(value, _) => short(*value),
        Cell::Limit(value) => format!("~{}", short(*value)),
        Cell::Nothing => String::new(),
    }
}

/// Half of an interval, to the digit of its figure, or to its own first one.
fn half_width(cell: &Cell) -> String {
    match *cell {
        Cell::Real(value, Some(half_width)) if value.abs() < SMALLEST => {
            format!("±{}", short(half_width))
        }
        Cell::Real(_, Some(half_width)) if half_width < SMALLEST => "±0".into(),
        Cell::Real(value, Some(half_width)) => {
            format!("±{half_width:.0$}", decimals(value).max(first_digit(half_width)))
        }
        _ => String::new(),
    }
}

/// A billionth of a second is the clock's own step.
const SMALLEST: f64 = 0.5e-9;

/// Four digits or so.
fn short(value: f64) -> String {
    if value.abs() < SMALLEST { "0".into() } else { format!("{value:.0$}", decimals(value)) }
}

/// Digits behind the point: four in all where a figure is below 1, and more where it would look
/// like 1.
fn decimals(value: f64) -> usize {
    match value.abs() {
        size @ ..0.9 => first_digit(size) + 3,
        size @ ..1.0 => (first_digit(1.0 - size) + 1).max(4),
        ..10.0 => 4,
        ..100.0 => 3,
        ..1000.0 => 2,
        ..10_000.0 => 1,
        _ => 0,
    }
}

/// Where behind the point the first digit stands that is not 0; 0 of numbers from 1 on. What
/// is less than a tenth by a rounding error is a tenth.
fn first_digit(size: f64) -> usize {
    (0..16).find(|&place: &u8| size * 10_f64.powi(place.into()) >= 1.0 - 1e-9).unwrap_or(16).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_about_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (1e-10, "0"),
            (1e-9, "0.000000001000"),
            (0.000_655, "0.0006550"),
            (0.05, "0.05000"),
            (0.9, "0.9000"),
            (0.999_99, "0.999990"),
            (-0.000_655, "-0.0006550"),
            (1.0, "1.0000"),
            (1.06674, "1.0667"),
            (23.456, "23.456"),
            (229.44, "229.44"),
            (4567.89, "4567.9"),
            (1e6, "1000000"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn an_interval_has_the_digits_of_its_figure() {
        for (value, width, text) in [
            (0.000_655, 0.000_012_3, "±0.0000123"),
            (1.5, 0.0123, "±0.0123"),
            (1.5, 0.000_012, "±0.00001"),
            (100.0, 0.0, "±0"),
            (0.0, 0.000_34, "±0.0003400"),
        ] {
            assert_eq!(half_width(&Cell::Real(value, Some(width))), text);
        }
    }
}
