//! All of the `plimsoll` program. It is a library so that the manual and the shells' completions are
//! made from the options that it reads, by an example of this package and not by the program.
#![forbid(unsafe_code)]

mod demo;
mod listen;
mod map;
mod nats;
mod serve;
mod simulate;
mod usage;
mod values;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Sends each request to the least-loaded worker.
#[derive(Parser)]
#[command(name = "plimsoll", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    face: Face,
}

#[derive(Subcommand)]
enum Face {
    Check(serve::CheckArgs),
    Demo(demo::Args),
    Map(map::Args),
    Nats(nats::Args),
    Serve(Box<serve::Args>),
    Simulate(Box<simulate::Args>),
}

/// The command line, with all that each command can be told.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program by this process's command line, and tells its exit status.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli { face: Face::Check(args) }) => serve::check(&args),
        Ok(Cli { face: Face::Demo(args) }) => demo::run(args),
        Ok(Cli { face: Face::Map(args) }) => map::run(args),
        Ok(Cli { face: Face::Nats(args) }) => nats::run(args),
        Ok(Cli { face: Face::Serve(args) }) => serve::run(&args),
        Ok(Cli { face: Face::Simulate(args) }) => simulate::run(&args),
        Err(error) => usage::answer(&error),
    }
}
