//! What operators see: metrics, workers, the access log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::backend::{Backend, Then, nobody, respond, say};
use crate::metrics;
use crate::proxy::Proxy;
use crate::wire;

#[test]
fn metrics_are_in_prometheus_form_and_true() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &[]);
    (0..5).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    proxy.until("over", |proxy| proxy.workers()["requests"] == 5);
    let page = wire::get(proxy.admin, "/metrics");
    assert_eq!(page.field("content-type"), Some("text/plain; version=0.0.4"));
    let name = format!("{{pool=\"default\",backend=\"{}\"}}", backend.address);
    for line in [
        format!("plimsoll_backend_dispatched_total{name} 5"),
        format!("plimsoll_backend_pending{name} 0"),
        format!("plimsoll_backend_up{name} 1"),
        "plimsoll_requests_total 5".to_owned(),
        "plimsoll_line_length{pool=\"default\"} 0".to_owned(),
        "plimsoll_wait_seconds_bucket{pool=\"default\",le=\"+Inf\"} 5".to_owned(),
        "plimsoll_wait_seconds_bucket{pool=\"default\",le=\"10\"} 5".to_owned(),
        "plimsoll_regret_total{pool=\"default\"} 0".to_owned(),
        "plimsoll_idle_while_waiting_total{pool=\"default\"} 0".to_owned(),
    ] {
        assert!(page.text().lines().any(|there| there == line), "{line} in\n{}", page.text());
    }
    for line in page.text().lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().unwrap();
        let parts = ["_sum", "_count", "_bucket"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(page.text().contains(&format!("# TYPE {base} ")), "{line}");
    }
    assert_eq!(wire::get(proxy.admin, "/other").status, 404);
    proxy.finish();
}

#[test]
fn the_log_has_a_line_a_request() {
    let folder = tempfile::tempdir().unwrap();
    for format in ["text", "json"] {
        let file = folder.path().join(format);
        let backend = Backend::says("hello");
        let options = ["--log", format, "--log-file", file.to_str().unwrap()];
        let proxy = Proxy::at(&[backend.address, nobody()], &options);
        for n in 0..4 {
            assert_eq!(proxy.get(&format!("/{n}?q=x")).status, 200);
        }
        let logged = || fs::read_to_string(&file).unwrap_or_default();
        proxy.until("logged", |_| logged().lines().count() == 4);
        for line in logged().lines() {
            let name = backend.address.to_string();
            if format == "json" {
                let line: Value = serde_json::from_str(line).unwrap();
                assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &5.into()));
                assert_eq!(line["backend"].as_str(), Some(&*name));
                assert!(line["total"].as_f64().unwrap() >= line["first_byte"].as_f64().unwrap());
            } else {
                let has = |part: &str| assert!(line.contains(part), "{part} in {line}");
                has("client=127.0.0.1 method=GET path=/");
                has(&format!("status=200 bytes=5 backend={name} pending=1 line=0.0"));
            }
        }
        proxy.finish();
    }
}

/// Who leaves the line, and who is cut off when the drain's time is over, has a
/// line as well.
#[test]
fn the_log_tells_of_requests_without_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, _| {
        let _ = wait.lock().unwrap().recv();
        Then::Close
    });
    let mut proxy = Proxy::over(
        &[&backend],
        &["--capacity", "1", "--log", "json", "--log-file", file.to_str().unwrap()],
    );
    let mut first = proxy.connect();
    first.send("GET /first HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("pending", |proxy| proxy.pending() == 1);
    let mut second = proxy.connect();
    second.send("GET /second HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.until("in line", |proxy| proxy.in_line() == 1);
    thread::sleep(Duration::from_millis(20));
    drop(second);
    proxy.until("nobody in line", |proxy| proxy.in_line() == 0);
    // The second signal ends what the first lets finish.
    proxy.signal(Signal::TERM);
    proxy.until("draining", |proxy| TcpStream::connect(proxy.address).is_err());
    proxy.signal(Signal::TERM);
    proxy.wait();
    drop(go);
    let lines = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        lines.iter().map(|line| (line["path"].as_str(), line["reason"].as_str())).collect();
    let expected = [("/second", "the client left"), ("/first", "the proxy ended")];
    assert_eq!(told, expected.map(|(path, reason)| (Some(path), Some(reason))));
    assert!(lines.iter().all(|line| line["status"] == 0));
    assert!(lines[0]["line"].as_f64() >= Some(0.02), "{}", lines[0]);
}

/// The line of the request for this path, in a log in JSON.
fn logged(proxy: &Proxy, file: &Path, path: &str) -> Value {
    let find = || {
        let text = fs::read_to_string(file).unwrap_or_default();
        // The last may be half written.
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["path"] == path)
    };
    proxy.until("logged", |_| find().is_some());
    find().unwrap()
}

/// With more behind it or not, within its body, by FIN or RST: there was no answer.
#[test]
fn who_leaves_is_logged_and_counted_in_one_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::heads(move |_, _| {
        // Until the test is over.
        let _ = wait.lock().unwrap().recv();
        Then::Close
    });
    let options = ["--no-health", "--log", "json", "--log-file", file.to_str().unwrap()];
    let proxy = Proxy::over(&[&backend], &options);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let post = |path: &str, body| format!("POST {path} HTTP/1.1\r\nHost: test\r\n{body}");
    let requests = |path: &str| {
        [
            get(path),
            get(path) + &get("/behind"),
            post(path, "Content-Length: 10\r\n\r\nhalf"),
            post(path, "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ]
    };
    for n in 0..8 {
        let (path, resets) = (format!("/{n}"), n % 2 == 1);
        let mut wire = proxy.connect();
        wire.send(&requests(&path)[n / 2]);
        proxy.until("pending", |proxy| proxy.pending() == 1);
        if resets {
            wire.reset_on_close();
        }
        drop(wire);
        let line = logged(&proxy, &file, &path);
        let told = (&line["status"], &line["reason"]);
        assert_eq!(told, (&0.into(), &"the client left".into()), "{line}");
    }
    let workers = proxy.workers();
    assert_eq!(workers["refused"]["client_gone"], workers["requests"], "{workers}");
    assert_eq!(proxy.workers()["workers"][0]["failed"], 0);
    drop(go);
    proxy.finish();
}

#[test]
fn who_does_not_read_is_not_said_to_have_left() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let backend = Backend::start(|_, stream| respond(stream, &vec![b'x'; 20_000_000]));
    let options = ["--body-timeout", "0.3", "--log", "json", "--log-file", file.to_str().unwrap()];
    let proxy = Proxy::over(&[&backend], &options);
    let mut wire = proxy.connect();
    wire.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    let line = logged(&proxy, &file, "/large");
    let told = (&line["status"], &line["reason"]);
    assert_eq!(told, (&200.into(), &"the client did not read in time".into()), "{line}");
    assert_eq!(proxy.refused("client_gone"), 0);
    drop(wire);
    proxy.finish();
}

/// The limit on whole requests may pass there.
#[test]
fn the_log_tells_how_long_a_request_waited_that_ran_out_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::heads(move |_, stream| {
        // A tunnel has no limit on the whole of it.
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
        say(stream, switch.as_bytes());
        // Until the test is over.
        let _ = wait.lock().unwrap().recv();
        Then::Close
    });
    let options = ["--capacity", "1", "--no-health", "--request-timeout", "0.4", "--log", "json"];
    let options = [&options[..], &["--log-file", file.to_str().unwrap()]].concat();
    let proxy = Proxy::over(&[&backend], &options);
    let mut first = proxy.connect();
    first.send("GET /first HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    proxy.until("pending", |proxy| proxy.pending() == 1);
    assert_eq!(proxy.get("/second").status, 504);
    let line = logged(&proxy, &file, "/second");
    assert!(line["line"].as_f64() >= Some(0.39), "{line}");
    drop((go, first));
    proxy.finish();
}

/// What hyper is given in a refused head's place is not what the client asked.
#[test]
fn a_head_that_is_refused_has_no_method_and_no_path() {
    let folder = tempfile::tempdir().unwrap();
    for (format, expected) in
        [("text", " method=- path=- status=400 "), ("json", r#""method":"-""#)]
    {
        let file = folder.path().join(format);
        let backend = Backend::says("x");
        let options = ["--log", format, "--log-file", file.to_str().unwrap()];
        let proxy = Proxy::over(&[&backend], &options);
        let mut wire = proxy.connect();
        wire.send("PUT /secret HTTP/1.1\r\n\r\n");
        assert_eq!(wire.response().status, 400);
        let logged = || fs::read_to_string(&file).unwrap_or_default();
        proxy.until("logged", |_| logged().lines().count() == 1);
        assert!(logged().contains(expected), "{}", logged());
        drop(wire);
        proxy.finish();
    }
}

#[test]
fn p2_a_full_disk_stops_no_traffic_and_dropped_lines_are_counted() {
    let backend = Backend::says("x");
    let proxy = Proxy::over(&[&backend], &["--log", "text", "--log-file", "/dev/full"]);
    (0..50).for_each(|_| assert_eq!(proxy.get("/").status, 200));
    proxy.until("counted", |proxy| proxy.workers()["log_lines_dropped"] == 50);
    proxy.finish();
}

#[test]
fn a_log_that_cannot_be_opened_is_said() {
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["serve", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"])
        .args(["--log-file", "/no/such/folder/log"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--log-file '/no/such/folder/log': No such file"), "{said}");
}

/// A pipe as the log: what its reader does is for each test to say.
fn pipe(folder: &tempfile::TempDir) -> (PathBuf, fs::File) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let path = folder.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Opened for both, it waits for nobody.
    let both = fs::File::options().read(true).write(true).open(&path).unwrap();
    (path, both)
}

/// So many lines that a pipe does not hold them.
const LONG_LINES: usize = 40;

fn ask_long(proxy: &Proxy) {
    let long = "x".repeat(4000);
    (0..LONG_LINES).for_each(|_| assert_eq!(proxy.get(&format!("/{long}")).status, 200));
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (path, both) = pipe(&folder);
    let backend = Backend::says("x");
    let mut proxy = Proxy::over(&[&backend], &["--log-file", path.to_str().unwrap()]);
    ask_long(&proxy);
    proxy.signal(Signal::TERM);
    proxy.until("draining", |proxy| TcpStream::connect(proxy.address).is_err());
    let reader = fs::File::open(&path).unwrap();
    drop(both);
    assert_eq!(BufReader::new(reader).lines().count(), LONG_LINES);
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.assert_quiet();
}

#[test]
fn p2_a_pipe_that_nobody_reads_does_not_keep_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (path, both) = pipe(&folder);
    let backend = Backend::says("x");
    let mut proxy = Proxy::over(&[&backend], &["--log-file", path.to_str().unwrap()]);
    ask_long(&proxy);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.assert_quiet();
    drop(both);
}

/// Of several pools, and with a backend that leaves.
#[test]
fn metrics_are_as_prometheus_wants_them() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, stream| {
        let _ = wait.lock().unwrap().recv();
        respond(stream, b"x")
    });
    let other = Backend::says("y");
    let pool = |name: &str, at| format!("[pool.{name}]\nto = [\"{at}\"]\nno_health = true\n");
    let route = "[[route]]\npool = \"a\"\n";
    let with = |at| [pool("a", at), pool("b", other.address), route.into()].concat();
    let proxy = Proxy::told(&with(backend.address));
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    proxy.write(&with(other.address));
    assert_eq!(proxy.reload().0, 200);
    let page = wire::get(proxy.admin, "/metrics");
    metrics::assert_good(page.text());
    for (at, pending) in [(other.address, 0), (backend.address, 1)] {
        let line = format!("plimsoll_backend_pending{{pool=\"a\",backend=\"{at}\"}} {pending}");
        assert!(page.text().lines().any(|there| there == line), "{line} in\n{}", page.text());
    }
    go.send(()).unwrap();
    assert_eq!(wire.response().text(), "x");
    drop(wire);
    proxy.finish();
}
