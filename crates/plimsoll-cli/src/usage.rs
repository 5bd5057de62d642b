//! Bad options: one sentence that says what, where, and what would be right.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The exit status for a bad command line.
pub(crate) const STATUS: u8 = 2;

/// Prints help when that was asked for, else what is wrong.
pub(crate) fn answer(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed stdout is no error of the command line's.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    eprintln!("plimsoll: {}", sentence(error));
    ExitCode::from(STATUS)
}

/// What follows the program's name.
fn first_words() -> [Option<String>; 2] {
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    [words.next(), words.next()]
}

/// Whose help lists the commands that were asked for.
fn lister() -> &'static str {
    if first_words()[0].as_deref() == Some("nats") { "plimsoll nats" } else { "plimsoll" }
}

fn sentence(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(value)) => Some(value.clone()),
        Some(ContextValue::Strings(values)) => Some(values.join(" ")),
        _ => None,
    };
    let of = |kind| context(kind).unwrap_or_default();
    let option = of(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            let example = match first_words().each_ref().map(Option::as_deref) {
                [Some("serve"), _] => "serve --listen :8080 --to 127.0.0.1:9001",
                [Some("nats"), Some("balance")] => "nats balance --subject resize",
                [Some("nats"), Some("work")] => "nats work --subject resize -- tr a-z A-Z",
                [Some("nats"), _] => "nats request resize",
                _ => "map -- tr a-z A-Z",
            };
            format!("{option} is missing, as in: plimsoll {example}")
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            format!("a command is missing: '{} --help' lists them", lister())
        }
        ErrorKind::InvalidSubcommand => {
            let word = of(ContextKind::InvalidSubcommand);
            format!("'{word}' is not a command: '{} --help' lists them", lister())
        }
        ErrorKind::UnknownArgument => {
            let hint = match context(ContextKind::SuggestedArg) {
                Some(similar) => format!("did you mean {similar}?"),
                None => "'--help' lists the options, COMMAND and its own options follow --".into(),
            };
            format!("there is no option {option}: {hint}")
        }
        ErrorKind::ValueValidation => {
            use std::error::Error;
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{option} '{}': {why}", of(ContextKind::InvalidValue))
        }
        ErrorKind::InvalidValue if of(ContextKind::InvalidValue).is_empty() => {
            format!("{option} needs a value after it")
        }
        ErrorKind::InvalidValue => {
            let valid = of(ContextKind::ValidValue).replace(' ', ", ");
            format!("{option} '{}': it is one of {valid}", of(ContextKind::InvalidValue))
        }
        ErrorKind::ArgumentConflict => {
            format!("{option} was given twice, or with an option that excludes it: leave one out")
        }
        // What is left are errors of the first line alone.
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    }
}
