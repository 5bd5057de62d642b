//! A worker future: builds its state, runs requests on it, rebuilds it.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use plimsoll_core::{Completion, Lease, WorkerId};

use super::guard::{Home, StateGuard};
use crate::crew::{Crew, FAILURES_UNTIL_DOWN, Job, Next, Packet, Parker, panic_message};
use crate::error::{FactoryError, ReplyError};

/// Requests that end without waiting, before the executor gets a turn.
const TURN: u32 = 32;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(crate) type Factory<S> = dyn Fn(usize) -> Boxed<Result<S, FactoryError>> + Send + Sync;
pub(crate) type Spawn = dyn Fn(Boxed<()>) + Send + Sync;

/// A job for a worker that lends an `S`.
pub(crate) trait TaskJob<S>: Job {
    /// Begins the request in `place`, where the last one has ended; false when
    /// it was cancelled.
    fn start(self: Arc<Self>, state: StateGuard<S>, place: &mut Place) -> bool;
}

/// Where a worker's requests run, one after another. The next one moves into
/// the allocation of the last when it is of the same kind.
type Place = Option<Pin<Box<dyn Running>>>;

/// A request that has begun.
pub(crate) trait Running: Send {
    /// Runs it on. Its future, and what it holds, is gone when this is ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completion>;

    /// Ends it early: its worker is dropped.
    fn lose(self: Pin<&mut Self>);

    /// Hands the answer over; called when the lease is back. Nothing of the
    /// request is left then.
    fn answer(self: Pin<&mut Self>);

    /// Becomes the request in `next`, an `Option<Self>`; false when that is of
    /// another kind.
    fn become_next(self: Pin<&mut Self>, next: &mut dyn Any) -> bool;
}

pin_project! {
    struct Run<Fut: Future, F, J: ?Sized> {
        #[pin]
        future: Option<Fut>,
        answer: Option<Result<Fut::Output, ReplyError>>,
        packet: Option<Arc<Packet<F, Fut::Output, J>>>,
    }
}

impl<S, F, Fut> TaskJob<S> for Packet<F, Fut::Output, dyn TaskJob<S>>
where
    S: Send + 'static,
    F: FnOnce(StateGuard<S>) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + Send + 'static,
{
    fn start(self: Arc<Self>, state: StateGuard<S>, place: &mut Place) -> bool {
        let Some(request) = self.begin() else { return false };
        let (future, answer) = match catch_unwind(AssertUnwindSafe(|| request(state))) {
            Ok(future) => (Some(future), None),
            Err(panic) => (None, Some(Err(ReplyError::Panicked(panic_message(&*panic))))),
        };
        let mut run = Some(Run { future, answer, packet: Some(self) });
        let moved = place.as_mut().is_some_and(|last| last.as_mut().become_next(&mut run));
        if !moved && let Some(run) = run {
            *place = Some(Box::pin(run));
        }
        true
    }
}

impl<Fut, F, J> Running for Run<Fut, F, J>
where
    Fut: Future<Output: Send> + Send + 'static,
    F: Send + 'static,
    J: Job + ?Sized + 'static,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Completion> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            let polled = catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
            *this.answer = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(answer)) => Some(Ok(answer)),
                Err(panic) => Some(Err(ReplyError::Panicked(panic_message(&*panic)))),
            };
        }
        let ended = catch_unwind(AssertUnwindSafe(|| this.future.set(None)));
        let good = ended.is_ok() && matches!(this.answer, Some(Ok(_)));
        Poll::Ready(if good { Completion::Succeeded } else { Completion::Failed })
    }

    fn lose(self: Pin<&mut Self>) {
        let mut this = self.project();
        *this.answer = Some(Err(ReplyError::WorkerLost));
        this.future.set(None);
    }

    fn answer(self: Pin<&mut Self>) {
        let this = self.project();
        if let (Some(answer), Some(packet)) = (this.answer.take(), this.packet.take()) {
            drop(packet.slot.put(answer));
        }
    }

    fn become_next(mut self: Pin<&mut Self>, next: &mut dyn Any) -> bool {
        let next = next.downcast_mut::<Option<Self>>().and_then(Option::take);
        next.map(|next| self.set(next)).is_some()
    }
}

/// A request while it runs, and its lease. Dropped with the worker, the request
/// ends, the lease is given back, and then its requester is told.
struct Held<'a, S: Send + 'static> {
    crew: &'a Crew<dyn TaskJob<S>>,
    lease: Option<Lease>,
    place: Place,
}

impl<S: Send + 'static> Held<'_, S> {
    /// A panic of a requester's waker, or of an answer that is dropped here
    /// because nobody waits for it, is its own affair.
    fn answer(&mut self) {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if let Some(ended) = &mut self.place {
                ended.as_mut().answer();
            }
        }));
    }
}

impl<S: Send + 'static> Drop for Held<'_, S> {
    fn drop(&mut self) {
        if let Some(running) = &mut self.place {
            let _ = catch_unwind(AssertUnwindSafe(|| running.as_mut().lose()));
        }
        if let Some(lease) = self.lease.take() {
            self.crew.abandon(lease);
        }
        self.answer();
    }
}

enum End {
    Broken,
    Left,
}

/// What a worker future runs, from its start to its end.
pub(crate) struct Worker<S: Send + 'static> {
    pub(crate) crew: Arc<Crew<dyn TaskJob<S>>>,
    pub(crate) id: WorkerId,
    pub(crate) parker: Arc<Parker<dyn TaskJob<S>>>,
    pub(crate) factory: Arc<Factory<S>>,
}

pin_project! {
    /// Marks the thread that polls a worker, while it does, as that worker's.
    struct Serving<J: ?Sized, Life> {
        crew: Arc<Crew<J>>,
        #[pin]
        life: Life,
    }
}

impl<J: Job + ?Sized + 'static, Life: Future> Future for Serving<J, Life> {
    type Output = Life::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Life::Output> {
        let this = self.project();
        this.crew.serve(|| this.life.poll(cx))
    }
}

impl<S: Send + 'static> Worker<S> {
    /// The future to spawn.
    pub(crate) fn life(self) -> impl Future<Output = ()> + Send {
        Serving { crew: Arc::clone(&self.crew), life: self.live() }
    }

    async fn live(self) {
        while let Some(state) = self.build().await {
            self.crew.up(self.id);
            if matches!(self.run_requests(state).await, End::Left) {
                return;
            }
        }
    }

    /// Builds the state, trying again after a rest; `None` when told to leave.
    async fn build(&self) -> Option<S> {
        let mut failures = 0;
        while self.crew.stays(self.id) {
            let building = catch_unwind(AssertUnwindSafe(|| (self.factory)(self.id.index())));
            let built = match building {
                Ok(mut building) => {
                    let step = |cx: &mut Context<'_>| match catch_unwind(AssertUnwindSafe(|| {
                        building.as_mut().poll(cx)
                    })) {
                        Ok(poll) => poll.map(Ok),
                        Err(panic) => Poll::Ready(Err(panic)),
                    };
                    poll_fn(step).await
                }
                Err(panic) => Err(panic),
            };
            let error = match built {
                Ok(Ok(state)) => return Some(state),
                Ok(Err(error)) => error,
                Err(panic) => format!("the factory panicked: {}", panic_message(&*panic)).into(),
            };
            failures += 1;
            if failures >= FAILURES_UNTIL_DOWN {
                self.crew.down(self.id, error.into());
            }
            if !self.crew.back_off(self.id, &self.parker, failures) {
                return None;
            }
            let handed = poll_fn(|cx| self.parker.poll(cx)).await;
            debug_assert!(handed.is_none(), "a worker that is not up is given nothing");
        }
        None
    }

    async fn run_requests(&self, state: S) -> End {
        let mut home = Home::new();
        let mut state = Some(state);
        let mut held = Held { crew: &*self.crew, lease: None, place: None };
        let mut turn = 0;
        let mut at = self.crew.now();
        let mut next = self.crew.next(self.id, None, at);
        loop {
            let (lease, job) = match next {
                Next::Leave => return End::Left,
                Next::Sleep => {
                    let handed = poll_fn(|cx| self.parker.poll(cx)).await;
                    turn = 0;
                    at = self.crew.now();
                    next = self.crew.woken(self.id, handed, at);
                    continue;
                }
                Next::Run(lease, job) => (lease, job),
            };
            let since = lease.is_some().then(|| job.since());
            let began = at;
            held.lease = lease;
            let Some(lent) = state.take() else { return End::Broken };
            // The request's function runs here already, before its future does.
            let runs = job.start(home.lend(lent), &mut held.place);
            let how = match held.place.as_mut().filter(|_| runs) {
                None => Completion::Succeeded,
                Some(running) => poll_fn(|cx| running.as_mut().poll(cx)).await,
            };
            at = self.crew.now();
            if let Some(since) = since {
                self.crew.record(since, began, at);
            }
            state = home.take_back();
            if how == Completion::Failed {
                // Its own panics must not cost the pool its worker.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(state.take())));
            }
            if state.is_none() {
                match how {
                    Completion::Failed => self.crew.broken(self.id, held.lease.take()),
                    Completion::Succeeded => self.crew.renew(self.id, held.lease.take()),
                }
                held.answer();
                return End::Broken;
            }
            turn += 1;
            if turn < TURN {
                next = self.crew.next(self.id, held.lease.take(), at);
                held.answer();
            } else {
                // With nothing in hand that would be lost if the executor
                // dropped this worker while it has given way.
                turn = 0;
                if let Some(lease) = held.lease.take() {
                    self.crew.complete(lease, at);
                }
                held.answer();
                yield_once().await;
                at = self.crew.now();
                next = self.crew.next(self.id, None, at);
            }
        }
    }
}

impl<S: Send + 'static> Drop for Worker<S> {
    fn drop(&mut self) {
        self.crew.leave(self.id);
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
