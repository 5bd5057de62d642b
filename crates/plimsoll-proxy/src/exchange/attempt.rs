//! A request's tries: a lease, a connection, a response's head.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header;
use hyper::{Response, StatusCode};
use plimsoll::{Lease, WorkerId};
use std::sync::Arc;

use super::head::Outgoing;
use super::record::Record;
use crate::config::PoolTimes;
use crate::front::Asking;
use crate::pool::Pool;
use crate::proxy::Seat;
use crate::refusal::Refusal;
use crate::upstream::{Backend, ConnectError, Held, ToBackend, Upload, UploadFault};

/// How often a request that takes long is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A response whose head is here, and what it holds of its backend.
pub(super) type Served = (Response<Incoming>, Held);

/// Why a try came to nothing.
struct Failed {
    refusal: Refusal,
    /// Nothing of the request has reached the backend.
    unsent: bool,
    /// A connection that the backend seems to have given up while it was idle,
    /// which is no failure if the request is tried again in silence.
    stale: Option<Held>,
}

/// Tries backends, each at most once but for a second try in silence, until one
/// answers.
pub(super) async fn serve(
    seat: &Seat,
    record: &mut Record,
    outgoing: &Outgoing,
    upload: Option<&Upload>,
) -> Result<Served, Refusal> {
    let stats = &seat.proxy.stats;
    let (live, at) = (Arc::clone(record.live()), record.pool_at().ok_or(Refusal::NoRoute)?);
    let pool = &live.pools[at];
    let mut excluded = Vec::new();
    let mut last = Refusal::NoBackend;
    let mut stale = false;
    let mut now = record.began;
    loop {
        // What it has not waited of its time in line yet.
        let left = pool.config.line.time.checked_sub(record.line).unwrap_or_default();
        let (lease, leased) = match lease(pool, record, &excluded, now, left).await {
            Ok(leased) => leased,
            // The failure that is behind it says more.
            Err(Refusal::ClientGone) => return Err(Refusal::ClientGone),
            Err(_) if !excluded.is_empty() => return Err(last),
            Err(refusal) => return Err(refusal),
        };
        record.tries += 1;
        record.backend = Some(Arc::clone(lease.worker()));
        record.pending = lease.pending();
        record.leased = leased;
        let id = lease.id();
        let failed = match attempt(seat, pool, record, lease, leased, outgoing, upload).await {
            Ok(served) => return Ok(served),
            Err(failed) => failed,
        };
        now = Instant::now();
        last = failed.refusal;
        if last.is_the_clients() {
            return Err(last);
        }
        if last == Refusal::RequestTimeout {
            // It has no time left to be tried again in.
            record.served(false, now);
            return Err(last);
        }
        let harmless = failed.unsent || outgoing.is_idempotent();
        let whole = upload.is_none_or(|upload| upload.again().is_some());
        let again = harmless && whole;
        if let Some(held) = failed.stale {
            if again && !stale {
                // Once, in silence, and to the same backend if it is the least
                // loaded still. It costs nothing of the budget: a backend that is
                // down has no connection left for another.
                stale = true;
                stats.retried();
                continue;
            }
            held.failed();
        }
        if last.is_the_backends() {
            record.served(false, now);
        }
        if !again {
            return Err(last);
        }
        if record.tries >= pool.config.tries.get() || !pool.books.retries.spend() {
            return Err(last);
        }
        stats.retried();
        excluded.push(id);
    }
}

/// A lease, at once or after a wait in line of at most `left`, and when it was
/// given.
async fn lease(
    pool: &Pool,
    record: &mut Record,
    excluded: &[WorkerId],
    now: Instant,
    left: Duration,
) -> Result<(Lease<Arc<Backend>>, Instant), Refusal> {
    let request = pool.books.balancer.request().deadline(now + left);
    let request = excluded.iter().fold(request, |request, &id| request.exclude(id));
    let mut acquire = pin!(request.acquire());
    let at_once = poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await;
    if let Poll::Ready(lease) = at_once {
        return lease.map(|lease| (lease, now)).map_err(Refusal::from);
    }
    // In line. Half of the forecast: it errs, and a refusal can't be taken back.
    let forecast = pool.books.pace.forecast(pool.books.balancer.waiting());
    if forecast.is_some_and(|forecast| forecast / 2 > pool.config.line.time) {
        return Err(Refusal::LineTooSlow);
    }
    let client = Arc::clone(record.asking().client());
    // All threads count in one place: only where there is something to count.
    let _share = match pool.config.line.per_client {
        None => None,
        Some(most) => {
            let share = pool.books.shares.take(client.peer.ip().to_canonical(), most);
            Some(share.ok_or(Refusal::LineShare)?)
        }
    };
    record.waits_since = Some(now);
    let waited = tokio::select! {
        lease = acquire => lease.map_err(Refusal::from),
        () = Box::pin(client.departed()) => Err(Refusal::ClientGone),
    };
    let over = Instant::now();
    record.waited(over);
    waited.map(|lease| (lease, over))
}

/// One try at the backend of this lease.
async fn attempt(
    seat: &Seat,
    pool: &Pool,
    record: &mut Record,
    lease: Lease<Arc<Backend>>,
    leased: Instant,
    outgoing: &Outgoing,
    upload: Option<&Upload>,
) -> Result<Served, Failed> {
    let (times, body_idle) = (&pool.config.times, record.live().config.times.body_idle);
    let backend = Arc::clone(lease.worker());
    let body = match upload {
        None => ToBackend::Empty,
        // Asked before it was tried again.
        Some(upload) => upload.again().unwrap_or(ToBackend::Empty),
    };
    let due = leased + times.connect;
    let (connection, reused) = match backend.connection(seat.index, leased, due).await {
        Ok(connected) => connected,
        Err(error) => {
            let refusal = match error {
                ConnectError::Refused => Refusal::Connect,
                ConnectError::TimedOut => Refusal::ConnectTimeout,
                ConnectError::NoSocket => Refusal::NoSocket,
            };
            if refusal.is_the_backends() {
                lease.fail();
            }
            return Err(Failed { refusal, unsent: true, stale: None });
        }
    };
    let connected = if reused { leased } else { Instant::now() };
    record.connect = connected - leased;
    let mut held = Held::new(connection, lease);
    let request = outgoing.request(|| backend.host(), body);
    let hides = upload.is_some() || outgoing.asks_upgrade();
    let answered = {
        let answer = pin!(held.send(request));
        let ends = record.ends();
        in_time(answer, (connected, ends), (times, body_idle), upload, hides, record.asking_mut())
            .await
    };
    let answered = match answered {
        Ok(answered) => answered,
        Err(refusal) => {
            if refusal.is_the_backends() {
                held.failed();
            }
            return Err(Failed { refusal, unsent: false, stale: None });
        }
    };
    let error = match answered {
        Ok(response) => {
            record.first_byte = Some(record.elapsed());
            let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            let refusal = if switched && !outgoing.asks_upgrade() {
                Refusal::Switched
            } else if has_other_coding(&response) {
                Refusal::Broken
            } else {
                return Ok((response, held));
            };
            drop(response);
            held.failed();
            return Err(Failed { refusal, unsent: false, stale: None });
        }
        Err(error) => error,
    };
    if let Some(fault) = upload.and_then(Upload::fault) {
        let refusal = match fault {
            UploadFault::TooLarge => Refusal::BodyTooLarge,
            UploadFault::Broken => Refusal::BodyBroken,
            UploadFault::Gone => Refusal::ClientGone,
            UploadFault::Late => Refusal::BodyTimeout,
        };
        return Err(Failed { refusal, unsent: false, stale: None });
    }
    let unsent = error.message().is_some();
    // It broke before it said anything: it had been closed already.
    if reused && !error.error().is_parse() {
        return Err(Failed { refusal: Refusal::Broken, unsent, stale: Some(held) });
    }
    held.failed();
    Err(Failed { refusal: Refusal::Broken, unsent, stale: None })
}

/// Whether the body is coded for the way in another form than chunks, which
/// would pass for the body itself.
fn has_other_coding(response: &Response<Incoming>) -> bool {
    let mut codings = response.headers().get_all(header::TRANSFER_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The answer, unless the time for it has passed since the request, or what
/// there is of its body, was last seen to go. While the body waits for the
/// client, it is the client's time that passes.
///
/// The limit for whole requests (`ends`) tells of the backend where it had half of
/// that time or more for itself. Otherwise line and client had it, and who waits
/// for this ends it.
///
/// While something of the client's is not read (`hides`, or what has come since)
/// it looks now and then whether the client has left: nobody else would see it.
async fn in_time<F: Future>(
    mut answer: Pin<&mut F>,
    (sent, ends): (Instant, Option<Instant>),
    (times, body_idle): (&PoolTimes, Duration),
    upload: Option<&Upload>,
    hides: bool,
    asking: &mut Asking,
) -> Result<F::Output, Refusal> {
    let whole = times.request.unwrap_or_default();
    let mut now = sent;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            let (due, late) = if let Some(since) = upload.and_then(Upload::waits_since) {
                (since + body_idle, Refusal::BodyTimeout)
            } else {
                let moved = upload.and_then(Upload::last_seen).map_or(sent, |at| at.max(sent));
                let due = moved + times.response_header;
                let tells = |ends: &Instant| ends.saturating_duration_since(moved) * 2 >= whole;
                match ends.filter(tells) {
                    Some(ends) if ends < due => (ends, Refusal::RequestTimeout),
                    _ => (due, Refusal::ResponseTimeout),
                }
            };
            if due <= now {
                return Poll::Ready(Err(late));
            }
            let hides = hides || asking.hides_departure();
            ready!(asking.alarm.poll(cx, if hides { due.min(now + LOOK) } else { due }));
            if asking.client().has_departed() {
                return Poll::Ready(Err(Refusal::ClientGone));
            }
            now = Instant::now();
        }
    })
    .await
}
