//! A backend's open connections: never more than its capacity, idle ones of
//! all threads included.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::Connection;

/// What there is for a request that holds a lease.
pub(super) enum Found {
    Idle(Box<Connection>),
    /// Room for one more.
    Room(Opened),
}

pub(super) struct Connections {
    state: Mutex<State>,
    /// Told when a connection is idle or closed and somebody waits for it.
    change: Notify,
}

struct State {
    /// By the thread that drives them; the most recently used last.
    #[expect(clippy::vec_box, reason = "requests move them, and a vector as it grows")]
    idle: Vec<Vec<Box<Connection>>>,
    open: usize,
    most: usize,
    /// Whether idle ones are kept.
    keeps: bool,
    waiting: usize,
}

impl State {
    fn takes_one_more(&mut self) -> bool {
        let room = self.open < self.most;
        self.open += usize::from(room);
        room
    }

    fn any_idle(&mut self) -> Option<Box<Connection>> {
        self.idle.iter_mut().find_map(Vec::pop)
    }
}

/// One of the connections that may be open; dropped when it is closed.
pub(crate) struct Opened(Arc<Connections>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.change(|state| state.open -= 1);
    }
}

impl Connections {
    pub(super) fn new(most: NonZeroU32, threads: usize) -> Self {
        let idle = (0..threads).map(|_| Vec::new()).collect();
        let most = most.get() as usize;
        Self {
            state: Mutex::new(State { idle, open: 0, most, keeps: true, waiting: 0 }),
            change: Notify::new(),
        }
    }

    /// An idle connection, this thread's own if there is one, or room to open
    /// one. One that is about to close may have to be waited for: a lease says
    /// that there are few enough requests, not that sockets are gone.
    pub(super) async fn find(self: &Arc<Self>, thread: usize) -> Found {
        loop {
            let mut changed = std::pin::pin!(self.change.notified());
            let _waits = Waits::new(self);
            changed.as_mut().enable();
            if let Some(found) = self.find_now(thread) {
                return found;
            }
            changed.await;
        }
    }

    /// As [`find`](Self::find), if there is one without waiting.
    pub(super) fn find_now(self: &Arc<Self>, thread: usize) -> Option<Found> {
        let mut state = self.lock();
        if let Some(own) = state.idle[thread].pop() {
            return Some(Found::Idle(own));
        }
        if state.takes_one_more() {
            return Some(Found::Room(Opened(Arc::clone(self))));
        }
        // At capacity, and not with requests: another thread's is idle.
        state.any_idle().map(Found::Idle)
    }

    /// Room for one more, if there is any.
    pub(super) fn room(self: &Arc<Self>) -> Option<Opened> {
        self.lock().takes_one_more().then(|| Opened(Arc::clone(self)))
    }

    /// Room for one more, which an idle one makes if need be: it is closed then.
    pub(super) fn make_room(self: &Arc<Self>) -> Option<Opened> {
        let mut state = self.lock();
        if state.takes_one_more() {
            return Some(Opened(Arc::clone(self)));
        }
        let idle = state.any_idle();
        drop(state);
        idle.map(Connection::close)
    }

    /// One that is open already, elsewhere.
    pub(super) fn adopt(self: &Arc<Self>) -> Opened {
        self.lock().open += 1;
        Opened(Arc::clone(self))
    }

    /// An idle connection, if there is one, this thread's own if it has one.
    pub(super) fn idle(&self, thread: usize) -> Option<Box<Connection>> {
        let mut state = self.lock();
        state.idle[thread].pop().or_else(|| state.any_idle())
    }

    /// Keeps a connection for the next request, if it may.
    pub(super) fn keep(&self, connection: Box<Connection>) {
        let thread = connection.thread();
        let mut unkept = None;
        self.change(|state| {
            if state.keeps && state.open <= state.most {
                state.idle[thread].push(connection);
            } else {
                unkept = Some(connection);
            }
        });
        // Closed outside the lock, which its end takes.
        drop(unkept);
    }

    /// Says how many may be open; idle ones beyond that are closed.
    pub(super) fn set_most(&self, most: u32) {
        let mut beyond = Vec::new();
        self.change(|state| {
            state.most = most as usize;
            let too_many = state.most..state.open;
            beyond.extend(too_many.map_while(|_| state.any_idle()));
        });
        drop(beyond);
    }

    /// Says whether idle ones are kept; otherwise they are closed, and those that become so.
    pub(super) fn set_keeps(&self, keeps: bool) {
        let mut idle = Vec::new();
        self.change(|state| {
            state.keeps = keeps;
            if !keeps {
                idle.extend(std::iter::from_fn(|| state.any_idle()));
            }
        });
        drop(idle);
    }

    pub(super) fn open(&self) -> usize {
        self.lock().open
    }

    pub(super) fn sweep(&self, thread: usize, oldest: Instant) {
        let mut old = Vec::new();
        let mut state = self.lock();
        let idle = std::mem::take(&mut state.idle[thread]);
        for connection in idle {
            let fresh = connection.is_fresh(oldest);
            let list = if fresh { &mut state.idle[thread] } else { &mut old };
            list.push(connection);
        }
        drop(state);
        // Closed outside the lock, which their end takes.
        drop(old);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waited_for = state.waiting > 0;
        drop(state);
        if waited_for {
            self.change.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits for a change.
struct Waits<'a>(&'a Connections);

impl<'a> Waits<'a> {
    fn new(connections: &'a Connections) -> Self {
        connections.lock().waiting += 1;
        Self(connections)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
