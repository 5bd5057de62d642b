//! What an operator sees of the proxy, and does to it, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use plimsoll_admin::{
    Desk, Family, Figure, Gauge, Overview, PoolView, Secure, Serving, WorkerView,
};

use crate::Admin;
use crate::control::Phase;
use crate::pool::Pool;
use crate::proxy::Proxy;

/// Serves until the proxy has stopped, or another process serves in its place.
pub(crate) fn start(proxy: Arc<Proxy>, admin: Admin) -> io::Result<JoinHandle<()>> {
    let Admin { socket, tls, access, reload, more } = admin;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("serve-admin".into());
    thread.spawn(move || {
        let phase = proxy.control.watch();
        let (shown, steered, secures) = (Arc::clone(&proxy), Arc::clone(&proxy), proxy);
        let secure = move || secures.live().tls.map(|identity| Arc::clone(&identity.operators));
        let secure = tls.then(|| -> Secure { Arc::new(secure) });
        let desk = Desk {
            reload,
            steer: Some(Arc::new(move |pool, id, order| steered.steer(pool, id, order))),
            access,
            ..Desk::new(move || {
                let mut overview = overview(&shown);
                overview.families.extend(more.iter().flat_map(|more| more()));
                overview
            })
        };
        let over = phase.reached(Phase::HandedOver);
        let serving = plimsoll_admin::serve(socket, desk, secure, over);
        // Without it the proxy still serves.
        let _ = runtime.block_on(serving);
        // A reload that takes its time is not waited for.
        runtime.shutdown_background();
    })
}

fn overview(proxy: &Proxy) -> Overview {
    let counter = |key, help, value| Figure { key, help, value };
    let pools = proxy.pools();
    let mut families = vec![Family {
        key: "refused",
        help: "Requests that got no backend's answer, by reason.",
        counts: true,
        label: "reason",
        values: proxy.stats.refusals().collect(),
    }];
    families.extend(proxy.live().tls.map(|identity| Family {
        key: "certificate_end_timestamp_seconds",
        help: "When a certificate that is shown ends, since 1970.",
        counts: false,
        label: "certificate",
        values: identity.ends(),
    }));
    Overview {
        serving: if proxy.control.is_draining() { Serving::Ending } else { Serving::Here },
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
        families,
        ..Overview::new("backend", pools.iter().map(|(pool, leaves)| view(pool, *leaves)).collect())
    }
}

fn view(pool: &Pool, leaves: bool) -> PoolView {
    let (snapshot, backends) = pool.books.snapshot();
    let worker = |backend: &Arc<crate::upstream::Backend>| WorkerView {
        name: backend.name.clone(),
        leaves: leaves || backend.is_retired(),
        steered: backend.terms().steered(),
    };
    PoolView {
        name: Some(pool.config.name.clone()),
        leaves,
        gauges: vec![
            Gauge {
                key: "open_connections",
                help: "Idle ones included.",
                values: backends.iter().map(|backend| backend.open() as u64).collect(),
            },
            Gauge {
                key: "lent",
                help: "Requests of those pending that a process has which this one took over from.",
                values: backends.iter().map(|backend| backend.lent().into()).collect(),
            },
        ],
        ..PoolView::new(snapshot, backends.iter().map(worker).collect())
    }
}
