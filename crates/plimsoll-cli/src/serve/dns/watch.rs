//! Asking again as answers run out.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinSet};

use super::ask::{Answer, ask};
use super::question::Question;
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
    let mut asking = Asking::default();
    loop {
        let next = {
            let names = site.names();
            let server = names.server;
            for (question, before) in names.due(Instant::now()) {
                if !asking.has(&question) {
                    let asked = question.clone();
                    let answer = async move { ask(server, &asked, before.as_ref()).await };
                    asking.begin(question, server, answer);
                }
            }
            names.next(|question| asking.has(question))
        };
        let latest = Instant::now() + LOOK;
        let next = next.map_or(latest, |next| next.min(latest));
        tokio::select! {
            (question, server, found) = asking.next() => site.note(&question, server, found),
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

/// Questions that are under way.
#[derive(Default)]
struct Asking {
    tasks: JoinSet<Result<Answer, String>>,
    /// Each with the server that is asked.
    asked: HashMap<Id, (Question, Option<SocketAddr>)>,
}

impl Asking {
    fn begin(
        &mut self,
        question: Question,
        server: Option<SocketAddr>,
        answer: impl Future<Output = Result<Answer, String>> + Send + 'static,
    ) {
        let task = self.tasks.spawn(answer).id();
        self.asked.insert(task, (question, server));
    }

    fn has(&self, question: &Question) -> bool {
        self.asked.values().any(|(asked, _)| asked == question)
    }

    /// The next that comes to its end, and what has come of it, be it a panic.
    async fn next(&mut self) -> (Question, Option<SocketAddr>, Result<Answer, String>) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let (task, found) = match ended {
                Ok(ended) => ended,
                Err(error) => (error.id(), Err(format!("asking for it failed: {error}"))),
            };
            if let Some((question, server)) = self.asked.remove(&task) {
                return (question, server, found);
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is noted as any other failure, and asked for again as after that.
    #[test]
    fn a_question_whose_answer_panics_is_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (bad, silent): (Question, Question) =
                ("bad:80".parse().unwrap(), "silent:80".parse().unwrap());
            let mut asking = Asking::default();
            asking.begin(bad.clone(), None, async { panic!("as a parser might") });
            asking.begin(silent.clone(), None, std::future::pending());
            let (question, _, found) = asking.next().await;
            assert_eq!(question, bad);
            let sentence = found.unwrap_err();
            assert!(sentence.contains("as a parser might"), "{sentence}");
            assert!(!asking.has(&bad) && asking.has(&silent));
        });
    }
}
