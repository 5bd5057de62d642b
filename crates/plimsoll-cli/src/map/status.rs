//! The exit statuses of `plimsoll map`.

/// Every line was answered, or whoever read the answers has left.
pub(crate) const ANSWERED: u8 = 0;
/// Some lines failed, a copy wrote more than it was asked, COMMAND could not be
/// started for want of something else, or the input could not be read to its end.
pub(crate) const FAILED: u8 = 1;
/// stdout or the `--failed` file cannot be written.
pub(crate) const UNWRITABLE: u8 = 3;
/// COMMAND exists and cannot be run.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// There is no COMMAND of that name.
pub(crate) const NOT_FOUND: u8 = 127;
/// A signal ended the run.
pub(crate) const INTERRUPTED: u8 = 130;
