//! A client's socket as hyper sees it: screened, watched and timed.
//!
//! HTTP/1 bytes pass when the [`Screen`] has seen them. A head that it refuses
//! does not reach hyper: [`PLACEHOLDER`] stands in for it, and the service
//! answers that one with the fault. Silence ends a connection by the limit of
//! the stage it is in.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::screen::{Fault, Limits, Look, Screen, Stage};
use super::wire::Wire;
use crate::alarm::{Alarm, before};
use crate::config::Times;
use crate::stream::SharedStream;

/// What hyper is given for a head that is refused.
const PLACEHOLDER: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// A head that takes too long.
const LATE: Fault = Fault::new(408, "the head did not come to its end in time");

/// Room for what is read while something is held back, in bytes.
const STEP: usize = 4 << 10;

/// The most that is thrown away, and the longest that it takes, before a
/// socket with something unread is closed: closed at once, it would take the
/// answer with it.
const LINGER_BYTES: usize = 1 << 20;
const LINGER: Duration = Duration::from_secs(1);

/// How long a connection is idle before it rests.
const REST: Duration = Duration::from_secs(1);

/// What the socket and the service know together of one connection.
pub(crate) struct Gate {
    state: Mutex<State>,
    /// A head has been refused, or asks for an upgrade: seldom, and known
    /// without the lock.
    special: AtomicBool,
    /// The client takes nothing of what is to be sent at the moment.
    blocked: AtomicBool,
    /// It did so for too long, which ended its connection.
    stalled: AtomicBool,
    /// The answer under way ends where its connection does: any other end of that is a reset.
    open_ended: AtomicBool,
}

struct State {
    screen: Screen,
    /// Heads that hyper has been given.
    heads: u64,
    /// Requests that the service has been given.
    begun: u64,
    /// Which head is the placeholder, and for what.
    refused: Option<(u64, Fault)>,
    /// Requests that are not answered to their end.
    active: usize,
    /// When there was last none.
    idle_since: Instant,
    /// Who waits to read, and must be told what became of an upgrade.
    reader: Option<Waker>,
}

impl State {
    /// Nothing passes behind a head that asks, so that it is the last one; those
    /// before it may still be at work.
    fn asks_upgrade(&self, head: u64) -> bool {
        self.screen.stage() == Stage::Upgrade && self.heads == head + 1
    }
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        let screen = Screen::new(limits);
        let idle_since = Instant::now();
        let state = State {
            screen,
            heads: 0,
            begun: 0,
            refused: None,
            active: 0,
            idle_since,
            reader: None,
        };
        Self {
            state: Mutex::new(state),
            special: AtomicBool::default(),
            blocked: AtomicBool::default(),
            stalled: AtomicBool::default(),
            open_ended: AtomicBool::default(),
        }
    }

    /// The client did not read for too long.
    pub(super) fn stall(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// The answer under way ends where its connection does.
    pub(super) fn set_open_ended(&self) {
        self.open_ended.store(true, Ordering::Relaxed);
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        let mut state = self.lock();
        state.active += 1;
        state.begun += 1;
    }

    /// A request is answered to its end; after the last of them the connection
    /// is idle.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.active -= 1;
        if state.active == 0 {
            state.idle_since = Instant::now();
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.lock().active > 0
    }

    /// When the connection was last without a request, and whether it is now.
    fn idle(&self) -> (Instant, bool) {
        let state = self.lock();
        (state.idle_since, state.active == 0)
    }

    /// From when on the connection rests, unless something comes: it is idle,
    /// and all that it was to send is sent.
    pub(super) fn rests_from(&self) -> Option<Instant> {
        let state = self.lock();
        let idle = state.active == 0 && state.screen.stage() == Stage::Idle;
        let rests = idle && !self.blocked.load(Ordering::Relaxed);
        rests.then(|| state.idle_since + REST)
    }

    /// Whether heads behind this one have come already.
    pub(crate) fn has_more_than(&self, head: u64) -> bool {
        self.lock().heads > head + 1
    }

    /// What is wrong with this head, counted from 0.
    pub(crate) fn fault(&self, head: u64) -> Option<Fault> {
        if !self.special.load(Ordering::Acquire) {
            return None;
        }
        self.lock().refused.filter(|(at, _)| *at == head).map(|(_, fault)| fault)
    }

    /// Whether this head asks for an upgrade that is not decided.
    pub(crate) fn asks_upgrade(&self, head: u64) -> bool {
        self.special.load(Ordering::Acquire) && self.lock().asks_upgrade(head)
    }

    /// What became of an upgrade, if this head asked for one: from here on bytes
    /// pass unseen, or the next is a head's first.
    pub(crate) fn decide(&self, head: u64, upgraded: bool) {
        if !self.special.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.lock();
        if !state.asks_upgrade(head) {
            return;
        }
        if upgraded {
            state.screen.upgraded();
        } else {
            state.screen.not_upgraded();
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.lock().screen.stage()
    }

    /// Whether something has come that nobody answers: a body's rest, a head.
    fn has_unread(&self) -> bool {
        let state = self.lock();
        state.screen.stage() == Stage::Body || state.heads > state.begun
    }

    /// Has the screen look at bytes, and notes what it says of heads; and where the
    /// connection stands then.
    fn look(&self, bytes: &[u8]) -> (Look, Stage) {
        let mut state = self.lock();
        let look = state.screen.look(bytes);
        state.heads += look.heads as u64;
        if let Some(fault) = look.fault {
            state.refused = Some((state.heads, fault));
        }
        let at = state.screen.stage();
        if look.fault.is_some() || at == Stage::Upgrade {
            self.special.store(true, Ordering::Release);
        }
        (look, at)
    }

    /// Refuses the head that is under way.
    fn refuse(&self, fault: Fault) {
        let mut state = self.lock();
        state.refused = Some((state.heads, fault));
        self.special.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Socket {
    wire: Wire,
    gate: Arc<Gate>,
    times: Times,
    /// Read and not passed on: first what may pass, then what must be seen
    /// again.
    held: Vec<u8>,
    may_pass: usize,
    /// The last look at it passed or dropped something: what is left has not
    /// been seen from where it begins now.
    look_again: bool,
    /// A head had begun when bytes came last.
    in_head: bool,
    /// The placeholder has been given: nothing follows.
    refused: bool,
    ended: bool,
    http2: bool,
    read_silence: Silence,
    write_silence: Silence,
}

impl Socket {
    pub(super) fn new(wire: Wire, gate: Arc<Gate>, times: Times) -> Self {
        Self {
            wire,
            gate,
            times,
            held: Vec::new(),
            may_pass: 0,
            look_again: false,
            in_head: false,
            refused: false,
            ended: false,
            http2: false,
            read_silence: Silence::default(),
            write_silence: Silence::default(),
        }
    }

    /// Waits until it is known what the client speaks; true is HTTP/2.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        // Most say something as they come, which is there before the runtime
        // hears of it.
        self.held.reserve(STEP);
        if let Ok(read @ 1..) = self.wire.read_at_once(&mut self.held) {
            self.took(read);
        }
        poll_fn(|cx| {
            loop {
                if self.gate.stage() == Stage::Opaque {
                    self.http2 = true;
                    return Poll::Ready(Ok(true));
                }
                if self.may_pass > 0 || self.gate.lock().refused.is_some() {
                    return Poll::Ready(Ok(false));
                }
                if ready!(self.poll_more(cx))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
        .await
    }

    /// Takes back what hyper was given and has not used.
    pub(super) fn take_back(&mut self, unused: &[u8]) {
        self.held.splice(..0, unused.iter().copied());
        self.may_pass += unused.len();
    }

    /// Waits for something to read, its end included; an error when nothing has
    /// come in time.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        self.held.shrink_to_fit();
        poll_fn(|cx| {
            if self.may_pass > 0 || self.wire.poll_readable(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.poll_silence(cx)
        })
        .await
    }

    /// Tells a client in TLS that this is the end, and not cut off on the way; not so where an
    /// answer was.
    pub(super) async fn part(mut self, cut_off: bool) {
        if self.wire.is_tls() {
            let cut_off = cut_off || self.gate.open_ended.load(Ordering::Relaxed);
            let parted = poll_fn(|cx| {
                if cut_off { Pin::new(&mut self).poll_flush(cx) } else { self.poll_parting(cx) }
            });
            // One that is gone, or takes nothing, need not know.
            let _ = before(Instant::now() + LINGER, parted).await;
        }
    }

    /// Reads some more into what is held, and looks at it.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.held.reserve(STEP);
        match self.wire.poll_read_into(cx, &mut self.held) {
            Poll::Pending => {
                ready!(self.poll_silence(cx))?;
                // A limit has passed: what follows from it is held.
                Poll::Ready(Ok(1))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(read)) => {
                self.took(read);
                Poll::Ready(Ok(read))
            }
        }
    }

    /// So many bytes more are held, or it is the end.
    fn took(&mut self, read: usize) {
        self.ended = read == 0;
        let stage = self.look();
        self.heard(stage);
    }

    /// Has the screen look at what is held.
    fn look(&mut self) -> Stage {
        let (look, stage) = self.gate.look(&self.held[self.may_pass..]);
        self.held.drain(self.may_pass..self.may_pass + look.skip);
        self.may_pass += look.pass;
        self.look_again = look.skip + look.pass > 0;
        stage
    }

    /// Bytes have come, and stand at this stage. A head has its time from its first
    /// byte on, however it drips; everything else has it anew with every byte.
    fn heard(&mut self, stage: Stage) {
        let in_head = stage == Stage::Head;
        if !(in_head && self.in_head) {
            self.read_silence.end();
        }
        self.in_head = in_head;
    }

    /// Ready with an error when the client has been silent for too long;
    /// ready without one when that is answered with a refusal.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.gate.stage() {
            Stage::Idle => ready!(self.poll_idle(cx)),
            Stage::Body => ready!(self.read_silence.poll(cx, self.times.body_idle)),
            Stage::Head => {
                ready!(self.read_silence.poll(cx, self.times.client_header));
                self.gate.refuse(LATE);
                return Poll::Ready(Ok(()));
            }
            // The service sees to these.
            Stage::Upgrade | Stage::Opaque => return Poll::Pending,
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ready when the connection has been without a request for too long. While
    /// there is one the client waits for us: then it is looked at again later.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (limit, alarm) = (self.times.client_idle, &mut self.read_silence.alarm);
        let (since, idle) = self.gate.idle();
        ready!(alarm.poll(cx, since + limit));
        if idle { Poll::Ready(()) } else { alarm.poll(cx, Instant::now() + limit) }
    }

    /// Whether it is the end of a tunnel: that has a limit of its own, for both
    /// ways together, and may be closed one way.
    fn is_tunnel(&self) -> bool {
        !self.http2 && self.gate.stage() == Stage::Opaque
    }

    /// Times a client that takes nothing of what is to be sent.
    fn watch<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let blocked = sent.is_pending();
        if blocked != self.gate.blocked.load(Ordering::Relaxed) {
            self.gate.blocked.store(blocked, Ordering::Relaxed);
            self.write_silence.end();
        }
        if !blocked || self.is_tunnel() {
            return sent;
        }
        ready!(self.write_silence.poll(cx, self.times.body_idle));
        self.gate.stall();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Tells the client that nothing follows.
    fn poll_parting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let parted = Pin::new(&mut self.wire).poll_shutdown(cx);
        self.watch(cx, parted)
    }

    /// What a refused head, or one that asks for an upgrade, leads to; true when
    /// there may be something to pass on now.
    fn poll_special(&mut self, cx: &Context<'_>) -> Poll<io::Result<bool>> {
        let waker = cx.waker().clone();
        let mut state = self.gate.lock();
        let at = state.screen.stage();
        if let Some((_, fault)) = state.refused {
            if at == Stage::Body {
                let error = io::Error::new(io::ErrorKind::InvalidData, fault.what());
                return Poll::Ready(Err(error));
            }
            drop(state);
            self.refused = true;
            self.held = PLACEHOLDER.to_vec();
            self.may_pass = PLACEHOLDER.len();
            return Poll::Ready(Ok(true));
        }
        if at == Stage::Upgrade {
            // Held back until it is decided what they are.
            let old = state.reader.replace(waker);
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        // Decided: what is held has not been seen from where it begins now.
        self.gate.special.store(false, Ordering::Release);
        drop(state);
        self.look_again = true;
        Poll::Ready(Ok(false))
    }

    /// Moves what may pass to hyper.
    fn pass_on(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.may_pass.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.drain(..count);
        self.may_pass -= count;
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.may_pass > 0 {
                this.pass_on(buf);
                return Poll::Ready(Ok(()));
            }
            if this.refused {
                // An end would look as if the client had left.
                return Poll::Pending;
            }
            if this.gate.special.load(Ordering::Acquire) && ready!(this.poll_special(cx))? {
                continue;
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            if std::mem::take(&mut this.look_again) && !this.held.is_empty() {
                this.look();
                continue;
            }
            if !this.held.is_empty() {
                if ready!(this.poll_more(cx))? == 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            // Straight to hyper, and back what may not pass yet.
            let before = buf.filled().len();
            match Pin::new(&mut this.wire).poll_read(cx, buf) {
                Poll::Pending => ready!(this.poll_silence(cx))?,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {
                    let bytes = &buf.filled()[before..];
                    if bytes.is_empty() {
                        this.ended = true;
                        return Poll::Ready(Ok(()));
                    }
                    let (look, stage) = this.gate.look(bytes);
                    this.heard(stage);
                    if look.skip > 0 || look.pass < bytes.len() {
                        this.held.extend_from_slice(&bytes[look.skip..]);
                        this.may_pass = look.pass;
                        this.look_again = look.skip + look.pass > 0;
                        buf.set_filled(before);
                        continue;
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.wire).poll_write_vectored(cx, bufs);
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.wire).poll_flush(cx);
        this.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gate.stage() == Stage::Opaque {
            // HTTP/2, or a tunnel: what comes still has its reader.
            return self.poll_parting(cx);
        }
        // All is sent.
        if self.gate.open_ended.swap(false, Ordering::Relaxed) {
            self.wire.stream().resets(false);
        }
        // Without a rest it is closed at once, which says the same; with one that
        // nobody reads, closing would take the answer back.
        let held = self.refused || !self.held.is_empty();
        let rest = held || self.gate.has_unread() || self.wire.has_news();
        let lingers = rest && !self.ended;
        if lingers || self.wire.is_tls() {
            ready!(self.poll_parting(cx))?;
        }
        if lingers {
            tokio::spawn(linger(self.wire.stream().clone()));
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads what the client still sends, so that closing does not cut it off from
/// its answer.
pub(super) async fn linger(mut stream: SharedStream) {
    use tokio::io::AsyncReadExt;
    let all = async {
        let mut buffer = [0; STEP];
        let mut left = LINGER_BYTES;
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            left = match left.checked_sub(read) {
                Some(left) => left,
                None => return,
            };
        }
    };
    // Out of time is as good an end as any.
    let _ = tokio::time::timeout(LINGER, all).await;
}

/// Since when nothing has come.
#[derive(Default)]
struct Silence {
    since: Option<Instant>,
    alarm: Alarm,
}

impl Silence {
    fn end(&mut self) {
        self.since = None;
    }

    /// Ready when nothing has come for this long.
    fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.alarm.poll(cx, since + limit)
    }
}
