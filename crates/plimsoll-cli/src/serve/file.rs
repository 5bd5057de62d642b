//! A file of settings: where in it something is wrong, and what would be right.

use std::fs;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::settings::{Settings, Wrong};

/// The most that a name may differ from the one that was meant.
const SIMILAR: f64 = 0.7;

/// A file that could be read.
pub(crate) struct File {
    name: String,
    text: String,
    pub(super) settings: Settings,
}

impl File {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// The sentence to print.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let settings = parse(&text).map_err(|(at, what)| said(&name, &text, at, &what))?;
        Ok(Self { name, text, settings })
    }

    /// The sentence to print of something that it tells.
    pub(super) fn sentence(&self, wrong: &Wrong) -> String {
        let at = find(&self.text, &wrong.at);
        let told = if wrong.told.is_empty() { String::new() } else { format!(" '{}'", wrong.told) };
        let what = format!("{}{told}: {}", wrong.at, wrong.sentence);
        said(&self.name, &self.text, at, &what)
    }
}

/// With its line and column, counted from 1.
fn said(name: &str, text: &str, at: usize, what: &str) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{name}:{line}:{column}: {what}")
}

/// The settings, or where the text is wrong and what is.
fn parse(text: &str) -> Result<Settings, (usize, String)> {
    let of = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    let document =
        toml::Deserializer::parse(text).map_err(|error| (of(&error), one_line(error.message())))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        let error = error.into_inner();
        let what = explained(error.message());
        let what = if key == "." { what } else { format!("{key}: {what}") };
        (of(&error), what)
    })
}

/// Without the lines that a reader may break a message into.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An unknown key, with the known one that is nearest.
fn explained(message: &str) -> String {
    // TOML's own word for it.
    let message = one_line(message).replace("a sequence", "a list in [ ]");
    let quoted: Vec<_> = message.split('`').skip(1).step_by(2).collect();
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let [unknown, known @ ..] = &quoted[..] else { return message };
    if !is_unknown {
        return message;
    }
    let nearness = |known: &&str| strsim::jaro_winkler(unknown, known);
    let nearest = known.iter().max_by(|a, b| nearness(a).total_cmp(&nearness(b)));
    match nearest.filter(|known| nearness(known) >= SIMILAR) {
        Some(nearest) => format!("there is no '{unknown}' here: did you mean '{nearest}'?"),
        None => format!("there is no '{unknown}' here, but {}", known.join(", ")),
    }
}

/// Where a key such as `pool.web.to[1]` stands, or the part of it that is there.
fn find(text: &str, key: &str) -> usize {
    let Ok(whole) = DeTable::parse(text) else { return 0 };
    let mut at = 0;
    let mut table = Some(whole.get_ref());
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    for step in key.split(['.', '[']) {
        let found = match step.strip_suffix(']') {
            Some(nth) => {
                let array = value.and_then(|value| value.get_ref().as_array());
                nth.parse().ok().and_then(|nth: usize| array?.get(nth))
            }
            None => table.and_then(|table| table.get(step)),
        };
        let Some(found) = found else { break };
        at = found.span().start;
        table = found.get_ref().as_table();
        value = Some(found);
    }
    at
}
