//! Who is heard on the admin address: everybody on this machine, or who shows a token.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::authority::{Authority, Files};
use crate::backend::Backend;
use crate::proxy::Proxy;
use crate::tls::client;
use crate::wire::{Response, Wire};

fn token_file(folder: &Path, text: &str, mode: u32) -> PathBuf {
    let path = folder.join("token");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

fn ask(proxy: &Proxy, request: &str, fields: &str) -> Response {
    let mut wire = Wire::connect(proxy.admin);
    wire.send(format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{fields}\r\n"));
    wire.response()
}

#[test]
fn who_has_no_token_learns_that_it_runs_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let file = token_file(folder.path(), "first\n", 0o640);
    let backend = Backend::says("x");
    let to = format!("[pool.web]\nto = [\"{}\"]\nno_health = true\n", backend.address);
    let text = format!("admin_token_file = {file:?}\n{to}");
    let mut proxy = Proxy::showing("first", &text);
    let worker = format!("/workers/{}", backend.address);
    let paths = ["GET /metrics", "GET /workers", "POST /reload", "GET /other", "DELETE /metrics"];
    let steers = [format!("GET {worker}"), format!("POST {worker}/drain")];
    for request in paths.into_iter().chain(steers.iter().map(String::as_str)) {
        for fields in ["", "Authorization: Bearer second\r\n", "Authorization: Basic first\r\n"] {
            let response = ask(&proxy, request, fields);
            assert_eq!(response.status, 401, "{request} {fields}");
            assert_eq!(response.field("www-authenticate"), Some("Bearer realm=\"plimsoll\""));
            assert!(!response.text().contains(&backend.address.to_string()));
        }
    }
    for request in ["GET /ready", "GET /live"] {
        assert_eq!(ask(&proxy, request, "").status, 200);
    }
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let drain = format!("POST {worker}/drain");
    assert_eq!(ask(&proxy, &drain, &bearer("first")).status, 200);
    // It may be another one, by a reload; one that is not right changes nothing.
    token_file(folder.path(), "", 0o640);
    assert_eq!(ask(&proxy, "POST /reload", &bearer("first")).status, 422);
    token_file(folder.path(), "second", 0o600);
    assert_eq!(ask(&proxy, "POST /reload", &bearer("first")).status, 200);
    assert_eq!(ask(&proxy, "GET /workers", &bearer("first")).status, 401);
    let response = ask(&proxy, "GET /workers", &bearer("second"));
    assert!(response.text().contains("\"draining\":true"), "{}", response.text());
    // Told of none, it asks for none.
    proxy.write(&to);
    assert_eq!(ask(&proxy, "POST /reload", &bearer("second")).status, 200);
    proxy.shows(None);
    proxy.finish();
}

#[test]
fn a_token_that_is_no_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (text, mode, expected) in [
        ("", 0o600, "it is empty"),
        ("\n", 0o600, "it is empty"),
        ("two words", 0o600, "visible letters without spaces"),
        ("first\nsecond\n", 0o600, "visible letters without spaces"),
        ("right", 0o644, "everybody may read or write it: chmod o= makes it a secret"),
        ("right", 0o602, "everybody may read or write it"),
    ] {
        let file = token_file(folder.path(), text, mode);
        let said =
            refused(&["--admin", "127.0.0.1:0", "--admin-token-file", file.to_str().unwrap()]);
        assert!(said.contains(expected) && said.contains("--admin-token-file"), "{said}");
    }
    let said = refused(&["--admin", "127.0.0.1:0", "--admin-token-file", "/no/such/file"]);
    assert!(said.contains("--admin-token-file '/no/such/file': No such file"), "{said}");
}

#[test]
fn beyond_this_machine_it_needs_a_token_and_tls() {
    let folder = tempfile::tempdir().unwrap();
    let file = token_file(folder.path(), "right", 0o600);
    let said = refused(&["--admin", "0.0.0.0:0"]);
    assert!(said.contains("--admin '0.0.0.0:0': others than this machine"), "{said}");
    assert!(said.contains("a token (admin_token_file) and TLS"), "{said}");
    let said = refused(&["--admin", ":0", "--admin-token-file", file.to_str().unwrap()]);
    assert!(said.contains("it needs TLS"), "{said}");
}

fn refused(options: &[&str]) -> String {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let output = command.args(serve).args(options).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{options:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().filter(|line| !line.is_empty()).count(), 1, "{said}");
    said
}

#[test]
fn with_both_it_is_heard_from_anywhere_in_tls() {
    let files = Files::new();
    let authority = Authority::new();
    let token = token_file(files.path(), "right", 0o600);
    let [chain, key] = authority.sign(&files, "site", &["localhost"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9", "--no-health"]);
    command.args(["--admin", "0.0.0.0:0", "--admin-token-file"]).arg(token);
    command.args(["--certificate", &format!("{chain},key={key}")]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let admin = said.map(|line| line.replace("plimsoll: admin on 0.0.0.0", "127.0.0.1")).nth(1);
    let admin = admin.unwrap().parse().unwrap();
    let ask = |path: &str, fields: &str| {
        let mut wire = Wire::secure(admin, "localhost", client(&authority, None, &[]));
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        wire.response()
    };
    assert_eq!(ask("/ready", "").status, 200);
    assert_eq!(ask("/metrics", "").status, 401);
    let metrics = ask("/metrics", "Authorization: Bearer right\r\n");
    let end = format!("plimsoll_certificate_end_timestamp_seconds{{certificate=\"{chain}\"}} ");
    let end = metrics.text().split(&end).nth(1).expect("it says when a certificate ends");
    // rcgen's own end, the first day of 4096.
    assert_eq!(end.lines().next(), Some("67090118400"));
    let mut plain = Wire::connect(admin);
    plain.send("GET /live HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!String::from_utf8_lossy(&plain.all()).contains("it runs"));
    child.kill().unwrap();
    child.wait().unwrap();
}
