//! Bad command lines: one sentence, exit 2.

use std::net::TcpListener;
use std::process::Command;

use crate::backend::Backend;
use crate::proxy::Proxy;

fn refused(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_plimsoll")).arg("serve").args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[test]
fn each_mistake_gets_one_sentence() {
    let to = ["--to", "127.0.0.1:9"];
    let listen = ["--listen", "127.0.0.1:0"];
    for (arguments, expected) in [
        (vec![], "--listen"),
        (listen.to_vec(), "--to <BACKEND> is missing, as in: plimsoll serve --listen"),
        (to.to_vec(), "--listen"),
        ([&["--listen", "8080"], &to[..]].concat(), "--listen '8080': it is HOST:PORT"),
        ([&listen[..], &["--to", "9"]].concat(), "'9': it is HOST:PORT"),
        ([&listen[..], &["--to", "http://127.0.0.1:9"]].concat(), "9': it is HOST:PORT"),
        ([&listen[..], &to, &["--log-file", "/no/file"]].concat(), "--log-file '/no/file'"),
        ([&listen[..], &["--to", "127.0.0.1:9,weight=0"]].concat(), "'weight=0' is neither"),
        ([&listen[..], &["--dns", "web.internal"]].concat(), "'web.internal': it is HOST:PORT"),
        ([&listen[..], &["--dns", "_a._b.c:1"]].concat(), "leave it out"),
        ([&listen[..], &["--dns", "a.b:1,speed=2"]].concat(), "'speed=2' is neither"),
        ([&listen[..], &to, &["--dns-server", "x"]].concat(), "--dns-server"),
        ([&listen[..], &to, &["--capacity", "0"]].concat(), "--capacity"),
        ([&listen[..], &to, &["--line-timeout", "-1"]].concat(), "--line-timeout"),
        ([&listen[..], &to, &["--trust", "all"]].concat(), "--trust"),
        ([&listen[..], &to, &["--admin", "x"]].concat(), "--admin 'x'"),
        ([&listen[..], &to, &["--slow-start", "-1"]].concat(), "such as 2.5, or 0"),
        ([&listen[..], &to, &["--no-health", "--health", "/x"]].concat(), "--no-health"),
        ([&listen[..], &to, &["--no-health", "--rise", "3"]].concat(), "--no-health"),
        (
            [&listen[..], &to, &["--log", "off", "--log-file", "/dev/null"]].concat(),
            "--log-file '/dev/null': the log is off",
        ),
        ([&listen[..], &to, &["--max-head", "1048577"]].concat(), "from 1 to 1048576"),
        ([&listen[..], &to, &["--max-headers", "16385"]].concat(), "from 1 to 16384"),
        ([&listen[..], &to, &["--max-target", "65535"]].concat(), "from 1 to 65534"),
    ] {
        let said = refused(&arguments);
        assert!(said.contains(expected), "{arguments:?} says {said}");
    }
}

/// Each thread has descriptors of its own.
#[test]
fn threads_beyond_what_the_system_has_room_for_are_said() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 50; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_plimsoll"), "serve"])
        .args(["--listen", "127.0.0.1:0", "--to", "127.0.0.1:9", "--threads", "1024"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot be started: Too many open files"), "{said}");
    assert!(
        said.lines().last().unwrap().starts_with("plimsoll: of 1024 threads number "),
        "{said}"
    );
}

/// As for every time, zeros behind the point are none.
#[test]
fn no_slow_start_is_0_however_it_is_written() {
    let backend = Backend::says("x");
    for zero in ["0", "0.0"] {
        Proxy::over(&[&backend], &["--slow-start", zero]).finish();
    }
}

#[test]
fn an_occupied_port_is_said() {
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = TcpListener::bind(occupied).unwrap();
    let address = occupied.to_string();
    let said = refused(&["--listen", &address, "--to", "127.0.0.1:9"]);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    drop(holder);
}

#[test]
fn an_unknown_name_is_said() {
    let said = refused(&["--listen", "127.0.0.1:0", "--to", "no-such-host.invalid:80"]);
    assert!(said.contains("--to 'no-such-host.invalid:80'"), "{said}");
}
