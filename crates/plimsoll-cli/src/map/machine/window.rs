//! The window: which lines' answers have come, so that they leave in input
//! order.
//!
//! Every line from the first one not printed to the last one read has its
//! place here. The bytes of an answer that came early are kept in a queue of
//! the copy it came from: a copy answers its lines in order, so that what is
//! printed next is at the front of one of these queues, and no answer needs an
//! allocation of its own. Only a line that ran again, at a copy that had
//! answered later lines before, breaks that order; its answer is kept apart.

use std::collections::VecDeque;

use super::queue;

/// What a line's place is charged once it is answered, beside the answer's
/// bytes, or has failed.
const PLACE: usize = 32;

/// Where a line is on its way to being printed.
#[derive(Debug)]
enum Place {
    /// In the pool's line, taken back from a copy.
    InLine,
    /// With this copy.
    With(usize),
    /// Answered; the answer is the next of this copy's queue, so long.
    Early { slot: u32, len: u32 },
    /// Answered, kept apart from the queues.
    EarlyApart(Box<[u8]>),
    /// Failed: nothing is printed, or an empty line.
    Failed,
}

/// Who holds up the printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// This copy, which has the first line not printed.
    With(usize),
    /// The first line is in the pool's line.
    InLine,
    /// Nobody: it can be printed, or there is none.
    Nobody,
}

/// Answers of one copy that came early.
#[derive(Debug, Default)]
struct Early {
    bytes: VecDeque<u8>,
    /// The number of the answer at the back.
    last: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Window {
    /// The number of the line at the front of `places`.
    first: u64,
    places: VecDeque<Place>,
    early: Vec<Early>,
    charged: usize,
    end: u8,
    keep_place: bool,
}

impl Window {
    /// For copies 0 to `copies`; answers are printed with `end` after them.
    pub(crate) fn new(copies: usize, end: u8, keep_place: bool) -> Self {
        let early = (0..copies).map(|_| Early::default()).collect();
        Self { first: 1, places: VecDeque::new(), early, charged: 0, end, keep_place }
    }

    /// Bytes held by early answers and by failed lines.
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn first(&self) -> First {
        match self.places.front() {
            Some(Place::With(slot)) => First::With(*slot),
            Some(Place::InLine) => First::InLine,
            _ => First::Nobody,
        }
    }

    /// The line was given to a copy; a new one joins the window's back.
    pub(crate) fn given(&mut self, number: u64, slot: usize) {
        self.set(number, Place::With(slot));
    }

    /// The line was taken back from a copy.
    pub(crate) fn taken_back(&mut self, number: u64) {
        self.set(number, Place::InLine);
    }

    /// The line will have no answer.
    pub(crate) fn failed(&mut self, number: u64) {
        self.charged += PLACE;
        self.set(number, Place::Failed);
    }

    /// Keeps an answer until its turn, or prints it when its turn is now and
    /// `print` allows.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        slot: usize,
        answer: &[u8],
        print: bool,
        output: &mut Vec<u8>,
    ) {
        if print && number == self.first {
            output.extend_from_slice(answer);
            output.push(self.end);
            self.places.pop_front();
            self.first += 1;
            return;
        }
        self.charged += answer.len() + PLACE;
        let early = &mut self.early[slot];
        let place = match u32::try_from(slot).ok().zip(u32::try_from(answer.len()).ok()) {
            Some((slot, len)) if early.bytes.is_empty() || early.last < number => {
                queue::append(&mut early.bytes, answer);
                early.last = number;
                Place::Early { slot, len }
            }
            _ => Place::EarlyApart(answer.into()),
        };
        self.set(number, place);
    }

    /// Prints what can be printed until `output` has reached `limit`.
    pub(crate) fn print(&mut self, limit: usize, output: &mut Vec<u8>) {
        while output.len() < limit {
            match self.places.front() {
                Some(Place::Early { slot, len }) => {
                    let (slot, len) = (*slot as usize, *len as usize);
                    queue::take(&mut self.early[slot].bytes, len, output);
                    self.charged -= len + PLACE;
                    output.push(self.end);
                }
                Some(Place::EarlyApart(answer)) => {
                    output.extend_from_slice(answer);
                    self.charged -= answer.len() + PLACE;
                    output.push(self.end);
                }
                Some(Place::Failed) => {
                    self.charged -= PLACE;
                    if self.keep_place {
                        output.push(self.end);
                    }
                }
                Some(Place::InLine | Place::With(_)) | None => return,
            }
            self.places.pop_front();
            self.first += 1;
        }
    }

    fn set(&mut self, number: u64, place: Place) {
        // The window never reaches 2^64 lines: each is charged to the buffer.
        let at = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        if at == self.places.len() {
            self.places.push_back(place);
        } else {
            self.places[at] = place;
        }
    }
}
