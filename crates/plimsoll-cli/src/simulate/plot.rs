//! Results as pictures: what is drawn.

use std::path::Path;

use plimsoll_sim::{Sample, Summary};

use super::args::{Plan, Plot, Simulation};
use super::picture::{self, Axes, Series};
use super::sweep::Name;

/// Draws into a file; tells whether there was anything to draw.
///
/// # Errors
///
/// A sentence.
pub(crate) fn plot(
    plan: &Plan,
    results: &[Option<Summary>],
    path: &Path,
    kind: Plot,
) -> Result<bool, String> {
    let told: Vec<(&Simulation, &Summary)> = plan
        .simulations
        .iter()
        .zip(results)
        .filter_map(|(simulation, summary)| Some((simulation, summary.as_ref()?)))
        .collect();
    let (axes, series) = match kind {
        Plot::Latency => latency(plan, &told),
        Plot::Distribution => distribution(&told),
        Plot::Pending => pending(&told),
    };
    if series.iter().all(|series| series.points.is_empty()) {
        return Ok(false);
    }
    picture::draw(path, &axes, &series)?;
    Ok(true)
}

/// How a row is called where there are several points.
pub(crate) fn name(simulation: &Simulation) -> String {
    match simulation.swept {
        Some(value) => format!("{}, {value}", simulation.config.policy),
        None => simulation.config.policy.to_string(),
    }
}

fn latency(plan: &Plan, told: &[(&Simulation, &Summary)]) -> (Axes, Vec<Series>) {
    let mut series: Vec<Series> = Vec::new();
    for (simulation, summary) in told {
        let name = simulation.config.policy.to_string();
        let point = (simulation.swept.unwrap_or_default(), summary.mean.value);
        match series.iter_mut().find(|series| series.name == name) {
            Some(found) => found.points.push(point),
            None => series.push(Series { name, points: vec![point] }),
        }
    }
    let swept = plan.sweep.as_ref().map(|sweep| sweep.name);
    let axes = Axes {
        title: "Mean response time",
        x: swept.map_or("", Name::as_str),
        y: "seconds",
        log_x: matches!(swept, Some(Name::Balancers | Name::Capacity)),
        log_y: true,
    };
    (axes, series)
}

/// The share of requests that take longer, over the time.
fn distribution(told: &[(&Simulation, &Summary)]) -> (Axes, Vec<Series>) {
    let series = told.iter().map(|(simulation, summary)| {
        let all = summary.responses.len();
        let mut above = all;
        let mut points = Vec::new();
        for step in summary.responses.iter_recorded() {
            above -= step.count_since_last_iteration();
            // Fewer than some ten say little of where the tail goes, and the axis is not for
            // the few that take next to nothing.
            if above < 10 {
                break;
            }
            if above > all - all / 100 {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "for drawing")]
            let point = (step.value_iterated_to() as f64 / 1e9, above as f64 / all as f64);
            points.push(point);
        }
        Series { name: name(simulation), points: steps(&thin(&points)) }
    });
    let axes = Axes {
        title: "Requests that take longer",
        x: "response time, seconds",
        y: "share of requests",
        log_x: true,
        log_y: true,
    };
    (axes, series.collect())
}

/// Some hundreds of points, which is what a picture shows.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in points {
        let is_apart = kept
            .last()
            .is_none_or(|&(before, high): &(f64, f64)| x > before * 1.02 || y < high * 0.95);
        if is_apart {
            kept.push((x, y));
        }
    }
    kept
}

/// The share is the same until the next time, and falls there.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::with_capacity(points.len() * 2);
    for &(x, y) in points {
        if let Some(&(_, before)) = steps.last() {
            steps.push((x, before));
        }
        steps.push((x, y));
    }
    steps
}

fn pending(told: &[(&Simulation, &Summary)]) -> (Axes, Vec<Series>) {
    let series = told.iter().map(|(simulation, summary)| {
        let workers = f64::from(simulation.config.workers);
        let point =
            |sample: &Sample| (sample.at, f64::from(sample.pending + sample.waiting) / workers);
        Series { name: name(simulation), points: summary.samples.iter().map(point).collect() }
    });
    let axes = Axes {
        title: "Requests pending and in line, per worker",
        x: "seconds",
        y: "requests a worker",
        log_x: false,
        log_y: false,
    };
    (axes, series.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_falls_in_steps() {
        assert_eq!(steps(&[(1.0, 0.5), (3.0, 0.2)]), [(1.0, 0.5), (3.0, 0.5), (3.0, 0.2)]);
    }
}
