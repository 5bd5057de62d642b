//! What an operator sees: `/metrics` for Prometheus and `/workers` as JSON.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use plimsoll::{Health, Snapshot, Times, WorkerStats};
use serde_json::{Value, json};

use crate::proxy::Proxy;
use crate::shutdown::Phase;
use crate::upstream::Backend;

/// A client here is a program that asks at once.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// The upper bounds of what `/metrics` counts times in, in seconds.
const BUCKETS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// Serves until the proxy has stopped.
pub(crate) fn start(proxy: Arc<Proxy>, listener: TcpListener) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("serve-admin".into());
    thread.spawn(move || {
        let phase = proxy.shutdown.watch();
        runtime.block_on(async {
            tokio::select! {
                // Without it the proxy still serves.
                _ = accept(&proxy, listener) => {}
                () = phase.reached(Phase::Stopped) => {}
            }
        });
    })
}

async fn accept(proxy: &Arc<Proxy>, listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let proxy = Arc::clone(proxy);
        let service = service_fn(move |request| {
            let answered = answer(&proxy, &request);
            async { Ok::<_, Infallible>(answered) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        // Its errors are the client's.
        tokio::spawn(async { drop(connection.await) });
    }
}

fn answer(proxy: &Proxy, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n".into());
    }
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, "text/plain; version=0.0.4", metrics(proxy)),
        "/workers" => text(StatusCode::OK, "application/json", workers(proxy).to_string() + "\n"),
        _ => text(StatusCode::NOT_FOUND, "text/plain", "there are /metrics and /workers\n".into()),
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Each backend with what the balancer knows of it.
fn backends<'a>(
    proxy: &'a Proxy,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (&'a Backend, &'a WorkerStats)> {
    // None is ever removed, so that both have them in the order they came.
    proxy.backends.iter().zip(&snapshot.workers).map(|((_, backend), stats)| (&**backend, stats))
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Starting => "starting",
        Health::Up => "up",
        Health::Down => "down",
    }
}

fn workers(proxy: &Proxy) -> Value {
    let snapshot = proxy.balancer.snapshot();
    let workers: Vec<_> = backends(proxy, &snapshot)
        .map(|(backend, stats)| {
            json!({
                "backend": backend.name,
                "pending": stats.pending,
                "capacity": stats.capacity,
                "capacity_in_force": stats.capacity_in_force,
                "weight": stats.weight,
                "penalty": stats.penalty,
                "health": health(stats.health),
                "open_connections": backend.open(),
                "dispatched": stats.dispatched,
                "completed": stats.completed,
                "failed": stats.failed,
            })
        })
        .collect();
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "workers": workers,
        "pending": snapshot.pending(),
        "line": {
            "length": snapshot.waiting,
            "longest_wait_seconds": seconds(snapshot.longest_wait),
        },
        "wait_seconds": times(&snapshot.wait),
        "run_seconds": times(&snapshot.run),
        "requests": proxy.stats.requests(),
        "retries": proxy.stats.retries(),
        "log_lines_dropped": proxy.log.dropped(),
        "refused": Value::Object(proxy.stats.refusals().map(|(kind, n)| (kind, n.into())).collect()),
        "regret": snapshot.audit.regret,
        "idle_while_waiting": snapshot.audit.idle_while_waiting,
        "audits": snapshot.audit.audits,
    })
}

fn times(times: &Times) -> Value {
    let part = |part| times.quantile(part).as_secs_f64();
    json!({ "count": times.count(), "p50": part(0.5), "p99": part(0.99), "p999": part(0.999) })
}

/// The text format of Prometheus, version 0.0.4.
fn metrics(proxy: &Proxy) -> String {
    let snapshot = proxy.balancer.snapshot();
    let mut page = Page::default();
    let of_backend =
        |page: &mut Page, name, kind, help, value: fn(&Backend, &WorkerStats) -> f64| {
            page.head(name, kind, help);
            for (backend, stats) in backends(proxy, &snapshot) {
                page.line(name, &[("backend", &backend.name)], value(backend, stats));
            }
        };
    for (name, kind, help, value) in OF_BACKEND {
        of_backend(&mut page, name, kind, help, value);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let float = |count: u64| count as f64;
    page.head("plimsoll_line_length", "gauge", "Requests in line.");
    page.line("plimsoll_line_length", &[], float(snapshot.waiting as u64));
    for (name, help, times) in [
        ("plimsoll_wait_seconds", "From a request's arrival to its lease.", &snapshot.wait),
        ("plimsoll_run_seconds", "How long leases were held.", &snapshot.run),
    ] {
        page.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for limit in BUCKETS {
            let within = float(times.within(Duration::from_secs_f64(limit)));
            page.line(&bucket, &[("le", &limit.to_string())], within);
        }
        page.line(&bucket, &[("le", "+Inf")], float(times.count()));
        let count = float(times.count());
        page.line(&format!("{name}_sum"), &[], times.mean().as_secs_f64() * count);
        page.line(&format!("{name}_count"), &[], count);
    }
    let name = "plimsoll_refused_total";
    page.head(name, "counter", "Requests that got no backend's answer, by reason.");
    for (reason, count) in proxy.stats.refusals() {
        page.line(name, &[("reason", &reason)], float(count));
    }
    for (name, help, count) in [
        ("plimsoll_requests_total", "Requests that are over.", proxy.stats.requests()),
        ("plimsoll_retries_total", "Tries after a request's first.", proxy.stats.retries()),
        ("plimsoll_log_dropped_total", "Lines that the log had no room for.", proxy.log.dropped()),
        ("plimsoll_audits_total", "Dispatches that were audited.", snapshot.audit.audits),
        (
            "plimsoll_idle_while_waiting_total",
            "Audits that found a request in line beside a backend with room.",
            snapshot.audit.idle_while_waiting,
        ),
    ] {
        page.head(name, "counter", help);
        page.line(name, &[], float(count));
    }
    let name = "plimsoll_regret_total";
    page.head(name, "counter", "Load above the least that audited dispatches chose.");
    page.line(name, &[], snapshot.audit.regret);
    page.text
}

type OfBackend = (&'static str, &'static str, &'static str, fn(&Backend, &WorkerStats) -> f64);

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
const OF_BACKEND: [OfBackend; 8] = [
    ("plimsoll_backend_pending", "gauge", "Requests at the backend.", |_, s| f64::from(s.pending)),
    ("plimsoll_backend_capacity", "gauge", "The most it has at a time.", |_, s| {
        f64::from(s.capacity_in_force)
    }),
    ("plimsoll_backend_weight", "gauge", "Its share of the work.", |_, s| {
        f64::from(s.weight.get())
    }),
    ("plimsoll_backend_up", "gauge", "1 when it is up.", |_, s| {
        f64::from(u8::from(s.health == Health::Up))
    }),
    ("plimsoll_backend_open_connections", "gauge", "Idle ones included.", |b, _| b.open() as f64),
    ("plimsoll_backend_dispatched_total", "counter", "Leases given.", |_, s| s.dispatched as f64),
    ("plimsoll_backend_completed_total", "counter", "Leases given back.", |_, s| {
        s.completed as f64
    }),
    ("plimsoll_backend_failed_total", "counter", "Of those, for a failure.", |_, s| {
        s.failed as f64
    }),
];

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (nth, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{}{label}=\"{text}\"", if nth == 0 { '{' } else { ',' });
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}
