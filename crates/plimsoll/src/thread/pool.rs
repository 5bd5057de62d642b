//! The pool and its life: built, resized, looked at, shut down.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::map::{Map, MapUnordered};
use super::request::ThreadRequest;
use super::worker::{self, Factory, ThreadJob, Worker};
use crate::crew::{Crew, Packet, Parker, Terms};
use crate::error::{BuildError, FactoryError, Reason, Refused, ReplyError};
use crate::options::{Options, builder_methods};
use crate::reply::Reply;
use crate::scope::Scope;
use crate::shutdown::{Shutdown, ShutdownReport};
use crate::stats::Snapshot;
use crate::sync::thread::JoinHandle;
use crate::sync::{Mutex, lock};

/// Worker threads, each owning a state `S`, behind a least-loaded pool.
///
/// A request is a function of `&mut S`; its answer comes back through its own
/// [`Reply`]. The state is made on the worker's thread by a factory, so it need
/// not be `Send`: a connection, an interpreter, a buffer.
///
/// - Every worker at capacity: requests wait in one bounded line.
/// - A request that panics fails alone: its worker's state is built anew, and
///   the requests behind it move to other workers.
/// - Handles are cheap to clone. When the last one is dropped, intake stops,
///   what was submitted is finished, and the threads are joined, unless that
///   happens on one of the pool's own threads, which cannot join itself.
///
/// ```
/// use plimsoll::ThreadPool;
///
/// // Each worker has a buffer of its own, allocated once.
/// let pool = ThreadPool::builder().workers(4).build(|_| Ok(Vec::<u8>::new()))?;
/// let replies: Vec<_> = (0..100u64)
///     .map(|n| {
///         pool.submit(move |buffer| {
///             buffer.clear();
///             buffer.extend_from_slice(&n.to_le_bytes());
///             buffer.iter().map(|&byte| u64::from(byte)).sum::<u64>()
///         })
///     })
///     .collect::<Result<_, _>>()
///     .map_err(|refused| refused.reason)?;
/// let sum: u64 = replies.into_iter().map(|reply| reply.wait().unwrap()).sum();
/// assert_eq!(sum, 4950);
/// assert_eq!(pool.snapshot().pending(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPool<S: 'static> {
    handle: Arc<Handle<S>>,
}

/// What all handles share; dropped with the last one.
struct Handle<S: 'static> {
    crew: Arc<Crew<dyn ThreadJob<S>>>,
    factory: Arc<Factory<S>>,
    name: String,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ThreadPool<()> {
    /// Workers without a state.
    ///
    /// ```
    /// use plimsoll::{BuildError, ThreadPool};
    ///
    /// assert_eq!(ThreadPool::new(2)?.workers(), 2);
    /// assert!(matches!(ThreadPool::new(0), Err(BuildError::NoWorkers)));
    /// # Ok::<(), BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] for 0 workers, or when a thread could not be started.
    pub fn new(workers: usize) -> Result<Self, BuildError> {
        Self::builder().workers(workers).build(|_| Ok(()))
    }

    /// A builder: one worker per core, capacity 1, a line of 1,024.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::builder().workers(2).capacity(8).build(|_| Ok(()))?;
    /// assert_eq!(pool.workers(), 2);
    /// # Ok::<(), plimsoll::BuildError>(())
    /// ```
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder { options: Options::new(), name: "plimsoll".into() }
    }
}

/// What a [`ThreadPool`] is built with.
///
/// ```
/// use plimsoll::{Policy, ThreadPool};
///
/// let pool = ThreadPool::builder()
///     .workers(4)
///     .name("resizer")
///     .capacity(2)
///     .line(100)
///     .policy(Policy::PowerOfTwo)
///     .seed(7)
///     .audit_every(1)
///     .build(|_| Ok(String::from("a worker's own state")))?;
/// assert_eq!(pool.submit(|state| state.len())?.wait()?, 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ThreadPoolBuilder {
    options: Options,
    name: String,
}

impl ThreadPoolBuilder {
    /// How many worker threads (one per core by default).
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::builder().workers(3).build(|_| Ok(()))?;
    /// assert_eq!(pool.workers(), 3);
    /// # Ok::<(), plimsoll::BuildError>(())
    /// ```
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.options.workers = workers;
        self
    }

    /// The threads' names are this and the worker's number.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::builder().workers(1).name("resizer").build(|_| Ok(()))?;
    /// let name = pool.submit(|()| std::thread::current().name().map(String::from))?;
    /// assert_eq!(name.wait()?.as_deref(), Some("resizer-0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    builder_methods!();

    /// Starts the threads. Each calls `factory` with its number for its state,
    /// and joins the pool when that has returned; a factory that fails is
    /// called again after a growing rest.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let connect = |number: usize| Ok(format!("connection {number}"));
    /// let pool = ThreadPool::builder().workers(1).build(connect)?;
    /// let answer = pool.submit(|connection| format!("over {connection}"))?.wait()?;
    /// assert_eq!(answer, "over connection 0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] for 0 workers or capacity 0, or when a thread could not
    /// be started.
    pub fn build<S: 'static>(
        self,
        factory: impl Fn(usize) -> Result<S, FactoryError> + Send + Sync + 'static,
    ) -> Result<ThreadPool<S>, BuildError> {
        let capacity = self.options.check()?;
        let crew = Crew::new(self.options.config, capacity);
        let handle = Handle {
            crew,
            factory: Arc::new(factory),
            name: self.name,
            threads: Mutex::new(Vec::new()),
        };
        let pool = ThreadPool { handle: Arc::new(handle) };
        pool.resize(self.options.workers)?;
        Ok(pool)
    }
}

impl<S: 'static> ThreadPool<S> {
    /// Submits a request, blocking while the line is full.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::builder().workers(2).build(|_| Ok(vec![1, 2, 3]))?;
    /// let reply = pool.submit(|numbers| numbers.iter().sum::<i32>())?;
    /// assert_eq!(reply.wait()?, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Refused`], with the request: the pool is closed, no worker could ever
    /// take it, or the caller is one of its workers.
    pub fn submit<R, F>(&self, request: F) -> Result<Reply<R>, Refused<F>>
    where
        F: FnOnce(&mut S) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.request().submit(request)
    }

    /// Submits a request without ever waiting.
    ///
    /// ```
    /// use plimsoll::{Reason, ThreadPool};
    /// use std::sync::mpsc;
    ///
    /// let pool = ThreadPool::builder().workers(1).line(0).build(|_| Ok(()))?;
    /// let (go, wait) = mpsc::channel();
    /// let busy = pool.submit(move |()| wait.recv())?;
    /// let refused = pool.try_submit(|()| ()).unwrap_err();
    /// assert!(matches!(refused.reason, Reason::Full));
    /// go.send("the worker has room again")?;
    /// busy.wait()??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), and [`Reason::Full`].
    pub fn try_submit<R, F>(&self, request: F) -> Result<Reply<R>, Refused<F>>
    where
        F: FnOnce(&mut S) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.request().try_submit(request)
    }

    /// Submits a request, waiting while the line is full.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let reply = pool.submit_async(|()| 6 * 7).await?;
    /// assert_eq!(reply.await?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit), but a worker may call it.
    pub fn submit_async<R, F>(
        &self,
        request: F,
    ) -> impl Future<Output = Result<Reply<R>, Refused<F>>> + Send + use<S, R, F>
    where
        F: FnOnce(&mut S) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.request().submit_async(request)
    }

    /// A request with a cost or a deadline.
    ///
    /// ```
    /// use plimsoll::{Reason, ThreadPool};
    /// use std::time::Instant;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let late = pool.request().deadline(Instant::now()).submit(|()| ());
    /// assert!(matches!(late.unwrap_err().reason, Reason::DeadlinePassed));
    /// # Ok::<(), plimsoll::BuildError>(())
    /// ```
    pub fn request(&self) -> ThreadRequest<'_, S> {
        ThreadRequest::new(self)
    }

    /// Runs requests that borrow from the caller: all are over when this
    /// returns, however it returns.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let mut halves = [0; 2];
    /// let (left, right) = halves.split_at_mut(1);
    /// pool.scope(|scope| {
    ///     scope.submit(|()| left[0] = 1)?;
    ///     scope.submit(|()| right[0] = 2)
    /// })??;
    /// assert_eq!(halves, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first error of a request of the scope, [`ReplyError::WouldDeadlock`]
    /// on a worker of this pool.
    pub fn scope<'env, T>(
        &'env self,
        body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env, S>) -> T,
    ) -> Result<T, ReplyError> {
        crate::scope::run(self, body)
    }

    /// Runs `job` once on every worker, next in its own queue and uncharged,
    /// and waits for all: to clear a cache, to read a counter.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::builder().workers(3).build(|number| Ok(number))?;
    /// let mut numbers: Vec<_> = pool.broadcast(|number| *number).into_iter().flatten().collect();
    /// numbers.sort();
    /// assert_eq!(numbers, [0, 1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Each answer may be an error of its own; on a worker of this pool there
    /// is one, [`ReplyError::WouldDeadlock`].
    pub fn broadcast<R, F>(&self, job: F) -> Vec<Result<R, ReplyError>>
    where
        F: Fn(&mut S) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let crew = self.crew();
        if crew.serves_here() {
            return vec![Err(ReplyError::WouldDeadlock)];
        }
        let job = Arc::new(job);
        let mut replies = Vec::new();
        crew.broadcast(|| {
            let job = Arc::clone(&job);
            let packet = Arc::new(Packet::new(
                move |state: &mut S| job(state),
                Terms::default(),
                Arc::clone(crew),
            ));
            replies.push(Reply::new(Arc::clone(&packet), None));
            packet
        });
        replies.into_iter().map(Reply::wait).collect()
    }

    /// Maps `function` over `items`, answers in the order of the items.
    ///
    /// It keeps twice as many requests going as the pool has room for, so
    /// memory is bounded whatever `items` yields; nothing runs before the first
    /// answer is asked for.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let squares: Vec<u64> = pool.map(1..=4, |(), n: u64| n * n)?.map(Result::unwrap).collect();
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::WouldDeadlock`] on a worker of this pool.
    pub fn map<I, R, F>(&self, items: I, function: F) -> Result<Map<S, I::IntoIter, R, F>, Reason>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(&mut S, I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map::new(self.clone(), items.into_iter(), function)
    }

    /// Like [`map`](Self::map), answers as they come.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// let squares = pool.map_unordered(1..=4, |(), n: u64| n * n)?;
    /// let sum: u64 = squares.map(Result::unwrap).sum();
    /// assert_eq!(sum, 30);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Reason::WouldDeadlock`] on a worker of this pool.
    pub fn map_unordered<I, R, F>(
        &self,
        items: I,
        function: F,
    ) -> Result<MapUnordered<S, I::IntoIter, R, F>, Reason>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(&mut S, I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        MapUnordered::new(self.clone(), items.into_iter(), function)
    }

    /// How many workers there are, those that are being built included.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// assert_eq!(ThreadPool::new(3)?.workers(), 3);
    /// # Ok::<(), plimsoll::BuildError>(())
    /// ```
    pub fn workers(&self) -> usize {
        self.crew().len()
    }

    /// Starts or ends threads until there are this many. Those that end finish
    /// what they were given.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(1)?;
    /// pool.resize(3)?;
    /// assert_eq!(pool.workers(), 3);
    /// # Ok::<(), plimsoll::BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] for 0 workers, or when a thread could not be started.
    pub fn resize(&self, workers: usize) -> Result<(), BuildError> {
        if workers == 0 {
            return Err(BuildError::NoWorkers);
        }
        let added = self.crew().resize(workers, Parker::thread).into_iter();
        let added: Vec<_> = added
            .map(|(id, parker)| {
                let (crew, factory) = (Arc::clone(self.crew()), Arc::clone(&self.handle.factory));
                Worker { crew, id, parker, factory }
            })
            .collect();
        for worker in added {
            // On an error this worker and those after it are dropped, and leave
            // the crew by that. Nothing of it happens under the threads' lock:
            // what waited for them may do anything when it is refused.
            let thread = worker::spawn(worker, &self.handle.name).map_err(BuildError::Spawn)?;
            let mut threads = lock(&self.handle.threads);
            #[cfg(not(any(loom, shuttle)))]
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
        }
        Ok(())
    }

    /// Changes how workers are chosen.
    ///
    /// ```
    /// use plimsoll::{Policy, ThreadPool};
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.set_policy(Policy::RoundRobin);
    /// assert_eq!(pool.submit(|()| "in turn")?.wait()?, "in turn");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_policy(&self, policy: plimsoll_core::Policy) {
        self.crew().set_policy(policy);
    }

    /// Workers, line and times at this moment.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.submit(|()| ())?.wait()?;
    /// let snapshot = pool.snapshot();
    /// assert_eq!((snapshot.workers.len(), snapshot.pending(), snapshot.waiting), (2, 0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        self.crew().snapshot()
    }

    /// Checks what must always hold, by plain scans: for tests.
    ///
    /// ```
    /// use plimsoll::ThreadPool;
    ///
    /// let pool = ThreadPool::new(2)?;
    /// pool.submit(|()| ())?.wait()?;
    /// assert_eq!(pool.check_invariants(), Ok(()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What does not hold: a bug in this crate.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.crew().check_invariants()
    }

    /// Closes intake for all handles and ends the threads.
    ///
    /// ```
    /// use plimsoll::{Shutdown, ThreadPool};
    ///
    /// let pool = ThreadPool::new(1)?;
    /// pool.submit(|()| ())?.detach();
    /// let report = pool.shutdown(Shutdown::Drain);
    /// assert_eq!((report.not_run, report.still_running), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// On a worker of this pool it closes intake and returns at once.
    pub fn shutdown(&self, how: Shutdown) -> ShutdownReport {
        let crew = self.crew();
        let mut not_run = crew.close(matches!(how, Shutdown::DropQueue));
        if crew.serves_here() {
            return ShutdownReport { not_run, still_running: crew.leases() };
        }
        let farewell = crew.farewell();
        if let Shutdown::DrainFor(time) = how {
            let until = Instant::now().checked_add(time);
            if farewell.wait(until).is_none() {
                not_run += crew.close(true);
                // What runs has had its time; a moment for those that end now.
                let grace = Instant::now() + Duration::from_millis(10);
                if farewell.wait(Some(grace)).is_none() {
                    return ShutdownReport { not_run, still_running: crew.leases() };
                }
            }
        } else {
            farewell.wait(None);
        }
        self.handle.join();
        ShutdownReport { not_run, still_running: 0 }
    }

    pub(crate) fn crew(&self) -> &Arc<Crew<dyn ThreadJob<S>>> {
        &self.handle.crew
    }
}

impl<S: 'static> Clone for ThreadPool<S> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<S: 'static> fmt::Debug for ThreadPool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

impl<S: 'static> Handle<S> {
    fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A worker's own panics are caught; what is left is not ours to
            // pass on in a drop.
            let _ = thread.join();
        }
    }
}

impl<S: 'static> Drop for Handle<S> {
    fn drop(&mut self) {
        self.crew.close(false);
        // A request past its deadline, which holds the last handle, is dropped
        // on the timer's thread.
        if !self.crew.serves_here() && !crate::timer::is_here() {
            self.join();
        }
    }
}
