//! The process groups of the copies of COMMAND that run, where the last signal can reach them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    leaders: BTreeSet<i32>,
    /// All were killed, and nobody is left to kill what is started now.
    is_over: bool,
}

impl Groups {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group runs; `false` when all were killed, and it was, too.
    pub(super) fn add(&self, leader: Pid) -> bool {
        let mut running = self.lock();
        if running.is_over {
            kill(leader);
            return false;
        }
        running.leaders.insert(leader.as_raw_nonzero().get())
    }

    /// Kills a group, unless that was done. To be called before its leader is reaped: until then the
    /// number is its own.
    pub(super) fn end(&self, leader: Pid) {
        let mut running = self.lock();
        if running.leaders.remove(&leader.as_raw_nonzero().get()) {
            kill(leader);
        }
    }

    /// Kills all, and from now on each that is added.
    pub(super) fn end_all(&self) {
        let mut running = self.lock();
        running.is_over = true;
        for leader in std::mem::take(&mut running.leaders) {
            Pid::from_raw(leader).into_iter().for_each(kill);
        }
    }
}

fn kill(leader: Pid) {
    // It may have ended by itself.
    let _ = kill_process_group(leader, Signal::KILL);
}
