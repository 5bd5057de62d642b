//! What follows from a change, and what must wait until the lock is gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use plimsoll_core::{Completion, Lease, Outcome, Ticket, Time, WorkerId};

use super::submit::{Admission, Gated};
use super::{Charged, Job, Parker, Post, State};
use crate::error::{Reason, ReplyError};
use crate::slot::Slot;
use plimsoll_core::{Dispatch, Refusal};

/// Something that runs, wakes or drops what is not ours.
enum Deed<J: ?Sized> {
    Wake(Wake<J>),
    Fail(Arc<J>, ReplyError),
    Drop(Arc<J>),
    /// Seldom, and large.
    Admit(Box<(Gated<J>, Admission)>),
    /// The job, should its submitter have left.
    Admitted(Arc<Slot<Admission>>, Ticket, Arc<J>),
    Farewell(Arc<Slot<()>>),
}

impl<J: Job + ?Sized> Deed<J> {
    fn carry_out(self) {
        match self {
            Self::Wake(wake) => wake.carry_out(),
            Self::Fail(job, error) => job.fail(error),
            Self::Drop(job) => drop(job),
            Self::Admit(admit) => drop(admit.0.admission.put(admit.1)),
            Self::Admitted(admission, ticket, job) => {
                if admission.put(Ok(ticket)).is_some() {
                    job.leave(ticket);
                }
            }
            Self::Farewell(slot) => drop(slot.put(())),
        }
    }
}

/// The end of a worker's sleep.
enum Wake<J: ?Sized> {
    Notify(Arc<Parker<J>>),
    /// A task that is notified already.
    Wake(Waker),
}

impl<J: ?Sized> Wake<J> {
    fn carry_out(self) {
        match self {
            Self::Notify(parker) => parker.notify(),
            Self::Wake(waker) => waker.wake(),
        }
    }
}

/// What is to be done after the lock is released.
pub(super) struct After<J: ?Sized> {
    /// The first wake; there is seldom more to do.
    wake: Option<Wake<J>>,
    deeds: Vec<Deed<J>>,
    due: Option<Time>,
}

impl<J: Job + ?Sized> After<J> {
    pub(super) fn new() -> Self {
        Self { wake: None, deeds: Vec::new(), due: None }
    }

    /// Wakes a worker that sleeps; one that does not looks by itself.
    pub(super) fn wake(&mut self, post: &mut Post<J>) {
        if std::mem::take(&mut post.asleep) {
            self.wake_later(Wake::Notify(Arc::clone(&post.parker)));
        }
    }

    fn wake_later(&mut self, wake: Wake<J>) {
        if self.wake.is_none() {
            self.wake = Some(wake);
        } else {
            self.deeds.push(Deed::Wake(wake));
        }
    }

    pub(super) fn fail(&mut self, job: Arc<J>, error: ReplyError) {
        self.deeds.push(Deed::Fail(job, error));
    }

    pub(super) fn drop_later(&mut self, job: Arc<J>) {
        self.deeds.push(Deed::Drop(job));
    }

    pub(super) fn answer_gate(&mut self, gated: Gated<J>, answer: Admission) {
        self.deeds.push(Deed::Admit(Box::new((gated, answer))));
    }

    /// Does it all, and returns the moment that the timer must be told.
    #[inline]
    pub(super) fn carry_out(self) -> Option<Time> {
        // A panic of somebody's waker, or of a request that is dropped, is its
        // own affair, and must not keep the others from theirs.
        if let Some(wake) = self.wake {
            let _ = catch_unwind(AssertUnwindSafe(|| wake.carry_out()));
        }
        if !self.deeds.is_empty() {
            carry_out_all(self.deeds);
        }
        self.due
    }
}

#[cold]
fn carry_out_all<J: Job + ?Sized>(deeds: Vec<Deed<J>>) {
    for deed in deeds {
        let _ = catch_unwind(AssertUnwindSafe(|| deed.carry_out()));
    }
}

impl<J: Job + ?Sized + 'static> State<J> {
    /// Carries out what the core says has become of waiting requests, lets in
    /// who waits at the gate, and ends the crew when nothing is left to do.
    #[expect(clippy::inline_always, reason = "every change ends here, mostly with nothing to do")]
    #[inline(always)]
    pub(super) fn settle(&mut self, now: Time, after: &mut After<J>) {
        self.drain_outcomes(after);
        if !self.gate.is_empty() {
            self.open_gate(now, after);
        }
        if self.closed {
            self.finish_if_done(after);
        }
        self.tell_timer(self.pool.poll_timeout(), after);
    }

    #[cold]
    fn open_gate(&mut self, now: Time, after: &mut After<J>) {
        while self.let_in(now, after) {
            self.drain_outcomes(after);
        }
    }

    /// Has the timer told of this moment, unless it knows of an earlier one.
    #[inline]
    pub(super) fn tell_timer(&mut self, due: Option<Time>, after: &mut After<J>) {
        if due.is_some_and(|at| self.timer.is_none_or(|told| at < told)) {
            self.timer = due;
            after.due = due;
        }
    }

    /// Hands a request to the worker that it was assigned to, if that is a task
    /// that sleeps, or puts it in its queue.
    pub(super) fn assign(&mut self, lease: Lease, job: Arc<J>, after: &mut After<J>) {
        let slot = lease.worker().index();
        job.assigned(slot);
        // The post stands as long as the worker has leases.
        let Some(post) = &mut self.posts[slot] else { return };
        if post.asleep && !post.parker.is_thread() {
            post.asleep = false;
            if let Some(waker) = post.parker.hand((lease, job)) {
                after.wake_later(Wake::Wake(waker));
            }
        } else {
            post.queue.push_back((lease, job));
            self.rouse(slot, after);
        }
    }

    /// Sees to it that a thread that was given a request comes.
    ///
    /// Waking a thread costs more than a short request. So while one thread is
    /// waking, others that sleep are left to it: when it comes, it finds its
    /// work, wakes the next of them and goes on; and a worker that runs out of
    /// work takes over what sleepers have been given.
    fn rouse(&mut self, slot: usize, after: &mut After<J>) {
        let Some(post) = self.posts[slot].as_mut().filter(|post| post.asleep) else { return };
        if self.waking.is_none() {
            self.waking = Some(post.id);
            after.wake(post);
        } else if !std::mem::replace(&mut post.drowsy, true) {
            self.drowsy.push_back(slot);
        }
    }

    /// Wakes the next in the chain.
    #[inline]
    pub(super) fn rouse_next(&mut self, after: &mut After<J>) {
        if !self.drowsy.is_empty() {
            self.rouse_drowsy(after);
        }
    }

    fn rouse_drowsy(&mut self, after: &mut After<J>) {
        while self.waking.is_none() {
            let Some(slot) = self.next_drowsy() else { return };
            if self.posts[slot].as_ref().is_some_and(|post| !post.queue.is_empty()) {
                self.rouse(slot, after);
            }
        }
    }

    fn next_drowsy(&mut self) -> Option<usize> {
        let slot = self.drowsy.pop_front()?;
        if let Some(post) = &mut self.posts[slot] {
            post.drowsy = false;
        }
        Some(slot)
    }

    /// Takes over, for the worker `id` that has none, a request that a sleeping
    /// worker has been given.
    pub(super) fn take_over(&mut self, id: WorkerId, now: Time) -> Option<Charged<J>> {
        while let Some(&slot) = self.drowsy.front() {
            let post = self.posts[slot].as_mut().filter(|post| post.asleep);
            let Some((lease, job)) = post.and_then(|post| post.queue.pop_front()) else {
                self.next_drowsy();
                continue;
            };
            match self.pool.reassign(lease, id, now) {
                Ok(lease) => {
                    job.assigned(id.index());
                    return Some((lease, job));
                }
                Err(lease) => {
                    if let Some(post) = &mut self.posts[slot] {
                        post.queue.push_front((lease, job));
                    }
                    return None;
                }
            }
        }
        None
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
    pub(super) fn take_everything(&mut self, now: Time) -> Vec<Arc<J>> {
        // Nothing may be assigned in between, or it would begin after all.
        let mut taken = self.pool.clear_line();
        for slot in 0..self.posts.len() {
            let queue = self.posts[slot].as_mut().map(Post::take_queue);
            for (lease, job) in queue.into_iter().flatten() {
                self.give_back(lease, Completion::Succeeded, now);
                taken.push(job);
            }
        }
        taken
    }

    /// Refuses what waits at the gate past its deadline, and sees to the next.
    pub(super) fn close_gate_to_late(&mut self, now: Time, after: &mut After<J>) {
        let late = |gated: &Gated<J>| gated.job.is_late(now);
        while let Some(place) = self.gate.iter().position(late) {
            if let Some(gated) = self.gate.remove(place) {
                after.answer_gate(gated, Err(Reason::DeadlinePassed));
            }
        }
        let next = self.gate.iter().filter_map(|gated| gated.job.terms().deadline).min();
        self.tell_timer(next, after);
    }

    #[inline]
    pub(super) fn drain_outcomes(&mut self, after: &mut After<J>) {
        while let Some(outcome) = self.pool.poll_outcome() {
            self.follow(outcome, after);
        }
    }

    #[inline(never)]
    fn follow(&mut self, outcome: Outcome<Arc<J>>, after: &mut After<J>) {
        match outcome {
            Outcome::Assigned { lease, tag, .. } => self.assign(lease, tag, after),
            Outcome::Refused { reason, tag, .. } => {
                let reason = self.reason(reason);
                after.fail(tag, ReplyError::Refused(reason));
            }
            Outcome::Removed(id) => self.dismiss(id, after),
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

    /// Lets in the first at the gate; false when there is none, or no room.
    fn let_in(&mut self, now: Time, after: &mut After<J>) -> bool {
        let line = self.pool.config().line;
        // A line of 0 has no room ever: then a worker must have.
        if self.pool.waiting() >= line.max(1) {
            return false;
        }
        let Some(Gated { job, admission }) = self.gate.pop_front() else { return false };
        let seen = Arc::clone(&job);
        match self.pool.dispatch(&job.terms(), job, now) {
            Dispatch::Assigned(lease, job) => {
                after.deeds.push(Deed::Admitted(admission, lease.ticket(), seen));
                self.assign(lease, job, after);
            }
            Dispatch::InLine(ticket) => {
                after.deeds.push(Deed::Admitted(admission, ticket, seen));
            }
            Dispatch::Refused(Refusal::LineFull, job) => {
                self.gate.push_front(Gated { job, admission });
                return false;
            }
            Dispatch::Refused(refusal, job) => {
                let reason = self.reason(refusal);
                after.answer_gate(Gated { job, admission }, Err(reason));
            }
        }
        true
    }

    #[cold]
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
