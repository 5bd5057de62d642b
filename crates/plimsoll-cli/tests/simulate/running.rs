//! Runs the built program, bounded in time.

use std::process::Command;

use serde_json::Value;

use crate::program::{Done, finish, program};

/// `plimsoll simulate` with these words.
pub(crate) fn simulate(words: &[&str]) -> Command {
    program("simulate", words)
}

/// Runs it to its end.
pub(crate) fn run(words: &[&str]) -> Done {
    finish(simulate(words).spawn().expect("the program"))
}

impl Done {
    /// The objects of `--json`.
    pub(crate) fn objects(&self) -> Vec<Value> {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// A figure of an object.
pub(crate) fn figure(object: &Value, name: &str) -> f64 {
    object[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {object}"))
}
