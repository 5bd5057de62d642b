//! The library's balancer, with a line that is never full, and audits.

use std::time::Duration;

use plimsoll_nats::{Balance, Seen, Settings};

use crate::worker::{connect, input_ended};

/// Balances until standard input ends; then tells its audits, those with regret, and requests
/// that waited beside room.
pub(crate) fn run(url: &str, subject: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("there are files").block_on(async {
        let balance = Balance {
            service: subject.parse().expect("it is a subject"),
            settings: Settings {
                line: 1 << 20,
                line_time: Some(Duration::from_secs(60)),
                keep_bytes: 1 << 30,
                audit_every: 256,
                ..Settings::default()
            },
            drain: Duration::ZERO,
            name: "bench".into(),
            overrun: std::sync::Arc::default(),
        };
        let seen = Seen::default();
        let client = connect(url).await;
        tokio::select! {
            ended = balance.run(client, std::future::pending(), &seen, |_| {}) => {
                ended.expect("the server is there");
            }
            () = input_ended() => {}
        }
        let seen = seen.lock().expect("nothing panics");
        let audit = seen.snapshot.as_ref().map(|snapshot| snapshot.audit).unwrap_or_default();
        println!("{} {} {}", audit.audits, audit.regretted, audit.idle_while_waiting);
    });
}
