//! Signals that ask to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::INTERRUPTED;

/// See the module.
#[derive(Debug)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    /// While set, a signal ends the process at once.
    at_once: Arc<AtomicBool>,
}

impl Stop {
    /// Catches them. SIGHUP keeps its way: the terminal is gone then, or nohup
    /// ignores it.
    ///
    /// # Errors
    ///
    /// What the system says when it cannot.
    pub(crate) fn catch() -> io::Result<Self> {
        let stop = Self { asked: Arc::default(), at_once: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            let status = i32::from(INTERRUPTED);
            flag::register_conditional_shutdown(signal, status, Arc::clone(&stop.at_once))?;
            flag::register(signal, Arc::clone(&stop.asked))?;
        }
        Ok(stop)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on a signal need not wait for what runs.
    pub(crate) fn end_at_once(&self) {
        self.at_once.store(true, Ordering::SeqCst);
    }
}
