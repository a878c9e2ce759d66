//! HTTP/2 with prior knowledge on one connection.
//!
//! ```text
//!   wire ─▶ session ─▶ admitted ─▶ stream     a task per stream, which ends with its request
//!             │ calm       └─ head            what is refused at once
//!   wire ◀─ outbox ◀─ sending ◀─ stream       what the streams of one turn have to say is one write
//!   Served ──a drain, a handover, too old, idle──▶ two GOAWAY ──everything answered──▶ closed
//!     └──an offence, an error, a head that does not come──▶ GOAWAY, closed
//! ```
//! Promises: in a drain, and in a handover, the client learns by a GOAWAY for all streams that it shall not begin
//! another, one round trip later by a second one which were taken (RFC 9113, section 6.8); everything taken is answered, and a client that still reads is not cut off. A tunnel is one
//! stream among the others (RFC 8441). What one connection can make us hold is bounded:
//!
//! | what | at most | by default |
//! |---|---|---|
//! | content that nobody has taken | twice [`CONNECTION_WINDOW`], since pieces grow | 2 MiB |
//! | answers that nobody has taken | `limits.streams` × ([`SEND_BUFFER`] + a piece) | 8 MiB + 128 pieces |
//! | heads of requests that run | `limits.streams` × the limits of a head | 128 × 44 KiB |
//! | a head that is being received | 17 frames | 272 KiB, while it comes |
//! | streams reset that are remembered | [`RESET_STREAMS`] × 16 bytes | 4 KiB |
//! | a frame that is being received, and what was read behind it | 16 KiB and a read | 32 KiB (82 KiB over TLS), none when idle |
//! | frames to be written | [`outbox::ROOM`] and a frame: of the answers above | 80 KiB, none when idle |
//! | tables of header compression | 4 KiB for requests, none for answers | 4 KiB |
//!
//! Must not know: what a request is answered with.

mod calm;
mod carried;
mod content;
mod flow;
pub mod head;
mod lane;
mod leftover;
mod messages;
mod outbox;
mod sending;
mod session;
mod stream;
mod streams;

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Method, Request, Version};
use tokio::time::Sleep;

pub(super) use self::content::Content;
pub(super) use self::lane::Arrival;

use self::lane::Lane;
use self::messages::Asked;
use self::outbox::SLICES;
use self::session::Session;
use self::stream::Stream;
use super::arriving::Arriving;
use super::exchange::{self, Exchange};
use super::flight::Flight;
use super::linger;
use super::local::Stage;
use super::rate::Common;
use super::seat::{Eviction, Seat};
use super::wire::{Gulp, Wire};
use crate::config::settings::Limits;
use crate::http1::Glimpse;
use crate::http2::Reason;
use crate::policy::expect;
use crate::response::Failure;

/// What one client may send ahead of an endpoint that does not read: per stream, and in all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What waits per stream for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams whose late frames are ignored after a reset, for so long: more than may run, since all of
/// them may be answered while their content still comes, and longer than a slow network's round trip.
const RESET_STREAMS: usize = 256;
const RESET_TIME: Duration = Duration::from_secs(5);

/// How many requests one connection begins before it lets others go first.
const TURN: usize = 16;

/// After a cut, or with nothing in flight after a GOAWAY, until the connection is dropped.
const LAST_WORDS: Duration = Duration::from_millis(500);
const SILENT_CLIENT: Duration = Duration::from_secs(5);
/// Between two lines about offenders, on one thread.
const LINES: Duration = Duration::from_secs(1);

/// How a connection has ended.
enum End {
    /// Its last word has been said.
    Said,
    Dropped,
}

/// Serves until the connection ends.
pub(super) async fn serve(wire: Wire, seat: &Rc<Seat>) {
    seat.multiplex();
    let limits = seat.local().generation().blueprint.settings.limits.clone();
    let now = Instant::now();
    let session = Shared(Rc::new(RefCell::new(Session::new(limits.clone(), now))));
    let common = Rc::new(Common::new(now));
    let mut served =
        Served { wire, seat, session, common, limits, leaving: None, ended: None, patience: None };
    let end = std::future::poll_fn(|cx| served.poll(cx)).await;
    let Served { wire, session, .. } = served;
    drop(session);
    if let End::Said = end {
        linger::close(wire, seat).await;
    }
}

/// What is said of the largest head that we take (RFC 9113, section 6.5.2, counts 32 bytes for each field): more than
/// the limits, so that what is refused is refused with an answer.
fn list_size(limits: &Limits) -> u32 {
    const SLACK: u64 = 16 * 1024;
    const PSEUDO_FIELDS: u64 = 5;
    let fields = (limits.field_count.saturating_add(PSEUDO_FIELDS)).saturating_mul(32);
    let sizes = [limits.request_line, limits.fields, fields, SLACK];
    let size = sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// The streams learn of the connection's end, whatever it is.
struct Shared(Rc<RefCell<Session>>);

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.borrow_mut().lose();
    }
}

/// Moves bytes between the wire and the session, and watches for what ends a connection from outside.
struct Served<'a> {
    wire: Wire,
    seat: &'a Rc<Seat>,
    session: Shared,
    common: Rc<Common>,
    limits: Limits,
    /// Since when it has been asked to leave.
    leaving: Option<Instant>,
    /// Since when it has been told to go at once.
    ended: Option<Instant>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Served<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.seat.attend(cx);
        self.session.0.borrow_mut().attend(cx);
        match self.seat.eviction() {
            None => {}
            Some(Eviction::Idle) => self.leave(),
            Some(Eviction::SlowHead) => self.refuse_slow_head(),
            Some(_) => return Poll::Ready(End::Dropped),
        }
        // It cannot move: in a handover it goes as in a drain.
        if !self.seat.local().is_serving() {
            self.leave();
        }
        if let Poll::Ready(ended) = self.poll_requests(cx) {
            if let Err(error) = ended {
                tracing::debug!("an HTTP/2 connection ended: {error}");
            }
            return Poll::Ready(End::Said);
        }
        self.heed_session();
        loop {
            if let Err(error) = self.write(cx) {
                tracing::debug!("an HTTP/2 connection ended: {error}");
                return Poll::Ready(End::Said);
            }
            if !self.heed_session() {
                break;
            }
        }
        if self.session.0.borrow().is_done() {
            return Poll::Ready(End::Said);
        }
        self.seat.expect(self.expected());
        self.session.0.borrow_mut().settle();
        self.poll_patience(cx).map(|()| End::Dropped)
    }

    /// Ready when the client has sent its last byte.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (mut begun, mut now) = (0, Instant::now());
        self.session.0.borrow_mut().tick(now);
        loop {
            loop {
                let asked = self.session.0.borrow_mut().receive(&mut self.wire.unread(), now);
                let Some(asked) = asked else { break };
                self.admit(asked);
                begun += 1;
                if begun == TURN {
                    // What has begun, and everybody else on this thread, goes first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            if !self.session.0.borrow().is_listening() {
                return Poll::Pending;
            }
            match self.wire.poll_fill(Gulp::Small, cx) {
                Poll::Pending => {
                    self.wire.rest();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => now = Instant::now(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes what is due, as far as the client takes it.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let session = &mut *self.session.0.borrow_mut();
        session.conclude();
        loop {
            session.pump();
            if session.outbox.is_empty() {
                session.rest();
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = session.outbox.slices(&mut slices);
            match self.wire.poll_write(&slices[..count], cx) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => session.wrote(written?),
                Poll::Pending => {
                    session.meter.block();
                    return Ok(());
                }
            }
        }
    }

    /// Whether the session has found an end, which is to be told.
    fn heed_session(&mut self) -> bool {
        let session = self.session.0.borrow();
        if self.ended.is_some() || !(session.has_ended() || session.offence().is_some()) {
            return false;
        }
        let offence = session.offence();
        drop(session);
        match offence {
            Some(offence) => {
                warn(self.seat, &offence);
                self.end(offence.reason());
            }
            None => self.ended = Some(Instant::now()),
        }
        true
    }

    fn admit(&mut self, asked: Asked) {
        let Asked { stream, request, long, whole } = asked;
        let lane = Lane::new(&self.session.0, stream);
        let (flight, exchange) = match request {
            Some(request) => self.begin(request, long, whole, &lane),
            None => self.refuse_unread(),
        };
        tokio::task::spawn_local(Stream::new(flight, &self.common, exchange, lane));
        if self.limits.keep_alive_requests.is_some_and(|most| self.seat.requests() >= most) {
            self.leave();
        }
    }

    fn begin(
        &self,
        mut request: Request<()>,
        long: bool,
        whole: bool,
        lane: &Lane,
    ) -> (Rc<Flight>, Exchange) {
        let guard = Flight::admit(self.seat, &request);
        let flight = Rc::clone(guard.flight());
        let checked = match long {
            true => Err(Failure::LongFields(self.limits.fields)),
            false => head::check(&request, &self.limits),
        };
        let exchange = match checked {
            Ok(length) => {
                // What else it may expect is refused where all requests are.
                let waits = expect::awaits_continue(request.version(), request.headers_mut());
                let waiting = waits.is_ok_and(|waits| waits).then_some(&flight);
                let arriving = match whole && *request.method() != Method::CONNECT {
                    true => Arriving::Nothing,
                    false => Arriving::Http2(Content::new(lane.arrival(), length, waiting)),
                };
                exchange::begin(guard, request.map(|()| arriving))
            }
            Err(failure) => {
                lane.discard();
                exchange::turn_away(guard, failure, request)
            }
        };
        (flight, exchange)
    }

    /// So long that nothing is known of it.
    fn refuse_unread(&self) -> (Rc<Flight>, Exchange) {
        let known = Glimpse { version: Some(Version::HTTP_2), ..Glimpse::default() };
        let guard = Flight::admit_broken(self.seat, known);
        let flight = Rc::clone(guard.flight());
        let response = exchange::refuse_broken(guard, Failure::LongFields(self.limits.fields));
        (flight, Box::pin(std::future::ready(Ok(response))))
    }

    /// Everything taken is answered, and nothing new is taken.
    fn leave(&mut self) {
        if self.leaving.is_none() {
            self.leaving = Some(Instant::now());
            self.session.0.borrow_mut().leave();
        }
    }

    /// At once; all streams are given up.
    fn end(&mut self, reason: Reason) {
        self.ended = Some(Instant::now());
        self.session.0.borrow_mut().end(reason);
    }

    fn refuse_slow_head(&mut self) {
        if self.ended.is_none() {
            let limit = self.limits.head_time;
            tracing::debug!("a head took longer than limits.head-time, {limit:?}, closing its connection");
            self.end(Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// What the client has to do next, until when, and what else is its end.
    fn expected(&self) -> Option<(Instant, Eviction)> {
        if let Some(since) = self.session.0.borrow().owed_since() {
            return Some((since + self.limits.head_time, Eviction::SlowHead));
        }
        let keep = self.limits.keep_alive.filter(|_| self.seat.is_idle() && self.leaving.is_none())?;
        // The last bytes of an answer may still wait for a slow reader.
        if self.session.0.borrow().has_streams() {
            return Some((self.seat.wrote_at() + keep, Eviction::SlowReader));
        }
        Some((self.seat.idle_since() + keep, Eviction::Idle))
    }

    /// Ready when a client that does not answer the GOAWAY has been waited for long enough.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let cut = match self.seat.local().stage() {
                Stage::Cut { since } => Some(since),
                _ => self.ended,
            };
            let at = match (cut, self.leaving) {
                (Some(since), _) => since + LAST_WORDS,
                (None, Some(since)) => {
                    since.max(self.seat.idle_since()).max(self.seat.wrote_at()) + SILENT_CLIENT
                }
                (None, None) => return Poll::Pending,
            };
            let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
            if patience.deadline() != at.into() {
                patience.as_mut().reset(at.into());
            }
            ready!(patience.as_mut().poll(cx));
            if self.seat.is_idle() || cut.is_some() {
                return Poll::Ready(());
            }
            // Requests are in flight: their end begins a new wait.
            if Instant::now() >= at {
                return Poll::Pending;
            }
        }
    }
}

/// An offender is worth a line, but not one of each of its connections.
fn warn(seat: &Seat, offence: &dyn std::fmt::Display) {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
        static UNTOLD: Cell<u64> = const { Cell::new(0) };
    }
    let now = Instant::now();
    if LAST.get().is_some_and(|last| now.saturating_duration_since(last) < LINES) {
        return UNTOLD.set(UNTOLD.get() + 1);
    }
    LAST.set(Some(now));
    let client = seat.address().map(|address| address.to_string());
    tracing::warn!(
        client = client.as_deref().unwrap_or("-"),
        untold = UNTOLD.take(),
        "ended an HTTP/2 connection that asks too much: {offence}",
    );
}
