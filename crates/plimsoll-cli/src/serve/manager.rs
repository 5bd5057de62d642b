//! The service manager, such as systemd: what it is told.

use sd_notify::NotifyState;

/// Tells it, where there is one.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    // Without it this process serves as well.
    let _ = sd_notify::notify(state);
}

/// This process serves, maybe in the place of another that was known before.
pub(super) fn tell_ready(takes_over: bool) {
    let own = takes_over.then(|| NotifyState::MainPid(std::process::id()));
    let state: Vec<_> = own.into_iter().chain([NotifyState::Ready]).collect();
    tell(&state);
}

/// Settings are read again, until it is told that this process is ready.
pub(super) fn tell_reloading() {
    // It wants to know since when.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}
