//! A request's body on its way to a backend, kept as far as a retry needs it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::front::check_fields;

/// The most of a body that is kept to be sent again.
const REPLAYED: usize = 64 << 10;

/// What went wrong on the client's side of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadFault {
    /// It is longer than allowed.
    TooLarge,
    /// What the client sent is malformed.
    Broken,
    /// The client left within it, or gave its stream up.
    Gone,
    /// The client kept its connection, and its body to itself.
    Late,
}

/// A body that may be sent more than once, while what was sent of it is kept.
#[derive(Clone)]
pub(crate) struct Upload(Arc<Mutex<State>>);

struct State {
    incoming: Incoming,
    /// The frames so far; `None` when they are too much to keep.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    /// Bytes so far.
    seen: u64,
    most: u64,
    /// When a frame was last taken.
    last_seen: Option<Instant>,
    /// Since when the backend would have more of it and the client has sent
    /// none.
    waits_since: Option<Instant>,
    ended: bool,
    fault: Option<UploadFault>,
}

impl Upload {
    /// `keep` says whether the request may be sent again at all.
    pub(crate) fn new(incoming: Incoming, most: Option<u64>, keep: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            incoming,
            kept: keep.then(Vec::new),
            kept_bytes: 0,
            seen: 0,
            most: most.unwrap_or(u64::MAX),
            last_seen: None,
            waits_since: None,
            ended: false,
            fault: None,
        })))
    }

    /// The body from its beginning; `None` when that is gone.
    pub(crate) fn again(&self) -> Option<ToBackend> {
        let mut state = self.lock();
        // The client may have gone on while nobody asked it to.
        state.waits_since = None;
        let whole = state.seen == 0 || state.kept.is_some();
        drop(state);
        whole.then(|| ToBackend::Upload { upload: self.clone(), sent: 0 })
    }

    /// Whether it was read to its end.
    pub(crate) fn has_ended(&self) -> bool {
        let state = self.lock();
        state.ended || state.incoming.is_end_stream()
    }

    /// When something of it was last sent on.
    pub(crate) fn last_seen(&self) -> Option<Instant> {
        self.lock().last_seen
    }

    /// Since when it waits for the client, if it does: what then stands still is
    /// no fault of the backend's.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.lock().waits_since
    }

    /// What the client did wrong, if that is why the exchange failed.
    pub(crate) fn fault(&self) -> Option<UploadFault> {
        self.lock().fault
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(fault) = self.fault {
            return Poll::Ready(Some(Err(UploadError(fault))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            self.waits_since.get_or_insert_with(Instant::now);
            return Poll::Pending;
        };
        self.waits_since = None;
        let frame = match frame {
            None => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Some(Err(error)) => return self.fail(fault_of(&error)),
            Some(Ok(frame)) => frame,
        };
        let Some(data) = frame.data_ref() else {
            if frame.trailers_ref().is_some_and(|trailers| check_fields(trailers).is_err()) {
                return self.fail(UploadFault::Broken);
            }
            // Trailers end a body, and are not sent twice.
            self.kept = None;
            return Poll::Ready(Some(Ok(frame)));
        };
        self.last_seen = Some(Instant::now());
        self.seen += data.len() as u64;
        if self.seen > self.most {
            return self.fail(UploadFault::TooLarge);
        }
        self.kept_bytes += data.len();
        if self.kept_bytes > REPLAYED {
            self.kept = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.push(data.clone());
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn fail(&mut self, fault: UploadFault) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.fault = Some(fault);
        Poll::Ready(Some(Err(UploadError(fault))))
    }
}

/// What an error of a body's means.
fn fault_of(error: &hyper::Error) -> UploadFault {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    let source = std::error::Error::source(error);
    match source.and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind) {
        // The socket's limit on silence.
        Some(TimedOut) => UploadFault::Late,
        // Without a kind it is the end of an HTTP/2 stream, of which nobody hears an
        // answer.
        None | Some(UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe) => {
            UploadFault::Gone
        }
        Some(_) => UploadFault::Broken,
    }
}

/// The body of a request to a backend.
pub(crate) enum ToBackend {
    Empty,
    /// Frames before `sent` are not to be sent any more.
    Upload {
        upload: Upload,
        sent: usize,
    },
}

impl Body for ToBackend {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Self::Upload { upload, sent } = &mut *self else { return Poll::Ready(None) };
        let mut state = upload.lock();
        let again = state.kept.as_ref().and_then(|kept| kept.get(*sent)).cloned();
        let frame = match again {
            Some(data) => Some(Ok(Frame::data(data))),
            None => std::task::ready!(state.poll_next(cx)),
        };
        *sent += 1;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload { upload, .. } => {
                let state = upload.lock();
                match state.incoming.size_hint().exact() {
                    Some(left) => SizeHint::with_exact(state.seen + left),
                    None => SizeHint::new(),
                }
            }
        }
    }
}

/// A body that could not be read to its end.
#[derive(Debug)]
pub(crate) struct UploadError(UploadFault);

impl std::fmt::Display for UploadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            UploadFault::TooLarge => "the body is longer than allowed",
            UploadFault::Broken => "the body is malformed",
            UploadFault::Gone => "the client did not send its whole body",
            UploadFault::Late => "the client did not go on with its body",
        })
    }
}

impl std::error::Error for UploadError {}
