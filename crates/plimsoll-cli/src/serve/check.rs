//! `plimsoll check`: whether a file is right, before it is served.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::file::File;
use super::settings::{PoolSettings, Settings};
use super::{Told, say};
use crate::usage;

/// Says whether `plimsoll serve --config` would take a file.
///
/// Names are resolved, and no port is opened.
///
/// Exit status: 0 it would, 2 it would not.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// The file
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    file: Option<PathBuf>,

    /// Print a JSON Schema of such files, for editors
    #[arg(long, conflicts_with = "file")]
    schema: bool,
}

/// Says it on stdout, or what is wrong on stderr.
pub(crate) fn run(args: &Args) -> ExitCode {
    let checked = match &args.file {
        None => Ok(schema()),
        Some(path) => File::read(path).and_then(|file| {
            let told = Told::new(&file.settings).map_err(|wrong| file.sentence(&wrong))?;
            Ok(format!("{}: {}", path.display(), told.summary()))
        }),
    };
    match checked {
        Ok(said) => {
            // Who does not read it has seen enough.
            let _ = writeln!(io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            say(&sentence);
            ExitCode::from(usage::STATUS)
        }
    }
}

/// Of [`Settings`], with the defaults that the options have.
fn schema() -> String {
    let mut schema = schemars::schema_for!(Settings).to_value();
    add_defaults::<Settings>(&mut schema["properties"]);
    add_defaults::<PoolSettings>(&mut schema["$defs"]["PoolSettings"]["properties"]);
    format!("{schema:#}")
}

fn add_defaults<T: clap::Args>(properties: &mut Value) {
    for option in T::augment_args(clap::Command::new("defaults")).get_arguments() {
        let key = option.get_id().as_str();
        if let [default] = option.get_default_values()
            && let Some(property) = properties.get_mut(key)
        {
            let text = default.to_string_lossy();
            // A number, or else a word.
            property["default"] = text.parse().unwrap_or_else(|_| Value::from(&*text));
        }
    }
}

impl Told {
    pub(super) fn summary(&self) -> String {
        let pools = &self.config.pools;
        let backends: usize = pools.iter().map(|pool| pool.backends.len()).sum();
        let of =
            |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let names: usize = self.names.values().map(Vec::len).sum();
        let names = if names == 0 { String::new() } else { format!(" and {}", of(names, "name")) };
        format!(
            "{}, {}{names} of {}, {}",
            of(self.clients.len(), "listener"),
            of(backends, "backend"),
            of(pools.len(), "pool"),
            of(self.config.routes.len(), "route"),
        )
    }
}
