//! The live view: keys in, drawings out, ten a second.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::draw::draw;
use super::keys;
use super::reading::Row;
use super::run::{Command, Ending, Fault, Run, TICK};
use super::stop::Stop;
use super::view::{Before, View};

/// Between two drawings.
const FRAME: Duration = Duration::from_millis(100);

/// Whether there is a screen to draw on and a keyboard to read from.
pub(crate) fn is_possible() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// The terminal, given back as it was when this is dropped, and on a panic.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// # Errors
    ///
    /// When the terminal cannot be set up.
    pub(crate) fn open() -> Result<Self, Fault> {
        // This also sets the hook that gives the terminal back on a panic.
        ratatui::try_init().map(|terminal| Self { terminal }).map_err(Fault::System)
    }

    /// Shows the run until it is over, a key ends it or a signal came; `before`
    /// is what policies before it came to.
    ///
    /// # Errors
    ///
    /// When the terminal fails, or a command does.
    pub(crate) fn watch(
        &mut self,
        run: &mut Run,
        stop: &Stop,
        before: &[Row],
    ) -> Result<Ending, Fault> {
        let mut view = View::new(run.look());
        view.before = before.iter().map(Before::from).collect();
        let mut drawn: Option<Instant> = None;
        loop {
            if drawn.is_none_or(|at| at.elapsed() >= FRAME) {
                drawn = Some(Instant::now());
                self.terminal.draw(|frame| draw(frame, &view))?;
            }
            while event::poll(if drawn.is_some() { TICK } else { Duration::ZERO })? {
                // What was typed or resized is seen at once.
                drawn = None;
                let Event::Key(key) = event::read()? else { continue };
                match keys::meaning(key).and_then(|key| view.press(key)) {
                    Some(Command::End(ending)) => return Ok(ending),
                    Some(command) => {
                        if matches!(command, Command::Policy(_)) {
                            view.before.push(Before::from(&run.row_so_far()));
                        }
                        run.obey(command)?;
                    }
                    None => {}
                }
            }
            view.update(run.look());
            if stop.is_asked() {
                return Ok(Ending::Interrupted);
            }
            if run.is_over() {
                return Ok(Ending::Over);
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // On a panic the hook has given it back: a second time would put the
        // cursor above the message.
        if !std::thread::panicking() {
            // A terminal that is gone needs nothing back.
            let _ = ratatui::try_restore();
        }
    }
}

impl From<&Row> for Before {
    fn from(row: &Row) -> Self {
        Self { policy: row.policy, mean: row.mean, p99: row.p99 }
    }
}
