//! A restart: another process serves, the one before finishes what it has, and neither a request nor
//! a backend's capacity is the worse for it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::backend::{Backend, respond, say};
use crate::http2::{self, Client};
use crate::proxy::Proxy;
use crate::reload::{Over, held, pool};
use crate::tunnels;
use crate::wire::Wire;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Requests a second while it is restarted.
const RATE: u32 = 1000;
const PLAIN_CLIENTS: u32 = 6;
const HTTP2_CLIENTS: u32 = 2;
/// How long a backend takes.
const TIME: Duration = Duration::from_micros(1200);
/// Of each of the backends, which are nearly full.
const CAPACITY: usize = 2;

#[test]
fn no_request_fails_and_no_backend_has_more_than_it_may() {
    restarts(4);
}

/// The long form: `scripts/long/serve-restarts`.
#[test]
#[ignore = "takes a minute"]
fn many_restarts() {
    let told = std::env::var("PLIMSOLL_RESTARTS").ok().and_then(|told| told.parse().ok());
    restarts(told.unwrap_or(200));
}

/// A backend that counts what it has at a time, from a request's last byte to before its answer's
/// first.
struct Counting {
    backend: Backend,
    most: Arc<AtomicUsize>,
}

impl Counting {
    /// Answers when `wait` is over.
    fn start(wait: impl Fn() + Send + Sync + 'static) -> Self {
        let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let noted = Arc::clone(&most);
        let backend = Backend::start(move |_, stream| {
            noted.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            wait();
            now.fetch_sub(1, Ordering::SeqCst);
            respond(stream, b"x")
        });
        Self { backend, most }
    }

    /// Answers when it is let go.
    fn held() -> (Self, mpsc::Sender<()>) {
        let (go, wait) = mpsc::channel();
        let wait = Mutex::new(wait);
        // When nobody lets it go any more the test is over.
        let counting = Self::start(move || {
            let _ = wait.lock().unwrap().recv();
        });
        (counting, go)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// When a client asks next: at its share of the rate, as far as answers come.
struct Pace(Instant);

impl Pace {
    fn next(&mut self) -> Instant {
        self.0 += Duration::from_secs(1) * (PLAIN_CLIENTS + HTTP2_CLIENTS) / RATE;
        self.0
    }
}

/// What clients do until it is over.
struct Load {
    over: AtomicBool,
    asked: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn answered(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Over a connection that is kept for as long as the other side keeps it.
    fn plain(&self, to: SocketAddr) {
        let mut wire = Wire::connect(to);
        let mut pace = Pace(Instant::now());
        while self.goes_on() {
            wire.send(GET);
            let response = wire.response();
            assert_eq!((response.status, response.text()), (200, "x"));
            self.answered();
            if response.field("connection") == Some("close") {
                wire = Wire::connect(to);
            }
            thread::sleep(pace.next().saturating_duration_since(Instant::now()));
        }
    }

    /// The same in HTTP/2, where a goodbye says it.
    fn http2(&self, to: SocketAddr) {
        let mut pace = Pace(Instant::now());
        while self.goes_on() {
            let pace = &mut pace;
            http2::with_client(to, |mut client: Client| async move {
                // Else it has said goodbye.
                while self.goes_on() && client.ready().await.is_ok() {
                    match client.send_request(http2::request("/", "")).await {
                        Ok(response) => {
                            assert_eq!(response.status(), 200);
                            assert_eq!(&*http2::whole(response).await, b"x");
                        }
                        // Never sent, as it said goodbye before.
                        Err(error) if error.is_canceled() => return,
                        Err(error) => panic!("{error:?}"),
                    }
                    self.answered();
                    tokio::time::sleep_until(pace.next().into()).await;
                }
            });
        }
    }
}

fn restarts(count: usize) {
    let backends = [(); 2].map(|()| Counting::start(|| thread::sleep(TIME)));
    let at = backends.each_ref().map(|counting| counting.backend.address);
    let mut proxy = Proxy::told(&pool(&at, &format!("capacity = {CAPACITY}")));
    let load = Load { over: AtomicBool::new(false), asked: AtomicU64::new(0) };
    let to = proxy.address;
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..PLAIN_CLIENTS {
            scope.spawn(|| load.plain(to));
        }
        for _ in 0..HTTP2_CLIENTS {
            scope.spawn(|| load.http2(to));
        }
        let _over = Over(&load.over);
        for round in 0..count {
            // Each new process has its share.
            let target = load.asked.load(Ordering::Relaxed) + 100;
            proxy.until("it serves", |_| load.asked.load(Ordering::Relaxed) >= target);
            let before = proxy.restart();
            proxy.until_finished(before);
            assert_eq!(lent(&proxy), 0, "after restart {round}");
        }
    });
    let (asked, time) = (load.asked.load(Ordering::Relaxed), begun.elapsed());
    let most = backends.each_ref().map(Counting::most);
    println!(
        "{count} restarts in {:.1} s: {asked} requests, {:.0} a second, 0 failed; at a time the \
         backends had {most:?} at the most, with a capacity of {CAPACITY}",
        time.as_secs_f64(),
        f64::from(u32::try_from(asked).unwrap()) / time.as_secs_f64(),
    );
    assert!(most.iter().all(|&most| most <= CAPACITY), "{most:?}");
    proxy.finish();
}

/// What the process before has, as the one that serves counts it.
fn lent(proxy: &Proxy) -> u64 {
    let workers = proxy.workers();
    workers["workers"].as_array().unwrap().iter().map(|it| it["lent"].as_u64().unwrap()).sum()
}

pub(crate) fn no_health(backends: &[SocketAddr], more: &str) -> String {
    pool(backends, &["no_health = true\n", more].concat())
}

/// A connection that has been used, and is kept.
pub(crate) fn kept(proxy: &Proxy) -> Wire {
    let mut wire = proxy.connect();
    wire.send(GET);
    assert_eq!(wire.response().status, 200);
    wire
}

/// Who waits at the old process stands in the new one's line, which is one for both.
#[test]
fn one_place_is_shared_by_both() {
    let (counting, go) = Counting::held();
    let mut proxy = Proxy::told(&no_health(&[counting.backend.address], "capacity = 1"));
    go.send(()).unwrap();
    let mut kept = kept(&proxy);
    let mut runs = proxy.connect();
    runs.send(GET);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    let mut waits = proxy.connect();
    waits.send(GET);
    proxy.until("it waits", |proxy| proxy.in_line() == 1);
    let before = proxy.restart();
    proxy.until("it waits here", |proxy| proxy.in_line() == 1);
    assert_eq!((proxy.pending(), lent(&proxy)), (1, 1));
    let mut new = proxy.connect();
    new.send(GET);
    proxy.until("two wait here", |proxy| proxy.in_line() == 2);
    // This one comes to the old process.
    kept.send(GET);
    proxy.until("all wait here", |proxy| proxy.in_line() == 3);
    let turns = [(runs, Some("close")), (waits, Some("close")), (new, None), (kept, Some("close"))];
    for (nth, (mut wire, connection)) in turns.into_iter().enumerate() {
        let is_lent = u64::from(connection.is_some());
        let is_its_turn = |proxy: &Proxy| {
            (proxy.in_line(), lent(proxy)) == (3 - nth as u64, is_lent) && proxy.pending() == 1
        };
        proxy.until("it is its turn", is_its_turn);
        // The new one closes its own connection for one that is lent.
        assert_eq!(proxy.workers()["workers"][0]["open_connections"], 1);
        go.send(()).unwrap();
        let response = wire.response();
        assert_eq!((response.status, response.field("connection")), (200, connection));
        // Nobody else has it, as the new process would have what it inherits.
        assert!(connection.is_none() || wire.is_closed());
    }
    proxy.until_finished(before);
    proxy.until("nothing is lent", |proxy| proxy.pending() == 0);
    assert_eq!(counting.most(), 1);
    proxy.finish();
}

#[test]
fn what_takes_long_goes_on_until_the_drains_time_is_over() {
    let echo = tunnels::echoing();
    let (slow, go) = held(b"late");
    let text = [
        "drain_timeout = 2\n",
        &no_health(&[echo.address], ""),
        &no_health(&[slow.address], "").replace("pool.web", "pool.slow"),
        "[[route]]\npool = \"web\"\n[[route]]\npath = \"/slow\"\npool = \"slow\"\n",
    ];
    let mut proxy = Proxy::told(&text.concat());
    let (mut long, mut cut) = (proxy.connect(), proxy.connect());
    for wire in [&mut long, &mut cut] {
        wire.send(GET.replace("/ ", "/slow "));
    }
    let mut tunnel = tunnels::open(&proxy);
    proxy.until("all are there", |proxy| proxy.pending() == 3);
    let before = proxy.restart();
    let begun = Instant::now();
    assert_eq!(lent(&proxy), 3);
    go.send(()).unwrap();
    let (first, second) = (&mut long, &mut cut);
    proxy.until("one is over", |proxy| lent(proxy) == 2);
    tunnel.send("hello");
    assert_eq!(tunnel.bytes(5), b"hello");
    proxy.until_finished(before);
    let drained = begun.elapsed();
    assert!(drained > Duration::from_millis(1500), "{drained:?}");
    assert!(tunnel.is_closed());
    let answers = [first, second].map(|wire| wire.answer(false).map(|answer| answer.status));
    assert_eq!(answers.iter().flatten().collect::<Vec<_>>(), [&200], "{answers:?}");
    proxy.until("nothing is lent", |proxy| proxy.pending() == 0);
    drop(go);
    proxy.finish();
}

/// What it had is nobody's any more.
#[test]
fn an_old_process_that_is_killed_has_nothing() {
    let (backend, go) = held(b"x");
    let mut proxy = Proxy::told(&no_health(&[backend.address], "capacity = 1"));
    let mut runs = proxy.connect();
    runs.send(GET);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    let before = proxy.restart();
    let mut new = proxy.connect();
    new.send(GET);
    proxy.until("it waits", |proxy| proxy.in_line() == 1 && lent(proxy) == 1);
    kill_process(before, Signal::KILL).unwrap();
    proxy.until("it has it", |proxy| proxy.in_line() == 0 && lent(proxy) == 0);
    proxy.until_finished(before);
    assert!(runs.is_closed());
    (0..2).for_each(|_| go.send(()).unwrap());
    assert_eq!(new.response().status, 200);
    drop(new);
    // Not by the first one's status, which is a signal's.
    let last = proxy.pid();
    proxy.signal(Signal::TERM);
    proxy.until_ended(last);
    proxy.assert_quiet();
}

/// All of the backends is there for what is left.
#[test]
fn a_new_process_that_is_killed_leaves_the_old_one_to_finish() {
    let (backend, go) = held(b"x");
    let mut proxy = Proxy::told(&no_health(&[backend.address], "capacity = 1"));
    (0..2).for_each(|_| go.send(()).unwrap());
    let mut kept = [kept(&proxy), kept(&proxy)];
    let before = proxy.restart();
    let mut lost = proxy.connect();
    lost.send(GET);
    proxy.until("the new one has it", |proxy| proxy.pending() == 1 && lent(proxy) == 0);
    kept[0].send(GET);
    proxy.until("it waits", |proxy| proxy.in_line() == 1);
    kill_process(proxy.pid(), Signal::KILL).unwrap();
    kept[1].send(GET);
    (0..3).for_each(|_| go.send(()).unwrap());
    for wire in &mut kept {
        assert_eq!(wire.response().status, 200);
    }
    assert!(lost.is_closed());
    proxy.until_ended(before);
    assert!(proxy.said().contains(", which serves, ended: signal: 9"), "{}", proxy.said());
    assert_eq!(proxy.wait().code(), Some(0));
    proxy.assert_quiet();
}

/// The old process has it alone.
#[test]
fn a_backend_that_is_told_no_more_finishes_what_it_has() {
    let (old, go) = Counting::held();
    let new = Backend::says("new");
    let mut proxy = Proxy::told(&no_health(&[old.backend.address], "capacity = 1"));
    go.send(()).unwrap();
    let mut kept = kept(&proxy);
    let mut runs = proxy.connect();
    runs.send(GET);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    proxy.write(&no_health(&[new.address], "capacity = 1"));
    let before = proxy.restart();
    assert_eq!((proxy.get("/").text(), lent(&proxy)), ("new", 0));
    kept.send(GET);
    (0..2).for_each(|_| go.send(()).unwrap());
    for wire in [&mut kept, &mut runs] {
        assert_eq!(wire.response().text(), "x");
    }
    proxy.until_finished(before);
    assert_eq!(old.most(), 1);
    proxy.finish();
}

/// The old process could not use it, so that it is not lent, and serves who comes to the new one.
#[test]
fn a_backend_that_only_the_new_process_knows_is_not_lent() {
    let (old, go) = Counting::held();
    let new = Backend::says("new");
    let mut proxy = Proxy::told(&no_health(&[old.backend.address], "capacity = 1"));
    let mut asked: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    for wire in &mut asked {
        wire.send(GET);
    }
    proxy.until("one waits", |proxy| proxy.in_line() == 1);
    proxy.write(&no_health(&[old.backend.address, new.address], "capacity = 1"));
    let before = proxy.restart();
    proxy.until("it waits here", |proxy| proxy.in_line() == 1);
    let dispatched = |proxy: &Proxy| {
        let workers = proxy.workers();
        let mut all = workers["workers"].as_array().unwrap().iter();
        let it =
            all.find(|it| it["id"].as_str().unwrap().ends_with(&new.address.to_string())).unwrap();
        it["dispatched"].as_u64().unwrap()
    };
    for nth in 1..=20 {
        assert_eq!(proxy.get("/").text(), "new");
        assert_eq!(dispatched(&proxy), nth, "for nobody else");
    }
    // Either may be the one that waits.
    (0..2).for_each(|_| go.send(()).unwrap());
    for mut wire in asked {
        assert_eq!(wire.response().text(), "x");
    }
    proxy.until_finished(before);
    assert_eq!(old.most(), 1);
    proxy.finish();
}

/// Somebody drains it for its own update, and somebody else has the proxy restarted.
#[test]
fn a_drain_outlives_a_restart() {
    let (one, other) = (Backend::says("one"), Backend::says("other"));
    let mut proxy = Proxy::told(&pool(&[one.address, other.address], "slow_start = 0\n"));
    let worker = format!("/workers/web/{}", one.address);
    assert_eq!(proxy.post(&format!("{worker}/drain"), "").status, 200);
    for _ in 0..2 {
        let before = proxy.restart();
        proxy.until_finished(before);
        for _ in 0..10 {
            assert_eq!(proxy.get("/").text(), "other");
        }
    }
    assert_eq!(proxy.post(&format!("{worker}/resume"), "").status, 200);
    proxy.until("it serves again", |proxy| proxy.get("/").text() == "one");
    proxy.finish();
}

/// A request whose head came in part belongs to who read that.
#[test]
fn half_a_request_is_finished_where_it_began() {
    let backend = Backend::start(|seen, stream| say(stream, answer(&seen.body).as_bytes()));
    let mut proxy = Proxy::told(&no_health(&[backend.address], ""));
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    let before = proxy.restart();
    wire.send("def");
    assert_eq!(wire.response().text(), "abcdef");
    proxy.until_finished(before);
    proxy.finish();
}

fn answer(body: &[u8]) -> String {
    let body = std::str::from_utf8(body).unwrap();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
