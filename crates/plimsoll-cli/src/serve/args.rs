//! The command line of `plimsoll serve`.

use std::path::PathBuf;

use super::settings::{ONE, PoolSettings, Settings, Wrong};

/// Balances HTTP requests over servers: each goes to the least-loaded one.
///
/// No server ever has more requests, or open connections, than its capacity; what has to wait
/// stands in one fair line. Ctrl-C, or SIGTERM, accepts no more and finishes what runs; a second
/// one ends at once. SIGHUP reads the file of --config again. SIGUSR2 has a new process of the
/// program serve in the place of this one, which finishes what it has: no connection is refused,
/// and no server has more than its capacity meanwhile.
///
/// Exit status: 0 ended as told, 2 usage, a bad file or address, or an occupied port.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Read all that the options tell, and more, from a TOML file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["Settings", "PoolSettings"])]
    pub(super) config: Option<PathBuf>,

    /// Read the file again when it has changed
    #[arg(long, requires = "config")]
    pub(super) watch: bool,

    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    pool: PoolSettings,
}

impl Args {
    /// What the options tell, of one pool.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = self.settings.clone();
        settings.pool.insert(ONE.into(), self.pool.clone());
        settings
    }
}

/// The sentence to print of what an option told.
pub(super) fn sentence(wrong: &Wrong) -> String {
    let key = wrong.at.rsplit('.').next().unwrap_or_default();
    let key = key.split('[').next().unwrap_or_default().replace('_', "-");
    if !wrong.told.is_empty() {
        return format!("--{key} '{}': {}", wrong.told, wrong.sentence);
    }
    let value = match key.as_str() {
        "to" => "BACKEND",
        "listen" => "ADDRESS",
        _ => return format!("--{key}: {}", wrong.sentence),
    };
    format!(
        "--{key} <{value}> is missing, as in: plimsoll serve --listen :8080 --to 127.0.0.1:9001"
    )
}
