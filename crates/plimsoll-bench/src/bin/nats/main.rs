//! `plimsoll nats` against a plain queue group and a JetStream pull consumer, on one
//! nats-server, on loopback; requesters, workers, balancer and server share the machine.
#![forbid(unsafe_code)]

mod balance;
mod client;
mod clock;
mod ideal;
mod latency;
mod openloop;
mod processes;
mod rate;
mod slot;
mod stream;
mod trace;
mod waiting;
mod worker;

use plimsoll_bench::Report;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["work", url, subject, kind, count, slots] => {
            worker::run(url, subject, kind, count, slots);
            return Ok(());
        }
        ["balance", url, subject] => {
            balance::run(url, subject);
            return Ok(());
        }
        _ => {}
    }
    let only = words.first().copied().unwrap_or_default();
    let mut report = Report::new("nats");
    let server = processes::Server::start()?;
    if "rate".contains(only) {
        rate::measure(&mut report, &server);
    }
    if "latency".contains(only) {
        latency::measure(&mut report, &server);
    }
    if "waiting".contains(only) {
        waiting::measure(&mut report, &server, waiting::ALL);
    }
    if only == "slot" {
        // It is in `waiting`, too.
        waiting::measure(&mut report, &server, waiting::SLOT);
    }
    for metric in report.metrics() {
        println!("{}", report.table(metric));
    }
    report.write()
}
