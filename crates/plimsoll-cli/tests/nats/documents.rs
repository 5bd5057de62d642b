//! What docs/NATS.md shows: clients in other languages, a worker in Python, permissions.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::client::{Fate, Recorder};
use crate::program::finish;
use crate::server::{Running, Server};
use crate::wire::Wire;

const DOCUMENT: &str = include_str!("../../../../docs/NATS.md");

/// The first block of this kind.
fn block(kind: &str, with: &str) -> &'static str {
    let fence = format!("```{kind}\n");
    let mut blocks = DOCUMENT.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(with)).expect("the document has it")
}

/// Python with nats-py, which scripts/test installs beside what is built.
fn python() -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let modules = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), PathBuf::from)
        .join("python");
    let mut python = Command::new("/usr/bin/python3");
    python.env("PYTHONPATH", modules).stdout(Stdio::piped()).stderr(Stdio::piped());
    python
}

fn resize(server: &Server) -> (Running, Running) {
    let balancer = server.run(&["balance", "--subject", "resize"]);
    balancer.wait_for("leads");
    let workers = server.run(&["work", "--subject", "resize", "-w", "1", "--", "tr", "a-z", "A-Z"]);
    workers.wait_for("works on");
    // One that is answered: it has joined.
    let until = std::time::Instant::now() + crate::server::SOON;
    loop {
        let mut command = server.command(&["request", "resize"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"ready?\n").unwrap();
        if finish(child).code == Some(0) {
            return (balancer, workers);
        }
        assert!(std::time::Instant::now() < until, "{}", workers.said());
    }
}

#[test]
fn a_shell_asks() {
    let server = Server::start();
    let _running = resize(&server);
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let script = block("sh", "/dev/tcp").replace("4222", &port);
    let mut bash = Command::new("bash");
    let child = bash.arg("-c").arg(script).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let done = finish(child.unwrap()).expect(0);
    assert_eq!(done.stdout.trim_end(), "HELLO", "{}", done.stderr);
}

#[test]
fn python_asks_and_sees_errors() {
    let server = Server::start();
    let (_balancer, workers) = resize(&server);
    let shown = block("python", "client.request").trim_end().replace('\n', "\n    ");
    let script = format!(
        "import asyncio, sys, nats\nasync def main():\n    client = await nats.connect(sys.argv[1])\n\
         \x20   {shown}\nasyncio.run(main())\n"
    );
    let child = python().arg("-c").arg(&script).arg(server.url()).spawn().unwrap();
    assert_eq!(finish(child).expect(0).stdout.trim_end(), "b'A PICTURE'");
    // A worker of another kind fails: the header is seen.
    workers.end();
    let broken = server.run(&["work", "--subject", "resize", "-w", "1", "--", "false"]);
    broken.wait_for("works on");
    sleep(Duration::from_millis(500));
    let child = python().arg("-c").arg(&script).arg(server.url()).spawn().unwrap();
    let done = finish(child).expect(1);
    assert!(
        done.stderr.contains("RuntimeError: the worker exited with status 1"),
        "{}",
        done.stderr
    );
}

/// The worker that is shown, with this in place of its work.
fn worker(folder: &TempDir, url: &str, work: &str) -> Child {
    const EXAMPLE: &str = include_str!("../../../plimsoll-nats/examples/worker.py");
    let script = folder.path().join("worker.py");
    std::fs::write(&script, EXAMPLE.replace(UPPER, work)).unwrap();
    python().arg(script).args([url, "work", "py"]).spawn().unwrap()
}

const UPPER: &str = "answer = message.data.upper()";
const SLOWLY: &str = "await asyncio.sleep(0.5); answer = message.data.upper()";

#[test]
fn a_worker_in_python_joins_works_and_leaves() {
    let server = Server::start();
    let balancer = server.balance(&["--lost-after", "1.2"]);
    let folder = tempfile::tempdir().unwrap();
    let quick = worker(&folder, &server.url(), UPPER);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    for _ in 0..200 {
        recorder.send(false);
    }
    let fates = recorder.all();
    let is_answered = |(number, fate): (&u64, &Fate)| fate.answers == [number.to_string()];
    let asked = fates.iter().rev().take(200);
    assert!(asked.clone().all(is_answered), "{fates:?}");
    // Longer than it would be known without beats.
    sleep(Duration::from_millis(1500));
    assert_eq!(recorder.ask().answers.len(), 1);
    ends(quick);
    assert_eq!(recorder.ask().nobody, 1);
    // What runs at its end is answered, and what comes then goes elsewhere.
    let slow = worker(&folder, &server.url(), SLOWLY);
    recorder.until_answered();
    let runs = recorder.send(false);
    recorder.flush();
    sleep(Duration::from_millis(100));
    ends(slow);
    assert_eq!(recorder.wait(runs).answers, [runs.to_string()]);
    assert_eq!(balancer.is_settled()["lost"], 0);
}

/// Asks it to end.
fn ends(worker: Child) {
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    let done = finish(worker).expect(0);
    assert_eq!(done.stderr, "");
}

#[test]
fn a_worker_in_python_that_was_given_up_answers_no_more() {
    let server = Server::start();
    let balancer = server.balance(&["--lost-after", "1.2"]);
    let folder = tempfile::tempdir().unwrap();
    let wire = Wire::new(&server);
    let mut slow = worker(&folder, &wire.url(), SLOWLY);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let number = recorder.send(false);
    recorder.flush();
    sleep(Duration::from_millis(100));
    // It is done 0.4 s later, and has no server then; the balancer gives it up.
    wire.cut();
    assert_eq!(recorder.wait(number).errors[0].0, 502);
    wire.mend();
    recorder.until_answered();
    let fate = recorder.fate(number);
    assert_eq!(fate.replies(), 1, "{fate:?}");
    balancer.is_settled();
    slow.kill().unwrap();
    slow.wait().unwrap();
}

#[test]
fn the_permissions_that_are_told_are_enough_and_forbid_forgery() {
    let roles = block("text", "balancer = {");
    let user = |role: &str| {
        let (name, permissions) = role.split_once(" = {").unwrap();
        let permissions = permissions.replace('\n', " ").replace("publish:", ", publish:");
        format!("{{ user: {name}, password: secret, permissions: {{ {permissions} }} }}\n")
    };
    let users: String = roles.split_terminator("\n}\n").map(user).collect();
    let server = Server::with(&format!(
        "jetstream {{ store_dir: FOLDER }}\nauthorization {{ users: [ {users} ] }}"
    ));
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret\n").unwrap();
    let secret = secret.to_str().unwrap();
    let as_who = |who: &'static str| ["--user", who, "--password-file", secret];
    let words = [&["balance", "--subject", "resize"], &as_who("balancer")[..]].concat();
    let balancer = server.run(&words);
    balancer.wait_for("leads");
    let command = ["--workers", "1", "--name", "a", "--", "tr", "a-z", "A-Z"];
    let words = [&["work", "--subject", "resize"], &as_who("worker")[..], &command].concat();
    let workers = server.run(&words);
    workers.wait_for("works on");
    let until = std::time::Instant::now() + crate::server::SOON;
    loop {
        let words = [&["request", "resize"], &as_who("requester")[..]].concat();
        let mut child = server.command(&words).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let done = finish(child);
        if done.code == Some(0) {
            assert_eq!(done.stdout, "HELLO\n");
            break;
        }
        assert!(std::time::Instant::now() < until, "{}{}", done.stderr, workers.said());
    }
    for said in [balancer.said(), workers.said()] {
        assert!(!said.contains("Permissions"), "{said}");
    }
    // A worker may not report for another, nor read what others are answered.
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let options =
        async_nats::ConnectOptions::with_user_and_password("worker".into(), "secret".into());
    let options = options.event_callback(move |event| {
        let _ = told.send(event.to_string());
        async {}
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = options.connect(server.url()).await.unwrap();
        let mut refused = async |subject: &str| {
            let mut all = String::new();
            loop {
                let told = tokio::time::timeout(crate::server::SOON, tells.recv()).await;
                let Ok(Some(told)) = told else { panic!("{subject} is not refused: {all}") };
                if told.to_lowercase().contains("permissions violation") && told.contains(subject) {
                    return;
                }
                all += &told;
            }
        };
        for subject in ["plimsoll.resize.done.b.beat", "plimsoll.resize.done.b.1-1", "resize"] {
            client.publish(subject, "".into()).await.unwrap();
            refused(subject).await;
        }
        for subject in ["_INBOX.>", "plimsoll.resize.b.1.>", "plimsoll.resize.done.a.>", "resize"] {
            let _subscription = client.subscribe(subject).await.unwrap();
            refused(subject).await;
        }
    });
}
