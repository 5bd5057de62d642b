//! The balancer: a dispatcher, and what goes over the wire for it.
//!
//! | file | what it is |
//! |---|---|
//! | `mod.rs` | stands for leader, and leads for as long as it may |
//! | `lead.rs` | one that leads |
//! | `election.rs` | which of several balancers leads |
//! | `intake.rs` | messages as they come, many at a time |
//! | `micro.rs` | what NATS's own tools see |
//! | `outgoing.rs` | deliveries, errors and answers, as messages |
//! | `overview.rs` | what an operator sees |
//! | `pace.rs` | when the refused may come again |

mod election;
mod intake;
mod lead;
mod micro;
mod outgoing;
mod overview;
mod pace;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use futures_util::{FutureExt, StreamExt};
use plimsoll::Snapshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use self::election::Election;
use self::lead::{Ends, Lead};
use self::micro::Micro;
use crate::{Counts, Service, Settings, WorkerName};

/// How a balancer works.
#[derive(Clone, Debug)]
pub struct Balance {
    /// What it balances.
    pub service: Service,
    /// How it dispatches.
    pub settings: Settings,
    /// How long requests in line are worked off when it ends, and workers are answered that no other
    /// balancer answers.
    pub drain: Duration,
    /// What it is called among balancers: no two have one name.
    pub name: String,
    /// Messages that the client has lost because they came faster than they were taken, counted by
    /// who made the client and hears its [`SlowConsumer`](async_nats::Event::SlowConsumer): at
    /// least so many, as of a flood of events some are lost, too.
    pub overrun: Arc<AtomicU64>,
}

/// What a balancer tells of itself while it runs.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Its epoch, while it leads; else another leads, or nobody.
    pub epoch: Option<u64>,
    /// The names of the workers, in the snapshot's order.
    pub workers: Vec<WorkerName>,
    /// What it knows, while it leads.
    pub snapshot: Option<Snapshot>,
    /// What it has counted, since it leads.
    pub counts: Counts,
    /// Messages that were not understood.
    pub malformed: u64,
    /// Messages that the client has lost.
    pub overrun: u64,
    /// Whether it takes no more requests, and ends.
    pub is_ending: bool,
}

/// What is seen of a running balancer from outside.
pub type Seen = Arc<Mutex<Status>>;

/// How long one that does not lead any more hears what has become of its deliveries.
const RETIRES: Duration = Duration::from_secs(1);

/// How long it takes until another leads and has heard of the workers: the key's age, a look at it,
/// some beats, and a connection that is made anew.
const TAKEOVER: Duration = Duration::from_millis(2500);

impl Balance {
    /// Balances until `shutdown` is over: then it takes no more requests and works off its line, for
    /// as long as [`drain`](Self::drain). What workers have then they answer by themselves, as long as
    /// a balancer answers them: this one does, in the same time, until another leads.
    ///
    /// Where the server has JetStream any number of balancers may run: one leads, the others
    /// stand by, and take over within two seconds. `note` is told what an operator should know.
    ///
    /// ```no_run
    /// use plimsoll_nats::{Balance, Seen, Settings};
    /// use std::time::Duration;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = async_nats::connect("nats://127.0.0.1:4222").await?;
    /// let balance = Balance {
    ///     service: "upper".parse()?,
    ///     settings: Settings::default(),
    ///     drain: Duration::from_secs(10),
    ///     name: "first".into(),
    ///     overrun: std::sync::Arc::default(),
    /// };
    /// let seen = Seen::default();
    /// let told = |what: &str| eprintln!("{what}");
    /// balance.run(client, std::future::pending(), &seen, told).await?;
    /// println!("{} messages were not understood", seen.lock().unwrap().malformed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Settings that are out of bounds, or what the server would not let it do.
    pub async fn run(
        self,
        client: Client,
        shutdown: impl Future<Output = ()>,
        seen: &Seen,
        note: impl Fn(&str),
    ) -> Result<(), String> {
        self.settings.check()?;
        // Asked for again, it is not over a second time.
        let mut shutdown = pin!(shutdown.fuse());
        let micro = Micro {
            service: self.service.clone(),
            id: self.name.clone(),
            seen: Arc::clone(seen),
            started: jiff::Timestamp::now(),
        };
        // It ends with this.
        let mut answering = JoinSet::new();
        answering.spawn(micro.answer(client.clone()));
        if self.settings.lost_after < TAKEOVER {
            note(&format!(
                "a takeover takes up to {} s, and workers given up after {} s have let go by then",
                TAKEOVER.as_secs_f64(),
                self.settings.lost_after.as_secs_f64()
            ));
        }
        let election = Election::new(client.clone(), &self.service, self.name.clone());
        // A server that is away for some time has had it still.
        let mut has_jetstream = false;
        loop {
            has_jetstream = has_jetstream
                || tokio::select! {
                    biased;
                    () = &mut shutdown => return Ok(()),
                    is_possible = election.is_possible() => is_possible?,
                };
            let mandate = if has_jetstream {
                tokio::select! {
                    biased;
                    () = &mut shutdown => return Ok(()),
                    mandate = election.stand(|leads| note(&format!("stands by: {leads} leads")))
                        => mandate,
                }
            } else {
                note("the server has no JetStream: this must be the only balancer of its subject");
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                // Later than that of the balancer before.
                election.alone(now.as_secs() << 32)
            };
            note(&format!("leads, epoch {}", mandate.epoch));
            let mut lead = tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                lead = Lead::begin(&self, &client, mandate) => lead?,
            };
            match lead.run(&mut shutdown, self.drain, seen).await {
                Ends::Lost => {
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Status::default();
                    note("does not lead any more: another balancer may");
                    let until = Instant::now() + RETIRES;
                    tokio::spawn(timeout_at(until, lead.retire(until)));
                }
                Ends::Asked(until) => {
                    let until = until.max(Instant::now() + RETIRES);
                    if lead.has_something_out() {
                        note(
                            "ends once workers have answered what they have, or another balancer leads",
                        );
                    }
                    let ending = async {
                        lead.give_up().await;
                        lead.finish(until, seen).await;
                        settle(&client).await;
                    };
                    // Where there is no connection nothing of it can be done.
                    let _ = timeout_at(until + RETIRES, ending).await;
                    return Ok(());
                }
                Ends::Closed => return Err("the connection to the server is closed".into()),
            }
        }
    }
}

/// Waits until the server has all that was sent: what comes back was sent after it. The client's
/// own flush is over when a socket that is full has not taken all.
async fn settle(client: &Client) {
    let inbox = client.new_inbox();
    if let Ok(mut back) = client.subscribe(inbox.clone()).await
        && client.publish(inbox, bytes::Bytes::new()).await.is_ok()
    {
        let _ = back.next().await;
    }
}
