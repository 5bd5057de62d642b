//! A worker thread: builds its state, runs requests on it, rebuilds it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use plimsoll_core::{Completion, WorkerId};

use crate::crew::{Crew, FAILURES_UNTIL_DOWN, Job, Next, Packet, Parker, panic_message};
use crate::error::{FactoryError, ReplyError};
use crate::sync::thread;

/// A job for a worker that owns an `S`.
pub(crate) trait ThreadJob<S>: Job {
    /// Runs the request, unless it was cancelled; tells `finish` how it ended;
    /// then answers, so that who has the answer finds the charge given back.
    fn run(&self, state: &mut S, finish: &mut dyn FnMut(Completion));
}

impl<S, R, F> ThreadJob<S> for Packet<F, R, dyn ThreadJob<S>>
where
    S: 'static,
    R: Send,
    F: FnOnce(&mut S) -> R + Send,
{
    fn run(&self, state: &mut S, finish: &mut dyn FnMut(Completion)) {
        let Some(request) = self.begin() else {
            finish(Completion::Succeeded);
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| request(state))) {
            // Dropping what nobody waits for is work, and counts as such.
            Ok(answer) if self.slot.is_filled() => {
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(answer)));
                finish(if dropped.is_ok() { Completion::Succeeded } else { Completion::Failed });
            }
            Ok(answer) => {
                finish(Completion::Succeeded);
                drop(self.slot.put(Ok(answer)));
            }
            Err(panic) => {
                finish(Completion::Failed);
                drop(self.slot.put(Err(ReplyError::Panicked(panic_message(&*panic)))));
            }
        }
    }
}

pub(crate) type Factory<S> = dyn Fn(usize) -> Result<S, FactoryError> + Send + Sync;

/// Why a worker stopped running requests.
enum End {
    /// Its state is broken.
    Broken,
    /// It was told to leave.
    Left,
}

/// What a worker thread runs, from its start to its end.
pub(crate) struct Worker<S: 'static> {
    pub(crate) crew: Arc<Crew<dyn ThreadJob<S>>>,
    pub(crate) id: WorkerId,
    pub(crate) parker: Arc<Parker<dyn ThreadJob<S>>>,
    pub(crate) factory: Arc<Factory<S>>,
}

impl<S: 'static> Worker<S> {
    pub(crate) fn live(self) {
        self.parker.adopt_current_thread();
        let crew = Arc::clone(&self.crew);
        crew.serve(|| {
            while let Some(state) = self.build() {
                self.crew.up(self.id);
                if matches!(self.run_requests(state), End::Left) {
                    return;
                }
            }
        });
    }

    /// Builds the state, trying again after a rest; `None` when told to leave.
    fn build(&self) -> Option<S> {
        let mut failures = 0;
        while self.crew.stays(self.id) {
            let built = catch_unwind(AssertUnwindSafe(|| (self.factory)(self.id.index())));
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
            self.parker.park();
        }
        None
    }

    fn run_requests(&self, mut state: S) -> End {
        let mut at = self.crew.now();
        let mut next = self.crew.next(self.id, None, at);
        loop {
            next = match next {
                Next::Leave => {
                    drop_quietly(state);
                    return End::Left;
                }
                Next::Sleep => {
                    self.parker.park();
                    at = self.crew.now();
                    self.crew.next(self.id, None, at)
                }
                Next::Run(mut lease, job) => {
                    let began = at;
                    let mut following = None;
                    let since = lease.is_some().then(|| job.since());
                    run_quietly(job, &mut state, |how| {
                        at = self.crew.now();
                        match how {
                            Completion::Succeeded => {
                                following = Some(self.crew.next(self.id, lease.take(), at));
                            }
                            Completion::Failed => self.crew.broken(self.id, lease.take()),
                        }
                        if let Some(since) = since {
                            self.crew.record(since, began, at);
                        }
                    });
                    let Some(following) = following else {
                        drop_quietly(state);
                        return End::Broken;
                    };
                    following
                }
            }
        }
    }
}

impl<S: 'static> Drop for Worker<S> {
    fn drop(&mut self) {
        self.crew.leave(self.id);
    }
}

/// Runs a job and drops it. A panic of a requester's waker, or of a value
/// dropped here because nobody waits for it, is its own affair.
fn run_quietly<S: 'static>(
    job: Arc<dyn ThreadJob<S>>,
    state: &mut S,
    mut finish: impl FnMut(Completion),
) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        job.run(state, &mut finish);
        drop(job);
    }));
}

fn drop_quietly<S>(state: S) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
}

/// Starts the thread.
pub(crate) fn spawn<S: 'static>(
    worker: Worker<S>,
    name: &str,
) -> std::io::Result<thread::JoinHandle<()>> {
    let name = format!("{name}-{}", worker.id.index());
    #[cfg(not(loom))]
    return thread::Builder::new().name(name).spawn(move || worker.live());
    #[cfg(loom)]
    {
        drop(name);
        Ok(thread::spawn(move || worker.live()))
    }
}
