//! `plimsoll map` against GNU parallel and xargs, at line granularity: a
//! do-nothing worker, lines a second, peak memory.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use plimsoll_bench::{Report, System};

/// Lines that the peers get: they start a process for each.
const FEW: u64 = 300;
const MANY: u64 = 5_000_000;

fn main() -> io::Result<()> {
    let mut report = Report::new("map");
    let folder = std::env::temp_dir().join(format!("plimsoll-bench-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let few = lines(&folder, FEW)?;
    let many = lines(&folder, MANY)?;
    let plimsoll = std::env::current_exe()?.with_file_name("plimsoll");
    let plimsoll = plimsoll.to_string_lossy();

    let map = |input: &PathBuf, lines: u64, capacity: &str| {
        let (input, capacity) = (input.clone(), capacity.to_owned());
        let plimsoll = plimsoll.to_string();
        let run = move || {
            let command =
                [&plimsoll, "map", "--workers", "2", "--capacity", &capacity, "--", "cat"];
            lines_per_second(&command, &input, lines)
        };
        Box::new(run) as Box<dyn FnMut() -> f64>
    };
    let peer = |command: &'static [&'static str]| {
        let input = few.clone();
        Box::new(move || lines_per_second(command, &input, FEW)) as Box<dyn FnMut() -> f64>
    };
    let mut systems: Vec<System<'_>> = vec![
        ("plimsoll map, capacity 1024", map(&many, MANY, "1024")),
        ("plimsoll map, capacity 16", map(&many, MANY / 5, "16")),
        ("plimsoll map, capacity 1", map(&many, MANY / 50, "1")),
        ("parallel --pipe -N1", peer(&["parallel", "-j2", "--pipe", "-N1", "cat"])),
        ("parallel", peer(&["parallel", "-j2", "echo"])),
        ("xargs -P2 -n1", peer(&["xargs", "-P2", "-n1", "echo"])),
    ];
    report.measure("cat or echo, a line each", "lines/s", "1/s", &mut systems);
    drop(systems);
    println!("{}", report.table("lines/s"));

    let command = [&*plimsoll, "map", "--workers", "2", "--capacity", "1024", "--", "cat"];
    let kib = peak_kib(&command, &many, &folder)?;
    report.add(
        "5,000,000 lines",
        "plimsoll map, capacity 1024",
        "peak memory",
        kib / 1024.0,
        "MiB",
    );
    println!("{}", report.table("peak memory"));
    std::fs::remove_dir_all(&folder)?;
    report.write()
}

fn lines(folder: &Path, count: u64) -> io::Result<PathBuf> {
    let path = folder.join(format!("{count}-lines"));
    let mut file = BufWriter::new(File::create(&path)?);
    for n in 1..=count {
        writeln!(file, "{n}")?;
    }
    file.flush()?;
    Ok(path)
}

/// Runs `command` on the first `lines` lines of `input` and counts its answers.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn lines_per_second(command: &[&str], input: &Path, lines: u64) -> f64 {
    let mut head = Command::new("head")
        .arg(format!("-n{lines}"))
        .arg(input)
        .stdout(Stdio::piped())
        .spawn()
        .expect("head runs");
    let begun = Instant::now();
    let output = Command::new(command[0])
        .args(&command[1..])
        .stdin(head.stdout.take().expect("piped"))
        .stderr(Stdio::null())
        .output()
        .expect("the command runs");
    let seconds = begun.elapsed().as_secs_f64();
    head.wait().expect("head ends");
    assert!(output.status.success(), "{command:?} failed");
    let answers = output.stdout.split(|&byte| byte == b'\n').count() - 1;
    assert_eq!(answers as u64, lines, "{command:?} answers each line");
    lines as f64 / seconds
}

/// The peak resident memory of `command` alone, as GNU time tells it.
fn peak_kib(command: &[&str], input: &Path, folder: &Path) -> io::Result<f64> {
    let figure = folder.join("peak");
    let status = Command::new("time")
        .args(["--format=%M", "--output"])
        .arg(&figure)
        .args(command)
        .stdin(File::open(input)?)
        .stdout(Stdio::null())
        .status()?;
    assert!(status.success(), "{command:?} failed");
    let text = std::fs::read_to_string(&figure)?;
    Ok(text.trim().parse().expect("GNU time prints a number"))
}
