//! What the tests share: limits, held requests, a hand-written executor.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use plimsoll::{Balancer, Reply, Snapshot, TaskPool, ThreadPool, WorkerSpec};

/// No test may take longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Runs a test on a thread of its own, and fails when it does not end.
pub(crate) fn bounded(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let end = ended.recv_timeout(LIMIT);
    assert_ne!(end, Err(RecvTimeoutError::Timeout), "the test has not ended in {LIMIT:?}");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs an async test on tokio, within the limit.
pub(crate) fn bounded_async(workers: usize, test: impl Future<Output = ()> + Send + 'static) {
    bounded(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(test);
    });
}

pub(crate) trait Look {
    fn look(&self) -> Snapshot;
    fn check(&self) -> Result<(), String>;
}

macro_rules! look {
    ($($pool:ident: $bound:path),*) => {$(
        impl<S: $bound> Look for $pool<S> {
            fn look(&self) -> Snapshot {
                self.snapshot()
            }

            fn check(&self) -> Result<(), String> {
                self.check_invariants()
            }
        }
    )*};
}

pub(crate) trait Any: 'static {}
impl<T: 'static> Any for T {}
pub(crate) trait Shared: Send + Sync + 'static {}
impl<T: Send + Sync + 'static> Shared for T {}
pub(crate) trait Sent: Send + 'static {}
impl<T: Send + 'static> Sent for T {}

look!(ThreadPool: Any, TaskPool: Sent, Balancer: Shared);

/// Nothing is pending or waits, every lease is back, the invariants hold.
#[track_caller]
pub(crate) fn settled(pool: &impl Look) {
    pool.check().unwrap();
    let snapshot = pool.look();
    assert_eq!((snapshot.pending(), snapshot.waiting), (0, 0), "{snapshot:?}");
    for worker in &snapshot.workers {
        assert_eq!(worker.dispatched, worker.completed, "{worker:?}");
    }
    assert!(snapshot.audit.regret <= 0.0, "a dispatch chose badly");
    assert_eq!(snapshot.audit.idle_while_waiting, 0, "a request waited for nothing");
}

pub(crate) fn spec(capacity: u32) -> WorkerSpec {
    WorkerSpec::new(capacity.try_into().unwrap())
}

/// A request that runs until it is let go.
pub(crate) struct Held {
    go: Sender<()>,
    pub(crate) reply: Reply<()>,
}

impl Held {
    pub(crate) fn let_go(self) {
        drop(self.go);
        self.reply.wait().unwrap();
    }

    /// Makes it panic instead.
    pub(crate) fn blow_up(self) {
        self.go.send(()).unwrap();
        self.reply.wait().unwrap_err();
    }
}

/// Occupies one worker, and returns when it does.
pub(crate) fn hold<S: 'static>(pool: &ThreadPool<S>) -> Held {
    let (go, gone) = channel::<()>();
    let (running, runs) = channel();
    let reply = pool.submit(move |_: &mut S| {
        running.send(()).unwrap();
        assert!(gone.recv().is_err(), "it was told to blow up");
    });
    let reply = reply.unwrap();
    runs.recv().unwrap();
    Held { go, reply }
}

/// Returns when all workers are up: until then, the first of them get more.
pub(crate) fn up(pool: &impl Look) {
    until(|| pool.look().workers.iter().all(|worker| worker.health == plimsoll::Health::Up));
}

/// Occupies every worker of a pool whose capacity is 1.
pub(crate) fn hold_all<S: 'static>(pool: &ThreadPool<S>) -> Vec<Held> {
    (0..pool.workers()).map(|_| hold(pool)).collect()
}

/// Repeats until it is so; for what follows soon from something asynchronous.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "it never came");
        thread::yield_now();
    }
}

/// Counts how often it is woken.
#[derive(Default)]
pub(crate) struct Counter(AtomicUsize);

impl Counter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once, waking the counter later.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F, counter: &Arc<Counter>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(counter));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor: one future, on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A hand-written executor: a queue of tasks and some threads. Dropping it
/// drops the tasks that are not running, as runtimes do.
pub(crate) struct Executor {
    queue: Arc<Queue>,
    threads: Vec<thread::JoinHandle<()>>,
}

struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    ready: VecDeque<Arc<Task>>,
    all: Vec<Arc<Task>>,
    closed: bool,
}

struct Task {
    future: Mutex<Option<Boxed>>,
    queue: Arc<Queue>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let queue = Arc::clone(&self.queue);
        queue.state.lock().unwrap().ready.push_back(self);
        queue.changed.notify_one();
    }
}

impl Queue {
    fn work(&self) {
        loop {
            let mut state = self.state.lock().unwrap();
            let task = loop {
                if state.closed {
                    return;
                }
                match state.ready.pop_front() {
                    Some(task) => break task,
                    None => state = self.changed.wait(state).unwrap(),
                }
            };
            drop(state);
            let waker = Waker::from(Arc::clone(&task));
            let mut future = task.future.lock().unwrap();
            let polled = future.as_mut().map(|f| f.as_mut().poll(&mut Context::from_waker(&waker)));
            if polled.is_some_and(|polled| polled.is_ready()) {
                drop(future.take());
            }
        }
    }
}

impl Executor {
    pub(crate) fn new(threads: usize) -> Self {
        let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new() });
        let run = |_| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.work())
        };
        let threads = (0..threads).map(run).collect();
        Self { queue, threads }
    }

    /// What a task pool is handed.
    pub(crate) fn spawner(&self) -> impl Fn(Boxed) + Send + Sync + 'static {
        let queue = Arc::clone(&self.queue);
        move |future| {
            let task = Task { future: Mutex::new(Some(future)), queue: Arc::clone(&queue) };
            let task = Arc::new(task);
            let mut state = queue.state.lock().unwrap();
            if state.closed {
                drop(state);
                return;
            }
            state.all.push(Arc::clone(&task));
            drop(state);
            task.wake();
        }
    }

    /// Drops the first task that was spawned, at an await point of its own.
    pub(crate) fn drop_first(&self) {
        let task = self.queue.state.lock().unwrap().all.remove(0);
        let future = task.future.lock().unwrap().take();
        drop(future);
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.queue.state.lock().unwrap().closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let mut state = self.queue.state.lock().unwrap();
        let tasks = std::mem::take(&mut state.all);
        state.ready.clear();
        drop(state);
        for task in tasks {
            let future = task.future.lock().unwrap().take();
            drop(future);
        }
    }
}

/// Sends once a value is received; for requests that wait for each other.
pub(crate) fn signal() -> (Sender<()>, Receiver<()>) {
    channel()
}
