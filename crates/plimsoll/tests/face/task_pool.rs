//! The task pool: the same face, with futures as workers, on any executor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use plimsoll::{BuildError, Reason, ReplyError, Shutdown, ShutdownReport, TaskPool};
use tokio::sync::oneshot;

use crate::common::{Counter, Executor, LIMIT, block_on, bounded, bounded_async, poll, settled};

fn on_tokio<S: Send + 'static>(
    workers: usize,
    capacity: u32,
    line: usize,
    state: impl Fn(usize) -> S + Send + Sync + 'static,
) -> TaskPool<S> {
    let spawn = |worker| drop(tokio::spawn(worker));
    let factory = move |number| {
        let state = state(number);
        async move { Ok(state) }
    };
    TaskPool::builder()
        .workers(workers)
        .capacity(capacity)
        .line(line)
        .build(spawn, factory)
        .unwrap()
}

#[test]
fn every_request_is_answered_once() {
    bounded_async(2, async {
        let pool = on_tokio(4, 2, 100, |number| number);
        let mut replies = Vec::new();
        for n in 0..3000 {
            let request = move |_| async move {
                if n % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                n
            };
            replies.push(pool.submit_async(request).await.unwrap());
        }
        for (n, reply) in (0..).zip(replies) {
            assert_eq!(reply.await.unwrap(), n);
        }
        assert_eq!(pool.snapshot().run.count(), 3000);
        settled(&pool);
        let report = pool.shutdown(Shutdown::Drain).await;
        assert_eq!(report, ShutdownReport { not_run: 0, still_running: 0 });
        settled(&pool);
    });
}

#[test]
fn it_knows_no_runtime() {
    bounded(|| {
        let executor = Executor::new(2);
        let factory = |number| async move { Ok(number) };
        let pool = TaskPool::builder()
            .workers(3)
            .line(8)
            .audit_every(1)
            .build(executor.spawner(), factory)
            .unwrap();
        // Threads submit and wait; tasks of other executors do too.
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for n in 0..500 {
                        let reply = pool.submit(move |_| async move { n }).unwrap();
                        assert_eq!(reply.wait().unwrap(), n);
                    }
                });
                scope.spawn(|| {
                    block_on(async {
                        for n in 0..500 {
                            let reply = pool.submit_async(move |_| async move { n }).await;
                            assert_eq!(reply.unwrap().await.unwrap(), n);
                        }
                    });
                });
            }
        });
        let mut numbers: Vec<_> = block_on(pool.broadcast(|number| async move { *number }))
            .into_iter()
            .flatten()
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2]);
        settled(&pool);
        assert_eq!(block_on(pool.shutdown(Shutdown::Drain)).still_running, 0);
    });
}

#[test]
fn it_needs_workers_and_capacity() {
    let spawn = |_| ();
    let pool = |workers, capacity| {
        let builder = TaskPool::builder().workers(workers).capacity(capacity);
        builder.build(spawn, |_| async { Ok(()) }).map(drop)
    };
    assert!(matches!(pool(0, 1), Err(BuildError::NoWorkers)));
    assert!(matches!(pool(1, 0), Err(BuildError::ZeroCapacity)));
}

/// Occupies the worker: what is sent ends it.
async fn hold<S: Send>(pool: &TaskPool<S>) -> (oneshot::Sender<()>, plimsoll::Reply<()>) {
    let (go, gone) = oneshot::channel();
    let (running, runs) = oneshot::channel();
    let request = move |state| async move {
        let _state = state;
        running.send(()).unwrap();
        gone.await.unwrap();
    };
    let reply = pool.submit_async(request).await.unwrap();
    runs.await.unwrap();
    (go, reply)
}

#[test]
fn line_gate_cancel_and_deadline_are_the_thread_pools() {
    bounded_async(2, async {
        let pool = on_tokio(1, 2, 1, |_| ());
        let (go, held) = hold(&pool).await;
        let queued = pool.try_submit(|_| async { "queued" }).unwrap();
        let in_line = pool.try_submit(|_| async { "in line" }).unwrap();
        let refused = pool.try_submit(|_| async { "refused" }).unwrap_err();
        assert!(matches!(refused.reason, Reason::Full));
        let counter = Counter::new();
        let mut at_gate = Box::pin(pool.submit_async(|_| async { "at the gate" }));
        assert!(poll(&mut at_gate, &counter).is_pending());
        let mut leaves = Box::pin(pool.submit_async(|_| async { panic!("it left") }));
        assert!(poll(&mut leaves, &counter).is_pending());
        drop(leaves);
        let soon = Instant::now() + Duration::from_millis(5);
        let late = pool.request().deadline(soon).submit_async(|_| async {}).await.unwrap_err();
        assert!(matches!(late.reason, Reason::DeadlinePassed));
        drop(queued);
        assert_eq!(counter.count(), 1, "the line moved up, and the gate opened");
        go.send(()).unwrap();
        held.await.unwrap();
        assert_eq!(in_line.await.unwrap(), "in line");
        assert_eq!(at_gate.await.unwrap().await.unwrap(), "at the gate");
        settled(&pool);
    });
}

#[test]
fn what_a_submission_waited_before_its_first_poll_is_nobodys() {
    bounded_async(1, async {
        let pool = on_tokio(1, 1, 1, |_| ());
        let soon = Instant::now() + Duration::from_millis(5);
        let submission = pool.request().deadline(soon).submit_async(|_| async {});
        tokio::time::sleep_until((soon + Duration::from_millis(1)).into()).await;
        let late = submission.await.unwrap_err();
        assert!(matches!(late.reason, Reason::DeadlinePassed));
        settled(&pool);
    });
}

#[test]
fn shutdown_reports_what_did_not_run() {
    bounded_async(2, async {
        let pool = on_tokio(1, 3, 9, |_| ());
        let (go, held) = hold(&pool).await;
        let queued: Vec<_> =
            (0..5).map(|_| pool.try_submit(|_| async { panic!("no") }).unwrap()).collect();
        let report = pool.shutdown(Shutdown::DrainFor(Duration::from_millis(5))).await;
        assert_eq!(report, ShutdownReport { not_run: 5, still_running: 1 });
        for reply in queued {
            assert!(matches!(reply.await, Err(ReplyError::Shutdown)));
        }
        go.send(()).unwrap();
        held.await.unwrap();
        let report = pool.shutdown(Shutdown::DropQueue).await;
        assert_eq!(report, ShutdownReport { not_run: 0, still_running: 0 });
        settled(&pool);
    });
}

#[test]
fn a_request_may_shut_its_own_pool_down() {
    bounded_async(2, async {
        let pool = on_tokio(2, 1, 9, |_| ());
        let own = pool.clone();
        let request = move |_| async move { own.shutdown(Shutdown::Drain).await };
        let report = pool.submit(request).unwrap().await.unwrap();
        assert_eq!(report, ShutdownReport { not_run: 0, still_running: 1 });
        pool.shutdown(Shutdown::DrainFor(LIMIT)).await;
        settled(&pool);
    });
}

#[test]
fn dropping_the_last_handle_never_blocks_and_finishes_what_was_submitted() {
    bounded(|| {
        // On this one thread nothing could finish while a drop blocked it.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let pool = on_tokio(2, 1, 99, |_| ());
            let count = Arc::new(AtomicUsize::new(0));
            let replies: Vec<_> = (0..50)
                .map(|_| {
                    let count = Arc::clone(&count);
                    let request = move |_| async move { count.fetch_add(1, Ordering::SeqCst) };
                    pool.try_submit(request).unwrap()
                })
                .collect();
            drop(pool);
            for reply in replies {
                reply.await.unwrap();
            }
            assert_eq!(count.load(Ordering::SeqCst), 50);
        });
    });
}

#[test]
fn it_is_resized_under_load() {
    bounded_async(2, async {
        let pool = on_tokio(3, 2, 9, |_| ());
        let load = tokio::spawn({
            let pool = pool.clone();
            async move {
                for n in 0..2000 {
                    let reply = pool.submit_async(move |_| async move { n }).await.unwrap();
                    assert_eq!(reply.await.unwrap(), n);
                }
            }
        });
        let mut sizes = [1, 6, 2, 5].into_iter().cycle();
        while !load.is_finished() {
            pool.resize(sizes.next().unwrap()).unwrap();
            pool.check_invariants().unwrap();
            tokio::task::yield_now().await;
        }
        load.await.unwrap();
        pool.resize(2).unwrap();
        assert_eq!(pool.workers(), 2);
        settled(&pool);
        pool.shutdown(Shutdown::Drain).await;
        pool.resize(4).unwrap();
        assert_eq!(pool.workers(), 0);
    });
}

#[test]
fn a_map_keeps_its_order_and_pulls_no_more_than_its_window() {
    bounded_async(2, async {
        let pool = on_tokio(2, 2, 3, |_| ());
        let pulled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&pulled);
        let items = (0..200_usize).inspect(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
        let mut map = pool.map(items, |_, n: usize| async move { n }).unwrap();
        for n in 0..200 {
            assert_eq!(map.next().await.unwrap().unwrap(), n);
            // A window, and the item in hand.
            assert!(pulled.load(Ordering::SeqCst) <= n + 2 + 8, "after {n}");
        }
        assert!(map.next().await.is_none());
        drop(map);
        settled(&pool);
    });
}

#[test]
fn an_unordered_map_answers_every_item_once_and_survives_its_next_being_dropped() {
    bounded_async(2, async {
        let pool = on_tokio(2, 2, 0, |_| ());
        let mut map = pool.map_unordered(0..200_u32, |_, n| async move { n }).unwrap();
        let mut answers = Vec::new();
        loop {
            // Polled once and dropped, as in a select.
            let mut next = Box::pin(map.next());
            let once = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx)));
            let polled = once.await;
            drop(next);
            match polled {
                std::task::Poll::Ready(Some(answer)) => answers.push(answer.unwrap()),
                std::task::Poll::Ready(None) => break,
                std::task::Poll::Pending => tokio::task::yield_now().await,
            }
        }
        answers.sort_unstable();
        assert_eq!(answers, (0..200).collect::<Vec<_>>());
        drop(map);
        settled(&pool);
    });
}
