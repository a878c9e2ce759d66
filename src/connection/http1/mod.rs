//! HTTP/1.0 and HTTP/1.1 on one connection, from its first byte to its last.
//!
//! ```text
//!   ┌▶ Head ──a whole one──▶ Request ──answered──┬──▶ Head                            kept alive
//!   │    │ └─refused, late─▶ Request, its last   ├──▶ Rest ──content thrown away──▶ Head
//!   │    │                      │                ├──▶ closed, lingering
//!   │    │                      │                └──▶ tunnel                          101, CONNECT
//!   │    │                      └─client gone, cut, answer broke off──▶ closed or reset
//!   │    ├─idle for too long ─▶ last look ─┬─ nothing is there ──▶ closed
//!   └────│─────────────────────────────────┴─ a request is there
//!        └─the thread hands over ─▶ moved, with what is unread
//! ```
//! All of a connection is one future, polled by one task: it reads heads, runs the exchange of one
//! request, writes its answer. The request's content is read by its consumer (`reading`), beside the
//! answer. In `Head` with nothing unread a connection is no more than its [`Wire`].
//!
//! Promises: one request at a time, answered in order; what comes behind one waits, bounded; nothing of a
//! content is ever taken for a request. What is refused is a request too: it has an id, is
//! logged and counted, and is answered like every failure. An idle connection is not closed while a
//! request waits in it, and in a drain each answer says `Connection: close`. In a handover a connection
//! moves in `Head`, whatever of a head is there, unless its client has sent its end; nothing is read after
//! that is decided. An answer that broke off never looks complete. An idle connection holds no buffer.
//! Must not know: what a request is answered with.

mod reading;
mod request;
mod writing;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use self::reading::Reading;
use self::request::Request;
use super::linger;
use super::local::Stage;
use super::moving;
use super::preface::{Protocol, protocol};
use super::seat::{Eviction, Seat};
use super::tunnel::Tunnel;
use super::wire::{Gulp, Wire};
use crate::config::settings;
use crate::http1::{Glimpse, Limits, Refusal, head};
use crate::response::Failure;

pub(super) use self::reading::Reader;

/// After a cut, to write what is written to everybody.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a connection ends.
enum End {
    /// In peace: what has been written shall arrive.
    Closed,
    /// So that the client can see that something is missing.
    Reset,
    /// There is nobody any more.
    Gone,
    Tunnel(Box<Tunnel>),
    /// Not here: it goes on in another gateway.
    Moved,
    /// It speaks HTTP/2 instead.
    Http2,
}

/// Serves until the connection ends; gives it back if it speaks HTTP/2.
pub(super) async fn serve(wire: Wire, seat: &Rc<Seat>) -> Option<Wire> {
    Connection::new(wire, seat).serve().await
}

/// Answers what came by this failure, and ends the connection.
pub(super) async fn refuse(wire: Wire, seat: &Rc<Seat>, failure: Failure) {
    let mut connection = Connection::new(wire, seat);
    connection.refuse(failure);
    connection.serve().await;
}

struct Connection<'a> {
    wire: Wire,
    seat: &'a Rc<Seat>,
    phase: Phase,
    /// Those of the head being read, and of its trailers.
    limits: Limits,
    /// The end of the grace of a drain, or of a cut.
    grace: Option<Pin<Box<Sleep>>>,
}

enum Phase {
    /// Between requests.
    Head(head::Reader),
    Request(Box<Request>),
    /// The rest of the content of a request that has been answered.
    Rest(Rc<Reading>),
}

const HEAD: Phase = Phase::Head(head::Reader::NEW);

impl<'a> Connection<'a> {
    fn new(wire: Wire, seat: &'a Rc<Seat>) -> Connection<'a> {
        Connection { wire, seat, phase: HEAD, limits: limits(&settings::Limits::default()), grace: None }
    }

    async fn serve(mut self) -> Option<Wire> {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        let Connection { wire, seat, .. } = self;
        match end {
            End::Http2 => return Some(wire),
            End::Gone => {}
            End::Reset => wire.reset_on_close(),
            End::Closed => Box::pin(linger::close(wire, seat)).await,
            End::Moved => moving::depart(wire, seat),
            End::Tunnel(tunnel) => Box::pin(tunnel.run(seat, wire)).await,
        }
        None
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.seat.attend(cx);
        loop {
            if self.departs() {
                return Poll::Ready(End::Moved);
            }
            if let Err(end) = self.heed_eviction() {
                return Poll::Ready(end);
            }
            let polled = match &mut self.phase {
                Phase::Head(_) => self.poll_head(cx),
                Phase::Request(request) => {
                    request.poll(&self.wire, self.seat, cx).map(|done| done.and_then(|()| self.answered()))
                }
                Phase::Rest(reading) => reading
                    .poll_discard(&self.wire, cx)
                    .map(|done| done.map(|()| self.await_request()).map_err(|()| End::Closed)),
            };
            let polled = match polled {
                Poll::Ready(polled) => polled,
                Poll::Pending => ready!(self.poll_leaving(cx)),
            };
            if let Err(end) = polled {
                self.forsake();
                return Poll::Ready(end);
            }
        }
    }

    /// Whether it goes on elsewhere, as it is. For who has sent its end, all that is left to do is done here.
    fn departs(&self) -> bool {
        matches!(self.phase, Phase::Head(_)) && !self.seat.has_ended() && self.seat.shall_move()
    }

    /// Reads until a request begins, or what was to be one is refused.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            match self.begin_request() {
                Err(end) => return Poll::Ready(Err(end)),
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
            }
            if self.seat.has_ended() {
                return Poll::Ready(self.ended());
            }
            if ready!(self.wire.poll_fill(Gulp::Small, cx)).is_err() {
                return Poll::Ready(Err(End::Gone));
            }
        }
    }

    /// Begins the request whose head is here, or refuses it; whether there is one.
    fn begin_request(&mut self) -> Result<bool, End> {
        let Phase::Head(reader) = &mut self.phase else { return Ok(true) };
        let mut unread = self.wire.unread();
        if unread.is_empty() {
            return Ok(false);
        }
        // With TLS it has been agreed on (RFC 9113, section 3.2).
        if self.seat.requests() == 0 && !self.seat.is_sealed() {
            match protocol(&unread) {
                None if !self.seat.has_ended() => return Ok(false),
                Some(Protocol::Http2) => return Err(End::Http2),
                None | Some(Protocol::Http1) => {}
            }
        }
        if !reader.has_begun() {
            self.limits = limits(&self.seat.local().generation().blueprint.settings.limits);
        }
        let read = reader.request(&mut unread, &self.limits);
        drop(unread);
        match read {
            Ok(None) => return Ok(false),
            Ok(Some(head)) => {
                let request = Request::begin(&self.wire, self.seat, head, self.limits);
                self.phase = Phase::Request(request);
            }
            Err(refusal) => self.refuse(failure(refusal, &self.limits)),
        }
        Ok(true)
    }

    /// Answers what is here of a head by a failure; it is the last answer.
    fn refuse(&mut self, failure: Failure) {
        let known = Glimpse::of(&self.wire.unread());
        self.phase = Phase::Request(Request::refused(&self.wire, self.seat, known, failure));
    }

    /// The client has sent its last byte, and no whole head.
    fn ended(&mut self) -> Result<(), End> {
        if self.has_begun() {
            self.refuse(Failure::BadRequest("its head breaks off"));
            Ok(())
        } else {
            Err(End::Closed)
        }
    }

    /// Whether something of a head is here. The empty line that may come before one is nothing.
    fn has_begun(&self) -> bool {
        let unread = self.wire.unread();
        let begun = !matches!(&unread[..], b"" | b"\r\n") || self.wire.holds_partial();
        begun && matches!(self.phase, Phase::Head(_))
    }

    /// The answer is written: what comes next?
    fn answered(&mut self) -> Result<(), End> {
        let phase = std::mem::replace(&mut self.phase, HEAD);
        if let Phase::Request(request) = phase
            && let Some(rest) = request.end()?
        {
            self.seat.awaits_rest();
            self.phase = Phase::Rest(rest);
        } else {
            self.await_request();
        }
        Ok(())
    }

    fn await_request(&mut self) {
        self.phase = HEAD;
        self.seat.awaits_request();
        self.wire.rest();
        if !self.wire.unread().is_empty() {
            self.seat.heard();
        }
    }

    /// The connection ends in the middle of something.
    fn forsake(&mut self) {
        if let Phase::Request(request) = std::mem::replace(&mut self.phase, HEAD) {
            request.forsake();
        }
    }

    fn heed_eviction(&mut self) -> Result<(), End> {
        match (self.seat.take_eviction(), &self.phase) {
            (Some(Eviction::SlowReader), Phase::Request(_)) => {
                self.forsake();
                Err(End::Reset)
            }
            (Some(Eviction::SlowHead), Phase::Rest(_)) => Err(End::Closed),
            (Some(Eviction::SlowHead), Phase::Head(_)) if self.has_begun() => {
                let limit = self.seat.local().generation().blueprint.settings.limits.head_time;
                self.refuse(Failure::SlowHead(limit));
                Ok(())
            }
            (Some(Eviction::SlowHead | Eviction::Idle), Phase::Head(_)) => self.last_look(),
            // It was meant for what has ended meanwhile.
            _ => Ok(()),
        }
    }

    /// Before an idle connection is closed.
    fn last_look(&mut self) -> Result<(), End> {
        if !self.has_begun() {
            self.phase = HEAD;
            self.wire.unread().clear();
        }
        if self.wire.has_something() { Ok(()) } else { Err(End::Closed) }
    }

    /// Ready when the thread's stage asks something of this connection.
    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let idle = matches!(self.phase, Phase::Head(_)) && !self.has_begun();
        match self.seat.local().stage() {
            Stage::Draining { since, order } if idle => {
                ready!(self.poll_at(since.max(self.seat.idle_since()) + order.idle_grace, cx));
                Poll::Ready(self.last_look())
            }
            Stage::HandingOver { since } if idle && let Some(at) = self.seat.stays(since) => {
                let grace = self.seat.local().generation().blueprint.settings.drain.idle_grace;
                ready!(self.poll_at(at.max(self.seat.idle_since()) + grace, cx));
                Poll::Ready(self.last_look())
            }
            Stage::Serving | Stage::HandingOver { .. } | Stage::Draining { .. } => Poll::Pending,
            Stage::Cut { .. } if idle => Poll::Ready(self.last_look()),
            // What is in flight has had its turn: it was answered with 503, or broke off.
            Stage::Cut { since } => {
                ready!(self.poll_at(since + LAST_WORDS, cx));
                Poll::Ready(Err(End::Reset))
            }
        }
    }

    fn poll_at(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let grace = self.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if grace.deadline() != at.into() {
            grace.as_mut().reset(at.into());
        }
        grace.as_mut().poll(cx)
    }
}

fn limits(limits: &settings::Limits) -> Limits {
    let bounded = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    Limits {
        line: bounded(limits.request_line),
        fields: bounded(limits.fields),
        count: bounded(limits.field_count),
    }
}

/// What a refused head comes to.
fn failure(refusal: Refusal, limits: &Limits) -> Failure {
    match refusal {
        Refusal::Malformed(reason) => Failure::BadRequest(reason),
        Refusal::UnsupportedVersion => Failure::UnsupportedVersion,
        Refusal::UnknownCoding => Failure::UnknownCoding,
        Refusal::LongLine => Failure::LongRequestLine(limits.line as u64),
        Refusal::LongFields => Failure::LongFields(limits.fields as u64),
        Refusal::ManyFields => Failure::ManyFields(limits.count as u64),
    }
}
