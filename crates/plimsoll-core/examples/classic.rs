//! The program that Plimsoll grew out of, on Plimsoll's own pool.
//!
//! Requesters put requests on a work channel, each with its reply channel
//! inside. The balancer gives each to the least-loaded worker; the worker sends
//! the result straight to the requester and reports on the done channel.
//!
//! ```text
//! cargo run --release --example classic
//! ```

use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use plimsoll_core::{Completion, Config, Dispatch, Lease, Pool, Time, WorkerSpec};

const WORKERS: usize = 10;
const REQUESTERS: u32 = 100;
const REQUESTS_EACH: u32 = 40;

/// What to do, and where to send the result.
struct Request {
    operation: Box<dyn FnOnce() -> u32 + Send>,
    reply: Sender<u32>,
}

/// `work` and `done` in one channel: the balancer takes whichever comes first.
enum Message {
    Work(Request),
    Done(Lease),
}

fn main() {
    let (messages, inbox) = channel();
    thread::scope(|scope| {
        let mut balancer = Balancer { pool: Pool::new(Config::default()), workers: Vec::new() };
        for _ in 0..WORKERS {
            let (to_worker, requests) = channel();
            balancer.add(to_worker);
            let done = messages.clone();
            scope.spawn(move || worker(requests, &done));
        }
        for seed in 0..REQUESTERS {
            let work = messages.clone();
            scope.spawn(move || requester(&work, seed));
        }
        balancer.balance(&inbox);
    });
}

/// An artificial source of load.
fn requester(work: &Sender<Message>, seed: u32) {
    let mut draws = u64::from(seed);
    for request in 0..REQUESTS_EACH {
        thread::sleep(Duration::from_micros(draw(&mut draws, 2_000)));
        let time = Duration::from_micros(draw(&mut draws, 2_000));
        let operation = Box::new(move || {
            thread::sleep(time);
            request * request
        });
        let (reply, answer) = channel();
        work.send(Message::Work(Request { operation, reply })).expect("the balancer runs");
        let result = answer.recv().expect("a worker answers");
        assert_eq!(result, request * request);
    }
}

/// Runs what it is given; the result goes to whoever asked, not by way of the balancer.
fn worker(requests: Receiver<(Request, Lease)>, done: &Sender<Message>) {
    for (request, lease) in requests {
        let result = (request.operation)();
        // A requester that has gone away needs no answer.
        let _ = request.reply.send(result);
        // Nor does a balancer that has gone home need to know.
        let _ = done.send(Message::Done(lease));
    }
}

struct Balancer {
    /// Which worker is least loaded.
    pool: Pool<Request>,
    /// The channel to each worker.
    workers: Vec<Sender<(Request, Lease)>>,
}

impl Balancer {
    fn add(&mut self, to_worker: Sender<(Request, Lease)>) {
        let capacity = NonZeroU32::new(1_000).expect("not 0");
        let id = self.pool.add(WorkerSpec::new(capacity), Time::ZERO);
        assert_eq!(id.index(), self.workers.len());
        self.workers.push(to_worker);
    }

    /// Until all is done.
    fn balance(mut self, inbox: &Receiver<Message>) {
        let mut spreads = Vec::new();
        let mut completed = 0;
        for message in inbox {
            match message {
                Message::Work(request) => self.dispatch(request),
                Message::Done(lease) => {
                    self.completed(lease);
                    completed += 1;
                    spreads.push(self.spread());
                    if completed % 250 == 0 {
                        self.show();
                    }
                    if completed == REQUESTERS * REQUESTS_EACH {
                        break;
                    }
                }
            }
        }
        let dispatched = self.pool.workers().map(|worker| worker.dispatched);
        println!("requests per worker: {:?}", dispatched.collect::<Vec<_>>());
        let (least, most) = (spreads.iter().min(), spreads.iter().max());
        let mean = f64::from(spreads.iter().sum::<u32>()) / f64::from(completed);
        println!(
            "most pending minus least: at best {}, at worst {}, {mean:.2} on average",
            least.expect("some completed"),
            most.expect("some completed"),
        );
    }

    /// Sends the request to the least-loaded worker, which has one more
    /// pending from then on.
    fn dispatch(&mut self, request: Request) {
        match self.pool.dispatch(&plimsoll_core::Request::default(), request, Time::ZERO) {
            Dispatch::Assigned(lease, request) => {
                let worker = lease.worker().index();
                self.workers[worker].send((request, lease)).expect("the worker runs");
            }
            _ => unreachable!("fewer requesters than a worker has capacity"),
        }
    }

    /// The lease's worker has one fewer pending.
    fn completed(&mut self, lease: Lease) {
        self.pool.completed(lease, Completion::Succeeded, Time::ZERO).expect("its own lease");
    }

    fn spread(&self) -> u32 {
        let pending = || self.pool.workers().map(|worker| worker.pending);
        pending().max().unwrap_or(0) - pending().min().unwrap_or(0)
    }

    fn show(&self) {
        let pending: Vec<u32> = self.pool.workers().map(|worker| worker.pending).collect();
        println!("pending: {pending:2?}");
    }
}

/// A number below `bound`, by chance.
fn draw(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound
}
