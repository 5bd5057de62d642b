//! Asking again as answers run out.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::ask::ask;
use crate::serve::site::Site;

/// The longest until it is looked whether other names are told.
const LOOK: Duration = Duration::from_secs(1);

/// Asks for the names of a site, each in its own time, until the process ends.
///
/// # Errors
///
/// When the system gives no thread, or nothing to wait for sockets with.
pub(crate) fn watch(site: Arc<Site>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("serve-dns".into());
    thread.spawn(move || runtime.block_on(ask_in_time(&site)))?;
    Ok(())
}

async fn ask_in_time(site: &Site) {
    let mut asking = JoinSet::new();
    let mut under_way = HashSet::new();
    loop {
        let (due, server, next) = {
            let names = site.names();
            let mut due = names.due(Instant::now());
            due.retain(|(question, _)| under_way.insert(question.clone()));
            (due, names.server, names.next(&under_way))
        };
        for (question, before) in due {
            asking.spawn(async move {
                let found = ask(server, &question, before.as_ref()).await;
                (question, server, found)
            });
        }
        let latest = Instant::now() + LOOK;
        let next = next.map_or(latest, |next| next.min(latest));
        tokio::select! {
            Some(asked) = asking.join_next() => {
                // One that panicked has said so.
                if let Ok((question, server, found)) = asked {
                    under_way.remove(&question);
                    site.note(&question, server, found);
                }
            }
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}
