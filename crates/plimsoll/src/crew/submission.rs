//! One request on its way in, the same for threads and tasks.

use std::future::poll_fn;
use std::sync::Arc;

use super::submit::Admission;
use super::{Crew, IfFull, Job, Packet, ReplyCell, Submitted, Terms};
use crate::error::{Reason, Refused};
use crate::reply::Reply;
use crate::slot::Slot;

/// A packet, seen as the job that it is for its crew.
pub(crate) type AsJob<F, R, J> = fn(Arc<Packet<F, R, J>>) -> Arc<J>;

/// A request that becomes a packet when it is submitted.
pub(crate) struct Submission<F, R, J: ?Sized> {
    pub(crate) request: F,
    pub(crate) terms: Terms,
    pub(crate) crew: Arc<Crew<J>>,
    pub(crate) as_job: AsJob<F, R, J>,
}

impl<F, R, J> Submission<F, R, J>
where
    F: Send + 'static,
    R: Send + 'static,
    J: Job + ?Sized + 'static,
{
    /// Never waits.
    pub(crate) fn try_submit(self) -> Result<Reply<R>, Refused<F>> {
        let (packet, submitted) = self.go(IfFull::Refuse);
        match submitted {
            Submitted::Taken(ticket) => Ok(Reply::new(packet, Some(ticket))),
            Submitted::Refused(reason) => Err(refused(reason, &packet)),
            Submitted::AtGate(_) => unreachable!("only who may wait is let to the gate"),
        }
    }

    /// Blocks while the line is full.
    pub(crate) fn submit(self) -> Result<Reply<R>, Refused<F>> {
        if self.crew.serves_here() {
            return Err(Refused { reason: Reason::WouldDeadlock, request: self.request });
        }
        let (packet, submitted) = self.go(IfFull::Wait);
        match submitted {
            Submitted::Taken(ticket) => Ok(Reply::new(packet, Some(ticket))),
            Submitted::Refused(reason) => Err(refused(reason, &packet)),
            Submitted::AtGate(admission) => {
                let answer = admission.wait(None).unwrap_or(Err(Reason::Closed));
                admitted(packet, answer)
            }
        }
    }

    /// Waits while the line is full; dropped while it does, the request leaves.
    pub(crate) async fn submit_async(self) -> Result<Reply<R>, Refused<F>> {
        let (packet, submitted) = self.go(IfFull::Wait);
        match submitted {
            Submitted::Taken(ticket) => Ok(Reply::new(packet, Some(ticket))),
            Submitted::Refused(reason) => Err(refused(reason, &packet)),
            Submitted::AtGate(admission) => {
                let mut gate = AtGate { packet: Some(packet), admission };
                let answer = poll_fn(|cx| gate.admission.poll(cx)).await;
                match gate.packet.take() {
                    Some(packet) => admitted(packet, answer),
                    None => unreachable!("the packet is taken once"),
                }
            }
        }
    }

    fn go(self, if_full: IfFull) -> (Arc<Packet<F, R, J>>, Submitted) {
        let packet = Arc::new(Packet::new(self.request, self.terms, self.crew));
        let submitted = packet.crew.submit((self.as_job)(Arc::clone(&packet)), if_full);
        (packet, submitted)
    }
}

/// A submitter at the gate; dropped there, it takes its request with it.
struct AtGate<F, R, J>
where
    F: Send + 'static,
    R: Send + 'static,
    J: Job + ?Sized + 'static,
{
    packet: Option<Arc<Packet<F, R, J>>>,
    admission: Arc<Slot<Admission>>,
}

impl<F, R, J> Drop for AtGate<F, R, J>
where
    F: Send + 'static,
    R: Send + 'static,
    J: Job + ?Sized + 'static,
{
    fn drop(&mut self) {
        let Some(packet) = self.packet.take() else { return };
        if !packet.crew.leave_gate(&self.admission) {
            // It was let in meanwhile; who has not said so yet finds it closed.
            let ticket = self.admission.close().and_then(Result::ok);
            packet.cancel(ticket);
        }
    }
}

fn admitted<F, R, J>(
    packet: Arc<Packet<F, R, J>>,
    answer: Admission,
) -> Result<Reply<R>, Refused<F>>
where
    F: Send + 'static,
    R: Send + 'static,
    J: Job + ?Sized + 'static,
{
    match answer {
        Ok(ticket) => Ok(Reply::new(packet, Some(ticket))),
        Err(reason) => Err(refused(reason, &packet)),
    }
}

/// Hands the request back; a refused one has not begun, so it is still there.
fn refused<F, R, J: ?Sized>(reason: Reason, packet: &Packet<F, R, J>) -> Refused<F> {
    let request = packet.begin().expect("a refused request has not begun");
    Refused { reason, request }
}
