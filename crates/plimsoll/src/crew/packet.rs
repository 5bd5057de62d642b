//! A request and the way to answer it, in one allocation.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use plimsoll_core::{Request, Ticket, Time};

use super::{Crew, Terms};
use crate::error::ReplyError;
use crate::slot::Slot;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};

/// What a crew needs of a job, whatever runs it.
pub(crate) trait Job: Send + Sync {
    /// What it asks of the core.
    fn terms(&self) -> Request<'static>;

    /// Whether its deadline has passed.
    fn is_late(&self, now: Time) -> bool;

    /// When it was submitted.
    fn since(&self) -> Time;

    /// Answers with an error instead of running; drops the request.
    fn fail(&self, error: ReplyError);

    /// Notes the slot of the worker it was assigned to.
    fn assigned(&self, slot: usize);

    /// Takes it out of line or queue: its submitter left while it was let in.
    fn leave(&self, ticket: Ticket);
}

/// A `Reply`'s view of a packet, whatever the request is.
pub(crate) trait ReplyCell<R>: Send + Sync {
    fn slot(&self) -> &Slot<Result<R, ReplyError>>;

    /// Takes the request out of line or queue if it has not begun.
    fn cancel(&self, ticket: Option<Ticket>);

    /// Whether this thread is a worker of the pool that must answer.
    fn would_deadlock(&self) -> bool;
}

/// The request `F`, until it begins, and the slot for its answer.
pub(crate) struct Packet<F, R, J: ?Sized> {
    request: Mutex<Option<F>>,
    pub(crate) slot: Slot<Result<R, ReplyError>>,
    terms: Request<'static>,
    since: Time,
    worker: AtomicUsize,
    pub(super) crew: Arc<Crew<J>>,
}

impl<F, R, J: ?Sized> Packet<F, R, J> {
    pub(crate) fn new(request: F, terms: Terms, crew: Arc<Crew<J>>) -> Self {
        let deadline = terms.deadline.map(|at| crew.clock.time(at));
        Self {
            request: Mutex::new(Some(request)),
            slot: Slot::new(),
            terms: Request { cost: terms.cost, excluded: &[], deadline },
            since: crew.clock.now(),
            worker: AtomicUsize::new(usize::MAX),
            crew,
        }
    }

    /// The request, for who runs it or gets it handed back; `None` when it was
    /// cancelled.
    pub(crate) fn begin(&self) -> Option<F> {
        lock(&self.request).take()
    }
}

impl<F: Send, R: Send, J: Job + ?Sized + 'static> Job for Packet<F, R, J> {
    fn terms(&self) -> Request<'static> {
        self.terms
    }

    fn is_late(&self, now: Time) -> bool {
        self.terms.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn since(&self) -> Time {
        self.since
    }

    fn fail(&self, error: ReplyError) {
        // A panic of what the request holds must not cost it its answer.
        let _ = catch_unwind(AssertUnwindSafe(|| give_up(self.begin(), &error)));
        drop(self.slot.put(Err(error)));
    }

    fn assigned(&self, slot: usize) {
        // Read under the same lock that this is written under.
        self.worker.store(slot, Ordering::Relaxed);
    }

    fn leave(&self, ticket: Ticket) {
        self.take_out(Some(ticket));
    }
}

impl<F: Send, R: Send, J: Job + ?Sized + 'static> Packet<F, R, J> {
    /// Frees its place in line or queue, if it has one still.
    fn take_out(&self, ticket: Option<Ticket>) {
        let address = std::ptr::from_ref(self).cast::<()>();
        self.crew.cancel(address, ticket, || self.worker.load(Ordering::Relaxed));
    }
}

impl<F: Send, R: Send, J: Job + ?Sized + 'static> ReplyCell<R> for Packet<F, R, J> {
    fn slot(&self) -> &Slot<Result<R, ReplyError>> {
        &self.slot
    }

    fn cancel(&self, ticket: Option<Ticket>) {
        if self.slot.is_filled() {
            return;
        }
        // Whoever takes the request first has it: a worker that begins, or this.
        // It may run already: then nobody wants its answer.
        drop(self.slot.close());
        if let Some(request) = self.begin() {
            self.take_out(ticket);
            drop(request);
        }
    }

    fn would_deadlock(&self) -> bool {
        self.crew.serves_here()
    }
}

thread_local! {
    /// Why the request that is dropped at the moment is given up.
    static GIVEN_UP: RefCell<Option<ReplyError>> = const { RefCell::new(None) };
}

/// Drops a request that will not run; what it holds may ask why.
fn give_up<F>(request: Option<F>, error: &ReplyError) {
    struct Restore(Option<ReplyError>);
    impl Drop for Restore {
        fn drop(&mut self) {
            GIVEN_UP.set(self.0.take());
        }
    }
    let _restore = Restore(GIVEN_UP.replace(Some(error.clone())));
    drop(request);
}

/// Why the request that is being dropped is not run.
pub(crate) fn given_up() -> ReplyError {
    GIVEN_UP.with_borrow(Clone::clone).unwrap_or(ReplyError::Shutdown)
}

/// What a panic said, as far as it said it in words.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}
