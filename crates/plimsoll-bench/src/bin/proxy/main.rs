//! `plimsoll serve` against nginx and `HAProxy`, before the same backends, on
//! loopback; load and backends share the machine.
#![forbid(unsafe_code)]

mod backends;
mod client;
mod cost;
mod crowd;
mod idle;
mod load;
mod openloop;
mod origin;
mod overload;
mod peers;
mod quality;
mod replay;
mod server;
mod trace;

use std::num::NonZeroUsize;

use plimsoll_bench::Report;

fn main() -> std::io::Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut report = Report::new("proxy");
    cost::measure(&mut report, &only, cores)?;
    quality::measure(&mut report, &only, cores);
    idle::measure(&mut report, &only, cores)?;
    overload::measure(&mut report, &only, cores);
    crowd::measure(&mut report, &only, cores);
    for metric in report.metrics() {
        println!("{}", report.table(metric));
    }
    report.write()
}
