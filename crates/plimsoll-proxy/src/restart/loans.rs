//! What a predecessor has of this process's backends.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use plimsoll::{Acquire, Lease};
use plimsoll_admin::Order;

use super::{Place, Waits};
use crate::health;
use crate::pool::Books;
use crate::proxy::Proxy;
use crate::upstream::{Backend, Opened};

/// How long a backend is not asked for that nobody in line could use: long beside a turn, short beside
/// the time that one is in line.
const LEFT_OUT: Duration = Duration::from_millis(50);

/// What a process has of this one's backends that this one took over from; made by
/// [`Server::loans`](crate::Server::loans).
///
/// All is given back when it is dropped.
///
/// ```
/// use plimsoll_proxy::{BackendConfig, Config, Control, Place, Server};
///
/// let backend = BackendConfig::new("127.0.0.1:9", vec!["127.0.0.1:9".parse()?]);
/// let server = Server::new(Config::new(vec![backend]), &Control::new())?;
/// let mut loans = server.loans();
/// let place = Place { pool: "default".into(), backend: "127.0.0.1:9".into() };
/// loans.lend(&place, 2);
/// assert_eq!(loans.lent(), 2);
/// loans.give_back(&place, 1);
/// assert_eq!(loans.lent(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Loans {
    proxy: Weak<Proxy>,
    lent: HashMap<Place, Vec<Loan>>,
    asks: HashMap<String, Asks>,
}

/// One request of the predecessor's: it has a lease, and a place for a connection, which is given
/// back before.
struct Loan {
    _opened: Opened,
    lease: Lease<Arc<Backend>>,
}

/// Requests in line at the predecessor, that stand in the line here.
#[derive(Default)]
struct Asks {
    wanted: usize,
    granted: u64,
    asked: VecDeque<Asked>,
    /// Backends that none of them could use, and until when these are left out.
    unused: HashMap<String, Instant>,
}

enum Asked {
    InLine(Acquire<Arc<Backend>>),
    /// Without a place for a connection yet: one is about to close.
    Leased(Lease<Arc<Backend>>),
}

impl Loan {
    fn new(opened: Opened, lease: Lease<Arc<Backend>>) -> Self {
        lease.worker().lend();
        Self { _opened: opened, lease }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.lease.worker().take_back();
    }
}

impl Loans {
    pub(crate) fn new(proxy: &Arc<Proxy>) -> Self {
        Self { proxy: Arc::downgrade(proxy), lent: HashMap::new(), asks: HashMap::new() }
    }

    /// The predecessor has so many requests there, whatever the capacity is. A backend that is not
    /// used here is nobody's concern.
    pub fn lend(&mut self, place: &Place, count: u32) {
        let Some((books, backend)) = self.find(place) else { return };
        let lent = self.lent.entry(place.clone()).or_default();
        for _ in 0..count {
            // Known, and with room for 2^32.
            let Ok(lease) = books.balancer.adopt(backend.id()) else { return };
            lent.push(Loan::new(backend.adopt_place(), lease));
        }
    }

    /// Operators had it get nothing new, and have not said otherwise.
    pub fn drain(&self, place: &Place) {
        if let Some((books, backend)) = self.find(place) {
            health::steer(&books, &backend, Order::Drain);
        }
    }

    fn find(&self, place: &Place) -> Option<(Arc<Books>, Arc<Backend>)> {
        let live = self.proxy.upgrade()?.live();
        let pool = live.pools.iter().find(|pool| pool.config.name == place.pool)?;
        let backend = pool.backends.iter().find(|backend| backend.name == place.backend)?;
        Some((Arc::clone(&pool.books), Arc::clone(backend)))
    }

    /// So many of those are over.
    pub fn give_back(&mut self, place: &Place, count: u32) {
        if let Some(lent) = self.lent.get_mut(place) {
            let left = lent.len().checked_sub(count as usize);
            lent.truncate(left.unwrap_or(0));
        }
    }

    /// The predecessor has so many in line.
    pub fn wait(&mut self, waits: &Waits) {
        let asks = self.asks.entry(waits.pool.clone()).or_default();
        // Those whose place is on its way wait no longer. They may be more than wait: some leave.
        let on_their_way = asks.granted.saturating_sub(waits.granted);
        let on_their_way = usize::try_from(on_their_way).unwrap_or(usize::MAX);
        asks.wanted = waits.requests.saturating_sub(on_their_way);
    }

    /// Nobody in line there could use what was granted of this backend: for some time it is not asked
    /// for. That line may be another at any moment, and is not known here.
    pub fn leave_out(&mut self, place: &Place) {
        let asks = self.asks.entry(place.pool.clone()).or_default();
        asks.unused.insert(place.backend.clone(), Instant::now() + LEFT_OUT);
    }

    /// Which of them have their turn in the line here now, and where: the predecessor has that
    /// place as soon as it is told.
    pub fn take_turn(&mut self) -> Vec<Place> {
        let mut granted = Vec::new();
        let Some(proxy) = self.proxy.upgrade().filter(|_| self.is_asked()) else { return granted };
        let (live, now) = (proxy.live(), Instant::now());
        for (name, asks) in &mut self.asks {
            let pool = live.pools.iter().find(|pool| pool.config.name == *name);
            let lent = &self.lent;
            let mut unused = std::mem::take(&mut asks.unused);
            unused.retain(|_, until| *until > now);
            // The predecessor knows nothing of others, and could not use them.
            let is_of_use = |backend: &&Arc<Backend>| {
                let place = Place { pool: name.clone(), backend: backend.name.clone() };
                lent.contains_key(&place) && !unused.contains_key(&place.backend)
            };
            asks.top_up(|| {
                let pool = pool?;
                let others = pool.backends.iter().filter(|backend| !is_of_use(backend));
                let request = pool.books.balancer.request();
                let request =
                    others.fold(request, |request, backend| request.exclude(backend.id()));
                Some(request.acquire())
            });
            asks.unused = unused;
            while let Some(loan) = asks.next() {
                let backend = loan.lease.worker().name.clone();
                let place = Place { pool: name.clone(), backend };
                self.lent.entry(place.clone()).or_default().push(loan);
                granted.push(place);
            }
        }
        granted
    }

    /// Whether anybody waits for a turn.
    pub fn is_asked(&self) -> bool {
        self.asks.values().any(|asks| asks.wanted > 0 || !asks.asked.is_empty())
    }

    /// How much is lent.
    pub fn lent(&self) -> usize {
        self.lent.values().map(Vec::len).sum()
    }
}

impl Asks {
    /// Has as many in line as are wanted; the newest leave first.
    fn top_up(&mut self, acquire: impl Fn() -> Option<Acquire<Arc<Backend>>>) {
        self.asked.truncate(self.wanted);
        while self.asked.len() < self.wanted {
            // No room in line is a reason to ask again later.
            let Some(asked) = acquire().and_then(|acquire| Asked::InLine(acquire).advance()) else {
                return;
            };
            self.asked.push_back(asked);
        }
    }

    /// The next that has its turn.
    fn next(&mut self) -> Option<Loan> {
        let mut later = VecDeque::new();
        let mut loan = None;
        while loan.is_none() {
            let Some(asked) = self.asked.pop_front() else { break };
            match asked.advance() {
                Some(Asked::Leased(lease)) => match lease.worker().lend_place() {
                    Some(opened) => loan = Some(Loan::new(opened, lease)),
                    None => later.push_back(Asked::Leased(lease)),
                },
                Some(asked) => later.push_back(asked),
                // Refused: asked again at the next turn.
                None => {}
            }
        }
        later.append(&mut self.asked);
        self.asked = later;
        if loan.is_some() {
            self.granted += 1;
            self.wanted -= 1;
        }
        loan
    }
}

impl Asked {
    /// As it is now; `None` when it was refused. Nobody is woken: turns are taken every now and
    /// then.
    fn advance(self) -> Option<Self> {
        let Self::InLine(mut acquire) = self else { return Some(self) };
        match Pin::new(&mut acquire).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Some(Self::InLine(acquire)),
            Poll::Ready(Ok(lease)) => Some(Self::Leased(lease)),
            Poll::Ready(Err(_)) => None,
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan").field("at", &self.lease.worker().name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asks").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
