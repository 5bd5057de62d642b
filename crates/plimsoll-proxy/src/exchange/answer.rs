//! The body of what a client is answered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::Version;
use hyper::body::Incoming;

use super::record::Record;
use crate::front::Progress;
use crate::refusal::Refusal;
use crate::upstream::{Held, Upload};

/// From when on an answer takes long: after this time, where its backend has anyone wait, or this
/// many bytes.
const LONG: Duration = Duration::from_secs(1);
const LARGE: u64 = 1 << 20;

/// A body of the proxy's own, or a backend's on its way through.
pub(crate) struct Answer {
    body: Kind,
    progress: Option<Arc<Progress>>,
}

enum Kind {
    /// A switch of protocols: what is told of it is the tunnel's.
    Switched,
    Own(Option<Bytes>, Box<Record>),
    Forwarded(Box<Forwarded>),
}

struct Forwarded {
    record: Box<Record>,
    incoming: Incoming,
    /// Given back as soon as the response has been read, not when the client
    /// has it.
    held: Option<Held>,
    upload: Option<Upload>,
    /// Since when the backend has been silent.
    silent_since: Option<Instant>,
    broke_off: Option<BrokeOff>,
}

impl Answer {
    pub(super) fn switched() -> Self {
        Self { body: Kind::Switched, progress: None }
    }

    pub(super) fn own(text: Bytes, record: Box<Record>) -> Self {
        let progress = record.asking().client().watch_answer();
        Self { body: Kind::Own(Some(text), record), progress }
    }

    pub(super) fn forwarded(
        incoming: Incoming,
        held: Held,
        upload: Option<Upload>,
        record: Box<Record>,
    ) -> Self {
        let progress = record.asking().client().watch_answer();
        let held = Some(held);
        let (silent_since, broke_off) = (None, None);
        let forwarded = Forwarded { record, incoming, held, upload, silent_since, broke_off };
        let mut forwarded = Box::new(forwarded);
        if forwarded.incoming.is_end_stream() {
            forwarded.over();
        } else if forwarded.is_open_ended() {
            forwarded.record.asking().client().ends_with_answer();
        }
        Self { body: Kind::Forwarded(forwarded), progress }
    }
}

impl Forwarded {
    /// Whether nothing but the end of the connection says where it ends: there is no length, and
    /// the client knows no chunks.
    fn is_open_ended(&self) -> bool {
        self.record.version == Version::HTTP_10 && self.incoming.size_hint().exact().is_none()
    }

    /// The response has been read to its end.
    fn over(&mut self) {
        let Some(held) = self.held.take() else { return };
        let good = !matches!(self.record.status, 502..=504);
        let now = Instant::now();
        self.record.served(good, now);
        // A connection whose request is not read to its end serves no other.
        if self.upload.as_ref().is_none_or(Upload::has_ended) {
            held.over(good, now);
        } else if !good {
            held.failed();
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.held {
            Some(held) => held.poll_frame(&mut self.incoming, cx),
            None => Pin::new(&mut self.incoming).poll_frame(cx),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = self.get_mut();
        if let Some(progress) = &this.progress {
            progress.goes_on();
        }
        let forwarded = match &mut this.body {
            Kind::Switched => return Poll::Ready(None),
            Kind::Own(text, record) => {
                let frame = text.take();
                // One that is written as having had no answer has had none.
                if record.status != 0 {
                    record.bytes += frame.as_ref().map_or(0, |text| text.len() as u64);
                }
                return Poll::Ready(frame.map(|text| Ok(Frame::data(text))));
            }
            Kind::Forwarded(forwarded) => forwarded,
        };
        if let Some(broke_off) = forwarded.broke_off {
            return Poll::Ready(Some(Err(broke_off)));
        }
        let body_idle = forwarded.record.live().config.times.body_idle;
        let ends = forwarded.record.ends();
        let mut silent = false;
        // The backend is not to blame for a limit that counts the client's reading, too.
        let late = (Refusal::RequestTimeout.what(), false);
        let (what, backends) = match forwarded.poll_frame(cx) {
            Poll::Ready(Some(Ok(_))) if ends.is_some_and(|at| at <= Instant::now()) => late,
            Poll::Ready(Some(Ok(frame))) => {
                forwarded.silent_since = None;
                forwarded.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if forwarded.record.bytes > LARGE {
                    forwarded.record.hold_one_pool();
                }
                // Nobody asks for what comes after trailers.
                if frame.is_trailers() || forwarded.incoming.is_end_stream() {
                    forwarded.over();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                forwarded.over();
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(_))) => ("the backend broke off its body", true),
            Poll::Pending => {
                if let Some(progress) = &this.progress {
                    progress.waits_for_backend();
                }
                let since = *forwarded.silent_since.get_or_insert_with(Instant::now);
                let due = since + body_idle;
                let first = ends.map_or(due, |ends| ends.min(due));
                let long = forwarded.record.began + LONG;
                if forwarded.record.holds_others() && long < first {
                    ready!(forwarded.record.asking_mut().alarm.poll(cx, long));
                    forwarded.record.hold_one_pool();
                }
                ready!(forwarded.record.asking_mut().alarm.poll(cx, first));
                silent = due <= first;
                if silent { ("the backend's body stopped for too long", true) } else { late }
            }
        };
        // The backend may want the rest of the request before it goes on.
        let clients = forwarded.upload.as_ref().is_some_and(|upload| {
            upload.fault().is_some() || silent && upload.waits_since().is_some()
        });
        let what = if clients { "the client did not send its whole body" } else { what };
        forwarded.record.broke_off(what);
        if let Some(held) = forwarded.held.take()
            && backends
            && !clients
        {
            held.failed();
            forwarded.record.served(false, Instant::now());
        }
        // Told when what came before has had its turn to be written.
        forwarded.broke_off = Some(BrokeOff(what));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Kind::Switched => true,
            Kind::Own(text, _) => text.is_none(),
            Kind::Forwarded(forwarded) => forwarded.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Kind::Switched => SizeHint::with_exact(0),
            Kind::Own(text, _) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Forwarded(forwarded) => forwarded.incoming.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Kind::Forwarded(forwarded) = &mut self.body
            && forwarded.held.is_some()
            && forwarded.record.reason.is_none()
        {
            forwarded.record.cut_off();
        }
    }
}

/// A response that does not come to its end: what is sent of it is cut off, so
/// that nobody takes it for whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokeOff(&'static str);

impl std::fmt::Display for BrokeOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BrokeOff {}
