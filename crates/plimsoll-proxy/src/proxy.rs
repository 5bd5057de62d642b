//! What all threads share.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use plimsoll::{Balancer, Lease, WorkerId};
use plimsoll_admin::Order;
use tokio::sync::mpsc::UnboundedSender;

use crate::config::{BackendConfig, Config, PoolConfig};
use crate::control::{Change, Control, Listener};
use crate::health;
use crate::log::{Log, Target};
use crate::pool::Pool;
use crate::restart::{Place, Rest};
use crate::routes::Routes;
use crate::stats::Stats;
use crate::tls::Identity;

/// The longest that a log's file may take to open, while other changes wait: nobody may read a pipe.
const OPENS: Duration = Duration::from_secs(10);

/// The proxy, apart from its threads.
pub(crate) struct Proxy {
    /// Held through a change: there is one at a time. It may wait for a disk, or for who reads a
    /// pipe, so that nothing else waits for it.
    changing: Mutex<()>,
    /// As it was told last; held to look at it, and to put another in its place.
    live: Mutex<Live>,
    /// Pools that are told of no more, and have something to finish.
    leaving: Mutex<Vec<Arc<Pool>>>,
    /// Where clients come, for a process that takes over.
    sockets: Mutex<Vec<Listener>>,
    /// Threads; as it was told first.
    pub(crate) threads: usize,
    audit_every: u64,
    /// Where connections go.
    pub(crate) seats: Balancer<SeatWorker>,
    /// What its threads are told by, in their order.
    pub(crate) errands: OnceLock<Vec<UnboundedSender<Errand>>>,
    pub(crate) control: Control,
    pub(crate) stats: Stats,
    pub(crate) log: Log,
}

/// What requests are served by. Each thread has one of its own, so that requests of several do
/// not count their holds in one place.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) config: Arc<Config>,
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) routes: Routes,
    pub(crate) tls: Option<Arc<Identity>>,
}

impl Proxy {
    pub(crate) fn new(config: Config, control: Control) -> io::Result<Self> {
        let (threads, audit_every) = (config.threads.get(), config.audit_every);
        let log = Log::start(&config.log)?;
        let pool = |told| Pool::new(told, threads, audit_every);
        let tls = Live::check(&config, None).map_err(io::Error::other)?;
        let live = Live::new(config, tls, pool);
        Ok(Self {
            changing: Mutex::default(),
            live: Mutex::new(live),
            leaving: Mutex::default(),
            sockets: Mutex::default(),
            threads,
            audit_every,
            seats: Balancer::new(),
            errands: OnceLock::new(),
            control,
            stats: Stats::default(),
            log,
        })
    }

    pub(crate) fn live(&self) -> Live {
        self.lock().clone()
    }

    /// Serves by other settings from now on. What may fail comes first, and then nothing has
    /// changed.
    pub(crate) fn change(&self, change: Change) -> Result<(), String> {
        let Change { config, opens, closes } = change;
        let _changing = self.begin_change();
        self.check_serves()?;
        let tls = Live::check(&config, self.live().tls.as_deref())?;
        let errands = self.errands.get().map(Vec::as_slice).unwrap_or_default();
        let mut copies = Vec::new();
        for _ in errands {
            let copy = |listener: &Listener| {
                listener.twin().map_err(|error| format!("{}: {error}", listener.at))
            };
            copies.push(opens.iter().map(copy).collect::<Result<Vec<_>, String>>()?);
        }
        let log = Target::open_within(OPENS, &config.log).map_err(|error| error.to_string())?;

        let _held = self.control.hold();
        let mut live = self.lock();
        // All that takes time is done, and another process may serve by now.
        self.check_serves()?;
        self.log.set(log)?;
        let mut before = live.pools.clone();
        // One that has not finished comes back with what it has.
        before.append(&mut self.leaving());
        let of = |name: &str| before.iter().find(|pool| pool.config.name == name);
        *live = Live::new(config, tls, |told| match of(&told.name) {
            Some(pool) => pool.changed(told, self.threads),
            None => Pool::new(told, self.threads, self.audit_every),
        });
        let stays =
            |old: &Arc<Pool>| live.pools.iter().any(|pool| Arc::ptr_eq(&pool.books, &old.books));
        before.retain(|old| !stays(old));
        *self.leaving() = before;
        self.seat(&live.config);
        let mut sockets = self.sockets();
        sockets.retain(|listener| !closes.contains(&listener.at));
        // One that drains opens nothing any more.
        if !self.control.is_draining() {
            sockets.extend(opens);
        }
        drop(sockets);
        // First to all: a connection that one accepts may be another's.
        self.tell_threads(&live);
        for (errands, copies) in errands.iter().zip(copies) {
            for at in &closes {
                let _ = errands.send(Errand::Close(*at));
            }
            for listener in copies {
                let _ = errands.send(Errand::Listen(listener));
            }
        }
        Ok(())
    }

    /// What waits for clients.
    pub(crate) fn sockets(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drains, and leaves what is told to a process that serves from now on.
    pub(crate) fn hand_over(&self, used: &[Place]) -> Result<Rest, String> {
        // No change of settings comes between. One that is under way finds that it comes too late.
        let live = self.lock();
        if self.control.is_draining() {
            return Err("it stops already".into());
        }
        self.control.leave_to_another();
        drop(live);
        let pools: Vec<_> = self.pools().into_iter().map(|(pool, _)| pool).collect();
        Ok(Rest::new(&pools, used))
    }

    /// Serves by other backends of these pools from now on, and by all else as before.
    pub(crate) fn change_backends(
        &self,
        mut told: HashMap<String, Vec<BackendConfig>>,
    ) -> Result<(), String> {
        let _changing = self.begin_change();
        let _held = self.control.hold();
        let mut live = self.lock();
        self.check_serves()?;
        for pool in &mut live.pools {
            if let Some(backends) = told.remove(&pool.config.name) {
                *pool = Arc::new(pool.with_backends(backends, self.threads));
            }
        }
        self.tell_threads(&live);
        Ok(())
    }

    /// Whether it is this process whose settings matter.
    fn check_serves(&self) -> Result<(), String> {
        let elsewhere = self.control.has_handed_over();
        if elsewhere { Err("another process serves now".into()) } else { Ok(()) }
    }

    /// Has all threads serve by this.
    fn tell_threads(&self, live: &Live) {
        for errands in self.errands.get().into_iter().flatten() {
            // A thread that is gone takes no more: the process ends.
            let _ = errands.send(Errand::Serve(Box::new(live.clone())));
        }
    }

    /// Reads certificates again whose files have changed.
    pub(crate) fn renew_certificates(&self) -> Result<bool, String> {
        let _changing = self.begin_change();
        let again = self.live().tls.and_then(|identity| identity.read_again());
        let Some((renewed, all)) = again else { return Ok(false) };
        let mut live = self.lock();
        live.tls = Some(Arc::new(renewed));
        self.tell_threads(&live);
        all?;
        Ok(true)
    }

    /// Shares the limit on connections out among the threads.
    fn seat(&self, config: &Config) {
        let workers = self.seats.snapshot().workers;
        let shares = shares(config.limits.connections.get(), workers.len());
        for (worker, share) in workers.iter().zip(shares) {
            // With fewer connections than threads, some have one more than their share.
            let _ = self
                .seats
                .set_capacity(worker.id, NonZeroU32::new(share).unwrap_or(NonZeroU32::MIN));
        }
    }

    /// All pools that have requests, or may have them, and whether they are told of no more.
    pub(crate) fn pools(&self) -> Vec<(Arc<Pool>, bool)> {
        // Both under one lock, so that none is in both.
        let live = self.lock();
        let mut pools: Vec<_> = live.pools.iter().map(|pool| (Arc::clone(pool), false)).collect();
        pools.extend(self.leaving().iter().map(|pool| (Arc::clone(pool), true)));
        pools
    }

    /// Does to a backend what an operator wants; false when none of this id is told any more.
    pub(crate) fn steer(&self, pool: &str, id: WorkerId, order: Order) -> bool {
        // Until it is done: no change comes between.
        let live = self.lock();
        let pool = live.pools.iter().find(|one| one.config.name == pool);
        let told = pool.and_then(|pool| {
            let backend = pool.backends.iter().find(|backend| backend.id() == id)?;
            Some((&pool.books, backend))
        });
        if let Some((books, backend)) = told {
            health::steer(books, backend, order);
        }
        told.is_some()
    }

    /// Lets pools go that are told of no more, once nothing asks for them.
    pub(crate) fn let_go(&self) {
        self.leaving().retain(|pool| {
            // What has another hold on it, a request that goes there or a thread that has not
            // heard yet, may still ask for a lease.
            if Arc::strong_count(pool) == 1 && pool.books.balancer.waiting() == 0 {
                pool.retire();
            }
            !pool.books.is_over()
        });
    }

    /// Those that are told of no more, and have something to finish.
    pub(crate) fn leaving(&self) -> MutexGuard<'_, Vec<Arc<Pool>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// The same for what is of that pool, and asks for no other.
    pub(crate) fn with_one_pool(&self, at: usize) -> Self {
        let pools = vec![Arc::clone(&self.pools[at])];
        let routes = Routes::new(&[], &pools);
        Self { config: Arc::clone(&self.config), pools, routes, tls: None }
    }

    /// Whether each route leads to a pool, and what TLS is served by.
    fn check(config: &Config, before: Option<&Identity>) -> Result<Option<Arc<Identity>>, String> {
        let is_there = |name: &String| config.pools.iter().any(|pool| pool.name == *name);
        if let Some(route) = config.routes.iter().find(|route| !is_there(&route.pool)) {
            return Err(format!("there is no pool '{}'", route.pool));
        }
        let read = config.tls.as_ref().map(|told| Identity::read(told, before).map(Arc::new));
        read.transpose()
    }

    fn new(
        mut config: Config,
        tls: Option<Arc<Identity>>,
        pool: impl Fn(PoolConfig) -> Pool,
    ) -> Self {
        config.limits = config.limits.bounded();
        let told = std::mem::take(&mut config.pools);
        let pools: Vec<_> = told.into_iter().map(|told| Arc::new(pool(told))).collect();
        let routes = Routes::new(&config.routes, &pools);
        Self { routes, pools, config: Arc::new(config), tls }
    }
}

/// A number in so many parts, that differ by one at the most.
pub(crate) fn shares(mut whole: u32, parts: usize) -> impl Iterator<Item = u32> {
    (1..=parts).rev().map(move |left| {
        let share = whole.div_ceil(u32::try_from(left).unwrap_or(u32::MAX));
        whole -= share;
        share
    })
}

/// What a thread is told.
pub(crate) enum Errand {
    /// A connection for it.
    Client(Arrival),
    /// Other settings.
    Serve(Box<Live>),
    /// Clients come here, too.
    Listen(Listener),
    /// No more come here.
    Close(SocketAddr),
}

/// A thread as a worker: its requests are connections.
pub(crate) struct SeatWorker {
    pub(crate) index: usize,
    pub(crate) errands: UnboundedSender<Errand>,
}

/// A connection on its way to the thread that serves it.
pub(crate) struct Arrival {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) lease: Lease<SeatWorker>,
}

/// A thread's own view.
pub(crate) struct Seat {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) index: usize,
    live: Mutex<Arc<Live>>,
    /// What is under way is cut off: the drain's time is over.
    pub(crate) ends: AtomicBool,
}

impl Seat {
    pub(crate) fn new(proxy: Arc<Proxy>, index: usize) -> Self {
        let live = Mutex::new(Arc::new(proxy.live()));
        Self { proxy, index, live, ends: AtomicBool::new(false) }
    }

    /// What is told now.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_live(&self, live: Live) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }
}
