//! What is noted of one exchange, and told when it is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::{Method, Request, Uri, Version};

use crate::front::Asking;
use crate::health;
use crate::pool::Pool;
use crate::proxy::{Live, Seat};
use crate::refusal::Refusal;
use crate::upstream::Backend;

/// An exchange from its head to the end of its answer; told when it is
/// dropped.
pub(crate) struct Record {
    seat: Arc<Seat>,
    asking: Asking,
    pub(super) began: Instant,
    /// When it got its last lease.
    pub(super) leased: Instant,
    /// When its backend was last done with it.
    served: Option<Instant>,
    /// The client's.
    pub(super) version: Version,
    method: Method,
    uri: Uri,
    /// 0 while there is no answer.
    pub(crate) status: u16,
    /// What is told as it begins.
    live: Arc<Live>,
    /// Where its route leads: the place of a pool.
    pool: Option<usize>,
    pub(crate) backend: Option<Arc<Backend>>,
    /// The backend's, this request included, when it got its lease.
    pub(crate) pending: u32,
    pub(crate) tries: u32,
    /// In line, over all tries.
    pub(crate) line: Duration,
    /// Since when it waits there.
    pub(super) waits_since: Option<Instant>,
    /// Connecting, in the last try.
    pub(crate) connect: Duration,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) bytes: u64,
    /// Why the answer is the proxy's own.
    pub(crate) refusal: Option<Refusal>,
    /// Why it did not go as it should.
    pub(crate) reason: Option<&'static str>,
}

impl Record {
    pub(super) fn new<B>(seat: Arc<Seat>, asking: Asking, request: &Request<B>) -> Self {
        let began = Instant::now();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let live = seat.live();
        Self {
            seat,
            live,
            asking,
            began,
            leased: began,
            served: None,
            version: request.version(),
            method,
            uri,
            status: 0,
            pool: None,
            backend: None,
            pending: 0,
            tries: 0,
            line: Duration::ZERO,
            waits_since: None,
            connect: Duration::ZERO,
            first_byte: None,
            bytes: 0,
            refusal: None,
            reason: None,
        }
    }

    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Whether it holds other pools than its own.
    pub(super) fn holds_others(&self) -> bool {
        self.live.pools.len() > 1
    }

    /// Holds its own pool alone from now on. What takes long would else keep others from being let
    /// go of that are told no more.
    pub(super) fn hold_one_pool(&mut self) {
        if let Some(at) = self.pool
            && self.holds_others()
        {
            self.live = Arc::new(self.live.with_one_pool(at));
            self.pool = Some(0);
        }
    }

    /// Its route leads there.
    pub(super) fn goes_to(&mut self, pool: usize) {
        self.pool = Some(pool);
    }

    /// The place of the pool that its route leads to.
    pub(super) fn pool_at(&self) -> Option<usize> {
        self.pool
    }

    /// Where its route leads.
    pub(super) fn pool(&self) -> Option<&Pool> {
        self.pool.map(|at| &*self.live.pools[at])
    }

    pub(crate) fn asking(&self) -> &Asking {
        &self.asking
    }

    /// Whether its head was refused before it could be read: what hyper was given
    /// in its place says nothing of the client's request.
    fn is_unread(&self) -> bool {
        self.asking.fault().is_some()
    }

    pub(crate) fn method(&self) -> &str {
        if self.is_unread() { "-" } else { self.method.as_str() }
    }

    pub(crate) fn asking_mut(&mut self) -> &mut Asking {
        &mut self.asking
    }

    pub(crate) fn target(&self) -> &str {
        if self.is_unread() {
            return "-";
        }
        self.uri.path_and_query().map_or("-", |target| target.as_str())
    }

    /// When it has had all the time that a request may take.
    pub(super) fn ends(&self) -> Option<Instant> {
        let limit = self.pool().and_then(|pool| pool.config.times.request);
        limit.map(|limit| self.began + limit)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Notes how its backend did.
    pub(super) fn served(&mut self, good: bool, now: Instant) {
        self.served = Some(now);
        if let (Some(pool), Some(backend)) = (self.pool(), &self.backend) {
            health::served(&pool.books, backend, good, self.leased, now);
        }
    }

    /// What switched protocols is over, and has passed so many bytes.
    pub(super) fn passed(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.served = Some(Instant::now());
    }

    /// Its wait in line, if it has one, is over. Who drops that wait tells it, too.
    pub(super) fn waited(&mut self, until: Instant) {
        self.line += self.waits_since.take().map_or(Duration::ZERO, |since| until - since);
    }

    /// Went wrong after its head was sent, so that no status tells it.
    pub(super) fn broke_off(&mut self, reason: &'static str) {
        self.reason = Some(reason);
    }

    /// Dropped before its end.
    pub(super) fn cut_off(&mut self) {
        if self.seat.ends.load(Ordering::Relaxed) {
            return self.broke_off("the proxy ended");
        }
        let stalled = self.asking.client().has_stalled();
        let left = Refusal::ClientGone;
        self.broke_off(if stalled { "the client did not read in time" } else { left.what() });
        if self.status == 0 {
            self.refusal = Some(left);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.status == 0 {
            self.waited(Instant::now());
            self.cut_off();
        }
        let proxy = &self.seat.proxy;
        // Who leaves makes room, but not at the pace of those that are answered.
        if let Some(pool) = self.pool()
            && self.backend.is_some()
            && self.status != 0
        {
            pool.books.pace.completed(self.served.unwrap_or_else(Instant::now));
        }
        proxy.stats.note(self);
        proxy.log.line(self);
    }
}
