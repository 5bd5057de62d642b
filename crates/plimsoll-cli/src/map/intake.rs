//! The input on its way to the copies: chunks are cut into lines, and what no
//! copy has room for stays where it is.

use std::io;

use plimsoll_core::Time;

use super::framer::{Cut, Framer};
use super::machine::Machine;
use super::reader::{Input, Reader};

/// See the module.
#[derive(Debug)]
pub(crate) struct Intake {
    reader: Reader,
    framer: Framer,
    /// The piece of input that lines are cut from, and how far.
    chunk: Option<(Vec<u8>, usize)>,
    /// A line that no copy had room for.
    held_over: Option<Vec<u8>>,
    /// Why the input could not be read to its end.
    error: Option<io::Error>,
}

impl Intake {
    pub(crate) fn new(reader: Reader, end: u8, max_line: usize) -> Self {
        let framer = Framer::new(end, max_line);
        Self { reader, framer, chunk: None, held_over: None, error: None }
    }

    /// Gives lines to copies while these have room and there is input, of which
    /// one piece is used up at most; true when another may be there.
    pub(crate) fn feed(&mut self, machine: &mut Machine, now: Time) -> bool {
        if let Some(line) = &self.held_over {
            if !machine.offer(line, now) {
                return false;
            }
            self.held_over = None;
        }
        loop {
            let Some((chunk, at)) = &mut self.chunk else {
                match self.reader.next() {
                    Input::Chunk(chunk) => self.chunk = Some((chunk, 0)),
                    Input::End(end) => {
                        self.end(end, machine, now);
                        return false;
                    }
                    Input::Nothing => return false,
                }
                continue;
            };
            let (cut, used) = self.framer.cut(&chunk[*at..]);
            *at += used;
            let is_used_up = *at == chunk.len();
            let mut has_room = true;
            match cut {
                Cut::Line(line) if !machine.offer(line, now) => {
                    self.held_over = Some(line.to_vec());
                    has_room = false;
                }
                Cut::Line(_) | Cut::Nothing => {}
                Cut::TooLong => {
                    machine.too_long();
                    has_room = !machine.is_full();
                }
            }
            if is_used_up && let Some((chunk, _)) = self.chunk.take() {
                self.reader.recycle(chunk);
            }
            if !has_room {
                return false;
            }
            if is_used_up {
                // Lines that are too long need no room: signals and failures
                // come between.
                return true;
            }
        }
    }

    /// The input has ended; its last line may lack its end byte.
    fn end(&mut self, end: io::Result<()>, machine: &mut Machine, now: Time) {
        if let Err(error) = end {
            self.error = Some(error);
        }
        if let Some(line) = self.framer.rest()
            && !machine.offer(line, now)
        {
            // The reader stays at its end: this is where the line comes again.
            return;
        }
        machine.end_input();
    }

    /// Why the input could not be read to its end, if so.
    pub(crate) fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }
}
