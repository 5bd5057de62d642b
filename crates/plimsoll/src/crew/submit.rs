//! Requests come in: dispatched, in line, at the gate, refused; or go away.

use std::sync::Arc;

use plimsoll_core::{Completion, Dispatch, Health, Refusal, Ticket};

use super::{Crew, Job, State};
use crate::error::{Reason, ReplyError};
use crate::slot::Slot;

/// What becomes of a request that finds the line full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfFull {
    Refuse,
    /// It waits at the gate for room in line, and its submitter beside it.
    Wait,
}

/// What a submitter at the gate is told: its request's ticket, or why it is
/// refused after all.
pub(crate) type Admission = Result<Ticket, Reason>;

/// A request at the gate.
pub(crate) struct Gated<J: ?Sized> {
    pub(super) job: Arc<J>,
    /// Filled when it is let in, or refused after all.
    pub(super) admission: Arc<Slot<Admission>>,
}

/// What became of a submitted request.
pub(crate) enum Submitted {
    /// Assigned or in line; this is its ticket when it is in line.
    Taken(Ticket),
    /// At the gate: this slot tells when it is let in.
    AtGate(Arc<Slot<Admission>>),
    Refused(Reason),
}

impl<J: Job + ?Sized + 'static> Crew<J> {
    pub(crate) fn submit(&self, job: Arc<J>, if_full: IfFull) -> Submitted {
        let request = job.terms();
        self.with(job.since(), |state, now, after| {
            if state.closed {
                after.drop_later(job);
                return Submitted::Refused(Reason::Closed);
            }
            let dispatched = if state.gate.is_empty() {
                state.pool.dispatch(&request, job, now)
            } else {
                // Nobody overtakes who waits at the gate.
                Dispatch::Refused(Refusal::LineFull, job)
            };
            match dispatched {
                Dispatch::Assigned(lease, job) => {
                    // It may be taken back from its worker and wait after all.
                    let ticket = lease.ticket();
                    state.assign(lease, job, after);
                    Submitted::Taken(ticket)
                }
                Dispatch::InLine(ticket) => Submitted::Taken(ticket),
                Dispatch::Refused(Refusal::LineFull, job) if if_full == IfFull::Wait => {
                    let admission = Arc::new(Slot::new());
                    // The core knows no gate.
                    state.tell_timer(request.deadline, after);
                    state.gate.push_back(Gated { job, admission: Arc::clone(&admission) });
                    Submitted::AtGate(admission)
                }
                Dispatch::Refused(refusal, job) => {
                    after.drop_later(job);
                    Submitted::Refused(state.reason(refusal))
                }
            }
        })
    }

    /// Takes a request that has not begun out of the line, or out of the queue
    /// of the worker it was assigned to, and gives its lease back.
    pub(super) fn cancel(
        &self,
        job: *const (),
        ticket: Option<Ticket>,
        worker: impl FnOnce() -> usize,
    ) {
        self.with(self.now(), |state, now, after| {
            if let Some(job) = ticket.and_then(|ticket| state.pool.cancel(ticket, now)) {
                after.drop_later(job);
                return;
            }
            let Some(post) = state.posts.get_mut(worker()).and_then(Option::as_mut) else { return };
            post.recall();
            let is_it = |queued: &Arc<J>| std::ptr::addr_eq(Arc::as_ptr(queued), job);
            let Some(place) = post.queue.iter().position(|(_, queued)| is_it(queued)) else {
                return;
            };
            if let Some((lease, job)) = post.queue.remove(place) {
                state.give_back(lease, Completion::Succeeded, now);
                after.drop_later(job);
            }
        });
    }

    /// Takes a request back from the gate; false when it has left it.
    pub(crate) fn leave_gate(&self, admission: &Arc<Slot<Admission>>) -> bool {
        self.with(self.now(), |state, _, after| {
            let waits = |gated: &Gated<J>| Arc::ptr_eq(&gated.admission, admission);
            let Some(place) = state.gate.iter().position(waits) else { return false };
            if let Some(gated) = state.gate.remove(place) {
                after.drop_later(gated.job);
            }
            true
        })
    }

    /// Closes intake. With `drop_queue`, what has not begun is failed and
    /// counted; else it is finished.
    pub(crate) fn close(&self, drop_queue: bool) -> usize {
        self.with(self.now(), |state, now, after| {
            state.closed = true;
            for gated in state.gate.drain(..) {
                after.answer_gate(gated, Err(Reason::Closed));
            }
            if !drop_queue {
                return 0;
            }
            let jobs = state.take_everything(now);
            let count = jobs.len();
            for job in jobs {
                after.fail(job, ReplyError::Shutdown);
            }
            count
        })
    }

    /// A slot that is filled when the crew is closed and all workers have left.
    pub(crate) fn farewell(&self) -> Arc<Slot<()>> {
        let slot = Arc::new(Slot::new());
        self.with(self.now(), |state, _, _| state.farewells.push(Arc::clone(&slot)));
        slot
    }

    /// Gives every worker an uncharged job of its own, and returns how many
    /// there are; `make` is called outside the lock.
    pub(crate) fn broadcast(&self, mut make: impl FnMut() -> Arc<J>) -> usize {
        let ids: Vec<_> = {
            let state = crate::sync::lock(&self.state);
            state.posts.iter().flatten().map(|post| post.id).collect()
        };
        let jobs: Vec<_> = ids.into_iter().map(|id| (id, make())).collect();
        let count = jobs.len();
        self.with(self.now(), |state, _, after| {
            for (id, job) in jobs {
                let closed = state.finished;
                let down = state.pool.worker(id).is_some_and(|w| w.health == Health::Down);
                let reason = state.reason(Refusal::NoWorker);
                match state.post(id).filter(|_| !closed) {
                    // Its state may never be built.
                    Some(_) if down => after.fail(job, ReplyError::Refused(reason)),
                    Some(post) => {
                        // Before what it was handed, too.
                        post.recall();
                        post.broadcasts.push_back(job);
                        after.wake(post);
                    }
                    None => after.fail(job, ReplyError::Shutdown),
                }
            }
        });
        count
    }
}

impl<J: Job + ?Sized + 'static> State<J> {
    /// A refusal as the requester is told it.
    pub(super) fn reason(&self, refusal: Refusal) -> Reason {
        match (&self.factory_error, Reason::from(refusal)) {
            (Some(error), Reason::NoWorker) => Reason::Factory(Arc::clone(error)),
            (_, reason) => reason,
        }
    }
}
