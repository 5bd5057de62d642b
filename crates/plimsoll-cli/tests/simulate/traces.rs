//! Traces: what came is simulated as it came.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::running::{figure, run};

/// Requests every tenth of a second, each of 0.75 s: 7.5 workers' work.
fn steady(folder: &Path) -> String {
    let mut text = String::from("arrival,service\n");
    for nth in 0..2000 {
        let _ = writeln!(text, "{},0.75", f64::from(nth) / 10.0);
    }
    let path = folder.join("steady.csv");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_trace_tells_what_fewer_workers_would_have_done() {
    let folder = tempfile::tempdir().unwrap();
    let trace = steady(folder.path());
    let words = ["--trace", &trace, "--seed", "1", "--policy", "least-loaded", "--json"];
    let objects = run(&[&words[..], &["--sweep", "workers=7,8"]].concat()).expect(0).objects();
    let [few, enough] = &objects[..] else { panic!("{objects:?}") };
    assert_eq!((few["answered"].as_u64(), enough["answered"].as_u64()), (Some(2000), Some(2000)));
    // With 8 nobody waits, and with 7 the last waits for all that could not be done.
    assert!(
        figure(enough, "waiting") < 1e-9 && (figure(enough, "mean") - 0.75).abs() < 1e-9,
        "{enough}"
    );
    assert!(figure(few, "max") > 10.0, "{few}");
    assert!((figure(enough, "load") - 7.5 / 8.0).abs() < 0.001, "{enough}");
}

#[test]
fn a_capacity_keeps_what_waits_in_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let trace = steady(folder.path());
    let words = ["--trace", &trace, "--seed", "1", "--policy", "least-loaded", "--json"];
    let object =
        &run(&[&words[..], &["--workers", "7", "--capacity", "1"]].concat()).expect(0).objects()[0];
    assert_eq!(object["most_pending"].as_u64(), Some(1));
    assert!(figure(object, "longest_line") > 100.0, "{object}");
}

/// Most of them are refused, so that few are answered: all the same they are told.
#[test]
fn a_short_trace_that_is_mostly_refused_has_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.csv");
    let lines: Vec<String> =
        (0..300).map(|nth| format!("{},0.75", f64::from(nth) / 10.0)).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    let words = ["--trace", path.to_str().unwrap(), "--seed", "1", "--workers", "1", "--json"];
    let bounds = ["--policy", "least-loaded", "--capacity", "1", "--line", "0"];
    let objects = run(&[&words[..], &bounds].concat()).expect(0).objects();
    let [object] = &objects[..] else { panic!("{objects:?}") };
    assert!((figure(object, "mean") - 0.75).abs() < 1e-9, "{object}");
    let all = figure(object, "answered") + figure(object, "refused");
    assert!(all.total_cmp(&300.0).is_eq(), "{object}");
}

/// The line that docs/SERVE.md shows is a trace of one request.
#[test]
fn the_access_log_as_documented_is_a_trace() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/SERVE.md");
    let text = fs::read_to_string(docs).unwrap();
    let line =
        text.lines().find(|line| line.starts_with("time=")).expect("docs/SERVE.md shows a line");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    fs::write(&path, format!("{line}\n")).unwrap();
    let words = ["--trace", path.to_str().unwrap(), "--workers", "1", "--seed", "1", "--json"];
    let done = run(&[&words[..], &["--policy", "least-loaded"]].concat()).expect(0);
    let total: f64 = line.split("total=").nth(1).unwrap().trim().parse().unwrap();
    let mean = figure(&done.objects()[0], "mean");
    assert!((mean - total).abs() < 1e-9, "{mean}, logged {total}");
}

#[test]
fn a_bad_trace_is_one_sentence_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.csv");
    let path = path.to_str().unwrap();
    let cases = [
        ("1,2\n2,-3\n", "bad.csv: line 2: its service is -3, and times are not negative"),
        ("", "bad.csv: the trace has no requests"),
        ("arrival,service\n", "bad.csv: the trace has no requests"),
        ("1,2\n2\n", "line 2"),
        ("1,2\r\n2,-3", "bad.csv: line 2: its service is -3"),
        ("1,1,2\n", "bad.csv: line 1: it has 3 columns"),
        (
            "time=2026-11-25T23:20:11Z backend=- line=0 total=1\n",
            "none of its 1 requests was served by a backend",
        ),
    ];
    for (text, expected) in cases {
        fs::write(path, text).unwrap();
        let done = run(&["--trace", path]).expect(2);
        assert!(done.stderr.contains(expected), "{text}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
}

#[test]
fn service_times_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("times");
    fs::write(&path, "0.5\n1.5\n4\n").unwrap();
    let service = format!("file:{}", path.display());
    let words =
        ["--service", &service, "--workers", "20", "--load", "0.5", "--seed", "1", "--json"];
    let few = ["--policy", "random", "--jobs", "200000"];
    let object = &run(&[&words[..], &few].concat()).expect(0).objects()[0];
    // Pollaczek and Khinchine: 2 + 0.25 × 6.1667 / (2 × 0.5).
    let expected = 2.0 + 0.25 * (0.25 + 2.25 + 16.0) / 3.0;
    assert!((figure(object, "closed_form") - expected).abs() < 1e-9, "{object}");
    assert!((figure(object, "mean") / expected - 1.0).abs() < 0.05, "{object}");
}
