//! The body of what a client is answered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::record::Record;
use crate::front::Progress;
use crate::upstream::{Held, Upload};

/// Past the limit for whole requests.
const LATE: &str = "the request took longer than its time limit";

/// A body of the proxy's own, or a backend's on its way through.
pub(crate) struct Answer {
    body: Kind,
    progress: Option<Arc<Progress>>,
    record: Box<Record>,
}

enum Kind {
    Own(Option<Bytes>),
    Forwarded(Box<Forwarded>),
}

struct Forwarded {
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
    pub(super) fn own(text: Bytes, record: Box<Record>) -> Self {
        Self::new(Kind::Own(Some(text).filter(|text| !text.is_empty())), record)
    }

    pub(super) fn forwarded(
        incoming: Incoming,
        held: Held,
        upload: Option<Upload>,
        mut record: Box<Record>,
    ) -> Self {
        let held = Some(held);
        let forwarded = Forwarded { incoming, held, upload, silent_since: None, broke_off: None };
        let mut forwarded = Box::new(forwarded);
        if forwarded.incoming.is_end_stream() {
            forwarded.over(&mut record);
        }
        Self::new(Kind::Forwarded(forwarded), record)
    }

    fn new(body: Kind, record: Box<Record>) -> Self {
        let progress = record.asking().client().watch_answer();
        Self { body, progress, record }
    }
}

impl Forwarded {
    /// The response has been read to its end.
    fn over(&mut self, record: &mut Record) {
        let Some(held) = self.held.take() else { return };
        let good = !matches!(record.status, 502..=504);
        let now = Instant::now();
        record.served(good, now);
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
            Kind::Own(text) => {
                let frame = text.take();
                this.record.bytes += frame.as_ref().map_or(0, |text| text.len() as u64);
                return Poll::Ready(frame.map(|text| Ok(Frame::data(text))));
            }
            Kind::Forwarded(forwarded) => forwarded,
        };
        if let Some(broke_off) = forwarded.broke_off {
            return Poll::Ready(Some(Err(broke_off)));
        }
        let times = this.record.seat().proxy.config.times;
        let ends = times.request.map(|limit| this.record.began + limit);
        let mut silent = false;
        let what = match forwarded.poll_frame(cx) {
            Poll::Ready(Some(Ok(_))) if ends.is_some_and(|at| at <= Instant::now()) => LATE,
            Poll::Ready(Some(Ok(frame))) => {
                forwarded.silent_since = None;
                this.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                // Nobody asks for what comes after trailers.
                if frame.is_trailers() || forwarded.incoming.is_end_stream() {
                    forwarded.over(&mut this.record);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                forwarded.over(&mut this.record);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(_))) => "the backend broke off its body",
            Poll::Pending => {
                let since = *forwarded.silent_since.get_or_insert_with(Instant::now);
                let due = since + times.body_idle;
                let first = ends.map_or(due, |ends| ends.min(due));
                ready!(this.record.asking_mut().alarm.poll(cx, first));
                silent = due <= first;
                if silent { "the backend's body stopped for too long" } else { LATE }
            }
        };
        // The backend may want the rest of the request before it goes on.
        let clients = forwarded.upload.as_ref().is_some_and(|upload| {
            upload.fault().is_some() || silent && upload.waits_since().is_some()
        });
        let what = if clients { "the client did not send its whole body" } else { what };
        this.record.broke_off(what);
        // Nor is it to blame for a limit that counts the client's reading, too.
        if let Some(held) = forwarded.held.take()
            && !clients
            && what != LATE
        {
            held.failed();
            this.record.served(false, Instant::now());
        }
        // Told when what came before has had its turn to be written.
        forwarded.broke_off = Some(BrokeOff(what));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Kind::Own(text) => text.is_none(),
            Kind::Forwarded(forwarded) => forwarded.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Kind::Own(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Forwarded(forwarded) => forwarded.incoming.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Kind::Forwarded(forwarded) = &self.body
            && forwarded.held.is_some()
            && self.record.reason.is_none()
        {
            self.record.cut_off();
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
