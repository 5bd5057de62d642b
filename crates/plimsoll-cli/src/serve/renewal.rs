//! Certificates that are renewed while they are served.

use std::thread;
use std::time::Duration;

use plimsoll_proxy::Control;

/// How often their files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Serves by what their files say now whenever they change, until the process ends.
pub(super) fn watch(control: &Control) {
    loop {
        thread::sleep(LOOK);
        match control.renew_certificates() {
            Ok(false) => {}
            Ok(true) => eprintln!("plimsoll: certificates are renewed"),
            Err(sentence) => eprintln!("plimsoll: certificates are not renewed: {sentence}"),
        }
    }
}
