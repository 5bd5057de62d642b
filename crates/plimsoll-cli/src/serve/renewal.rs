//! Certificates that are renewed while they are served.

use std::thread;
use std::time::Duration;

use plimsoll_proxy::Control;

use super::say;

/// How often their files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Serves by what their files say now whenever they change, until the process stops.
pub(super) fn watch(control: &Control) {
    loop {
        thread::sleep(LOOK);
        if control.is_draining() {
            return;
        }
        match control.renew_certificates() {
            Ok(false) => {}
            Ok(true) => say("certificates are renewed"),
            Err(sentence) => say(&format!("certificates are not renewed: {sentence}")),
        }
    }
}
