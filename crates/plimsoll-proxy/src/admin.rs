//! What an operator sees of the proxy: an overview, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use plimsoll_admin::{Figure, Gauge, Overview, PoolView};

use crate::Admin;
use crate::control::Phase;
use crate::pool::Pool;
use crate::proxy::Proxy;

/// Serves until the proxy has stopped.
pub(crate) fn start(
    proxy: Arc<Proxy>,
    Admin { socket, reload }: Admin,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("serve-admin".into());
    thread.spawn(move || {
        let phase = proxy.control.watch();
        let shown = Arc::clone(&proxy);
        let serving = plimsoll_admin::serve(
            socket,
            move || overview(&shown),
            reload.map(|reload| ("/reload", reload)).into_iter().collect(),
            phase.reached(Phase::Stopped),
        );
        // Without it the proxy still serves.
        let _ = runtime.block_on(serving);
        // A reload that takes its time is not waited for.
        runtime.shutdown_background();
    })
}

fn overview(proxy: &Proxy) -> Overview {
    let counter = |key, help, value| Figure { key, help, value };
    Overview {
        counters: vec![
            counter("requests", "Requests that are over.", proxy.stats.requests()),
            counter("retries", "Tries after a request's first.", proxy.stats.retries()),
            counter(
                "failed_handshakes",
                "Connections that came to no agreement about TLS.",
                proxy.stats.failed_handshakes(),
            ),
            counter(
                "log_lines_dropped",
                "Lines that the log had no room for.",
                proxy.log.dropped(),
            ),
        ],
        refused: proxy.stats.refusals().collect(),
        ..Overview::new("backend", proxy.pools().iter().map(|pool| view(pool)).collect())
    }
}

fn view(pool: &Pool) -> PoolView {
    let (snapshot, backends) = pool.books.snapshot();
    let names = backends.iter().map(|backend| backend.name.clone()).collect();
    PoolView {
        name: Some(pool.config.name.clone()),
        gauges: vec![Gauge {
            key: "open_connections",
            help: "Idle ones included.",
            values: backends.iter().map(|backend| backend.open() as u64).collect(),
        }],
        ..PoolView::new(snapshot, names)
    }
}
