//! A worker's side: it joins, takes the next request, gives leases back,
//! breaks, leaves.

use std::collections::VecDeque;
use std::error::Error;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use plimsoll_core::{Completion, Health, Lease, Time, WorkerId, WorkerSpec};

use super::settle::After;
use super::{Charged, Crew, Job, Parker, Post, State};
use crate::error::{Reason, ReplyError};

/// The rest after a factory's first failure; it doubles with each further one
/// up to 1.28 s.
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
const MOST_DOUBLINGS: u32 = 7;
/// Failures in a row after which no request waits for a worker any more.
pub(crate) const FAILURES_UNTIL_DOWN: u32 = 3;

/// The room that a map fills at the most, however large the capacities are.
const MOST_ROOM: usize = 4096;

/// What a worker does next.
pub(crate) enum Next<J: ?Sized> {
    /// Runs this, and hands the lease to the following `next`. A broadcast has
    /// none.
    Run(Option<Lease>, Arc<J>),
    /// Sleeps until its parker is notified.
    Sleep,
    /// Ends: it was removed, or the crew is closed and done.
    Leave,
}

impl<J: Job + ?Sized + 'static> Crew<J> {
    /// Adds or removes workers until there are this many, in one step. Returns
    /// those that are to be started; they are not up yet, requests may wait for
    /// them. Those that are removed, from the highest number down, finish what
    /// they were given. A crew that is finished does not grow.
    pub(crate) fn resize(
        &self,
        workers: usize,
        parker: fn() -> Parker<J>,
    ) -> Vec<(WorkerId, Arc<Parker<J>>)> {
        self.with(self.now(), |state, now, _| {
            let stays = |id: &WorkerId| state.pool.worker(*id).is_some_and(|w| !w.draining);
            let mut stay: Vec<_> = state.posts.iter().flatten().map(|post| post.id).collect();
            stay.retain(stays);
            for &id in stay.iter().skip(workers) {
                let known = state.pool.remove(id, now);
                debug_assert!(known.is_ok(), "it is in the pool");
            }
            let wanted = if state.finished { 0 } else { workers };
            (stay.len()..wanted).map(|_| state.add(parker(), self.capacity, now)).collect()
        })
    }

    /// The worker's state is built: it takes requests.
    pub(crate) fn up(&self, id: WorkerId) {
        let old = self.with(self.now(), |state, now, _| {
            // No longer after a rest that the timer ended.
            if let Some(post) = state.post(id) {
                post.asleep = false;
            }
            // A worker may have been removed meanwhile; it learns so from `next`.
            let _ = state.pool.set_health(id, Health::Up, now);
            state.factory_error.take()
        });
        // A user's error may do anything when it is dropped.
        drop(old);
    }

    /// The worker's state could not be built, time and again: nothing waits
    /// for it until it is up after all.
    pub(crate) fn down(&self, id: WorkerId, error: Arc<dyn Error + Send + Sync>) {
        let old = self.with(self.now(), |state, now, after| {
            let reason = Reason::Factory(Arc::clone(&error));
            let old = state.factory_error.replace(error);
            let _ = state.pool.set_health(id, Health::Down, now);
            let broadcasts = state.post(id).map(|post| std::mem::take(&mut post.broadcasts));
            for job in broadcasts.into_iter().flatten() {
                after.fail(job, ReplyError::Refused(reason.clone()));
            }
            old
        });
        drop(old);
    }

    /// The worker's state is lost: the request that broke it is over, those
    /// behind it move on, and it gets no more until it is up again.
    pub(crate) fn broken(&self, id: WorkerId, lease: Option<Lease>) {
        self.rebuild(id, lease, Completion::Failed);
    }

    /// As [`broken`](Self::broken), but its last request was not at fault: it
    /// kept the state.
    pub(crate) fn renew(&self, id: WorkerId, lease: Option<Lease>) {
        self.rebuild(id, lease, Completion::Succeeded);
    }

    fn rebuild(&self, id: WorkerId, lease: Option<Lease>, how: Completion) {
        self.with(self.now(), |state, now, _| {
            let _ = state.pool.set_health(id, Health::Starting, now);
            state.move_on(id, now);
            if let Some(lease) = lease {
                state.give_back(lease, how, now);
            }
        });
    }

    /// Gives the last lease back and takes what is next, in one step.
    pub(crate) fn next(&self, id: WorkerId, done: Option<Lease>, at: Time) -> Next<J> {
        self.with(at, |state, now, after| {
            if state.waking == Some(id) {
                state.waking = None;
            }
            if let Some(lease) = done {
                state.give_back(lease, Completion::Succeeded, now);
                // Its own next request may be among what comes of that.
                state.drain_outcomes(after);
            } else if let Some(post) = state.post(id) {
                // It may have been handed one since it woke.
                post.recall();
            }
            let next = state.find_work(id, now, after);
            state.rouse_next(after);
            next
        })
    }

    /// What a task does that has slept: what it was handed, or what it finds.
    pub(crate) fn woken(&self, id: WorkerId, handed: Option<Charged<J>>, at: Time) -> Next<J> {
        if let Some((lease, job)) = handed {
            if !job.is_late(at) {
                return Next::Run(Some(lease), job);
            }
            // Too late: it is refused where all that are too late are.
            self.with(at, |state, _, _| {
                if let Some(post) = state.post(id) {
                    post.queue.push_front((lease, job));
                }
            });
        }
        self.next(id, None, at)
    }

    /// Lets a worker whose state could not be built rest before it tries
    /// again: its parker is notified then, or when it should leave. False when
    /// it should leave now, as it must ask again after the rest.
    pub(crate) fn back_off(&self, id: WorkerId, parker: &Arc<Parker<J>>, failures: u32) -> bool {
        let rests = self.with(self.now(), |state, _, _| {
            let finished = state.finished;
            let post = state.post(id).filter(|_| !finished);
            post.map(|post| post.asleep = true).is_some()
        });
        if rests {
            let exponent = (failures - 1).min(MOST_DOUBLINGS);
            let until = Instant::now() + FIRST_BACK_OFF * 2_u32.pow(exponent);
            let parker: Weak<Parker<J>> = Arc::downgrade(parker);
            crate::timer::schedule(until, parker);
        }
        rests
    }

    /// Whether a worker that is not up should go on to be.
    pub(crate) fn stays(&self, id: WorkerId) -> bool {
        let mut state = crate::sync::lock(&self.state);
        !state.finished && state.post(id).is_some()
    }

    /// The worker's loop has ended, however it ended: what it still held moves
    /// on, and its place is free.
    pub(crate) fn leave(&self, id: WorkerId) {
        self.with(self.now(), |state, now, after| {
            // Unknown when it was removed and had nothing left.
            let _ = state.pool.set_health(id, Health::Down, now);
            state.move_on(id, now);
            let _ = state.pool.remove(id, now);
            state.present -= 1;
            if state.waking == Some(id) {
                state.waking = None;
            }
            state.rouse_next(after);
        });
    }

    /// Gives the last lease back; the next request is taken later.
    pub(crate) fn complete(&self, lease: Lease, at: Time) {
        self.with(at, |state, now, _| state.give_back(lease, Completion::Succeeded, now));
    }

    /// Gives back the lease of a request that was dropped while it ran.
    pub(crate) fn abandon(&self, lease: Lease) {
        self.with(self.now(), |state, now, _| {
            state.give_back(lease, Completion::Failed, now);
        });
    }

    /// How many requests a map keeps going: twice what the workers have room
    /// for. On a worker of this crew, which would wait for itself, an error.
    pub(crate) fn map_window(&self) -> Result<usize, Reason> {
        if self.serves_here() {
            return Err(Reason::WouldDeadlock);
        }
        let room = self.len() * self.capacity.get() as usize;
        Ok(2 * room.clamp(1, MOST_ROOM))
    }

    /// Workers that have not been told to leave.
    pub(crate) fn len(&self) -> usize {
        let state = crate::sync::lock(&self.state);
        state.pool.workers().filter(|worker| !worker.draining).count()
    }

    /// Requests that workers have been given and have not completed.
    pub(crate) fn leases(&self) -> usize {
        let state = crate::sync::lock(&self.state);
        let leases = state.pool.workers().map(|worker| worker.dispatched - worker.completed);
        usize::try_from(leases.sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Changes how workers are chosen.
    pub(crate) fn set_policy(&self, policy: plimsoll_core::Policy) {
        self.with(self.now(), |state, _, _| state.pool.set_policy(policy));
    }

    /// Records a request's times, outside the lock: when it was submitted, when
    /// a worker began it, and when it was over.
    pub(crate) fn record(&self, since: Time, began: Time, over: Time) {
        // A clock that goes back counts as one that stands.
        let nanos = |from: Time, to: Time| to.as_nanos().saturating_sub(from.as_nanos());
        self.recorder.record(nanos(since, began), nanos(began, over));
    }
}

impl<J: Job + ?Sized + 'static> State<J> {
    fn add(
        &mut self,
        parker: Parker<J>,
        capacity: NonZeroU32,
        now: Time,
    ) -> (WorkerId, Arc<Parker<J>>) {
        let parker = Arc::new(parker);
        let spec = WorkerSpec { health: Health::Starting, ..WorkerSpec::new(capacity) };
        let id = self.pool.add(spec, now);
        if self.posts.len() <= id.index() {
            self.posts.resize_with(id.index() + 1, || None);
        }
        self.posts[id.index()] = Some(Post {
            id,
            queue: VecDeque::new(),
            broadcasts: VecDeque::new(),
            parker: Arc::clone(&parker),
            asleep: false,
            drowsy: false,
        });
        self.present += 1;
        (id, parker)
    }

    fn find_work(&mut self, id: WorkerId, now: Time, after: &mut After<J>) -> Next<J> {
        loop {
            let Some(post) = self.post(id) else { return Next::Leave };
            post.asleep = false;
            if let Some(job) = post.broadcasts.pop_front() {
                return Next::Run(None, job);
            }
            let found = post.queue.pop_front();
            let Some((lease, job)) = found.or_else(|| self.take_over(id, now)) else {
                // Also when what was too late was the last there was.
                if self.finished {
                    return Next::Leave;
                }
                if let Some(post) = self.post(id) {
                    post.asleep = true;
                }
                return Next::Sleep;
            };
            if !job.is_late(now) {
                return Next::Run(Some(lease), job);
            }
            self.give_back(lease, Completion::Succeeded, now);
            after.fail(job, ReplyError::Refused(Reason::DeadlinePassed));
            self.settle(now, after);
        }
    }

    /// Takes back what a worker has been given and has not begun.
    fn move_on(&mut self, id: WorkerId, now: Time) {
        let queue = self.post(id).map(Post::take_queue);
        for (lease, job) in queue.into_iter().flatten() {
            let taken = self.pool.take_back(lease, &job.terms(), job, now);
            debug_assert!(taken.is_ok(), "a crew takes back only its own leases");
        }
    }
}
