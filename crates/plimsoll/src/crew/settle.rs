//! What follows from a change, and what must wait until the lock is gone.

use std::sync::Arc;

use plimsoll_core::{Completion, Lease, Outcome, Ticket, Time, WorkerId};
use smallvec::SmallVec;

use super::submit::Gated;
use super::{Entry, Job, Parker, Post, State};
use crate::error::{Reason, ReplyError};
use crate::slot::Slot;
use plimsoll_core::{Dispatch, Refusal};

/// Something that runs, wakes or drops what is not ours.
enum Deed<J: ?Sized> {
    Wake(Arc<Parker>),
    Fail(Arc<J>, ReplyError),
    Drop(Arc<J>),
    Admit(Gated<J>, Result<Option<Ticket>, Reason>),
    Admitted(Arc<Slot<Result<Option<Ticket>, Reason>>>, Option<Ticket>),
    Farewell(Arc<Slot<()>>),
}

/// What is to be done after the lock is released.
pub(super) struct After<J: ?Sized> {
    deeds: SmallVec<[Deed<J>; 2]>,
    due: Option<Time>,
}

impl<J: Job + ?Sized> After<J> {
    pub(super) fn new() -> Self {
        Self { deeds: SmallVec::new(), due: None }
    }

    /// Wakes a worker that sleeps; one that does not looks by itself.
    pub(super) fn wake(&mut self, post: &mut Post<J>) {
        if std::mem::take(&mut post.asleep) {
            self.deeds.push(Deed::Wake(Arc::clone(&post.parker)));
        }
    }

    pub(super) fn fail(&mut self, job: Arc<J>, error: ReplyError) {
        self.deeds.push(Deed::Fail(job, error));
    }

    pub(super) fn drop_later(&mut self, job: Arc<J>) {
        self.deeds.push(Deed::Drop(job));
    }

    pub(super) fn answer_gate(&mut self, gated: Gated<J>, answer: Result<Option<Ticket>, Reason>) {
        self.deeds.push(Deed::Admit(gated, answer));
    }

    /// Does it all, and returns the moment that the timer must be told.
    pub(super) fn carry_out(self) -> Option<Time> {
        for deed in self.deeds {
            match deed {
                Deed::Wake(parker) => parker.notify(),
                Deed::Fail(job, error) => job.fail(error),
                Deed::Drop(job) => drop(job),
                Deed::Admit(gated, answer) => gated.admission.put(answer),
                Deed::Admitted(admission, ticket) => admission.put(Ok(ticket)),
                Deed::Farewell(slot) => slot.put(()),
            }
        }
        self.due
    }
}

impl<J: Job + ?Sized + 'static> State<J> {
    /// Carries out what the core says has become of waiting requests, lets in
    /// who waits at the gate, and ends the crew when nothing is left to do.
    pub(super) fn settle(&mut self, now: Time, after: &mut After<J>) {
        self.drain_outcomes(after);
        while !self.gate.is_empty() && self.pool.waiting() < self.pool.config().line {
            self.let_in(now, after);
            self.drain_outcomes(after);
        }
        if self.closed {
            self.finish_if_done(after);
        }
        let due = self.pool.poll_timeout();
        if due.is_some_and(|at| self.timer.is_none_or(|told| at < told)) {
            self.timer = due;
            after.due = due;
        }
    }

    /// Puts a request in the queue of the worker that it was assigned to.
    pub(super) fn assign(&mut self, lease: Lease, entry: Entry<J>, after: &mut After<J>) {
        let slot = lease.worker().index();
        entry.job.assigned(slot);
        // The post stands as long as the worker has leases.
        if let Some(post) = &mut self.posts[slot] {
            post.queue.push_back((lease, entry));
            after.wake(post);
        }
    }

    pub(super) fn post(&mut self, id: WorkerId) -> Option<&mut Post<J>> {
        self.posts.get_mut(id.index())?.as_mut().filter(|post| post.id == id)
    }

    /// Gives a lease back that this crew's pool has made.
    pub(super) fn give_back(&mut self, lease: Lease, how: Completion, now: Time) {
        let given = self.pool.completed(lease, how, now);
        debug_assert_eq!(given, Ok(()), "a crew completes only its own leases");
    }

    /// Takes all that has not begun out of line and queues.
    pub(super) fn take_everything(&mut self, now: Time) -> Vec<Entry<J>> {
        // Nothing may be assigned in between, or it would begin after all.
        let mut taken = self.pool.clear_line();
        for slot in 0..self.posts.len() {
            let queue = self.posts[slot].as_mut().map(|post| std::mem::take(&mut post.queue));
            for (lease, entry) in queue.into_iter().flatten() {
                self.give_back(lease, Completion::Succeeded, now);
                taken.push(entry);
            }
        }
        taken
    }

    /// Refuses what waits at the gate past its deadline.
    pub(super) fn close_gate_to_late(&mut self, now: Time, after: &mut After<J>) {
        let late = |gated: &Gated<J>| gated.entry.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(place) = self.gate.iter().position(late) {
            if let Some(gated) = self.gate.remove(place) {
                after.answer_gate(gated, Err(Reason::DeadlinePassed));
            }
        }
    }

    fn drain_outcomes(&mut self, after: &mut After<J>) {
        while let Some(outcome) = self.pool.poll_outcome() {
            match outcome {
                Outcome::Assigned { lease, tag, .. } => self.assign(lease, tag, after),
                Outcome::Refused { reason, tag, .. } => {
                    let reason = self.reason(reason);
                    after.fail(tag.job, ReplyError::Refused(reason));
                }
                Outcome::Removed(id) => self.dismiss(id, after),
            }
        }
    }

    /// A removed worker has nothing left: its post goes, and it sees that.
    fn dismiss(&mut self, id: WorkerId, after: &mut After<J>) {
        let Some(mut post) = self.posts[id.index()].take() else { return };
        for job in post.broadcasts.drain(..) {
            after.fail(job, ReplyError::Shutdown);
        }
        after.wake(&mut post);
    }

    fn let_in(&mut self, now: Time, after: &mut After<J>) {
        let Some(Gated { entry, admission }) = self.gate.pop_front() else { return };
        let request = entry.request();
        match self.pool.dispatch(&request, entry, now) {
            Dispatch::Assigned(lease, entry) => {
                self.assign(lease, entry, after);
                after.deeds.push(Deed::Admitted(admission, None));
            }
            Dispatch::InLine(ticket) => {
                after.deeds.push(Deed::Admitted(admission, Some(ticket)));
            }
            Dispatch::Refused(Refusal::LineFull, entry) => {
                self.gate.push_front(Gated { entry, admission });
            }
            Dispatch::Refused(refusal, entry) => {
                let reason = self.reason(refusal);
                after.answer_gate(Gated { entry, admission }, Err(reason));
            }
        }
    }

    fn finish_if_done(&mut self, after: &mut After<J>) {
        let idle = self.pool.pending() == 0 && self.pool.waiting() == 0;
        let told = self.posts.iter().flatten().all(|post| post.broadcasts.is_empty());
        if !self.finished && idle && told {
            self.finished = true;
            for post in self.posts.iter_mut().flatten() {
                after.wake(post);
            }
        }
        if self.finished && self.present == 0 {
            after.deeds.extend(self.farewells.drain(..).map(Deed::Farewell));
        }
    }
}
