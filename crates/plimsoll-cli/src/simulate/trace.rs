//! Requests from a file: when they came, and how long each took a worker.
//!
//! Three kinds, told by the first line: CSV with the columns `arrival` and
//! `service` (with or without a line that names them), JSON Lines with such
//! keys, both in seconds; and the access log of `plimsoll serve`, as text or
//! as JSON. Of a log the arrival is its time minus `total`, and the service what is left of
//! `total` without `line`: what a backend needed with whatever else it then had.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use plimsoll_sim::Arrival;
use serde_json::Value;

/// A trace, in order of time, from its first arrival on.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) requests: Arc<[Arrival]>,
    /// Lines of a log whose request no backend has served.
    pub(crate) unserved: usize,
}

impl Trace {
    /// What was left out, if anything.
    pub(crate) fn note(&self, path: &Path) -> Option<String> {
        (self.unserved > 0).then(|| {
            format!(
                "{}: {} requests that no backend served are left out",
                path.display(),
                self.unserved
            )
        })
    }
}

/// The requests of a trace.
///
/// # Errors
///
/// A sentence with the file and the line.
pub(crate) fn read(path: &Path) -> Result<Trace, String> {
    let trace = parse(&text(path)?).map_err(|what| format!("{}: {what}", path.display()))?;
    if trace.requests.is_empty() && trace.unserved > 0 {
        return Err(format!(
            "{}: none of its {} requests was served by a backend, so that there is none to simulate",
            path.display(),
            trace.unserved
        ));
    }
    if trace.requests.is_empty() {
        return Err(format!("{}: the trace has no requests", path.display()));
    }
    Ok(trace)
}

/// Service times in seconds, one a line.
///
/// # Errors
///
/// A sentence with the file and the line.
pub(crate) fn times(path: &Path) -> Result<Arc<[f64]>, String> {
    let mut times = Vec::new();
    for (number, line) in lines(&text(path)?) {
        let time = seconds(line.trim(), "a time");
        times.push(time.map_err(|what| format!("{}: line {number}: {what}", path.display()))?);
    }
    if !times.iter().any(|&time| time > 0.0) {
        return Err(format!("{}: there is no time above 0 in it", path.display()));
    }
    Ok(times.into())
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Lines with something in them, counted from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
}

/// Arrival and service in nanoseconds, the arrival from any origin; `None` for a
/// request that nobody served.
type Found = Option<(i128, u64)>;

fn parse(text: &str) -> Result<Trace, String> {
    let first = lines(text).next().map_or("", |(_, line)| line.trim_start());
    let found: Vec<Found> = if first.starts_with('{') {
        lines(text).map(|(number, line)| at(number, json(line))).collect::<Result<_, _>>()?
    } else if first.starts_with("time=") {
        lines(text).map(|(number, line)| at(number, log(line))).collect::<Result<_, _>>()?
    } else {
        csv(text)?
    };
    let mut served: Vec<(i128, u64)> = found.iter().copied().flatten().collect();
    let unserved = found.len() - served.len();
    served.sort_by_key(|&(arrival, _)| arrival);
    let start = served.first().map_or(0, |&(arrival, _)| arrival);
    let requests = served.into_iter().map(|(arrival, service)| Arrival {
        // Beyond 584 years after the first is never.
        at: u64::try_from(arrival - start).unwrap_or(u64::MAX),
        service,
    });
    Ok(Trace { requests: requests.collect(), unserved })
}

fn at<T>(number: usize, found: Result<T, String>) -> Result<T, String> {
    found.map_err(|what| format!("line {number}: {what}"))
}

fn csv(text: &str) -> Result<Vec<Found>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let mut found = Vec::new();
    let mut columns = (0, 1);
    let mut record = csv::StringRecord::new();
    let (mut is_first, mut is_named) = (true, false);
    while reader.read_record(&mut record).map_err(|error| error.to_string())? {
        let end = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        let number = || last_line(text, end);
        let was_first = std::mem::take(&mut is_first);
        if was_first && record.iter().all(|field| field.parse::<f64>().is_err()) {
            is_named = true;
            let column = |name| record.iter().position(|field| field == name);
            let named = column("arrival").zip(column("service"));
            columns = named.ok_or_else(|| {
                format!("line {}: its columns are not named arrival and service", number())
            })?;
            continue;
        }
        if !is_named && record.len() > 2 {
            return Err(format!(
                "line {}: it has {} columns, and no first line names them: that should name one \
                 arrival and one service",
                number(),
                record.len()
            ));
        }
        let (Some(arrival), Some(service)) = (record.get(columns.0), record.get(columns.1)) else {
            return Err(format!("line {}: there is no arrival and service in it", number()));
        };
        let both = seconds(arrival, "its arrival")
            .and_then(|arrival| Ok(pair(arrival, seconds(service, "its service")?)));
        found.push(Some(both.map_err(|what| format!("line {}: {what}", number()))?));
    }
    Ok(found)
}

/// The number of the last line that ends at this byte or in which it lies.
fn last_line(text: &str, end: usize) -> usize {
    let before = &text.as_bytes()[..end.min(text.len())];
    let ended = memchr::memchr_iter(b'\n', before).count();
    if before.ends_with(b"\n") { ended } else { ended + 1 }
}

fn json(line: &str) -> Result<Found, String> {
    let object: Value =
        serde_json::from_str(line).map_err(|error| format!("it is no JSON: {error}"))?;
    if let Some(time) = object.get("time").and_then(Value::as_str) {
        let number = |name: &str| {
            let number = object.get(name).and_then(Value::as_f64);
            number.ok_or_else(|| format!("it has no number '{name}'"))
        };
        let is_served = object.get("backend").is_some_and(Value::is_string);
        return logged(time, number("total")?, number("line")?, is_served);
    }
    let field = |name: &str| {
        let number = object.get(name).and_then(Value::as_f64);
        let number = number.ok_or_else(|| format!("it has no number '{name}'"))?;
        checked(number, &format!("its {name}"))
    };
    Ok(Some(pair(field("arrival")?, field("service")?)))
}

/// A line of the access log as text.
fn log(line: &str) -> Result<Found, String> {
    let field = |name: &str| {
        let mut fields = line.split(' ').filter_map(|field| field.split_once('='));
        let found = fields.find(|(key, _)| *key == name);
        found.map(|(_, value)| value).ok_or_else(|| format!("it has no '{name}='"))
    };
    let total = seconds(field("total")?, "its total")?;
    let waited = seconds(field("line")?, "its line")?;
    logged(field("time")?, total, waited, field("backend")? != "-")
}

fn logged(time: &str, total: f64, waited: f64, is_served: bool) -> Result<Found, String> {
    let ended: Timestamp = time.parse().map_err(|_| format!("its time '{time}' is none"))?;
    let (total, waited) = (checked(total, "its total")?, checked(waited, "its line")?);
    let service = nanos((total - waited).max(0.0));
    Ok(is_served.then(|| (ended.as_nanosecond() - i128::from(nanos(total)), service)))
}

fn pair(arrival: f64, service: f64) -> (i128, u64) {
    (i128::from(nanos(arrival)), nanos(service))
}

fn seconds(text: &str, what: &str) -> Result<f64, String> {
    let number = text.parse().map_err(|_| format!("{what} '{text}' is no number"))?;
    checked(number, what)
}

fn checked(number: f64, what: &str) -> Result<f64, String> {
    if number < 0.0 {
        return Err(format!("{what} is {number}, and times are not negative"));
    }
    let fits = number.is_finite() && number < 1e10;
    fits.then_some(number).ok_or_else(|| format!("{what} {number} is no time in seconds"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are not negative, and the cast saturates"
)]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: u64 = 1_000_000;

    fn pairs(text: &str) -> Vec<(u64, u64)> {
        let trace = parse(text).unwrap();
        trace
            .requests
            .iter()
            .map(|request| (request.at / MILLIS, request.service / MILLIS))
            .collect()
    }

    #[test]
    fn all_kinds_tell_the_same() {
        let expected = [(0, 250), (500, 1500)];
        assert_eq!(pairs("10,0.25\n10.5,1.5\n"), expected);
        assert_eq!(pairs("service,what,arrival\n1.5,b,10.5\n0.25,a,10\n"), expected);
        let lines =
            "{\"arrival\": 10.5, \"service\": 1.5}\n\n{\"arrival\": 10, \"service\": 0.25}\n";
        assert_eq!(pairs(lines), expected);
    }

    #[test]
    fn the_access_log_is_a_trace() {
        let text = "time=2026-11-25T23:20:10.000000000Z client=::1 method=GET path=/a=b status=200 \
            bytes=5 backend=127.0.0.1:1 pending=1 line=0.500000 tries=1 connect=0.0 total=2.000000\n\
            time=2026-11-25T23:20:11Z client=::1 method=GET path=/ status=503 bytes=5 backend=- \
            pending=0 line=0.1 tries=0 connect=0.0 total=0.1 reason=\"the line is full\"\n\
            time=2026-11-25T23:20:10.25Z client=::1 method=GET path=/ status=200 bytes=5 \
            backend=127.0.0.1:2 pending=1 line=0.000000 tries=1 connect=0.0 total=0.250000\n";
        let expected = [(0, 1500), (2000, 250)];
        assert_eq!(pairs(text), expected);
        assert_eq!(parse(text).unwrap().unserved, 1);
        let json = "{\"time\":\"2026-11-25T23:20:10Z\",\"backend\":\"a\",\"line\":0.5,\"total\":2.0}\n\
            {\"time\":\"2026-11-25T23:20:11Z\",\"backend\":null,\"line\":0.5,\"total\":2.0}\n\
            {\"time\":\"2026-11-25T23:20:10.25Z\",\"backend\":\"b\",\"line\":0,\"total\":0.25}\n";
        assert_eq!(pairs(json), expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let cases = [
            ("1,2\n2,-1\n", "line 2: its service is -1, and times are not negative"),
            ("1,2\n\nx,1\n", "line 3: its arrival 'x' is no number"),
            ("1,2\n3\n", "line 2"),
            ("1,2\n2,-1", "line 2: its service is -1"),
            ("1,2\r\n2,1\r\n3,-1\r\n", "line 3: its service is -1"),
            ("1,2\r\n\r\n# why\r\n3,-1", "line 4: its service is -1"),
            ("7,1,2\n", "line 1: it has 3 columns, and no first line names them"),
            ("when,long\n1,2\n", "line 1: its columns are not named arrival and service"),
            ("{\"arrival\": 1}\n", "line 1: it has no number 'service'"),
            ("{\"arrival\": 1, \"service\": 1}\nnonsense\n", "line 2: it is no JSON"),
            ("time=now total=1 line=0 backend=a\n", "line 1: its time 'now' is none"),
            ("1,nan\n", "line 1: its service NaN is no time"),
        ];
        for (text, expected) in cases {
            let told = parse(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
