//! Who takes over, and what it is handed: which program is started and what it must say before it
//! serves, sockets, and what a service manager gives and is told.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::backend::{self, Backend};
use crate::proxy::{LISTEN, Proxy};
use crate::reload::held;
use crate::restart::{kept, no_health};
use crate::wire::{self, Wire};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

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
