//! `plimsoll check`: whether a file is right, before it is served.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::Told;
use super::file::File;
use super::settings::Settings;
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
            eprintln!("plimsoll: {sentence}");
            ExitCode::from(usage::STATUS)
        }
    }
}

fn schema() -> String {
    let schema = schemars::schema_for!(Settings);
    serde_json::to_string_pretty(&schema).expect("a schema is JSON")
}

impl Told {
    fn summary(&self) -> String {
        let pools = &self.config.pools;
        let backends: usize = pools.iter().map(|pool| pool.backends.len()).sum();
        let of =
            |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        format!(
            "{}, {} of {}, {}",
            of(self.clients.len(), "listener"),
            of(backends, "backend"),
            of(pools.len(), "pool"),
            of(self.config.routes.len(), "route"),
        )
    }
}
