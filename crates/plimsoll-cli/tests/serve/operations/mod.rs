//! docs/OPERATIONS.md, which is run from its first command to its last: its files in a folder, its
//! ports free ones, and `machine` in the place of what needs root or systemd.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::authority::{Authority, Files};
use crate::backend::Backend;
use crate::wire;

/// The longest that one block's commands take, in seconds.
const LIMIT: &str = "60";

/// A part of the document that stands between fences.
struct Block {
    kind: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn blocks() -> Vec<Block> {
    let document = read("docs/OPERATIONS.md");
    let between = document.split("\n```").skip(1).step_by(2);
    let block = |part: &str| {
        let (kind, text) = part.split_once('\n').expect("a fence has a line of its own");
        Block { kind: kind.to_owned(), text: format!("{text}\n") }
    };
    between.map(block).collect()
}

/// A machine of the test's own, on which the document's commands run.
struct Machine {
    files: Files,
    /// What the document says, and what stands for it here.
    names: Vec<(String, String)>,
    admin: String,
    authority: String,
}

impl Machine {
    fn new(backends: [&Backend; 2]) -> Self {
        let files = Files::new();
        let root = files.path().to_owned();
        let live = "etc/letsencrypt/live/example.com";
        for folder in [
            live,
            "etc/plimsoll",
            "etc/letsencrypt/renewal-hooks/deploy",
            "bin",
            "var/log/plimsoll",
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::create_dir_all(root.join("etc/logrotate.d")).unwrap();
        let authority = Authority::new();
        let [chain, key] = authority.sign(&files, "site", &["example.com"]);
        fs::rename(chain, root.join(live).join("fullchain.pem")).unwrap();
        fs::rename(key, root.join(live).join("privkey.pem")).unwrap();
        let authority = files.file("authority.pem", &authority.certificate.pem());
        let machine = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve/operations/machine");
        for name in ["systemctl", "journalctl", "chgrp", "logrotate"] {
            symlink(&machine, root.join("bin").join(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_plimsoll"), root.join("bin/plimsoll")).unwrap();
        // All at a time, so that no two are the same.
        let free = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [plain, secure, admin, certbot] =
            free.each_ref().map(|listener| listener.local_addr().unwrap().port());
        let here = root.to_str().unwrap();
        let names = [
            ("/etc/", format!("{here}/etc/")),
            ("/var/log/plimsoll", format!("{here}/var/log/plimsoll")),
            ("127.0.0.1:9900", format!("127.0.0.1:{admin}")),
            ("127.0.0.1:8088", format!("127.0.0.1:{certbot}")),
            ("10.0.0.1:9001", backends[0].address.to_string()),
            ("10.0.0.2:9001", backends[1].address.to_string()),
            ("\":80\"", format!("\"127.0.0.1:{plain}\"")),
            ("\":443\"", format!("\"127.0.0.1:{secure}\"")),
            ("http://127.0.0.1/", format!("http://127.0.0.1:{plain}/")),
            ("https://example.com/", format!("https://example.com:{secure}/")),
            ("example.com:443:", format!("example.com:{secure}:")),
        ];
        let names = names.map(|(told, here)| (told.to_owned(), here)).to_vec();
        let machine = Self { files, names, admin: format!("127.0.0.1:{admin}"), authority };
        let rotation = machine.here(&read("packaging/plimsoll.logrotate"));
        // Who runs this test is no root, or has no such user.
        let rotation = rotation.replace("    su plimsoll plimsoll\n", "");
        machine.write("etc/logrotate.d/plimsoll", &rotation);
        machine
    }

    /// What the document says, as it is here.
    fn here(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (told, here)| text.replace(told, here))
    }

    /// What is said here, as the document has it.
    fn told(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (told, here)| text.replace(here, told))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.files.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.files.path().join(name)).unwrap_or_default()
    }

    /// Runs commands to their end, and tells what they print.
    fn run(&self, commands: &str) -> String {
        let root = self.files.path();
        let path = format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap());
        // On a terminal both come to the same place.
        let script = format!("exec 2>&1\n{}", self.here(commands));
        let mut shell = Command::new("timeout");
        shell.args([LIMIT, "bash", "-euo", "pipefail", "-c", &script]);
        shell.env("PATH", path).env("ROOT", root).env("CURL_CA_BUNDLE", &self.authority);
        shell.env("UNIT", self::root().join("packaging/debian/plimsoll.service"));
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let printed = self.told(&String::from_utf8(output.stdout).unwrap());
        let journal = self.read("journal");
        assert!(output.status.success(), "{commands}\nprinted:\n{printed}\njournal:\n{journal}");
        printed
    }

    fn seen(&self, path: &str) -> String {
        wire::get(self.admin.parse().unwrap(), path).text().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        let _ = Command::new("kill").arg(self.read("main").trim()).stderr(Stdio::null()).status();
    }
}

/// Whether each line is as it is told, where `…` stands for anything.
fn is_as_told(printed: &str, told: &str) -> bool {
    let fits = |printed: &str, told: &str| {
        let mut parts = told.split('…');
        let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else {
            return false;
        };
        let mut open = false;
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            (rest, open) = (&rest[at + part.len()..], part.is_empty());
        }
        open || rest.is_empty()
    };
    printed.lines().count() == told.lines().count()
        && printed.lines().zip(told.lines()).all(|(printed, told)| fits(printed, told))
}

#[test]
fn the_document_is_run() {
    let backends = [Backend::says("hello\n"), Backend::says("hello\n")];
    let machine = Machine::new(backends.each_ref());
    let (mut printed, mut ran, mut compared) = (String::new(), 0, 0);
    for Block { kind, text } in blocks() {
        match kind.as_str() {
            "toml" => machine.write("etc/plimsoll/plimsoll.toml", &machine.here(&text)),
            "sh" => {
                printed = machine.run(&text);
                ran += 1;
            }
            "output" => {
                assert!(is_as_told(&printed, &text), "printed:\n{printed}\nand not:\n{text}");
                compared += 1;
            }
            "text" => println!("not run: {text}"),
            "yaml" => {}
            other => panic!("nobody knows what to do with {other}"),
        }
    }
    assert!(ran > 10 && compared > 8, "{ran} blocks ran, {compared} were compared");
    print!("not run:\n{}", machine.read("not-run"));
    let workers: Value = serde_json::from_str(&machine.seen("/workers")).unwrap();
    assert_eq!(workers["regret"].as_f64(), Some(0.0), "{workers}");
    let metrics = machine.seen("/metrics");
    for name in named_metrics() {
        let is_it = |line: &str| line.split(['{', ' ']).next() == Some(name.as_str());
        assert!(metrics.lines().any(is_it), "{name} is in no metrics");
    }
    machine.run("systemctl stop plimsoll");
    let journal = machine.read("journal");
    assert!(!journal.contains("panicked") && !journal.contains("ERROR"), "{journal}");
}

fn rules() -> String {
    let mut yaml = blocks().into_iter().filter(|block| block.kind == "yaml");
    yaml.find(|block| block.text.starts_with("groups:")).expect("it has rules").text
}

/// The metrics that alerts look at.
fn named_metrics() -> Vec<String> {
    let rules = rules();
    let words = rules.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    let names: Vec<_> = words.filter(|word| word.starts_with("plimsoll_")).collect();
    assert!(names.len() > 8, "{names:?}");
    names.into_iter().map(str::to_owned).collect()
}

/// By promtool, where it is: the rules are well-formed, and each has its alarm.
#[test]
fn the_alerts_are_raised() {
    let there = Command::new("promtool").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("promtool is missing, and has not looked at the alerts");
        return;
    }
    let files = Files::new();
    let rules_file = files.file("rules.yml", &rules());
    // A quarter of an hour of all that is bad, and the other alerts beside it.
    let test = include_str!("alerts.yml").replace("RULES", &rules_file);
    for alert in rules().lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(test.contains(&format!("alertname: {alert}\n")), "{alert} is never raised");
    }
    let test = files.file("alerts.yml", &test);
    let scrape = blocks().into_iter().find(|block| block.text.starts_with("scrape_configs:"));
    let scrape = files.file("prometheus.yml", &scrape.unwrap().text);
    for words in
        [["check", "rules", &rules_file], ["test", "rules", &test], ["check", "config", &scrape]]
    {
        let output = Command::new("promtool").args(words).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn the_packaged_file_is_right() {
    let file = root().join("packaging/plimsoll.toml");
    let check = Command::new(env!("CARGO_BIN_EXE_plimsoll")).arg("check").arg(file).output();
    let check = check.unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

/// Else what drains is killed.
#[test]
fn the_unit_waits_for_longer_than_it_drains() {
    let unit = read("packaging/debian/plimsoll.service");
    let waits = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let schema: Value = serde_json::from_str(&read("docs/plimsoll.schema.json")).unwrap();
    let drains = schema["properties"]["drain_timeout"]["default"].as_f64().unwrap();
    assert!(waits.parse::<f64>().unwrap() > drains, "{waits} s, and it drains for {drains} s");
}
