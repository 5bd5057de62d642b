//! What docs/NATS.md shows: clients in other languages, a worker in Python, permissions.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::client::Recorder;
use crate::program::finish;
use crate::server::{Running, Server};

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
    std::thread::sleep(std::time::Duration::from_millis(500));
    let child = python().arg("-c").arg(&script).arg(server.url()).spawn().unwrap();
    let done = finish(child).expect(1);
    assert!(
        done.stderr.contains("RuntimeError: the worker exited with status 1"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_worker_in_python_works() {
    let server = Server::start();
    let _balancer = server.balance(&["--lost-after", "1.2"]);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../plimsoll-nats/examples/worker.py");
    let mut child = python().arg(example).args([&server.url(), "work", "py"]).spawn().unwrap();
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    for _ in 0..200 {
        recorder.send(false);
    }
    let fates = recorder.all();
    assert!(fates.values().all(|fate| fate.replies() == 1), "{fates:?}");
    // Longer than it would be known without beats.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(recorder.ask().answers.len(), 1);
    child.kill().unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
}

#[test]
fn the_permissions_that_are_told_are_enough_and_needed() {
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
    // A worker may not report for another.
    let words = [
        &["work", "--subject", "resize"],
        &as_who("worker")[..],
        &["-w", "1", "--name", "b", "--", "cat"],
    ]
    .concat();
    let other = server.run(&words);
    other.wait_for("Permissions Violation");
    for said in [balancer.said(), workers.said()] {
        assert!(!said.contains("Permissions"), "{said}");
    }
}
