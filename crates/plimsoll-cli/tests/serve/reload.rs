//! Other settings while it serves: what stays keeps its counts, and nothing is lost.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::backend::{Backend, Then, respond, say};
use crate::proxy::{LISTEN, Proxy};
use crate::wire::{self, Wire};

pub(crate) fn pool(backends: &[SocketAddr], more: &str) -> String {
    pool_of("web", backends, more)
}

pub(crate) fn pool_of(name: &str, backends: &[SocketAddr], more: &str) -> String {
    let to: Vec<_> = backends.iter().map(|at| format!("\"{at}\"")).collect();
    format!("[pool.{name}]\nto = [{}]\n{more}\n", to.join(", "))
}

/// A backend that answers when it is let go, and what lets it.
pub(crate) fn held(text: &'static [u8]) -> (Backend, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |_, stream| {
        let _ = wait.lock().unwrap().recv();
        respond(stream, text)
    });
    (backend, go)
}

pub(crate) fn ask(proxy: &Proxy) -> Wire {
    let mut wire = proxy.connect();
    wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    wire
}

/// P5: under load, with good files, files that say nothing new, and bad ones.
#[test]
fn p5_no_request_fails_whatever_the_file_says() {
    reloads(60, Duration::ZERO);
}

/// The long form: `scripts/long/serve-reloads`.
#[test]
#[ignore = "takes a minute"]
fn many_reloads() {
    let told = std::env::var("PLIMSOLL_RELOADS").ok().and_then(|told| told.parse().ok());
    reloads(told.unwrap_or(1000), Duration::from_millis(60));
}

/// Requests a second while it is told anew.
const RATE: u32 = 2000;
const CLIENTS: u32 = 8;

/// So many reloads, so far apart, of which one in five is of a file that is not right.
fn reloads(count: usize, gap: Duration) {
    let random = fastrand::Rng::with_seed(crate::proxy::seed());
    let backends: Vec<_> = (0..3).map(|_| Backend::says("x")).collect();
    let at: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let proxy = Proxy::told(&pool(&at, "capacity = 4\nno_health = true"));
    let (over, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut wire = proxy.connect();
                let mut next = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                    let response = wire.response();
                    assert_eq!(response.status, 200, "{}", response.text());
                    asked.fetch_add(1, Ordering::Relaxed);
                    next += Duration::from_secs(1) * CLIENTS / RATE;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            });
        }
        // What is told stands where requests can see it, whatever becomes of them.
        let _over = Over(&over);
        let mut random = random;
        for round in 0..count {
            let some = &at[..=round % 3];
            let more = ["no_health = true", "line = 2048\nhealth_interval = 0.05"];
            let capacity = 2 + round % 3;
            let good = pool(some, &format!("capacity = {capacity}\n{}", more[round % 2]));
            let is_bad = round % 5 == 0;
            proxy.write(&if is_bad { broken(&good, &mut random) } else { good });
            let (status, said) = proxy.reload();
            assert_eq!(status, if is_bad { 422 } else { 200 }, "{said}");
            thread::sleep(gap);
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(asked.load(Ordering::Relaxed)).unwrap()) / seconds;
    println!("{count} reloads in {seconds:.1} s at {rate:.0} requests/s, none failed");
    let workers = proxy.workers();
    assert_eq!(workers["requests"].as_u64().unwrap(), asked.load(Ordering::Relaxed));
    assert!(backends.iter().all(|backend| backend.most_active() <= 4));
    proxy.finish();
}

/// Tells the clients that it is over, also by a failure.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A file that is not right any more, by a byte that is another, gone, or one too many.
fn broken(good: &str, random: &mut fastrand::Rng) -> String {
    loop {
        let mut bytes = good.as_bytes().to_vec();
        let at = random.usize(..bytes.len());
        match random.u8(0..3) {
            0 => bytes[at] = random.u8(b' '..=b'~'),
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, random.u8(b' '..=b'~')),
        }
        let text = String::from_utf8(bytes).unwrap();
        if !is_right(&text) {
            return text;
        }
    }
}

fn is_right(text: &str) -> bool {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), [LISTEN, text].concat()).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    check.arg("check").arg(file.path()).output().unwrap().status.success()
}

/// A tunnel outlives many changes, and holds nothing but what is its own.
#[test]
fn a_tunnel_keeps_no_other_pool() {
    let switches = Backend::heads(|_, stream| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        say(stream, head.as_bytes());
        let mut writer = stream.try_clone().unwrap();
        let _ = std::io::copy(stream, &mut writer);
        Then::Close
    });
    let other = Backend::says("other");
    let one = pool(&[switches.address], "");
    let second = pool(&[other.address], "").replace("pool.web", "pool.other");
    let routes = "[[route]]\npool = \"web\"\n[[route]]\npath = \"/other\"\npool = \"other\"\n";
    let proxy = Proxy::told(&[&*one, &*second, routes].concat());
    assert_eq!(proxy.get("/other").text(), "other");
    let mut wire = proxy.connect();
    wire.send(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n",
    );
    assert_eq!(wire.response().status, 101);
    proxy.write(&one);
    assert_eq!(proxy.reload().0, 200);
    proxy.until("the other is let go of", |proxy| {
        proxy.workers()["pools"].as_array().unwrap().len() == 1
    });
    assert_eq!((proxy.pending(), other.open()), (1, 0));
    drop(wire);
    proxy.finish();
}

/// Nor does an answer that takes long, or whose client takes its time over much of it.
#[test]
fn a_long_answer_keeps_no_other_pool() {
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let drips = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while !is_over.load(Ordering::Relaxed) {
            say(stream, b"1\r\nx\r\n");
            thread::sleep(Duration::from_millis(50));
        }
        say(stream, b"0\r\n\r\n")
    });
    // Nothing comes of it from its first moment on.
    let is_over = Arc::clone(&over);
    let stands = Backend::start(move |_, stream| {
        say(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
        while !is_over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
        say(stream, b"0\r\n\r\n")
    });
    let large = vec![b'x'; 32 << 20];
    let pours = Backend::start(move |_, stream| respond(stream, &large));
    let other = Backend::says("other");
    let routed = |name: &str, backend: &Backend| {
        let route = format!("[[route]]\npath = \"/{name}\"\npool = \"{name}\"\n");
        pool_of(name, &[backend.address], "no_health = true") + &route
    };
    let stay = routed("drips", &drips) + &routed("pours", &pours) + &routed("stands", &stands);
    let proxy = Proxy::told(&(stay.clone() + &routed("other", &other)));
    let mut wires = ["/drips", "/pours", "/stands"].map(|target| {
        let mut wire = proxy.connect();
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        wire
    });
    proxy.until("all are answered", |proxy| proxy.pending() == 3);
    proxy.write(&stay);
    assert_eq!(proxy.reload().0, 200);
    let pools = |proxy: &Proxy| proxy.workers()["pools"].as_array().unwrap().len();
    proxy.until("the other is let go of", |proxy| pools(proxy) == 3);
    assert_eq!(proxy.pending(), 3);
    over.store(true, Ordering::Relaxed);
    for wire in &mut wires {
        assert!(wire.response().whole);
    }
    drop(wires);
    proxy.finish();
}

#[test]
fn what_comes_back_before_it_has_finished_has_what_it_had() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        if seen.target() != "/health" {
            let _ = wait.lock().unwrap().recv();
        }
        respond(stream, b"x")
    });
    let other = Backend::says("other");
    let watched = "capacity = 2\nhealth = \"/health\"\nhealth_interval = 0.05\nslow_start = 0";
    let told = pool(&[backend.address], watched);
    let proxy = Proxy::told(&told);
    let mut asked: Vec<_> = (0..2).map(|_| ask(&proxy)).collect();
    proxy.until("it has two", |proxy| proxy.pending() == 2);
    proxy.write(&pool(&[other.address], "capacity = 2"));
    assert_eq!(proxy.reload().0, 200);
    assert_eq!(proxy.get("/").text(), "other");
    proxy.write(&told);
    assert_eq!(proxy.reload().0, 200);
    asked.extend((0..2).map(|_| ask(&proxy)));
    proxy.until("two wait", |proxy| proxy.in_line() == 2 && proxy.pending() == 2);
    for _ in 0..4 {
        go.send(()).unwrap();
    }
    for mut wire in asked {
        assert_eq!(wire.response().text(), "x");
    }
    assert_eq!(backend.most_active(), 2);
    let workers = proxy.workers();
    assert_eq!(workers["workers"].as_array().unwrap().len(), 1, "{workers}");
    let checks = || backend.seen().iter().filter(|seen| seen.target() == "/health").count();
    let before = checks();
    proxy.until("it is looked after again", |_| checks() > before + 2);
    proxy.finish();
}

#[test]
fn what_is_pending_stays_counted_and_capped() {
    let (backend, go) = held(b"x");
    let proxy = Proxy::told(&pool(&[backend.address], "capacity = 2\nno_health = true"));
    let mut asked: Vec<_> = (0..4).map(|_| ask(&proxy)).collect();
    proxy.until("two in line", |proxy| proxy.in_line() == 2);
    proxy.write(&pool(&[backend.address], "capacity = 3\nno_health = true"));
    assert_eq!(proxy.reload().0, 200);
    proxy.until("one more has a place", |proxy| proxy.in_line() == 1 && proxy.pending() == 3);
    proxy.write(&pool(&[backend.address], "capacity = 1\nno_health = true"));
    assert_eq!(proxy.reload().0, 200);
    assert_eq!((proxy.pending(), proxy.in_line()), (3, 1));
    (0..4).for_each(|_| go.send(()).unwrap());
    for wire in &mut asked {
        assert_eq!(wire.response().text(), "x");
    }
    drop(asked);
    assert_eq!(backend.most_active(), 3);
    let worker = &proxy.workers()["workers"][0];
    assert_eq!((worker["dispatched"].as_u64(), worker["capacity"].as_u64()), (Some(4), Some(1)));
    proxy.until("one connection is left", |_| backend.open() <= 1);
    proxy.finish();
}

/// Its count is seen until it has finished what it had.
#[test]
fn a_backend_that_is_removed_finishes_what_it_has() {
    let (old, go) = held(b"old");
    let new = Backend::says("new");
    let proxy = Proxy::told(&pool(&[old.address], "no_health = true"));
    let mut asked = ask(&proxy);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    proxy.write(&pool(&[new.address], "no_health = true"));
    assert_eq!(proxy.reload().0, 200);
    assert_eq!(proxy.get("/").text(), "new");
    let shown = |proxy: &Proxy| proxy.workers()["workers"].as_array().unwrap().len();
    assert_eq!((shown(&proxy), proxy.pending()), (2, 1), "{}", proxy.workers());
    go.send(()).unwrap();
    assert_eq!(asked.response().text(), "old");
    drop(asked);
    proxy.until("it is gone", |proxy| shown(proxy) == 1);
    proxy.until("its connection is closed", |_| old.open() == 0);
    proxy.finish();
}

/// Who waits in its line is served, too.
#[test]
fn a_pool_that_is_removed_finishes_its_line() {
    let (old, go) = held(b"old");
    let new = Backend::says("new");
    let proxy = Proxy::told(&pool(&[old.address], "capacity = 1\nno_health = true"));
    let mut asked = [ask(&proxy), ask(&proxy)];
    proxy.until("one waits", |proxy| proxy.in_line() == 1);
    let other = pool(&[new.address], "no_health = true").replace("pool.web", "pool.other");
    proxy.write(&other);
    assert_eq!(proxy.reload().0, 200);
    assert_eq!(proxy.get("/").text(), "new");
    let metrics = wire::get(proxy.admin, "/metrics");
    // Nobody need be woken for it, up or not.
    let drains = format!("_draining{{pool=\"web\",backend=\"{}\"}} 1\n", old.address);
    assert!(metrics.text().contains(&drains), "{}", metrics.text());
    (0..2).for_each(|_| go.send(()).unwrap());
    for wire in &mut asked {
        assert_eq!(wire.response().text(), "old");
    }
    drop(asked);
    proxy
        .until("the pool is gone", |proxy| proxy.workers()["pools"].as_array().unwrap().len() == 1);
    proxy.finish();
}

#[test]
fn listeners_come_and_go_and_those_that_stay_are_not_closed() {
    let backend = Backend::says("x");
    let text = pool(&[backend.address], "no_health = true");
    let proxy = Proxy::told(&text);
    let more = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut kept = proxy.connect();
    let listen = LISTEN.replace("[\"", &format!("[\"{more}\", \""));
    proxy.write_whole(&(listen + &text));
    assert_eq!(proxy.reload().0, 200);
    assert_eq!(wire::get(more, "/").text(), "x");
    proxy.write(&text);
    assert_eq!(proxy.reload().0, 200);
    proxy.until("nobody listens there", |_| TcpStream::connect(more).is_err());
    assert_eq!(proxy.get("/").text(), "x");
    kept.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(kept.response().text(), "x");
    drop(kept);
    proxy.finish();
}

/// Nothing of it is in force: neither the pool nor the other listener.
#[test]
fn an_occupied_port_changes_nothing() {
    let [first, second] = ["first", "second"].map(Backend::says);
    let proxy = Proxy::told(&pool(&[first.address], "no_health = true"));
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = occupied.local_addr().unwrap();
    let listen = LISTEN.replace("[\"", &format!("[\"{at}\", \""));
    proxy.write_whole(&(listen + &pool(&[second.address], "no_health = true")));
    let (status, said) = proxy.reload();
    assert_eq!(status, 422);
    assert!(said.contains(&at.to_string()) && said.contains("in use"), "{said}");
    assert_eq!(proxy.get("/").text(), "first");
    proxy.finish();
}

#[test]
fn a_hangup_reads_the_file_again_and_says_so() {
    let [first, second] = ["first", "second"].map(Backend::says);
    let proxy = Proxy::told(&pool(&[first.address], ""));
    proxy.write("[pool.web]\nto = [\"9\"]\n");
    proxy.signal(Signal::HUP);
    proxy.until("it is refused", |proxy| proxy.said().contains("not reloaded: "));
    assert!(proxy.said().contains(":4:7: pool.web.to[0]: it is HOST:PORT"), "{}", proxy.said());
    assert_eq!(proxy.get("/").text(), "first");
    proxy.write(&pool(&[second.address], ""));
    proxy.signal(Signal::HUP);
    proxy.until("it is read", |proxy| proxy.said().contains("plimsoll: reloaded "));
    proxy.until("it is served", |proxy| proxy.get("/").text() == "second");
    proxy.finish();
}

#[test]
fn a_watched_file_is_read_when_it_has_changed() {
    let [first, second] = ["first", "second"].map(Backend::says);
    let proxy = Proxy::told_with(&pool(&[first.address], ""), &["--watch"]);
    assert_eq!(proxy.get("/").text(), "first");
    proxy.write(&pool(&[second.address], ""));
    proxy.until("it is served", |proxy| proxy.get("/").text() == "second");
    // As long, and as old.
    proxy.write_as_old(&pool(&[first.address], ""));
    proxy.until("it is served again", |proxy| proxy.get("/").text() == "first");
    proxy.finish();
}

/// A page that an operator looks at may have the browser send to this machine.
#[test]
fn pages_of_a_browser_reload_nothing() {
    let backend = Backend::says("x");
    let proxy = Proxy::told(&pool(&[backend.address], ""));
    let mut wire = Wire::connect(proxy.admin);
    wire.send("POST /reload HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.response().status, 403);
    drop(wire);
    proxy.finish();
}

/// So that it may be moved away, as log rotation does.
#[test]
fn the_log_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (log, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let backend = Backend::says("x");
    let text = format!("log_file = {log:?}\n{}", pool(&[backend.address], "no_health = true"));
    let proxy = Proxy::told(&text);
    let lines = |path| fs::read_to_string(path).unwrap_or_default().lines().count();
    assert_eq!(proxy.get("/").status, 200);
    proxy.until("it is written", |_| lines(&log) == 1);
    fs::rename(&log, &moved).unwrap();
    assert_eq!(proxy.reload().0, 200);
    assert_eq!(proxy.get("/").status, 200);
    proxy.until("it is written anew", |_| lines(&log) == 1);
    assert_eq!(lines(&moved), 1);
    proxy.finish();
}

/// As when its disk is gone: a pipe is not open before somebody reads it.
#[test]
fn a_log_that_does_not_open_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::start(move |seen, stream| {
        if seen.target() == "/held" {
            let _ = wait.lock().unwrap().recv();
        }
        respond(stream, b"x")
    });
    let text = pool(&[backend.address], "no_health = true");
    let mut proxy = Proxy::told(&text);
    let mut held = proxy.connect();
    held.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    proxy.write(&format!("log_file = {pipe:?}\n{text}"));
    proxy.signal(Signal::HUP);
    // On all of its threads, each of which looks after its connections every second.
    let mut wires: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        for wire in &mut wires {
            wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(wire.response().status, 200);
        }
        proxy.until("operators are answered", |proxy| proxy.pending() == 1);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(!proxy.said().contains("reloaded"), "it does not open: {}", proxy.said());
    drop(wires);
    // A way out: another process, which has another log.
    proxy.write(&text);
    let before = proxy.restart();
    assert_eq!(proxy.get("/").text(), "x");
    let _reader = fs::File::open(&pipe).unwrap();
    let late = "plimsoll: not reloaded: another process serves now\n";
    proxy.until("it comes too late", |proxy| proxy.said().contains(late));
    go.send(()).unwrap();
    assert_eq!(held.response().text(), "x");
    proxy.until_finished(before);
    proxy.finish();
}

/// What checks have taken out is in again when there are none.
#[test]
fn without_checks_nobody_stays_out() {
    let (backend, go) = held(b"x");
    let text = |more: &str| pool(&[backend.address], more);
    let quick = "health_interval = 0.02\nhealth_timeout = 0.02\nfall = 1\n";
    let proxy = Proxy::told(&text(&["health = \"/h\"\n", quick].concat()));
    proxy.until("it is down", |proxy| proxy.workers()["workers"][0]["health"] == "down");
    proxy.write(&text("no_health = true"));
    assert_eq!(proxy.reload().0, 200);
    proxy.until("it is up", |proxy| proxy.workers()["workers"][0]["health"] == "up");
    drop(go);
    proxy.finish();
}

/// Its connections serve on.
#[test]
fn the_only_listener_may_be_another() {
    let backend = Backend::says("x");
    let text = pool(&[backend.address], "no_health = true");
    let proxy = Proxy::told(&text);
    let mut wire = proxy.connect();
    let other = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    proxy.write_whole(&(LISTEN.replace("[\"127.0.0.1:0", &format!("[\"{other}")) + &text));
    assert_eq!(proxy.reload().0, 200);
    proxy.until("nobody listens there", |proxy| TcpStream::connect(proxy.address).is_err());
    wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(wire.response().text(), "x");
    drop(wire);
    assert_eq!(wire::get(other, "/").text(), "x");
    proxy.finish();
}

/// Its address may be somebody else's by then. Nobody looks at the balancer here, and a client
/// that was there before goes on.
#[test]
fn a_backend_that_is_removed_is_checked_no_more() {
    let [old, new] = ["old", "new"].map(Backend::says);
    let quick = "health = \"/h\"\nhealth_interval = 0.02\n";
    let proxy = Proxy::told(&pool(&[old.address], quick));
    let mut wire = ask(&proxy);
    assert_eq!(wire.response().text(), "old");
    proxy.until("it is checked", |_| old.seen().len() > 2);
    proxy.write(&pool(&[new.address], quick));
    assert_eq!(proxy.reload().0, 200);
    thread::sleep(Duration::from_millis(100));
    let checks = old.seen().len();
    thread::sleep(Duration::from_millis(200));
    assert_eq!(old.seen().len(), checks);
    drop(wire);
    proxy.finish();
}

/// There are no two of one name, each with all of its capacity.
#[test]
fn a_pool_that_comes_back_has_what_it_had() {
    let (first, go) = held(b"first");
    let second = Backend::says("second");
    let one = pool(&[first.address], "capacity = 1\nno_health = true");
    let other = pool(&[second.address], "no_health = true").replace("pool.web", "pool.other");
    let proxy = Proxy::told(&one);
    let mut asked = [ask(&proxy), ask(&proxy)];
    proxy.until("one waits", |proxy| proxy.in_line() == 1);
    for text in [&other, &one] {
        proxy.write(text);
        assert_eq!(proxy.reload().0, 200);
    }
    let mut third = ask(&proxy);
    proxy.until("two wait", |proxy| proxy.in_line() == 2);
    assert_eq!(proxy.pending(), 1);
    (0..3).for_each(|_| go.send(()).unwrap());
    for wire in &mut asked {
        assert_eq!(wire.response().text(), "first");
    }
    assert_eq!(third.response().text(), "first");
    drop((asked, third));
    assert_eq!(first.most_active(), 1);
    proxy.until("the other is gone", |proxy| {
        proxy.workers()["pools"].as_array().unwrap().len() == 1
    });
    proxy.finish();
}
