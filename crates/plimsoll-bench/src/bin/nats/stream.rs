//! A JetStream work queue and its pull consumer, by the subjects of its API: the types of the
//! client library are stricter than what servers of some age answer.

use std::io;
use std::time::Duration;

use async_nats::{Client, Message};
use futures_util::StreamExt;

use crate::client::Asker;
use crate::worker::answer;

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

/// A worker that pulls one request at a time: its acknowledgement asks for the next one.
pub(crate) async fn pull(client: Client, number: u32, late: Duration) {
    let inbox = client.new_inbox();
    let mut pulled = client.subscribe(inbox.clone()).await.expect("it may subscribe");
    let next = "$JS.API.CONSUMER.MSG.NEXT.bench.workers";
    let sent = client.publish_with_reply(next, inbox.clone(), r#"{"batch":1}"#.into()).await;
    sent.expect("the server is there");
    while let Some(Message { reply, headers, payload, .. }) = pulled.next().await {
        let to = headers.as_ref().and_then(|headers| headers.get(INBOX));
        let (Some(acknowledged), Some(to)) = (reply, to) else { continue };
        let answer = answer(payload, number, late).await;
        let (to, inbox) = (to.as_str().to_owned(), inbox.clone());
        client.publish(to, answer).await.expect("the server is there");
        let sent = client.publish_with_reply(acknowledged, inbox, "+NXT".into()).await;
        sent.expect("the server is there");
    }
}
