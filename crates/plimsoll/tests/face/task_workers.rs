//! Worker futures: their states, their panics, and executors that drop them.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use plimsoll::{FactoryError, Reason, Reply, ReplyError, Shutdown, StateGuard, TaskPool};
use tokio::sync::oneshot;

use crate::common::{Counter, Executor, block_on, bounded, bounded_async, poll, settled, until};

/// One worker, whose state is the number of its building.
fn counting(workers: usize, capacity: u32) -> TaskPool<usize> {
    let built = Arc::new(AtomicUsize::new(0));
    let factory = move |_| {
        let built = Arc::clone(&built);
        async move { Ok(built.fetch_add(1, Ordering::SeqCst)) }
    };
    let spawn = |worker| drop(tokio::spawn(worker));
    TaskPool::builder().workers(workers).capacity(capacity).build(spawn, factory).unwrap()
}

async fn state(pool: &TaskPool<usize>) -> usize {
    pool.submit_async(|state| async move { *state }).await.unwrap().await.unwrap()
}

#[test]
fn a_panic_costs_one_request_and_its_state() {
    bounded_async(2, async {
        let pool = counting(1, 4);
        assert_eq!(state(&pool).await, 0);
        let in_future = pool.submit_async(|_| async { panic!("in its future") }).await.unwrap();
        let text = in_future.await;
        assert!(matches!(text, Err(ReplyError::Panicked(text)) if text == "in its future"));
        assert_eq!(state(&pool).await, 1);
        let in_function = |_: StateGuard<usize>| -> std::future::Ready<()> { panic!("before it") };
        let text = pool.submit_async(in_function).await.unwrap().await;
        assert!(matches!(text, Err(ReplyError::Panicked(text)) if text == "before it"));
        assert_eq!(state(&pool).await, 2);
        settled(&pool);
    });
}

#[test]
fn a_state_that_is_kept_beyond_the_request_is_replaced() {
    bounded_async(2, async {
        let pool = counting(1, 4);
        let kept = pool.submit_async(|state| async move { state }).await.unwrap().await.unwrap();
        assert_eq!(*kept, 0);
        assert_eq!(state(&pool).await, 1);
        drop(kept);
        assert_eq!(state(&pool).await, 1, "the old one does not come back");
        assert_eq!(pool.snapshot().workers[0].failed, 0, "keeping it is no failure");
        settled(&pool);
    });
}

#[test]
fn a_state_given_back_early_stays() {
    bounded_async(2, async {
        let pool = counting(1, 1);
        let early = |state: StateGuard<usize>| async move {
            drop(state);
            tokio::task::yield_now().await;
        };
        pool.submit_async(early).await.unwrap().await.unwrap();
        assert_eq!(state(&pool).await, 0);
        settled(&pool);
    });
}

#[test]
fn queued_requests_move_on_when_their_worker_breaks() {
    bounded_async(2, async {
        let pool = counting(2, 4);
        crate::common::up(&pool);
        let mut gos = Vec::new();
        let mut held = Vec::new();
        for breaks in [true, false] {
            let (go, gone) = oneshot::channel::<()>();
            let request = move |_state| async move {
                gone.await.unwrap();
                assert!(!breaks, "it breaks");
            };
            held.push(pool.submit_async(request).await.unwrap());
            gos.push(go);
        }
        let mut queued = Vec::new();
        for n in 0..6 {
            queued.push(pool.try_submit(move |_| async move { n }).unwrap());
        }
        assert_eq!(pool.snapshot().pending(), 8);
        gos.remove(0).send(()).unwrap();
        held.remove(0).await.unwrap_err();
        gos.remove(0).send(()).unwrap();
        held.remove(0).await.unwrap();
        for (n, reply) in (0..).zip(queued) {
            assert_eq!(reply.await.unwrap(), n);
        }
        settled(&pool);
    });
}

#[test]
fn factories_that_fail_are_called_again_and_their_error_is_told() {
    bounded_async(2, async {
        let calls = Arc::new(AtomicUsize::new(0));
        let factory = move |_| {
            let nth = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                match nth {
                    0 => Err(FactoryError::from("not yet")),
                    1 => panic!("not yet either"),
                    _ => Ok(nth),
                }
            }
        };
        let spawn = |worker| drop(tokio::spawn(worker));
        let pool = TaskPool::builder().workers(1).build(spawn, factory).unwrap();
        let reply = pool.submit_async(|state| async move { *state }).await.unwrap();
        assert_eq!(reply.await.unwrap(), 2);
        settled(&pool);

        let never = |_| async { Err::<(), _>("never".into()) };
        let pool = TaskPool::builder().workers(2).build(spawn, never).unwrap();
        let told = match pool.submit_async(|_| async {}).await {
            Ok(reply) => reply.await.unwrap_err().to_string(),
            Err(refused) => refused.reason.to_string(),
        };
        assert_eq!(told, "no worker could be built: never");
        for answer in pool.broadcast(|_| async {}).await {
            assert!(matches!(answer, Err(ReplyError::Refused(Reason::Factory(_)))));
        }
        pool.shutdown(Shutdown::Drain).await;
        settled(&pool);
    });
}

#[test]
fn a_worker_that_its_executor_drops_gives_back_and_its_queue_moves_on() {
    bounded(|| {
        let executor = Executor::new(2);
        let factory = |number| async move { Ok(number) };
        let builder = TaskPool::builder().workers(2).capacity(3);
        let pool = builder.build(executor.spawner(), factory).unwrap();
        crate::common::up(&pool);
        let mut held = Vec::new();
        let mut gos = Vec::new();
        for _ in 0..2 {
            let (go, gone) = oneshot::channel::<()>();
            let (running, runs) = channel();
            let request = move |number: StateGuard<usize>| async move {
                running.send(*number).unwrap();
                let _ = gone.await;
            };
            let reply = pool.submit(request).unwrap();
            held.push((runs.recv().unwrap(), reply));
            gos.push(go);
        }
        let queued: Vec<_> =
            (0..4).map(|n| pool.submit(move |_| async move { n }).unwrap()).collect();
        assert_eq!(pool.snapshot().pending(), 6);
        // Numbers are given in the order of the spawning.
        held.sort_by_key(|(number, _)| *number);
        executor.drop_first();
        let (_, lost) = held.remove(0);
        assert!(matches!(lost.wait(), Err(ReplyError::WorkerLost)));
        let snapshot = pool.snapshot();
        assert_eq!((snapshot.workers.len(), snapshot.pending(), snapshot.waiting), (1, 3, 2));
        pool.check_invariants().unwrap();
        drop(gos);
        held.remove(0).1.wait().unwrap();
        for (n, reply) in (0..).zip(queued) {
            assert_eq!(reply.wait().unwrap(), n);
        }
        settled(&pool);
        pool.resize(2).unwrap();
        pool.submit(|_| async {}).unwrap().wait().unwrap();
        settled(&pool);
    });
}

#[test]
fn an_executor_that_goes_away_takes_no_answer_with_it() {
    bounded(|| {
        let executor = Executor::new(1);
        let factory = |_| async { Ok(()) };
        let pool = TaskPool::builder().workers(2).build(executor.spawner(), factory).unwrap();
        let never = |state| async move {
            let _state = state;
            std::future::pending::<()>().await;
        };
        let running: Vec<_> = (0..2).map(|_| pool.submit(never).unwrap()).collect();
        until(|| pool.snapshot().pending() == 2);
        let waiting = pool.submit(|_| async {}).unwrap();
        drop(executor);
        for reply in running {
            // Whether it had begun is the executor's luck.
            reply.wait().unwrap_err();
        }
        let none = waiting.wait();
        assert!(matches!(none, Err(ReplyError::Refused(Reason::NoWorker))), "{none:?}");
        let none = pool.submit(|_| async {}).unwrap_err();
        assert!(matches!(none.reason, Reason::NoWorker));
        let report = block_on(pool.shutdown(Shutdown::Drain));
        assert_eq!(report.still_running, 0);
        settled(&pool);
    });
}

#[test]
fn an_executor_that_takes_no_worker_is_not_asked_for_ever() {
    bounded(|| {
        let asked = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&asked);
        let spawn = move |worker| {
            counts.fetch_add(1, Ordering::SeqCst);
            drop(worker);
        };
        let pool = TaskPool::builder().workers(3).build(spawn, |_| async { Ok(()) }).unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 3);
        assert!(matches!(pool.submit(|_| async {}).unwrap_err().reason, Reason::NoWorker));
        settled(&pool);
    });
}

#[test]
fn a_broadcast_that_is_dropped_half_way_harms_nobody() {
    bounded_async(2, async {
        let pool = counting(2, 1);
        crate::common::up(&pool);
        let (go, gone) = oneshot::channel::<()>();
        let held =
            pool.submit_async(move |_state| async move { gone.await.unwrap() }).await.unwrap();
        let mut broadcast = Box::pin(pool.broadcast(|state| async move { *state }));
        let counter = crate::common::Counter::new();
        assert!(crate::common::poll(&mut broadcast, &counter).is_pending());
        drop(broadcast);
        go.send(()).unwrap();
        held.await.unwrap();
        assert_eq!(pool.broadcast(|_| async {}).await.len(), 2);
        settled(&pool);
    });
}

#[test]
fn the_last_handle_dropped_by_a_request_ends_the_workers() {
    bounded(|| {
        struct Gone(std::sync::mpsc::Sender<()>);
        impl Drop for Gone {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (sender, ended) = channel();
        let sender = Mutex::new(sender);
        let executor = Executor::new(1);
        let factory = move |_| {
            let state = Gone(sender.lock().unwrap().clone());
            async move { Ok(state) }
        };
        let pool = TaskPool::builder().workers(2).build(executor.spawner(), factory).unwrap();
        crate::common::up(&pool);
        let own = pool.clone();
        let reply = pool.submit(move |_| async move { drop(own) }).unwrap();
        drop(pool);
        reply.wait().unwrap();
        for _ in 0..2 {
            ended.recv().unwrap();
        }
    });
}

#[test]
fn a_worker_dropped_after_any_number_of_polls_loses_nothing() {
    // More requests than a worker runs before it gives its executor a turn.
    for polls in 0..6 {
        let workers = Arc::new(Mutex::new(Vec::new()));
        let spawned = Arc::clone(&workers);
        let spawn = move |worker| spawned.lock().unwrap().push(worker);
        let builder = TaskPool::builder().workers(1).capacity(64);
        let pool = builder.build(spawn, |_| async { Ok(()) }).unwrap();
        let replies: Vec<_> =
            (0..80).map(|n| pool.try_submit(move |_| async move { n }).unwrap()).collect();
        let mut worker = workers.lock().unwrap().pop().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            assert!(worker.as_mut().poll(&mut cx).is_pending());
        }
        drop(worker);
        let answered = replies.into_iter().flat_map(Reply::wait).count();
        assert_eq!(answered, (polls * 32).min(80), "after {polls} polls");
        settled(&pool);
        assert_eq!(block_on(pool.shutdown(Shutdown::Drain)).not_run, 0);
    }
}

type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One poll of many.
fn step<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll(future, &Counter::new())
}

/// A worker that sleeps, for the test to poll.
fn asleep() -> (TaskPool<Vec<u8>>, Life) {
    let life = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&life);
    let spawn = move |worker| *kept.lock().unwrap() = Some(worker);
    let builder = TaskPool::builder().workers(1).capacity(4);
    let pool = builder.build(spawn, |_| async { Ok(Vec::new()) }).unwrap();
    let mut life = life.lock().unwrap().take().unwrap();
    assert!(step(&mut life).is_pending());
    (pool, life)
}

#[test]
fn what_a_sleeping_worker_was_given_can_still_be_taken_back() {
    bounded(|| {
        let note = |n: u8| move |mut list: StateGuard<Vec<u8>>| async move { list.push(n) };
        let list = |list: StateGuard<Vec<u8>>| async move { list.clone() };

        // Cancelled: its charge is back at once, and the worker goes on.
        let (pool, mut life) = asleep();
        drop(pool.submit(note(1)).unwrap());
        settled(&pool);
        let reply = pool.submit(note(2)).unwrap();
        assert!(step(&mut life).is_pending());
        block_on(reply).unwrap();

        // A broadcast comes first, then the requests in order.
        let replies = [3, 4].map(|n| pool.submit(note(n)).unwrap());
        {
            let mut broadcast = pin!(pool.broadcast(note(5)));
            assert!(step(&mut broadcast).is_pending());
            assert!(step(&mut life).is_pending());
            assert!(step(&mut broadcast).is_ready());
        }
        for reply in replies {
            block_on(reply).unwrap();
        }
        let reply = pool.submit(list).unwrap();
        assert!(step(&mut life).is_pending());
        assert_eq!(block_on(reply).unwrap(), [2, 5, 3, 4]);

        // Too late.
        let soon = Instant::now() + Duration::from_millis(5);
        let late = pool.request().deadline(soon).submit(note(6)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
        assert!(step(&mut life).is_pending());
        let refused = block_on(late);
        assert!(matches!(refused, Err(ReplyError::Refused(Reason::DeadlinePassed))));
        settled(&pool);

        // Dropped with the queue.
        let replies = [7, 8].map(|n| pool.submit(note(n)).unwrap());
        let mut shutdown = pin!(pool.shutdown(Shutdown::DropQueue));
        assert!(step(&mut shutdown).is_pending());
        settled(&pool);
        for reply in replies {
            assert!(matches!(block_on(reply), Err(ReplyError::Shutdown)));
        }
        assert!(step(&mut life).is_ready());
        assert_eq!(block_on(shutdown).not_run, 2);

        // Moved on, when the worker is dropped before it comes.
        let (pool, life) = asleep();
        let replies = [9, 10].map(|n| pool.submit(note(n)).unwrap());
        drop(life);
        for reply in replies {
            assert!(matches!(block_on(reply), Err(ReplyError::Refused(Reason::NoWorker))));
        }
        settled(&pool);
    });
}

#[test]
fn a_drain_ends_also_when_its_last_request_is_too_late() {
    bounded(|| {
        let (pool, mut life) = asleep();
        let (go, gone) = oneshot::channel::<()>();
        let first = pool.submit(|_| async { drop(gone.await) }).unwrap();
        assert!(step(&mut life).is_pending());
        let deadline = Instant::now() + Duration::from_millis(5);
        let late = pool.request().deadline(deadline).submit(|_| async {}).unwrap();
        let mut shutdown = pin!(pool.shutdown(Shutdown::Drain));
        assert!(step(&mut shutdown).is_pending());
        until(|| Instant::now() > deadline);
        drop(go);
        assert!(step(&mut life).is_ready(), "the worker leaves");
        block_on(first).unwrap();
        let refused = block_on(late);
        assert!(matches!(refused, Err(ReplyError::Refused(Reason::DeadlinePassed))));
        assert_eq!(block_on(shutdown).not_run, 0);
        settled(&pool);
    });
}

/// Whether a request had ended, and what was pending, when its requester was
/// told.
struct Told {
    pool: TaskPool<Vec<u8>>,
    ended: Arc<AtomicBool>,
    saw: Mutex<Option<(bool, u64)>>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        let saw = (self.ended.load(Ordering::SeqCst), self.pool.snapshot().pending());
        *self.saw.lock().unwrap() = Some(saw);
    }
}

struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_lost_request_is_over_and_uncharged_before_it_is_answered() {
    bounded(|| {
        let (pool, mut life) = asleep();
        let ended = Arc::new(AtomicBool::new(false));
        let ends = Ends(Arc::clone(&ended));
        let request = |_| async move {
            let _ends = ends;
            std::future::pending::<()>().await;
        };
        let mut reply = pool.submit(request).unwrap();
        assert!(step(&mut life).is_pending());
        let told = Arc::new(Told { pool: pool.clone(), ended, saw: Mutex::new(None) });
        let waker = Waker::from(Arc::clone(&told));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut reply).poll(&mut cx).is_pending());
        drop(life);
        assert_eq!(*told.saw.lock().unwrap(), Some((true, 0)));
        assert!(matches!(block_on(reply), Err(ReplyError::WorkerLost)));
        settled(&pool);
    });
}
