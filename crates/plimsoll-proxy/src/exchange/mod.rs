//! One exchange: a client's request, its place in line, its tries at backends,
//! its answer.

mod answer;
mod attempt;
mod head;
mod record;
mod tunnel;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};

pub(crate) use self::answer::Answer;
use self::attempt::serve;
use self::head::Outgoing;
pub(crate) use self::record::Record;
pub(crate) use self::tunnel::Tunnel;
use crate::alarm::before;
use crate::front::Asking;
use crate::proxy::Seat;
use crate::refusal::Refusal;
use crate::upstream::{Held, Upload};

/// What a refused method is told (RFC 9110, section 15.5.6): all but CONNECT.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// Answers one request. Dropped before it is ready, which says that the client
/// has left, it gives everything back; the record begins here and not with the
/// first poll, which may never come.
pub(crate) fn answer(
    seat: Arc<Seat>,
    asking: Asking,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> {
    // It goes from hand to hand.
    let mut record = Box::new(Record::new(Arc::clone(&seat), asking, &request));
    let mut asked = Asked::new(&mut record, request);
    // A block, which has what it captures once; an `async fn` has its arguments twice.
    async move {
        let proxy = &seat.proxy;
        let (http2, last) = (record.asking().client().http2, record.asking().last);
        let served = match &asked {
            Ok(Asked { outgoing, upload }) => {
                let limit = record.pool().and_then(|pool| pool.config.times.request);
                let served = serve(&seat, &mut record, outgoing, upload.as_ref());
                match limit {
                    None => served.await,
                    // The line's time and the client's; it sees to the backend's itself.
                    Some(limit) => Box::pin(before(Instant::now() + limit, served))
                        .await
                        .unwrap_or(Err(Refusal::RequestTimeout)),
                }
            }
            Err(refusal) => Err(*refusal),
        };
        let upload = asked.as_mut().ok().and_then(|asked| asked.upload.take());
        let (mut response, closes) = match served {
            Ok((response, held)) => (forward(response, held, upload, record), false),
            Err(refusal) => {
                // Nobody reads what is left of its body, which ends its connection.
                let unread = upload.is_some_and(|upload| !upload.has_ended());
                (refuse(refusal, record), unread || refusal.is_the_clients())
            }
        };
        let closes = closes || last || proxy.control.is_draining();
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if closes && !http2 && !switched {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// What backends are asked.
struct Asked {
    outgoing: Outgoing,
    upload: Option<Upload>,
}

impl Asked {
    /// Reads a request's head, and notes its pool.
    fn new(record: &mut Record, request: Request<Incoming>) -> Result<Self, Refusal> {
        if let Some(fault) = record.asking().fault() {
            return Err(Refusal::Fault(fault));
        }
        let live = Arc::clone(record.live());
        let config = &live.config;
        let (head, incoming) = request.into_parts();
        let outgoing =
            Outgoing::new(head, record.asking(), config.limits).map_err(Refusal::Fault)?;
        let pool = live.routes.find(outgoing.host(), outgoing.path()).ok_or(Refusal::NoRoute)?;
        live.pools[pool].books.retries.earn();
        record.goes_to(pool);
        let most = config.limits.body_bytes;
        if most.is_some_and(|most| incoming.size_hint().lower() > most) {
            return Err(Refusal::BodyTooLarge);
        }
        let body = !incoming.is_end_stream();
        let upload = body.then(|| Upload::new(incoming, most, outgoing.is_idempotent()));
        Ok(Self { outgoing, upload })
    }
}

/// A backend's response on its way to the client.
fn forward(
    mut response: Response<Incoming>,
    held: Held,
    upload: Option<Upload>,
    mut record: Box<Record>,
) -> Response<Answer> {
    record.status = response.status().as_u16();
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let version = response.version();
    head::incoming(response.headers_mut(), version, switched);
    *response.version_mut() = Version::HTTP_11;
    if switched {
        record.served(true, Instant::now());
        record.asking().decide(true);
        let client = Arc::clone(record.asking().client());
        client.begin_tunnel(Tunnel::new(held, record));
        return response.map(|_| Answer::switched());
    }
    record.asking().decide(false);
    response.map(|incoming| Answer::forwarded(incoming, held, upload, record))
}

/// An answer of the proxy's own.
fn refuse(refusal: Refusal, mut record: Box<Record>) -> Response<Answer> {
    let status = refusal.status();
    let again = record.pool().filter(|_| refusal.invites_retry());
    let again = again.map(|pool| pool.books.pace.retry_after(pool.books.balancer.waiting()));
    record.waited(Instant::now());
    // Nobody is there for this one: its record tells it as it does elsewhere.
    if refusal != Refusal::ClientGone {
        record.status = status.as_u16();
        record.refusal = Some(refusal);
        record.reason = Some(refusal.what());
    }
    record.asking().decide(false);
    let text = Bytes::from(format!("{} {}\n", status.as_u16(), refusal.what()));
    let mut response = Response::new(Answer::own(text, record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if let Some(seconds) = again {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    }
    response
}
