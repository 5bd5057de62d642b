//! The `plimsoll` program: least-loaded balancing from the shell.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    plimsoll_cli::main()
}
