//! A restart: another process serves, the one before finishes what it has, and neither a request nor
//! a backend's capacity is the worse for it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::backend::{Backend, respond, say};
use crate::http2::{self, Client};
use crate::proxy::{LISTEN, Proxy};
use crate::reload::{Over, held, pool};
use crate::wire::{self, Wire};
use crate::{backend, tunnels};

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

fn no_health(backends: &[SocketAddr], more: &str) -> String {
    pool(backends, &["no_health = true\n", more].concat())
}

/// A connection that has been used, and is kept.
fn kept(proxy: &Proxy) -> Wire {
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

/// And with a good one it goes on.
#[test]
fn a_broken_file_leaves_all_as_it_was() {
    let [first, second] = ["first", "second"].map(Backend::says);
    let mut proxy = Proxy::told(&no_health(&[first.address], ""));
    let mut kept = kept(&proxy);
    proxy.write("[pool.web]\nto = [\"9\"]\n");
    proxy.signal(Signal::USR2);
    proxy.until("it says so", |proxy| proxy.said().contains("plimsoll: not handed over: process "));
    let said = proxy.said();
    assert!(said.contains(":4:7: pool.web.to[0]: it is HOST:PORT"), "{said}");
    assert!(said.contains(" ended before it could serve: exit status: 2"), "{said}");
    kept.send(GET);
    let response = kept.response();
    assert_eq!((response.text(), response.field("connection")), ("first", None));
    proxy.write(&no_health(&[second.address], ""));
    let before = proxy.restart();
    assert_eq!(proxy.get("/").text(), "second");
    drop(kept);
    proxy.until_finished(before);
    proxy.finish();
}

/// A program that is put in its place, at the path that it was started by.
struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let installed = Self { folder };
        installed.put_ours();
        installed
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("plimsoll")
    }

    fn put(&self, make: impl FnOnce(&Path)) {
        let beside = self.folder.path().join("new");
        make(&beside);
        fs::rename(beside, self.path()).unwrap();
    }

    fn put_ours(&self) {
        let ours = env!("CARGO_BIN_EXE_plimsoll");
        // A copy: renaming one name of a file to another of the same file does nothing.
        self.put(|at| assert!(fs::copy(ours, at).unwrap() > 0));
    }

    fn put_script(&self, script: &str) {
        self.put(|at| {
            fs::write(at, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
        });
    }
}

#[test]
fn the_program_that_is_there_by_then_is_started_and_may_be_no_good() {
    let backend = Backend::says("x");
    let installed = Installed::new();
    let mut command = Command::new(installed.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--no-health"]);
    command.args(["--to", &backend.address.to_string()]);
    let mut proxy = Proxy::start(command);
    let refusals = |proxy: &Proxy| proxy.said().matches("plimsoll: not handed over: ").count();
    let refused = |proxy: &Proxy, nth: usize, why: &str| {
        proxy.signal(Signal::USR2);
        proxy.until("it says so", |proxy| refusals(proxy) == nth);
        assert!(proxy.said().contains(why), "{}", proxy.said());
        assert_eq!(proxy.get("/").text(), "x");
    };
    installed.put_script("exit 7");
    refused(&proxy, 1, "ended before it could serve: exit status: 7");
    installed.put_script("echo 'what?'; echo '{\"what\":1}' >&0; exec sleep 1000");
    refused(&proxy, 2, "is not understood: ");
    // It ends as soon as it is ready, before that is heard.
    let ready = "{\"ready\":{\"places\":[]}}";
    installed.put_script(&format!(
        "kill -STOP $PPID; echo '{ready}' >&0; (sleep 0.2; kill -CONT $PPID) </dev/null & exit 5"
    ));
    refused(&proxy, 3, "ended before it could serve: exit status: 5");
    fs::remove_file(installed.path()).unwrap();
    refused(&proxy, 4, "plimsoll: No such file");
    installed.put_ours();
    let before = proxy.restart();
    proxy.until_finished(before);
    assert_eq!(proxy.get("/").text(), "x");
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

#[test]
fn one_restart_at_a_time() {
    let (backend, go) = held(b"x");
    let mut proxy = Proxy::told(&no_health(&[backend.address], ""));
    let mut runs = proxy.connect();
    runs.send(GET);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    let before = proxy.restart();
    proxy.signal(Signal::USR2);
    let why = format!("not handed over: process {before} has not finished yet what it had");
    proxy.until("it is refused", |proxy| proxy.said().contains(&why));
    kill_process(before, Signal::USR2).unwrap();
    proxy.until("the old one as well", |proxy| proxy.said().contains("not handed over again"));
    // Nor does it take other settings.
    kill_process(before, Signal::HUP).unwrap();
    let why = "not reloaded: another process serves now";
    proxy.until("it reloads nothing", |proxy| proxy.said().contains(why));
    go.send(()).unwrap();
    assert_eq!(runs.response().status, 200);
    proxy.until_finished(before);
    let before = proxy.restart();
    proxy.until_finished(before);
    proxy.finish();
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

/// As by other settings while it serves.
#[test]
fn listeners_come_and_go_with_the_new_process() {
    let backend = Backend::says("x");
    let text = no_health(&[backend.address], "");
    let mut proxy = Proxy::told(&text);
    let more = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with = LISTEN.replace("[\"", &format!("[\"{more}\", \"")) + &text;
    let listens = |at| std::net::TcpStream::connect(at).is_ok();
    for (told, there) in [(&with, true), (&[LISTEN, &text].concat(), false)] {
        proxy.write_whole(told);
        let before = proxy.restart();
        proxy.until_finished(before);
        assert_eq!(listens(more), there);
        assert_eq!(proxy.get("/").text(), "x");
    }
    // One that was opened by a reload is handed over as well.
    proxy.write_whole(&with);
    assert_eq!(proxy.reload().0, 200);
    let before = proxy.restart();
    proxy.until_finished(before);
    assert_eq!(wire::get(more, "/").text(), "x");
    // As it began, for the count of descriptors.
    proxy.write_whole(&[LISTEN, &text].concat());
    assert_eq!(proxy.reload().0, 200);
    let before = proxy.restart();
    proxy.until_finished(before);
    proxy.finish();
}

/// Each ends as it would by itself.
#[test]
fn both_end_when_told() {
    let (backend, go) = held(b"x");
    let mut proxy = Proxy::told(&no_health(&[backend.address], ""));
    let ask = |proxy: &Proxy| {
        let mut wire = proxy.connect();
        wire.send(GET);
        wire
    };
    let mut old = ask(&proxy);
    proxy.until("it has it", |proxy| proxy.pending() == 1);
    let before = proxy.restart();
    let mut new = ask(&proxy);
    proxy.until("both have one", |proxy| proxy.pending() == 2);
    let last = proxy.pid();
    for process in [before, last] {
        kill_process(process, Signal::TERM).unwrap();
    }
    let begun = Instant::now();
    while std::net::TcpStream::connect(proxy.address).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "nobody listens");
    }
    (0..2).for_each(|_| go.send(()).unwrap());
    assert_eq!((old.response().status, new.response().status), (200, 200));
    proxy.until_ended(before);
    proxy.until_ended(last);
    proxy.assert_quiet();
}

/// A process of another version is refused, and serves on.
#[test]
fn another_version_is_refused() {
    let (mut here, there) = UnixStream::pair().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"]);
    command.env("PLIMSOLL_PREDECESSOR", "1").stdin(OwnedFd::from(there));
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    here.write_all(b"{\"hello\":{\"version\":99}}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("version 99"), "{said}");
    assert_eq!(here.read(&mut [0]).unwrap(), 0);
}

/// Another process that serves and hands over, by what it says.
struct Old {
    link: UnixStream,
    new: Child,
    said: BufReader<ChildStderr>,
    _file: tempfile::NamedTempFile,
}

impl Old {
    /// Starts the new one, and waits until it can serve.
    fn start() -> Self {
        let (mut link, there) = UnixStream::pair().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [LISTEN, &no_health(&[backend::nobody()], "")].concat()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
        command.args(["serve", "--config"]).arg(file.path());
        command.env("PLIMSOLL_PREDECESSOR", "1").stdin(OwnedFd::from(there));
        let mut new = command.stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let hello = "{\"hello\":{\"version\":1,\"process\":7,\"sockets\":0}}\n";
        link.write_all(hello.as_bytes()).unwrap();
        let mut ready = String::new();
        BufReader::new(link.try_clone().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("{\"ready\":"), "{ready}");
        let said = BufReader::new(new.stderr.take().unwrap());
        Self { link, new, said, _file: file }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.new), signal).unwrap();
    }

    /// The next that the new one says.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line
    }
}

/// The signal is another thread's matter; nothing is served that could be told anew.
#[test]
fn a_process_that_is_about_to_serve_waits_through_signals() {
    let mut old = Old::start();
    for _ in 0..3 {
        old.signal(Signal::HUP);
        let said = old.hear();
        assert!(said.ends_with("nothing is served\n"), "{said}");
    }
    old.link.write_all(b"{\"over\":{\"has\":[]}}\n").unwrap();
    assert_eq!(old.hear(), "plimsoll: took over from process 7\n");
    assert!(old.hear().starts_with("plimsoll: listening on "));
    old.signal(Signal::TERM);
    assert_eq!(old.new.wait().unwrap().code(), Some(0));
}

/// The other one serves on.
#[test]
fn a_process_that_is_about_to_serve_ends_when_told() {
    let mut old = Old::start();
    old.signal(Signal::TERM);
    assert_eq!(old.hear(), "plimsoll: it is to end, and process 7 serves still\n");
    assert_eq!(old.new.wait().unwrap().code(), Some(2));
    assert_eq!(old.link.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_leads_to_no_process_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"]);
    let command = command.env("PLIMSOLL_PREDECESSOR", "1").stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.starts_with("plimsoll: PLIMSOLL_PREDECESSOR is set, and "), "{said}");
}

/// A socket of this process's, as a service manager gives it.
fn activated(backend: &Backend, told: &[SocketAddr], given: TcpListener) -> Command {
    let mut shell = Command::new("sh");
    // The descriptor must be the third from 0, and the process must be the one that is named.
    shell.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null"]);
    shell.arg(env!("CARGO_BIN_EXE_plimsoll")).args(["serve", "--admin", "127.0.0.1:0"]);
    for at in told {
        shell.args(["--listen", &at.to_string()]);
    }
    shell.args(["--no-health", "--to", &backend.address.to_string()]);
    shell.stdin(OwnedFd::from(given));
    shell
}

#[test]
fn a_service_manager_may_open_sockets() {
    let backend = Backend::says("x");
    let given = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = given.local_addr().unwrap();
    // Who came before it was there is served, too.
    let mut early = Wire::connect(at);
    early.send(GET);
    let mut proxy = Proxy::start_noting(activated(&backend, &[at], given));
    assert_eq!(proxy.address, at);
    assert_eq!(early.response().text(), "x");
    // It is not for another program that inherits the environment.
    let before = proxy.restart();
    drop(early);
    proxy.until_finished(before);
    assert_eq!(proxy.get("/").text(), "x");
    // The one that is told beside it is of no manager's.
    assert!(proxy.said().contains("--admin 127.0.0.1:0: it is none of LISTEN_FDS, and is opened"));
    proxy.finish();
}

#[test]
fn a_given_socket_that_nothing_tells_of_is_closed() {
    let backend = Backend::says("x");
    let given = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = given.local_addr().unwrap();
    let other = backend::nobody();
    let proxy = Proxy::start_noting(activated(&backend, &[other], given));
    let said = proxy.said();
    assert!(said.contains(&format!("--listen {other}: it is none of LISTEN_FDS")), "{said}");
    assert!(said.contains(&format!("{at} of LISTEN_FDS is closed")), "{said}");
    assert!(std::net::TcpStream::connect(at).is_err());
    assert_eq!(proxy.get("/").text(), "x");
    proxy.finish();
}

#[test]
fn a_service_manager_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("notify");
    let manager = UnixDatagram::bind(&at).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let next = || {
        let mut bytes = [0; 1000];
        let read = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    };
    let backend = Backend::says("x");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), [LISTEN, &no_health(&[backend.address], "")].concat()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["serve", "--config"]).arg(file.path()).env("NOTIFY_SOCKET", &at);
    let mut proxy = Proxy::start(command);
    assert_eq!(next(), "READY=1\n");
    assert_eq!(proxy.reload().0, 200);
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next(), "READY=1\n");
    let before = proxy.restart();
    let now = proxy.pid();
    // The process that is known says who comes next, and then that one says that it serves.
    assert_eq!(next(), format!("MAINPID={now}\n"));
    assert_eq!(next(), format!("MAINPID={now}\nREADY=1\n"));
    proxy.until_finished(before);
    proxy.finish();
    assert_eq!(next(), "STOPPING=1\n");
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
