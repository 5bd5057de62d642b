//! Functions on threads and tasks: the classic program, one request on an idle
//! pool, allocations, and skewed work, each against its peers.
#![forbid(unsafe_code)]

mod classic;
mod idle;
mod skewed;

use plimsoll_bench::Report;

fn main() -> std::io::Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let mut report = Report::new("pool");
    if only.is_empty() || "classic".contains(&only) {
        classic::measure(&mut report);
        println!("{}", report.table("requests/s"));
        println!("{}", report.table("processor time a request"));
    }
    if only.is_empty() || "idle".contains(&only) {
        idle::measure(&mut report);
        println!("{}\n{}", report.table("latency"), report.table("processor"));
    }
    if only.is_empty() || "skewed".contains(&only) {
        skewed::measure(&mut report);
        for metric in ["wait mean", "wait p50", "wait p99", "wait p999"] {
            println!("{}", report.table(metric));
        }
        println!("{}\n{}", report.table("mean wait / replay"), report.table("p99 wait / replay"));
    }
    report.write()
}
