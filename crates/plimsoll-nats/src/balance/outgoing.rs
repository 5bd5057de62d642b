//! Requests as they come and deliveries as they go: what is in their headers and subjects.

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::{Client, Message, Subject};
use bytes::Bytes;

use crate::{LONGEST_SUBJECT, LeaseId, Output, Parcel, Service, Terms, WorkerName, headers};

/// A request that cannot be taken, and why.
pub(super) struct Bad {
    inbox: Option<Subject>,
    why: String,
}

/// A request as it came.
pub(super) fn read(service: &Service, message: Message) -> Result<(Parcel, Terms), Bad> {
    let Message { reply: inbox, headers: of_message, payload, .. } = message;
    if inbox.as_ref().is_some_and(|inbox| !may_answer(service, inbox)) {
        // No answer goes there.
        return Err(Bad { inbox: None, why: String::new() });
    }
    match of_message.as_ref().map_or(Ok(Terms::default()), headers::terms) {
        Ok(terms) => Ok((Parcel { inbox, headers: of_message, payload }, terms)),
        Err(why) => Err(Bad { inbox, why }),
    }
}

/// Whether an answer may go there, which the requester alone says: not where it would be a request
/// or a report, or be taken by the server itself, as those of who leads are.
pub(super) fn may_answer(service: &Service, inbox: &str) -> bool {
    inbox.len() <= LONGEST_SUBJECT - 500
        && inbox != service.requests()
        && !inbox.starts_with("plimsoll.")
        && !inbox.starts_with('$')
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// This server would not take it.
    No,
    /// The client is closed.
    Closed,
}

impl From<Result<(), PublishError>> for Sent {
    fn from(result: Result<(), PublishError>) -> Self {
        match result.map_err(|error| error.kind()) {
            Ok(()) => Self::Yes,
            Err(PublishErrorKind::Send) => Self::Closed,
            Err(_) => Self::No,
        }
    }
}

/// What goes out.
pub(super) struct Outgoing {
    client: Client,
    service: Service,
    bad: Vec<Bad>,
}

impl Outgoing {
    pub(super) fn new(client: Client, service: Service) -> Self {
        Self { client, service, bad: Vec::new() }
    }

    /// Notes an error reply for [`send_bad`](Self::send_bad).
    pub(super) fn refuse_bad(&mut self, bad: Bad) {
        self.bad.push(bad);
    }

    /// Sends what was noted.
    pub(super) async fn send_bad(&mut self) -> Sent {
        for Bad { inbox, why } in std::mem::take(&mut self.bad) {
            if self.error(inbox, 400, &why, None).await == Sent::Closed {
                return Sent::Closed;
            }
        }
        Sent::Yes
    }

    /// Sends what a dispatcher says; the refused are told to come back after so many seconds.
    /// Tells what became of it, and of which lease if it was a delivery.
    pub(super) async fn send(
        &self,
        output: Output,
        again: impl FnOnce() -> u64,
    ) -> (Sent, Option<(WorkerName, LeaseId)>) {
        let client = &self.client;
        let sent = match output {
            Output::Deliver { worker, to, lease, parcel } => {
                let Parcel { inbox, headers, payload } = parcel;
                let done = self.service.done(&worker, lease, inbox.as_deref());
                let sent = match headers {
                    None => client.publish_with_reply(to, done, payload).await,
                    Some(headers) => {
                        client.publish_with_reply_and_headers(to, done, headers, payload).await
                    }
                };
                return (sent.into(), Some((worker, lease)));
            }
            Output::Refuse { inbox, error } => {
                let again = error.passes().then(again);
                let why = error.to_string();
                return (self.error(inbox, error.code(), &why, again).await, None);
            }
            Output::Answer { worker, generation, epoch, answer } => {
                let subject = self.service.answer(&worker, generation, epoch);
                client.publish(subject, answer.text().into()).await
            }
            Output::GiveUp { worker, generation, epoch, above } => {
                let subject = self.service.gone(&worker, generation, epoch);
                client.publish(subject, above.to_string().into()).await
            }
            Output::Attend(_) => Ok(()),
        };
        (sent.into(), None)
    }

    async fn error(
        &self,
        inbox: Option<Subject>,
        code: u16,
        why: &str,
        again: Option<u64>,
    ) -> Sent {
        let Some(inbox) = inbox else { return Sent::Yes };
        let mut headers = headers::error(code, why);
        if let Some(seconds) = again {
            headers.insert(headers::RETRY_AFTER, seconds.to_string());
        }
        self.client.publish_with_headers(inbox, headers, Bytes::new()).await.into()
    }
}
