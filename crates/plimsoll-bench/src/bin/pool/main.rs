//! Functions on threads and tasks: the classic program, one request on an idle
//! pool, allocations, and skewed work, each against its peers.
#![forbid(unsafe_code)]

mod classic;

use plimsoll_bench::Report;

fn main() -> std::io::Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let mut report = Report::new("pool");
    classic::measure(&mut report, &only);
    println!("{}", report.table("requests/s"));
    report.write()
}
