//! How far all runs are, with the time left: a bar, where stderr is a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(crate) struct Progress(Option<(SyncSender<()>, JoinHandle<()>)>);

impl Progress {
    /// Watches the count of requests that have ended.
    pub(crate) fn start(total: u64, requests: Arc<AtomicU64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (over, told) = sync_channel(0);
        let watch = move || {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template(
                "{wide_bar} {percent} % of {human_len} requests, {eta} left",
            );
            // The template is a constant; the default style would do as well.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            while told.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                bar.set_position(requests.load(Ordering::Relaxed));
            }
            bar.finish_and_clear();
        };
        Self(Some((over, std::thread::spawn(watch))))
    }
}

/// Also on an error, which is told on a line of its own.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((over, watch)) = self.0.take() {
            drop(over);
            // It has nothing to panic about.
            let _ = watch.join();
        }
    }
}
