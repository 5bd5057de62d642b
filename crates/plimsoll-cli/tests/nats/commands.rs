//! The three commands as their users run them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use crate::client::Recorder;
use crate::program::{Done, finish};
use crate::server::Server;

fn request(server: &Server, words: &[&str], input: &[u8]) -> Done {
    let words = [&["request", "work"], words].concat();
    let mut child = server.command(&words).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end before it has read all.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let done = finish(child);
    writing.join().unwrap();
    done
}

#[test]
fn lines_are_answered_in_their_order() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let _workers = server.work(&["--workers", "2", "--", "tr", "a-z", "A-Z"]);
    Recorder::new(&server).until_answered();
    let mut input = String::new();
    for n in 0..2000 {
        writeln!(input, "line {n}").unwrap();
    }
    let done = request(&server, &[], input.as_bytes()).expect(0);
    assert_eq!(done.stdout, input.to_uppercase());
    assert_eq!(done.stderr, "");
}

#[test]
fn files_are_requests_whatever_is_in_them() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    // Length, then as many bytes: what comes goes back.
    let _workers = server.work(&["--workers", "1", "--frame", "length", "--", "cat"]);
    Recorder::new(&server).until_answered();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bytes");
    std::fs::write(&file, b"one\ntwo\0\nthree").unwrap();
    let path = file.to_str().unwrap();
    let done = request(&server, &["--file", path, "--file", path], b"").expect(0);
    assert_eq!(done.stdout, "one\ntwo\0\nthreeone\ntwo\0\nthree");
}

#[test]
fn a_copy_that_does_not_read_its_request_costs_that_one_alone() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    // What is long it refuses by its length, and skips it afterwards.
    let script = "$| = 1; while (read(STDIN, $n, 4)) { $n = unpack('N', $n); \
                  if ($n > 99999) { print pack('N', 8), 'too long'; select(undef, undef, undef, 0.2); \
                  read(STDIN, $x, $n) } else { read(STDIN, $x, $n); print pack('N', $n), $x } }";
    let _workers =
        server.work(&["--workers", "1", "--frame", "length", "--", "perl", "-e", script]);
    Recorder::new(&server).until_answered();
    let folder = tempfile::tempdir().unwrap();
    let [long, short] = [("long", 1_000_000), ("short", 100)].map(|(name, bytes)| {
        let file = folder.path().join(name);
        std::fs::write(&file, "x".repeat(bytes)).unwrap();
        file.to_str().unwrap().to_owned()
    });
    let words = ["--concurrency", "1", "--timeout", "5"];
    let files = ["--file", &short, "--file", &long, "--file", &short, "--file", &short];
    let done = request(&server, &[&words[..], &files].concat(), b"").expect(1);
    assert_eq!(done.stdout, "x".repeat(300), "{}", done.stderr);
    let told = "500 the worker answered before it had read its request";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
}

#[test]
fn what_ends_lines_is_refused_where_lines_are_spoken() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let _workers = server.work(&["--workers", "1", "--", "cat"]);
    Recorder::new(&server).until_answered();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines");
    std::fs::write(&file, "one\ntwo").unwrap();
    let done = request(&server, &["--file", file.to_str().unwrap()], b"").expect(1);
    assert!(
        done.stderr.contains("400") && done.stderr.contains("--frame length"),
        "{}",
        done.stderr
    );
    let done = request(&server, &["--file", "/no/such/file"], b"").expect(1);
    assert!(done.stderr.contains("/no/such/file"), "{}", done.stderr);
}

#[test]
fn answers_that_nobody_reads_yet_are_in_time() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let script = "while read n; do head -c 20000 /dev/zero | tr '\\0' x; echo; done";
    let _workers = server.work(&["--workers", "1", "--", "sh", "-c", script]);
    Recorder::new(&server).until_answered();
    // The first few fill the pipe.
    let mut child = server
        .command(&["request", "work", "--timeout", "2"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all("x\n".repeat(40).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let done = finish(child).expect(0);
    assert_eq!(done.stdout.len(), 40 * 20001);
}

#[test]
fn what_is_given_up_does_not_begin() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let folder = tempfile::tempdir().unwrap();
    let began = folder.path().join("began");
    let script =
        format!("while read l; do echo $l >> {}; sleep 0.6; echo $l; done", began.display());
    let _workers = server.work(&["--workers", "1", "--", "sh", "-c", &script]);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let runs = recorder.send(false);
    recorder.flush();
    let done = request(&server, &["--timeout", "0.2"], b"late\n").expect(1);
    let told = [" 504 ", "no answer within 0.2 s"];
    assert!(told.iter().any(|told| done.stderr.contains(told)), "{}", done.stderr);
    assert_eq!(recorder.wait(runs).answers.len(), 1);
    assert_eq!(recorder.ask().answers.len(), 1);
    assert!(!std::fs::read_to_string(&began).unwrap().contains("late"));
}

#[test]
fn nobody_there_is_told_at_once() {
    let server = Server::start();
    let done = request(&server, &[], b"hello\n").expect(1);
    assert!(done.stderr.contains("line 1: nobody serves work"), "{}", done.stderr);
    // A balancer without workers is nobody, too.
    let _balancer = server.balance(&[]);
    let done = request(&server, &[], b"hello\n").expect(1);
    assert!(done.stderr.contains("nobody serves work"), "{}", done.stderr);
}

#[test]
fn workers_leave_when_they_are_told() {
    let server = Server::start();
    let _balancer = server.balance(&[]);
    let slow = ["--workers", "1", "--", "sh", "-c", "while read l; do sleep 0.5; echo $l; done"];
    let workers = server.work(&slow);
    let recorder = Recorder::new(&server);
    recorder.until_answered();
    let number = recorder.send(false);
    recorder.flush();
    std::thread::sleep(Duration::from_millis(100));
    workers.end();
    // What ran is answered, and what comes later finds nobody.
    assert_eq!(recorder.wait(number).answers, [number.to_string()]);
    assert_eq!(recorder.ask().nobody, 1);
}

#[test]
fn bad_words_are_one_sentence() {
    let server = Server::start();
    let cases: [(&[&str], i32, &str); 17] = [
        (&["balance", "--subject", "a.*"], 2, "a subject without wildcards"),
        (&["balance", "--subject", "plimsoll.x"], 2, "other uses"),
        (&["balance"], 2, "--subject <SUBJECT> is missing, as in: plimsoll nats balance --subject"),
        (&["work", "--", "cat"], 2, "is missing, as in: plimsoll nats work --subject resize -- tr"),
        (&["request"], 2, "<SUBJECT> is missing, as in: plimsoll nats request resize"),
        (&[], 2, "a command is missing: 'plimsoll nats --help' lists them"),
        (&["balanse"], 2, "'balanse' is not a command: 'plimsoll nats --help' lists them"),
        (&["balance", "--subject", "x", "--lost-after", "0.5"], 2, "four times --beat"),
        (&["balance", "--subject", "x", "--creds", "/no/such"], 2, "--creds /no/such"),
        (&["balance", "--subject", "x", "--server", "?"], 2, "it is an address such as"),
        (&["balance", "--subject", "x", "--server", "nats://127.0.0.1:1"], 1, "127.0.0.1:1"),
        (&["work", "--subject", "x", "--name", "a.b", "--", "cat"], 2, "letters, digits"),
        (&["work", "--subject", "x", "--", "/no/such/program"], 127, "/no/such/program"),
        (&["work", "--subject", "x", "--", "/"], 126, "/"),
        (&["work", "--subject", "x", "--workers", "0", "--", "cat"], 2, "from 1 to 4096"),
        (&["request", "x", "--inbox-prefix", "a.>"], 2, "without wildcards, such as _INBOX_me"),
        (&["request", "x", "--concurrency", "0"], 2, "from 1 to 100000"),
    ];
    for (words, code, sentence) in cases {
        let done = finish(server.command(words).spawn().unwrap()).expect(code);
        assert!(done.stderr.contains(sentence), "{words:?}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{words:?}: {}", done.stderr);
    }
}
