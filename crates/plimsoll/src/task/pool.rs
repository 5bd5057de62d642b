//! The pool and its life: built, resized, looked at, shut down.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use super::guard::StateGuard;
use super::map::TaskMap;
use super::request::TaskRequest;
use super::worker::{Factory, Spawn, TaskJob, Worker};
use crate::crew::{Crew, Packet, Parker, Terms};
use crate::error::{BuildError, FactoryError, Reason, Refused, ReplyError};
use crate::options::{Options, builder_methods};
use crate::reply::Reply;
use crate::shutdown::{Shutdown, ShutdownReport};
use crate::slot::Slot;
use crate::stats::Snapshot;
use crate::timer::{self, Timed};

/// Worker futures on the executor that you have, each owning a state `S`,
/// behind a least-loaded pool.
///
/// It is [`ThreadPool`](crate::ThreadPool) for state that is async, such as a
/// connection: a request is a function of a [`StateGuard`] that returns a
/// future, and runs as part of its worker's future. No runtime is built in; the
/// pool is handed a function that spawns.
///
/// Dropping the last handle closes intake and never blocks: what was submitted
/// is finished as long as the executor runs. [`shutdown`](Self::shutdown)
/// waits. A worker future that the executor drops gives its leases back, and
/// its requests that have not begun move to other workers.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use plimsoll::{Shutdown, TaskPool};
///
/// let spawn = |worker| drop(tokio::spawn(worker));
/// let connect = |number: usize| async move { Ok(format!("connection {number}")) };
/// let pool = TaskPool::builder().workers(4).build(spawn, connect)?;
/// let reply = pool.submit_async(|connection| async move { connection.len() }).await?;
/// assert_eq!(reply.await?, 12);
/// pool.shutdown(Shutdown::Drain).await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TaskPool<S: Send + 'static> {
    handle: Arc<Handle<S>>,
}

struct Handle<S: Send + 'static> {
    crew: Arc<Crew<dyn TaskJob<S>>>,
    factory: Arc<Factory<S>>,
    spawn: Box<Spawn>,
}

impl TaskPool<()> {
    /// A builder: one worker per core, capacity 1, a line of 1,024.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(2).capacity(8).build(spawn, |_| async { Ok(()) })?;
    /// assert_eq!(pool.workers(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> TaskPoolBuilder {
        TaskPoolBuilder { options: Options::new() }
    }
}

/// What a [`TaskPool`] is built with.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// use plimsoll::{Policy, TaskPool};
///
/// let pool = TaskPool::builder()
///     .workers(4)
///     .capacity(2)
///     .line(100)
///     .policy(Policy::PowerOfTwo)
///     .seed(7)
///     .audit_every(1)
///     .build(|worker| drop(tokio::spawn(worker)), |_| async { Ok("a worker's own state") })?;
/// let reply = pool.submit_async(|state| async move { state.len() }).await?;
/// assert_eq!(reply.await?, 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TaskPoolBuilder {
    options: Options,
}

impl TaskPoolBuilder {
    /// How many worker futures (one per core by default).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(3).build(spawn, |_| async { Ok(()) })?;
    /// assert_eq!(pool.workers(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    builder_methods!();

    /// Spawns the workers. Each calls `factory` with its number for its state,
    /// and joins the pool when that is ready; a factory that fails is called
    /// again after a growing rest.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let connect = |number: usize| async move { Ok(format!("connection {number}")) };
    /// let pool = TaskPool::builder().workers(1).build(spawn, connect)?;
    /// let reply = pool.submit_async(|connection| async move { format!("over {}", *connection) });
    /// assert_eq!(reply.await?.await?, "over connection 0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] for 0 workers or capacity 0.
    pub fn build<S, Fut>(
        self,
        spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
        factory: impl Fn(usize) -> Fut + Send + Sync + 'static,
    ) -> Result<TaskPool<S>, BuildError>
    where
        S: Send + 'static,
        Fut: Future<Output = Result<S, FactoryError>> + Send + 'static,
    {
        let capacity = self.options.check()?;
        let handle = Handle {
            crew: Crew::new(self.options.config, capacity),
            factory: Arc::new(move |number| Box::pin(factory(number)) as _),
            spawn: Box::new(spawn),
        };
        let pool = TaskPool { handle: Arc::new(handle) };
        pool.resize(self.options.workers)?;
        Ok(pool)
    }
}

impl<S: Send + 'static> TaskPool<S> {
    /// Submits a request, blocking the thread while the line is full.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(2).build(spawn, |_| async { Ok(vec![1, 2, 3]) })?;
    /// let reply = pool.submit(|numbers| async move { numbers.iter().sum::<i32>() })?;
    /// assert_eq!(reply.await?, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`], with the request: the pool is closed, no worker could ever
    /// take it, or the caller is one of its workers.
    pub fn submit<F, Fut>(&self, request: F) -> Result<Reply<Fut::Output>, Refused<F>>
    where
        F: FnOnce(StateGuard<S>) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        self.request().submit(request)
    }

    /// Submits a request without ever waiting.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::{Reason, TaskPool};
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(1).line(1).build(spawn, |_| async { Ok(()) })?;
    /// let waits = pool.try_submit(|_| async {})?; // the worker is not up yet
    /// let refused = pool.try_submit(|_| async {}).unwrap_err();
    /// assert!(matches!(refused.reason, Reason::Full));
    /// waits.await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), and [`Reason::Full`](crate::Reason::Full).
    pub fn try_submit<F, Fut>(&self, request: F) -> Result<Reply<Fut::Output>, Refused<F>>
    where
        F: FnOnce(StateGuard<S>) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        self.request().try_submit(request)
    }

    /// Submits a request, waiting while the line is full.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(1).build(spawn, |_| async { Ok(40) })?;
    /// let reply = pool
    ///     .submit_async(|mut sum| async move {
    ///         *sum += 2;
    ///         *sum
    ///     })
    ///     .await?;
    /// assert_eq!(reply.await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), but a worker may call it.
    pub fn submit_async<F, Fut>(
        &self,
        request: F,
    ) -> impl Future<Output = Result<Reply<Fut::Output>, Refused<F>>> + Send + use<S, F, Fut>
    where
        F: FnOnce(StateGuard<S>) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        self.request().submit_async(request)
    }

    /// A request with a cost or a deadline.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::{Reason, TaskPool};
    /// use std::time::Instant;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().build(spawn, |_| async { Ok(()) })?;
    /// let late = pool.request().deadline(Instant::now()).submit_async(|_| async {}).await;
    /// assert!(matches!(late.unwrap_err().reason, Reason::DeadlinePassed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request(&self) -> TaskRequest<'_, S> {
        TaskRequest::new(self)
    }

    /// Runs `job` once on every worker, next in its own queue and uncharged,
    /// and waits for all.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(3).build(spawn, |n| async move { Ok(n) })?;
    /// let numbers = pool.broadcast(|number| async move { *number }).await;
    /// assert_eq!(numbers.into_iter().flatten().sum::<usize>(), 0 + 1 + 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Each answer may be an error of its own; on a worker of this pool there
    /// is one, [`ReplyError::WouldDeadlock`].
    pub async fn broadcast<F, Fut>(&self, job: F) -> Vec<Result<Fut::Output, ReplyError>>
    where
        F: Fn(StateGuard<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        let crew = self.crew();
        if crew.serves_here() {
            return vec![Err(ReplyError::WouldDeadlock)];
        }
        let job = Arc::new(job);
        let mut replies = Vec::new();
        crew.broadcast(|| {
            let job = Arc::clone(&job);
            let packet = Packet::new(
                move |state: StateGuard<S>| job(state),
                Terms::default(),
                Arc::clone(crew),
            );
            let packet = Arc::new(packet);
            replies.push(Reply::new(Arc::clone(&packet), None));
            packet
        });
        let mut answers = Vec::with_capacity(replies.len());
        for reply in replies {
            answers.push(reply.await);
        }
        answers
    }

    /// Maps an async function over `items`, answers in the order of the items.
    ///
    /// It keeps twice as many requests going as the pool has room for, so
    /// memory is bounded whatever `items` yields; nothing runs before the first
    /// answer is asked for.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(2).build(spawn, |_| async { Ok(()) })?;
    /// let mut squares = pool.map(1..=4, |_, n: u64| async move { n * n })?;
    /// let mut sum = 0;
    /// while let Some(square) = squares.next().await {
    ///     sum += square?;
    /// }
    /// assert_eq!(sum, 1 + 4 + 9 + 16);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::WouldDeadlock`] in a request of this pool.
    pub fn map<I, R, F, Fut>(
        &self,
        items: I,
        function: F,
    ) -> Result<TaskMap<S, I::IntoIter, R, F>, Reason>
    where
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
        F: Fn(StateGuard<S>, I::Item) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        TaskMap::new(self.clone(), items.into_iter(), function, true)
    }

    /// Like [`map`](Self::map), answers as they come.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(2).build(spawn, |_| async { Ok(()) })?;
    /// let mut longest = 0;
    /// let mut lengths = pool.map_unordered(["a", "bcd"], |_, word| async { word.len() })?;
    /// while let Some(length) = lengths.next().await {
    ///     longest = longest.max(length?);
    /// }
    /// assert_eq!(longest, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::WouldDeadlock`] in a request of this pool.
    pub fn map_unordered<I, R, F, Fut>(
        &self,
        items: I,
        function: F,
    ) -> Result<TaskMap<S, I::IntoIter, R, F>, Reason>
    where
        I: IntoIterator<Item: Send + 'static>,
        R: Send + 'static,
        F: Fn(StateGuard<S>, I::Item) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        TaskMap::new(self.clone(), items.into_iter(), function, false)
    }

    /// How many workers there are, those that are being built included.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(3).build(spawn, |_| async { Ok(()) })?;
    /// assert_eq!(pool.workers(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn workers(&self) -> usize {
        self.crew().len()
    }

    /// Spawns or ends workers until there are this many. Those that end finish
    /// what they were given.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(1).build(spawn, |_| async { Ok(()) })?;
    /// pool.resize(3)?;
    /// assert_eq!(pool.workers(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError::NoWorkers`] for 0.
    pub fn resize(&self, workers: usize) -> Result<(), BuildError> {
        if workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        let added = self.crew().resize(workers, Parker::task).into_iter();
        let added: Vec<_> = added
            .map(|(id, parker)| {
                let (crew, factory) = (Arc::clone(self.crew()), Arc::clone(&self.handle.factory));
                Worker { crew, id, parker, factory }
            })
            .collect();
        for worker in added {
            // A worker that `spawn` drops, or that is not reached because
            // `spawn` panics, leaves the crew by its own drop.
            (self.handle.spawn)(Box::pin(worker.life()));
        }
        Ok(())
    }

    /// Changes how workers are chosen.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::{Policy, TaskPool};
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(2).build(spawn, |_| async { Ok(()) })?;
    /// pool.set_policy(Policy::RoundRobin);
    /// assert_eq!(pool.submit(|_| async { "in turn" })?.await?, "in turn");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_policy(&self, policy: plimsoll_core::Policy) {
        self.crew().set_policy(policy);
    }

    /// Workers, line and times at this moment.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(2).build(spawn, |_| async { Ok(()) })?;
    /// pool.submit(|_| async {})?.await?;
    /// let snapshot = pool.snapshot();
    /// assert_eq!((snapshot.workers.len(), snapshot.pending(), snapshot.waiting), (2, 0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.crew().snapshot()
    }

    /// Checks what must always hold, by plain scans: for tests.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::TaskPool;
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(2).build(spawn, |_| async { Ok(()) })?;
    /// pool.submit(|_| async {})?.await?;
    /// assert_eq!(pool.check_invariants(), Ok(()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What does not hold: a bug in this crate.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.crew().check_invariants()
    }

    /// Closes intake for all handles, and waits until the workers have ended.
    ///
    /// Awaited by a request of this pool it closes intake and is ready at once.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::{ReplyError, Shutdown, TaskPool};
    ///
    /// let spawn = |worker| drop(tokio::spawn(worker));
    /// let pool = TaskPool::builder().workers(1).build(spawn, |_| async { Ok(()) })?;
    /// let waits = pool.submit(|_| async {})?; // the worker is not up yet
    /// let report = pool.shutdown(Shutdown::DropQueue).await;
    /// assert_eq!((report.not_run, report.still_running), (1, 0));
    /// assert!(matches!(waits.await, Err(ReplyError::Shutdown)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn shutdown(&self, how: Shutdown) -> ShutdownReport {
        let crew = self.crew();
        let mut not_run = crew.close(matches!(how, Shutdown::DropQueue));
        if crew.serves_here() {
            return ShutdownReport { not_run, still_running: crew.leases() };
        }
        let farewell = crew.farewell();
        if let Shutdown::DrainFor(time) = how {
            let alarm = Arc::new(Alarm(Slot::new()));
            if let Some(until) = Instant::now().checked_add(time) {
                let alarm = Arc::downgrade(&alarm);
                timer::schedule(until, alarm);
            }
            let drained = poll_fn(|cx| match farewell.poll(cx) {
                std::task::Poll::Ready(()) => std::task::Poll::Ready(true),
                std::task::Poll::Pending => alarm.0.poll(cx).map(|()| false),
            });
            if !drained.await {
                not_run += crew.close(true);
                return ShutdownReport { not_run, still_running: crew.leases() };
            }
        } else {
            poll_fn(|cx| farewell.poll(cx)).await;
        }
        ShutdownReport { not_run, still_running: 0 }
    }

    pub(crate) fn crew(&self) -> &Arc<Crew<dyn TaskJob<S>>> {
        &self.handle.crew
    }
}

/// A moment that a future waits for.
struct Alarm(Slot<()>);

impl Timed for Alarm {
    fn handle_timeout(&self) {
        let _ = self.0.put(());
    }
}

impl<S: Send + 'static> Clone for TaskPool<S> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<S: Send + 'static> fmt::Debug for TaskPool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPool").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

impl<S: Send + 'static> Drop for Handle<S> {
    fn drop(&mut self) {
        self.crew.close(false);
    }
}
