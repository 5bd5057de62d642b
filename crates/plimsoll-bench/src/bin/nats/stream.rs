//! A JetStream work queue and its pull consumer, by the subjects of its API: the types of the
//! client library are stricter than what servers of some age answer.

use std::io;

use async_nats::{Client, Message};
use futures_util::StreamExt;

use crate::client::Asker;
use crate::worker::Slots;

/// The header that says where the answer goes: a stream has the reply subject for itself.
pub(crate) const INBOX: &str = "Inbox";
/// What the stream takes.
pub(crate) const SUBJECT: &str = "stream.work";

/// Makes an empty stream, in memory, and its consumer.
pub(crate) fn make(port: u16) -> io::Result<()> {
    let mut asker = Asker::connect(port, "stream")?;
    asker.ask("$JS.API.STREAM.DELETE.bench", b"")?;
    let stream = format!(
        r#"{{"name":"bench","subjects":["{SUBJECT}"],"retention":"workqueue","storage":"memory","num_replicas":1,"discard":"old"}}"#
    );
    let consumer = r#"{"stream_name":"bench","config":{"durable_name":"workers","ack_policy":"explicit","deliver_policy":"all","max_ack_pending":100000,"max_waiting":512,"ack_wait":60000000000}}"#;
    for (subject, config) in [
        ("$JS.API.STREAM.CREATE.bench", stream.as_str()),
        ("$JS.API.CONSUMER.DURABLE.CREATE.bench.workers", consumer),
    ] {
        let answer = asker.ask(subject, config.as_bytes())?.unwrap_or_default();
        let said = String::from_utf8_lossy(answer);
        if answer.is_empty() || said.contains("\"error\"") {
            return Err(io::Error::other(format!("{subject}: {said}")));
        }
    }
    Ok(())
}

/// A worker that pulls as many requests as it has at a time: each acknowledgement asks for the
/// next one.
pub(crate) async fn pull(client: Client, slots: Slots) {
    let inbox = client.new_inbox();
    let pulled = client.subscribe(inbox.clone()).await.expect("it may subscribe");
    let next = "$JS.API.CONSUMER.MSG.NEXT.bench.workers";
    for _ in 0..slots.capacity() {
        let sent = client.publish_with_reply(next, inbox.clone(), r#"{"batch":1}"#.into()).await;
        sent.expect("the server is there");
    }
    let (client, slots, inbox) = (&client, &slots, &inbox);
    let run = |Message { reply, headers, payload, .. }: Message| async move {
        let to = headers.as_ref().and_then(|headers| headers.get(INBOX));
        let (Some(acknowledged), Some(to)) = (reply, to) else { return };
        let answer = slots.answer(payload).await;
        client.publish(to.as_str().to_owned(), answer).await.expect("the server is there");
        let sent = client.publish_with_reply(acknowledged, inbox.clone(), "+NXT".into()).await;
        sent.expect("the server is there");
    };
    pulled.for_each_concurrent(slots.capacity() as usize, run).await;
}
