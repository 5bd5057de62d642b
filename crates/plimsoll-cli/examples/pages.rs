//! Writes the manual's pages and the shells' completions, made from the options that the program
//! reads:
//!
//! ```text
//! cargo run --package plimsoll-cli --example pages -- FOLDER
//! ```
//!
//! FOLDER gets `man/plimsoll.1`, `man/plimsoll-serve.1` and so on, and in `completions` a file for each of
//! bash, zsh and fish. It is no part of the program, which then needs none of this.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// How the paragraph begins by which a command's help tells its exit statuses.
const STATUSES: &str = "Exit status: ";

/// Where the package puts the documents that say more.
const DOCUMENTS: &str = "/usr/share/doc/plimsoll";

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("a folder is missing, as in: pages target/package"));
    };
    let folder = Path::new(&folder);
    let (manual, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&manual)?;
    fs::create_dir_all(&completions)?;
    let mut program = plimsoll_cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut program, "plimsoll", &completions)?;
    }
    // What has a page needs none about how to ask for help.
    let mut program = plimsoll_cli::command().disable_help_subcommand(true);
    program.build();
    let names: Vec<_> = all(&program).map(name).collect();
    for command in all(&program) {
        fs::write(manual.join(format!("{}.1", name(command))), page(command, &names)?)?;
    }
    Ok(())
}

/// A command, and those under it.
fn all(command: &Command) -> Box<dyn Iterator<Item = &Command> + '_> {
    Box::new(std::iter::once(command).chain(command.get_subcommands().flat_map(all)))
}

fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn page(command: &Command, names: &[String]) -> io::Result<Vec<u8>> {
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let said = command.get_long_about().or(command.get_about()).map(ToString::to_string);
    let said = said.unwrap_or_default();
    let (statuses, about): (Vec<_>, Vec<_>) =
        said.split("\n\n").partition(|paragraph| paragraph.starts_with(STATUSES));
    let about = about.join("\n\n");
    let see: Vec<_> = names.iter().filter(|other| **other != name(&command)).collect();
    // All the options once are enough.
    let command = command.override_usage(usage).long_about(about);
    let (title, version) = (name(&command).to_uppercase(), env!("CARGO_PKG_VERSION"));
    // With no date, which would be one more thing to keep true.
    let title = format!(".TH {title} 1 \"\" \"plimsoll {version}\" \"User Commands\"\n");
    let man = Man::new(command.clone());
    let mut page = title.into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    for (number, meaning) in statuses.first().map(|told| each(told)).unwrap_or_default() {
        rest.control("TP", []);
        rest.text([roman(number)]);
        rest.text([roman(meaning)]);
    }
    if statuses.is_empty() {
        rest.text([roman(
            "Each command's page tells its own; 2 is a bad command line's everywhere.",
        )]);
    }
    rest.control("SH", ["SEE ALSO"]);
    let see: Vec<_> = see.iter().map(|name| format!("{name}(1)")).collect();
    // Names stay whole.
    rest.control("nh", []);
    rest.text([roman(see.join(", "))]);
    rest.control("PP", []);
    rest.text([roman(format!("Documents: {DOCUMENTS}"))]);
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// The statuses that a paragraph tells, each with what it means.
fn each(told: &str) -> Vec<(&str, String)> {
    let told = told.trim_start_matches(STATUSES).trim_end_matches('.');
    let mut found: Vec<(&str, String)> = Vec::new();
    for part in told.split(", ") {
        match (part.split_once(' '), found.last_mut()) {
            (Some((number, meaning)), _) if number.parse::<u8>().is_ok() => {
                found.push((number, meaning.to_owned()));
            }
            // A comma within what the one before means.
            (_, Some((_, meaning))) => meaning.extend([", ", part]),
            (_, None) => panic!("'{told}' does not begin with a status"),
        }
    }
    found
}
