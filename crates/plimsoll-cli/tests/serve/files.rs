//! The file that `plimsoll serve --config` reads: what is wrong with it, what is documented of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

use crate::authority::{Authority, Files};

const GOOD: &str = "listen = [\":8080\"]\n\n[pool.web]\nto = [\"127.0.0.1:9001\", \"127.0.0.1:9002,weight=2\"]\ncapacity = 8\n";

fn check(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("site.toml"), text).unwrap();
    for name in ["site.pem", "site.key"] {
        fs::copy(certified().join(name), folder.path().join(name)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["check", "site.toml"]).current_dir(folder.path()).output().unwrap()
}

/// A folder with a certificate, which examples tell of.
fn certified() -> &'static Path {
    static FILES: LazyLock<Files> = LazyLock::new(|| {
        let files = Files::new();
        Authority::new().sign(&files, "site", &["example.com"]);
        files
    });
    FILES.path()
}

fn document(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    fs::read_to_string(docs.join(name)).unwrap()
}

fn schema() -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let output = command.args(["check", "--schema"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_good_file_is_summed_up() {
    let output = check(GOOD);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "site.toml: 1 listener, 2 backends of 1 pool, 1 route\n");
}

#[test]
fn each_mistake_has_its_line_and_column_and_key() {
    let two = format!("{GOOD}[pool.api]\nto = [\"127.0.0.1:1\"]\n");
    let route = |route: &str| format!("{two}[[route]]\npool = \"web\"\n[[route]]\n{route}");
    for (text, expected) in [
        (String::new(), "1:1: listen: there is no address, such as \":8080\""),
        ("listen = [\":80\"]".into(), "1:1: pool: there is no pool, such as [pool.web]"),
        (
            GOOD.replace("capacity", "capcity"),
            "5:1: pool.web.capcity: there is no 'capcity' here: did you mean 'capacity'?",
        ),
        (GOOD.replace("listen", "zzz"), "1:1: zzz: there is no 'zzz' here, but listen, tls_listen"),
        (GOOD.replace('8', "0"), "pool.web.capacity: it is a whole number from 1 to 4294967295"),
        (
            GOOD.replace("= 8", "= \"8\""),
            "5:12: pool.web.capacity: invalid type: string \"8\", expected a number",
        ),
        (
            GOOD.replace("weight=2", "wieght=2"),
            "4:25: pool.web.to[1]: 'wieght=2' is neither weight=N",
        ),
        (
            GOOD.replace("[\":8080\"]", "\":8080\""),
            "1:10: listen: invalid type: string \":8080\", expected a list in [ ]",
        ),
        (GOOD.replace(":8080", "8080"), "1:11: listen[0] '8080': it is HOST:PORT"),
        (GOOD.replace("capacity = 8", "to = []"), "5:1: duplicate key"),
        (
            GOOD.replace("capacity = 8", "line_timeout = -1.5"),
            "5:16: pool.web.line_timeout: it is a number of seconds from 0.001",
        ),
        (
            GOOD.replace("listen", "log = \"jsn\"\nlisten"),
            "1:7: log: there is no 'jsn' here: did you mean 'json'?",
        ),
        (GOOD.replace("capacity = 8", "capacity = "), "5:12: "),
        (
            GOOD.replace("127.0.0.1:9001", "no-such-host.invalid:1"),
            "4:7: pool.web.to[0] 'no-such-host.invalid:1': ",
        ),
        (two.clone(), "1:1: route: of several pools each needs a [[route]] that leads to it"),
        (route("pool = \"ap\""), "11:8: route[1].pool 'ap': there is no such pool, but api, web"),
        (
            route("host = \"a:1\"\npool = \"api\""),
            "11:8: route[1].host 'a:1': it is a host without a port",
        ),
        (
            route("path = \"/\"\npool = \"api\""),
            "route[1] 'api': route[0] has the same host and path",
        ),
        (
            route("path = \"x\"\npool = \"api\""),
            "11:8: route[1].path: it is a path that begins with /",
        ),
        (
            route("path = \"/x?y\"\npool = \"api\""),
            "11:8: route[1].path '/x?y': a route looks at the path alone",
        ),
        (
            GOOD.replace("9002,weight=2", "9001"),
            "pool.web.to[1] '127.0.0.1:9001': it is told twice",
        ),
        (
            GOOD.replace("capacity = 8", "dns = [\"10.0.0.1:80\"]"),
            "5:8: pool.web.dns[0]: it is an address, and no name: tell it in to",
        ),
        (
            GOOD.replace("capacity = 8", "dns = [\"a.b:80\", \"a.b.:80,weight=2\"]"),
            "5:18: pool.web.dns[1] 'a.b:80': it is told twice",
        ),
        (
            GOOD.replace("listen", "dns_server = \"ns.internal\"\nlisten"),
            "1:14: dns_server: it is an address, with a port unless that is 53",
        ),
        (GOOD.replace("pool.web", "pool.\"a.b\""), "pool 'a.b': a pool's name has letters"),
        (route("path = \"/x\""), "10:1: route[1]: missing field `pool`"),
    ] {
        let output = check(&text);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        let said = said.strip_prefix("plimsoll: site.toml:").unwrap_or(&said);
        assert!(said.contains(expected), "{said} instead of {expected} of\n{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_said() {
    for arguments in [["check", "no.toml"].as_slice(), &["serve", "--config", "no.toml"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("plimsoll: no.toml: No such file"), "{said}");
    }
}

/// It may be checked by who may write more than the one that serves.
#[test]
fn a_check_makes_no_log() {
    let log = tempfile::tempdir().unwrap().path().join("log");
    let output = check(&format!("log_file = {log:?}\n{GOOD}"));
    assert_eq!(output.status.code(), Some(0));
    assert!(!log.exists());
}

#[test]
fn options_beside_a_file_are_refused() {
    let arguments = ["serve", "--config", "x.toml", "--capacity", "8"];
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// For editors: what is committed is what the program prints.
#[test]
fn the_schema_is_the_programs() {
    assert!(schema() == document("plimsoll.schema.json"), "plimsoll check --schema prints it");
}

/// Each key is documented as the program has it, and no other.
#[test]
fn the_document_has_each_key_once() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let of = |properties: &Value| -> Vec<String> {
        let row = |(key, property): (&String, &Value)| {
            let words = property["description"].as_str().unwrap().replace('\n', " ");
            let default = match &property["default"] {
                Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
                default => default.to_string().replace('"', ""),
            };
            format!("| `{key}` | {default} | {words} |")
        };
        properties.as_object().unwrap().iter().map(row).collect()
    };
    let mut expected = of(&schema["properties"]);
    expected.extend(of(&schema["$defs"]["PoolSettings"]["properties"]));
    expected.extend(of(&schema["$defs"]["Route"]["properties"]));
    let text = document("CONFIG.md");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let missing: Vec<_> = expected.iter().filter(|row| !rows.contains(&row.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/CONFIG.md:\n{missing:#?}");
    assert_eq!(rows.len(), expected.len());
}

#[test]
fn each_example_in_the_document_is_good() {
    let text = document("CONFIG.md");
    let examples: Vec<_> = text.split("```toml\n").skip(1).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        let example = example.split("```").next().unwrap();
        let output = check(example);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}\n{example}");
    }
}
