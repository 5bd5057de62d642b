//! The requesters: each waits a random while, sends a request to the pool, and
//! looks at the answers to its own.
//!
//! A requester has one inbox, and a sender to it travels in each request, so
//! that a worker answers straight to who asked, as in the classic program. (A
//! `Reply` per request would do for one that waits for each answer before it
//! sends again; these do not.)

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use plimsoll::{Reason, ThreadPool};

use super::floor::Seat;
use super::record::Record;
use super::workload::{Arrival, Stream, Workload};

/// What comes to a requester's inbox.
#[derive(Clone, Copy, Debug)]
enum Note {
    Answer(Answer),
    /// A request was dropped before it began.
    Dropped,
    Pause,
    Resume,
    Stop,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    leg: usize,
    wait: Duration,
}

/// What became of requests; all are one of these in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    /// Dropped before they began, refused ones included.
    pub(crate) dropped: u64,
}

/// All requesters of a run.
#[derive(Debug)]
pub(crate) struct Requesters {
    inboxes: Vec<Sender<Note>>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Requesters {
    /// Starts them; their requests are due from `origin` on, for `length`.
    ///
    /// # Errors
    ///
    /// What the system says when it has not the threads.
    pub(crate) fn start(
        workload: &Workload,
        length: Option<Duration>,
        origin: Instant,
        pool: &ThreadPool<Seat>,
        record: &Arc<Record>,
    ) -> io::Result<Self> {
        let mut all = Self { inboxes: Vec::new(), threads: Vec::new() };
        for (nth, stream) in workload.streams().enumerate() {
            let (door, inbox) = channel();
            all.inboxes.push(door.clone());
            let requester = Requester {
                origin,
                inbox,
                door,
                pool: pool.clone(),
                record: Arc::clone(record),
                tally: Tally::default(),
            };
            let name = format!("requester-{}", nth + 1);
            let thread = Builder::new().name(name).spawn(move || requester.live(stream, length));
            match thread {
                Ok(thread) => all.threads.push(thread),
                Err(error) => {
                    all.tell(Note::Stop);
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.tell(if paused { Note::Pause } else { Note::Resume });
    }

    pub(crate) fn stop(&self) {
        self.tell(Note::Stop);
    }

    /// Whether all have sent what they had to, and have every answer.
    pub(crate) fn are_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for all; `None` when one of them panicked.
    pub(crate) fn join(self) -> Option<Tally> {
        let mut sum = Tally::default();
        for thread in self.threads {
            let tally = thread.join().ok()?;
            sum.sent += tally.sent;
            sum.answered += tally.answered;
            sum.refused += tally.refused;
            sum.dropped += tally.dropped;
        }
        Some(sum)
    }

    fn tell(&self, note: Note) {
        for inbox in &self.inboxes {
            // One that is done has left.
            let _ = inbox.send(note);
        }
    }
}

/// One requester, on its thread.
struct Requester {
    /// When its stream began; pauses move it.
    origin: Instant,
    inbox: Receiver<Note>,
    door: Sender<Note>,
    pool: ThreadPool<Seat>,
    record: Arc<Record>,
    tally: Tally,
}

impl Requester {
    fn live(mut self, stream: Stream, length: Option<Duration>) -> Tally {
        let is_in_time = |arrival: &Arrival| length.is_none_or(|length| arrival.at < length);
        for arrival in stream.take_while(is_in_time) {
            if !self.wait_until_due(arrival.at) {
                break;
            }
            self.send(arrival);
        }
        while self.tally.answered + self.tally.dropped < self.tally.sent {
            let Ok(note) = self.inbox.recv() else { break };
            self.read(note);
        }
        self.tally
    }

    /// Looks at its inbox until this moment of its stream; false when told to
    /// stop.
    fn wait_until_due(&mut self, at: Duration) -> bool {
        loop {
            let left = (self.origin + at).duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(Note::Pause) if !self.pause() => return false,
                Ok(note) => self.read(note),
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// Its stream stands still until it is told to go on; false when told to
    /// stop.
    fn pause(&mut self) -> bool {
        let began = Instant::now();
        loop {
            match self.inbox.recv() {
                Ok(Note::Resume) => break,
                Ok(Note::Stop) | Err(_) => return false,
                Ok(note) => self.read(note),
            }
        }
        self.origin += began.elapsed();
        true
    }

    fn read(&mut self, note: Note) {
        match note {
            Note::Answer(Answer { leg, wait }) => {
                self.tally.answered += 1;
                self.record.answered(leg, wait, Instant::now());
            }
            Note::Dropped => self.tally.dropped += 1,
            // Told when it has nothing left to send.
            Note::Pause | Note::Resume | Note::Stop => {}
        }
    }

    fn send(&mut self, arrival: Arrival) {
        let leg = self.record.leg();
        let due = self.origin + arrival.at;
        let letter = Letter { to: self.door.clone(), is_answered: false };
        self.tally.sent += 1;
        let submitted = self.pool.try_submit(move |seat: &mut Seat| {
            // From when it was due, not from when it was sent: a requester
            // that is late must not hide it.
            let wait = Instant::now().duration_since(due);
            seat.work(arrival.service);
            letter.answer(Answer { leg, wait });
        });
        match submitted {
            Ok(reply) => reply.detach(),
            Err(refused) => {
                self.tally.refused += 1;
                if matches!(refused.reason, Reason::Full) {
                    self.record.refused(leg);
                }
            }
        }
    }
}

/// The way back to a requester, which hears of it also when the request is
/// dropped.
struct Letter {
    to: Sender<Note>,
    is_answered: bool,
}

impl Letter {
    fn answer(mut self, answer: Answer) {
        self.is_answered = true;
        // A requester leaves when it has all answers, not before.
        let _ = self.to.send(Note::Answer(answer));
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        if !self.is_answered {
            let _ = self.to.send(Note::Dropped);
        }
    }
}
