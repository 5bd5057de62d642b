//! Where failures are told: all of them in the `--failed` file, or the first
//! few on stderr.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::machine::Failure;
use super::voice::Voice;

/// Failures told one by one without `--failed`.
const TOLD: u64 = 10;

/// Bytes of a failed line that are shown on stderr.
const SHOWN: usize = 80;

/// See the module.
#[derive(Debug)]
pub(crate) struct Failed {
    file: Option<File>,
    /// Records to be written together.
    records: Vec<u8>,
    end: u8,
    told: u64,
}

impl Failed {
    /// # Errors
    ///
    /// Why the file cannot be created, also where it is neither a file nor a
    /// device: a pipe that nobody empties would hold up the whole run.
    pub(crate) fn new(file: Option<&Path>, end: u8) -> io::Result<Self> {
        let file = file.map(create).transpose()?;
        Ok(Self { file, records: Vec::new(), end, told: 0 })
    }

    /// Takes one failure in.
    pub(crate) fn report(&mut self, failure: &Failure, voice: &Voice) {
        if self.file.is_some() {
            failure.record(self.end, &mut self.records);
            return;
        }
        self.told += 1;
        if self.told <= TOLD {
            let line = failure.line.as_deref().map_or_else(String::new, shown);
            voice.note(format_args!("line {} failed: {}{line}", failure.number, failure.reason));
        } else if self.told == TOLD + 1 {
            voice.note("more lines failed; --failed FILE keeps them all");
        }
    }

    /// Writes what was taken in.
    ///
    /// # Errors
    ///
    /// Why the file cannot be written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file
            && !self.records.is_empty()
        {
            file.write_all(&self.records)?;
            self.records.clear();
        }
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    let refused = || io::Error::other("it is neither a file nor a device");
    // A pipe without a reader is told of, and not waited for.
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(|error| if is_no_reader(&error) { refused() } else { error })?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(refused());
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

fn is_no_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
}

/// The line as a terminal may see it.
fn shown(line: &[u8]) -> String {
    let short = &line[..line.len().min(SHOWN)];
    let dots = if short.len() < line.len() { "…" } else { "" };
    format!(": {}{dots}", short.escape_ascii())
}
