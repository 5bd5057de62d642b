//! The side that backends see.

mod connect;
mod connection;
mod connections;
mod response;
mod terms;
mod upload;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use hyper::header::HeaderValue;
use plimsoll::{Balancer, WorkerId};
use tokio::sync::Notify;

pub(crate) use self::connect::ConnectError;
pub(crate) use self::connection::Connection;
use self::connections::Connections;
pub(crate) use self::connections::Opened;
pub(crate) use self::response::Held;
pub(crate) use self::terms::Terms;
pub(crate) use self::upload::{ToBackend, Upload, UploadFault};
use crate::config::{BackendConfig, HealthConfig};
use crate::health::Judge;

/// One worker: where it is, and the connections that it has.
pub(crate) struct Backend {
    /// As the pool's balancer knows it.
    id: OnceLock<WorkerId>,
    /// `host:port`, as it is shown.
    pub(crate) name: String,
    whereabouts: Mutex<Whereabouts>,
    terms: Mutex<Terms>,
    connections: Arc<Connections>,
    judge: Mutex<Judge>,
    /// Told when it is ejected.
    pub(crate) ejected: Notify,
    /// Whether a thread checks it.
    watched: AtomicBool,
    /// Whether it is told of no more.
    retired: AtomicBool,
    /// Whether a successor of this process's uses it as well.
    shared: AtomicBool,
    /// What of it a predecessor of this process's has.
    lent: AtomicU32,
}

/// Where a backend is.
#[derive(Clone)]
struct Whereabouts {
    addresses: Arc<[SocketAddr]>,
    /// For requests that name no host of their own.
    host: HeaderValue,
}

impl Whereabouts {
    fn new(told: &BackendConfig) -> Self {
        let fallback = |_| HeaderValue::from_static("backend");
        let host = HeaderValue::from_str(&told.host).unwrap_or_else(fallback);
        Self { addresses: told.addresses.clone().into(), host }
    }
}

impl Backend {
    pub(crate) fn new(config: &BackendConfig, health: &HealthConfig, threads: usize) -> Self {
        Self {
            id: OnceLock::new(),
            name: config.name.clone(),
            whereabouts: Mutex::new(Whereabouts::new(config)),
            terms: Mutex::new(Terms::new(config)),
            connections: Arc::new(Connections::new(config.capacity, threads)),
            judge: Mutex::new(Judge::new(health.clone(), Instant::now())),
            ejected: Notify::new(),
            watched: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            shared: AtomicBool::new(false),
            lent: AtomicU32::new(0),
        }
    }

    /// It is a worker of a balancer's now.
    pub(crate) fn joined_as(&self, id: WorkerId) {
        // Once: it is of one pool.
        let _ = self.id.set(id);
    }

    /// # Panics
    ///
    /// Before it is a worker.
    pub(crate) fn id(&self) -> WorkerId {
        *self.id.get().expect("a pool adds its backends as it is made")
    }

    /// What it may have.
    pub(crate) fn terms(&self) -> Terms {
        *self.lock_terms()
    }

    fn lock_terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn capacity(&self) -> NonZeroU32 {
        self.terms().capacity.in_force()
    }

    fn whereabouts(&self) -> MutexGuard<'_, Whereabouts> {
        self.whereabouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    fn addresses(&self) -> Arc<[SocketAddr]> {
        Arc::clone(&self.whereabouts().addresses)
    }

    /// Whether it is not known yet where it listens: it stands for what requests wait for.
    pub(crate) fn is_promised(&self) -> bool {
        self.whereabouts().addresses.is_empty()
    }

    /// What it is asked for by requests that name no host of their own.
    pub(crate) fn host(&self) -> HeaderValue {
        self.whereabouts().host.clone()
    }

    /// Where it is is told anew.
    pub(crate) fn move_to(&self, told: &BackendConfig) {
        *self.whereabouts() = Whereabouts::new(told);
    }

    /// Changes what it may have, and tells what that was and is. Its balancer is told by who
    /// knows its health.
    pub(crate) fn set_terms(&self, change: impl FnOnce(&mut Terms)) -> (Terms, Terms) {
        let mut terms = self.lock_terms();
        let before = *terms;
        change(&mut terms);
        let after = *terms;
        drop(terms);
        self.connections.set_most(after.capacity.in_force().get());
        (before, after)
    }

    /// Gets no request any more, and keeps no connection when it has finished those that it has.
    pub(crate) fn retire(&self, balancer: &Balancer<Arc<Self>>) {
        // It is a worker until it has finished, as it may be told again before.
        let _ = balancer.set_draining(self.id(), true);
        // Who finds that it is told of no more, and without a request, removes it: from here on it
        // gets none.
        self.retired.store(true, Ordering::Release);
        self.connections.set_keeps(false);
    }

    /// It is told again. Its balancer is told by who knows its health.
    pub(crate) fn come_back(&self) {
        self.retired.store(false, Ordering::Relaxed);
        self.connections.set_keeps(!self.is_shared());
    }

    /// Whether it is to get nothing new.
    pub(crate) fn drains(&self) -> bool {
        self.is_retired() || self.terms().draining
    }

    /// Whether it is to be checked and nobody does, who asks then being the one that does.
    pub(crate) fn wants_watch(&self) -> bool {
        let checked = !self.is_promised() && self.judge().settings().active;
        checked && !self.watched.swap(true, Ordering::Relaxed)
    }

    /// Whether it is told of no more: how it is matters to nobody.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Nobody checks it any more.
    pub(crate) fn unwatch(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// Whether a successor uses it as well, and says what there is for this process.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Says so; its judge's lock is to be held, for what is in force is not the judge's to say then.
    pub(crate) fn set_shared(&self, shared: bool) {
        self.shared.store(shared, Ordering::Relaxed);
        self.connections.set_keeps(!shared && !self.is_retired());
    }

    /// The most connections that it may have.
    pub(crate) fn set_most_open(&self, most: u32) {
        self.connections.set_most(most);
    }

    /// A place for a connection of a predecessor's.
    pub(crate) fn lend_place(&self) -> Option<Opened> {
        self.connections.make_room()
    }

    /// The same, for one that is open already.
    pub(crate) fn adopt_place(&self) -> Opened {
        self.connections.adopt()
    }

    /// How much of it a predecessor has.
    pub(crate) fn lent(&self) -> u32 {
        self.lent.load(Ordering::Relaxed)
    }

    /// A predecessor has one more.
    pub(crate) fn lend(&self) {
        self.lent.fetch_add(1, Ordering::Relaxed);
    }

    /// It has one less.
    pub(crate) fn take_back(&self) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
    }

    /// What is known of its health.
    pub(crate) fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, mut connection: Box<Connection>, now: Instant) {
        connection.rest(now);
        self.connections.keep(connection);
    }

    /// Connections that are open, idle ones included.
    pub(crate) fn open(&self) -> usize {
        self.connections.open()
    }

    /// Lets go of this thread's connections that have been idle for too long,
    /// or that the backend has closed.
    pub(crate) fn sweep(&self, thread: usize, oldest: Instant) {
        self.connections.sweep(thread, oldest);
    }
}
