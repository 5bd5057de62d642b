//! The simulator: events a second, memory, `SimPy` on the same model, and a thread
//! pool on the same trace.
#![forbid(unsafe_code)]

mod pool;
mod speed;

use plimsoll_bench::Report;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, workers, jobs] = arguments.as_slice()
        && word == speed::CHILD
    {
        speed::child(workers, jobs);
        return Ok(());
    }
    let only = arguments.first().cloned().unwrap_or_default();
    let mut report = Report::new("sim");
    if only.is_empty() || "speed".contains(&only) {
        speed::measure(&mut report);
        println!("{}", report.table("events/s"));
        println!("{}", report.table("memory a worker"));
    }
    if only.is_empty() || "pool".contains(&only) {
        pool::measure(&mut report);
        println!("{}", report.table("mean wait"));
    }
    report.write()
}
