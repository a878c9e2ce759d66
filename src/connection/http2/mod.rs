//! HTTP/2 with prior knowledge on one connection.
//!
//! ```text
//!   wire ─▶ metered ─▶ h2 ─▶ admitted ─▶ stream     a task per stream, which ends with its request
//!              │ calm             └─ head           what is refused at once
//!   Served ──a drain, a handover, too old, idle──▶ two GOAWAY ──everything answered──▶ closed
//!     └──an offence, a head that does not come──▶ GOAWAY, closed
//! ```
//! Promises: in a drain, and in a handover, the client learns by a GOAWAY for all streams that it shall not begin
//! another, one round trip later by a second one which were taken (RFC 9113, section 6.8; h2 sends
//! both); everything taken is answered, and a client that still reads is not cut off. A tunnel is one
//! stream among the others (RFC 8441). What one connection can make us hold is bounded:
//!
//! | what | at most | by default |
//! |---|---|---|
//! | content that nobody has taken | [`CONNECTION_WINDOW`] | 1 MiB |
//! | small frames of it that nobody has taken, h2's entries | [`UNREAD_FRAMES`] | 4 MiB |
//! | answers that nobody has taken | `limits.streams` × ([`SEND_BUFFER`] + a piece) | 8 MiB + 128 pieces |
//! | heads of requests that run | `limits.streams` × [`list_size`] | 128 × 65 KiB |
//! | streams reset that are remembered | [`RESET_STREAMS`] × 0.5 KiB | 128 KiB |
//! | streams reset before they were admitted | [`UNADMITTED_RESETS`] × (0.5 KiB + a head) | ends the connection before |
//! | frames read ahead, frames to be written | h2's buffers | 8 KiB + 16 KiB, also when idle |
//! | tables of header compression | 4 KiB per direction, with what their entries cost | 8 KiB |
//!
//! Must not know: what a request is answered with.

mod calm;
mod carried;
mod content;
pub mod head;
mod leftover;
mod metered;
mod stream;
mod trailers;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{self, Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::time::Sleep;

pub(super) use self::content::Content;

use self::metered::{Gauge, Metered};
use self::stream::Stream;
use super::arriving::Arriving;
use super::exchange;
use super::flight::Flight;
use super::linger;
use super::local::Stage;
use super::seat::{Eviction, Seat};
use super::wire::Wire;
use crate::config::settings::Limits;
use crate::policy::expect;

/// What one client may send ahead of an endpoint that does not read: per stream, and in all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What waits per stream for a client that does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// What h2 may need to hold frames of less than 256 bytes that nobody has taken: 16 000 messages of gRPC
/// for endpoints that do not read. h2's own measure would end a connection with 2 000.
const UNREAD_FRAMES: usize = 4 * 1024 * 1024;
/// Streams whose late frames are ignored after a reset, for so long: more than may run, since all of
/// them may be answered while their content still comes, and longer than a slow network's round trip.
const RESET_STREAMS: usize = 256;
const RESET_TIME: Duration = Duration::from_secs(5);
/// The meter ends a client before it gets so far; a read holds no more of them.
const UNADMITTED_RESETS: usize = 1024;

/// How many requests one connection begins before it lets others go first.
const TURN: usize = 16;

/// After a cut, or with nothing in flight after a GOAWAY, until the connection is dropped.
const LAST_WORDS: Duration = Duration::from_millis(500);
const SILENT_CLIENT: Duration = Duration::from_secs(5);
/// Between two lines about offenders, on one thread.
const LINES: Duration = Duration::from_secs(1);

type Connection = server::Connection<Metered, Bytes>;

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
    let wire = Rc::new(RefCell::new(wire));
    let metered = Metered::new(&wire);
    let gauge = metered.gauge();
    let Some(connection) = begin(metered, &gauge, seat, &limits).await else { return };
    let served = Served { connection, seat, gauge, limits, leaving: None, ended: None, patience: None };
    let end = served.await;
    if let (End::Said, Some(wire)) = (end, Rc::into_inner(wire)) {
        linger::close(wire.into_inner(), seat).await;
    }
}

/// Sends our SETTINGS. The preface is here already.
async fn begin(metered: Metered, gauge: &Gauge, seat: &Seat, limits: &Limits) -> Option<Connection> {
    gauge.begin_turn();
    let mut handshake = pin!(builder(limits).handshake(metered));
    let begun = std::future::poll_fn(|cx| {
        seat.attend(cx);
        seat.expect(gauge.owed_since().map(|since| (since + limits.head_time, Eviction::SlowHead)));
        if seat.eviction().is_some() || matches!(seat.local().stage(), Stage::Cut { .. }) {
            return Poll::Ready(None);
        }
        handshake.as_mut().poll(cx).map(Some)
    });
    match begun.await? {
        Ok(connection) => Some(connection),
        Err(error) => {
            tracing::debug!("cannot begin with HTTP/2: {error}");
            None
        }
    }
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(u32::try_from(limits.streams).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(list_size(limits))
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_TIME)
        .max_pending_accept_reset_streams(UNADMITTED_RESETS)
        // h2 never forgives one, so that a proxy's connection would end after some days; the meter does.
        .max_local_error_reset_streams(None)
        .data_frame_budget(UNREAD_FRAMES)
        .enable_connect_protocol();
    builder
}

/// What h2 takes of a head (RFC 9113, section 6.5.2, counts 32 bytes for each field): more than the
/// limits, so that it is hitless that refuses what is beyond them. h2 refuses without an id and a line.
fn list_size(limits: &Limits) -> u32 {
    const SLACK: u64 = 16 * 1024;
    const PSEUDO_FIELDS: u64 = 5;
    let fields = (limits.field_count.saturating_add(PSEUDO_FIELDS)).saturating_mul(32);
    let sizes = [limits.request_line, limits.fields, fields, SLACK];
    let size = sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Drives h2, and watches for what ends a connection from outside.
struct Served<'a> {
    connection: Connection,
    seat: &'a Rc<Seat>,
    gauge: Rc<Gauge>,
    limits: Limits,
    /// Since when it has been asked to leave.
    leaving: Option<Instant>,
    /// Since when it has been told to go at once.
    ended: Option<Instant>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Future for Served<'_> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = &mut *self;
        this.seat.attend(cx);
        match this.seat.eviction() {
            None => {}
            Some(Eviction::Idle) => this.leave(),
            Some(Eviction::SlowHead) => this.refuse_slow_head(),
            Some(_) => return Poll::Ready(End::Dropped),
        }
        // It cannot move: in a handover it goes as in a drain.
        if !this.seat.local().is_serving() {
            this.leave();
        }
        this.gauge.begin_turn();
        if this.poll_requests(cx).is_ready() {
            return Poll::Ready(End::Said);
        }
        if let Some(offence) = this.gauge.offence().filter(|_| this.ended.is_none()) {
            warn(this.seat, &offence);
            this.end(offence.reason());
            if this.poll_requests(cx).is_ready() {
                return Poll::Ready(End::Said);
            }
        }
        this.seat.expect(this.expected());
        this.poll_patience(cx).map(|()| End::Dropped)
    }
}

impl Served<'_> {
    /// Ready when h2 has nothing more to do.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURN {
            match ready!(self.connection.poll_accept(cx)) {
                Some(Ok((request, respond))) => self.admit(request, respond),
                Some(Err(error)) => {
                    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                        warn(self.seat, &error);
                    } else {
                        tracing::debug!("an HTTP/2 connection ended: {error}");
                    }
                    return Poll::Ready(());
                }
                None => return Poll::Ready(()),
            }
        }
        // What has begun, and everybody else on this thread, goes first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn admit(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (parts, stream) = request.into_parts();
        let mut request = Request::from_parts(parts, ());
        let guard = Flight::admit(self.seat, &request);
        let flight = Rc::clone(guard.flight());
        let leftover = leftover::Slot::default();
        let exchange = match head::check(&request, &self.limits) {
            Ok(length) => {
                // What else it may expect is refused where all requests are.
                let waits = expect::awaits_continue(request.version(), request.headers_mut());
                let waiting = waits.is_ok_and(|waits| waits).then_some(&flight);
                let content = Content::new(stream, &leftover, length, waiting, &self.limits, &self.gauge);
                exchange::begin(guard, request.map(|()| Arriving::Http2(content)))
            }
            Err(failure) => {
                leftover.set(Some(stream));
                exchange::turn_away(guard, failure, request)
            }
        };
        let stream = Stream::new(flight, Rc::clone(&self.gauge), respond, exchange, leftover);
        tokio::task::spawn_local(stream);
        if self.limits.keep_alive_requests.is_some_and(|most| self.seat.requests() >= most) {
            self.leave();
        }
    }

    /// Everything taken is answered, and nothing new is taken.
    fn leave(&mut self) {
        if self.leaving.is_none() {
            self.leaving = Some(Instant::now());
            self.connection.graceful_shutdown();
        }
    }

    /// At once; all streams are reset.
    fn end(&mut self, reason: Reason) {
        self.ended = Some(Instant::now());
        self.connection.abrupt_shutdown(reason);
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
        if let Some(since) = self.gauge.owed_since() {
            return Some((since + self.limits.head_time, Eviction::SlowHead));
        }
        let keep = self.limits.keep_alive.filter(|_| self.seat.is_idle() && self.leaving.is_none())?;
        // The last bytes of an answer may still wait for a slow reader.
        if self.connection.has_streams() {
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
