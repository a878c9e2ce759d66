//! One request of a connection: its exchange, its answer, and whether its client is still there.
//!
//! ```text
//!   exchange ──head──▶ answering ──written──▶ complete
//!      └─ interim answers, 100 Continue, before the head
//! ```
//! Promises: interim answers are written in order, before the answer, and only to clients that know
//! them (RFC 9110, section 15.2). The connection is announced to end whenever what follows the request
//! on it would not be found: its content is not read to its end, or the answer has no other end
//! (RFC 9112, sections 6.3 and 9.6).
//! Must not know: when a connection is idle.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};

use super::End;
use super::reading::Reading;
use super::writing::{Answering, Output, Progress};
use crate::connection::arriving::Arriving;
use crate::connection::body::Body;
use crate::connection::exchange::{self, Exchange};
use crate::connection::flight::Flight;
use crate::connection::presence::Presence;
use crate::connection::seat::Seat;
use crate::connection::tunnel::Tunnel;
use crate::connection::wire::{Gulp, Wire};
use crate::http1::head::content_length;
use crate::http1::{Framing, Glimpse, Limits, RequestHead, encode};
use crate::response::{Failure, head, hygiene};

/// The longest rest of a content that is read and thrown away so that the connection can go on.
const REST: u64 = 64 * 1024;

/// The most that is read of what comes behind a request, so that its client's end is seen.
const BEHIND: usize = 64 * 1024;

pub(super) struct Request {
    flight: Rc<Flight>,
    /// Until the head of the answer.
    exchange: Option<Exchange>,
    /// From then on.
    answering: Option<Answering>,
    tunnel: Option<Box<Tunnel>>,
    /// `None`: it has no content.
    reading: Option<Rc<Reading>>,
    output: Output,
    presence: Presence,
    /// How much may be read of what comes behind it.
    behind: usize,
    keep_alive: bool,
}

impl Request {
    pub(super) fn begin(wire: &Wire, seat: &Rc<Seat>, head: RequestHead, limits: Limits) -> Box<Request> {
        let RequestHead { method, target, version, fields, framing, keep_alive } = head;
        let reading = (framing != Framing::NONE).then(|| {
            let expects = version > Version::HTTP_10 && hygiene::lists(&fields, EXPECT, "100-continue");
            Reading::new(wire.share(), Rc::clone(seat), framing, limits, expects)
        });
        let arriving =
            reading.as_ref().map_or(Arriving::Nothing, |reading| Arriving::Http1(reading.reader()));
        let mut request = http::Request::new(arriving);
        *request.method_mut() = method;
        *request.uri_mut() = target;
        *request.version_mut() = version;
        *request.headers_mut() = fields;
        let guard = Flight::admit(seat, &request);
        let flight = Rc::clone(guard.flight());
        let mut begun = Request::new(flight, reading, limits.line.saturating_add(limits.fields).min(BEHIND));
        begun.keep_alive = keep_alive;
        begun.exchange = Some(exchange::begin(guard, request));
        begun
    }

    /// What was to be a request is answered by `failure`, and nothing after it.
    pub(super) fn refused(wire: &Wire, seat: &Rc<Seat>, known: Glimpse, failure: Failure) -> Box<Request> {
        let guard = Flight::admit_broken(seat, known);
        let mut refused = Request::new(Rc::clone(guard.flight()), None, 0);
        let response = exchange::refuse_broken(guard, failure);
        wire.unread().clear();
        refused.answer(seat, response);
        refused
    }

    fn new(flight: Rc<Flight>, reading: Option<Rc<Reading>>, behind: usize) -> Box<Request> {
        Box::new(Request {
            flight,
            exchange: None,
            answering: None,
            tunnel: None,
            reading,
            output: Output::default(),
            presence: Presence::default(),
            behind,
            keep_alive: false,
        })
    }

    /// Ready when its answer is written.
    pub(super) fn poll(
        &mut self,
        wire: &Wire,
        seat: &Rc<Seat>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        loop {
            if let Err(end) = self.poll_exchange(seat, cx) {
                return Poll::Ready(Err(end));
            }
            let progress = match &mut self.answering {
                None => Progress::Waits,
                Some(answering) => match answering.fill(&mut self.output, cx) {
                    Ok(progress) => progress,
                    Err(_) => return Poll::Ready(Err(self.break_off(wire, cx))),
                },
            };
            match self.poll_write(wire, cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::Gone)),
                Poll::Ready(Ok(())) if progress == Progress::Done => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if progress == Progress::Full => {}
                _ => break,
            }
        }
        if let Some(answering) = self.answering.as_mut().filter(|_| self.output.is_full()) {
            answering.poll_sending(cx);
        }
        self.poll_presence(wire, seat, cx).map(|()| Err(End::Gone))
    }

    fn poll_exchange(&mut self, seat: &Rc<Seat>, cx: &mut Context<'_>) -> Result<(), End> {
        let Some(exchange) = &mut self.exchange else { return Ok(()) };
        let polled = exchange.as_mut().poll(cx);
        self.write_interim();
        match polled {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(response)) => self.answer(seat, response),
            Poll::Ready(Err(exchange::Gone)) => return Err(End::Closed),
        }
        self.exchange = None;
        Ok(())
    }

    /// What comes before the answer, as far as the client takes it: an endpoint may send it without end.
    fn write_interim(&mut self) {
        if self.output.is_full() {
            return;
        }
        for interim in self.flight.take_interim() {
            let (mut parts, ()) = interim.into_parts();
            match parts.status {
                // It is said once, and only to who waits for it.
                StatusCode::CONTINUE => {
                    if let Some(reading) = &self.reading {
                        reading.ask();
                    }
                    self.write_continue();
                }
                status if hygiene::passes_interim(status, self.flight.version()) => {
                    hygiene::for_interim(&mut parts.headers);
                    encode::answer(self.output.text(), status, &parts.headers, None);
                }
                _ => {}
            }
        }
        self.write_continue();
    }

    fn write_continue(&mut self) {
        if self.reading.as_ref().is_some_and(|reading| reading.take_due()) {
            encode::answer(self.output.text(), StatusCode::CONTINUE, &HeaderMap::new(), None);
        }
    }

    /// Writes the head of the answer.
    fn answer(&mut self, seat: &Seat, response: Response<Body>) {
        let (mut parts, body) = response.into_parts();
        self.tunnel = seat.take_tunnel();
        let method = self.flight.method();
        let has_content = self.tunnel.is_none() && head::has_content(method, parts.status);
        let framing = if has_content { Some(self.framing(&body)) } else { None };
        if self.tunnel.is_none() {
            self.keep_alive &= framing != Some(Framing::UntilClose) && self.may_follow(seat);
            self.tell_connection(&mut parts.headers);
        }
        let told = framing.or_else(|| match parts.status {
            _ if self.tunnel.is_some() => None,
            StatusCode::RESET_CONTENT => Some(Framing::NONE),
            StatusCode::NO_CONTENT => None,
            status => self.metadata(status, &parts.headers, &body),
        });
        encode::answer(self.output.text(), parts.status, &parts.headers, told);
        self.answering = Some(Answering::new(body, framing, hygiene::takes_trailers(self.flight.version())));
    }

    /// RFC 9112, section 6.3.
    fn framing(&self, body: &Body) -> Framing {
        match http_body::Body::size_hint(body).exact() {
            Some(length) => Framing::Length(length),
            None if self.flight.version() > Version::HTTP_10 => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }

    /// How long the content would be that this answer does not have (RFC 9110, section 8.6).
    fn metadata(&self, status: StatusCode, fields: &HeaderMap, body: &Body) -> Option<Framing> {
        match content_length(fields) {
            Ok(Some(length)) => Some(Framing::Length(length)),
            _ if body.is_whole() && status != StatusCode::NOT_MODIFIED => {
                http_body::Body::size_hint(body).exact().map(Framing::Length)
            }
            _ => None,
        }
    }

    /// Whether another request may follow on the connection.
    fn may_follow(&self, seat: &Seat) -> bool {
        let limits = &self.flight.generation().blueprint.settings.limits;
        let found = self.reading.as_ref().is_none_or(|reading| {
            reading.is_done() || (!reading.is_unasked() && reading.rest().is_some_and(|rest| rest <= REST))
        });
        // Who asks for a tunnel may send into it what it does not choose, before it knows whether there is one.
        let asked_for_tunnel = *self.flight.method() == Method::CONNECT;
        found
            && !asked_for_tunnel
            && !self.flight.ends_connection()
            && !seat.is_leaving()
            && limits.keep_alive != Some(Duration::ZERO)
            && limits.keep_alive_requests.is_none_or(|limit| seat.requests() < limit)
    }

    /// RFC 9112, section 9.3 and appendix C.2.2.
    fn tell_connection(&self, fields: &mut HeaderMap) {
        if !self.keep_alive {
            fields.append(CONNECTION, HeaderValue::from_static("close"));
        } else if self.flight.version() == Version::HTTP_10 {
            fields.append(CONNECTION, HeaderValue::from_static("keep-alive"));
        }
    }

    /// Writes what waits, without what the client has got of it ahead.
    fn poll_write(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.output.is_empty() {
            let ahead = self.presence.take_ahead();
            self.output.advance(ahead);
        }
        let before = self.output.len();
        let polled = self.output.poll_write(wire, cx);
        let left = self.output.len();
        self.flight.pace().wrote(before - left, left);
        polled
    }

    /// The answer cannot be finished; the client gets what there is of it, as far as it takes it now.
    fn break_off(&mut self, wire: &Wire, cx: &mut Context<'_>) -> End {
        let _ = self.poll_write(wire, cx);
        match &self.answering {
            // Where the end of the connection would be the end of the answer it is a reset; elsewhere that
            // might destroy what has been sent so far.
            Some(answering) if answering.is_unframed() => End::Reset,
            _ => End::Closed,
        }
    }

    /// Ready when the client has gone.
    fn poll_presence(&mut self, wire: &Wire, seat: &Seat, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_end_of_client(wire, seat, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(()),
            // It is writing that tells, and a slow reader has a watch of its own.
            Poll::Ready(Ok(())) if !self.output.is_empty() => Poll::Pending,
            Poll::Ready(Ok(())) => self.presence.poll_gone(wire, seat, self.answering.is_some(), cx),
        }
    }

    /// Ready when the client has sent its last byte. Reads what comes behind the request, up to a bound.
    fn poll_end_of_client(
        &self,
        wire: &Wire,
        seat: &Seat,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            if seat.has_ended() {
                return Poll::Ready(Ok(()));
            }
            match &self.reading {
                Some(reading) if reading.is_awaited() => return Poll::Pending,
                Some(reading) if !reading.is_done() => {
                    return match wire.poll_end(cx) {
                        Poll::Pending => Poll::Pending,
                        Poll::Ready(Ok(true)) => Poll::Ready(Ok(())),
                        Poll::Ready(Ok(false)) => {
                            reading.tell_when_read();
                            Poll::Pending
                        }
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    };
                }
                _ if wire.unread().len() >= self.behind => return Poll::Pending,
                _ => {}
            }
            match wire.poll_fill(Gulp::Small, cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Its answer has been written; what is left of its content, if another request may follow.
    pub(super) fn end(mut self) -> Result<Option<Rc<Reading>>, End> {
        if let Some(tunnel) = self.tunnel.take() {
            return Err(End::Tunnel(tunnel));
        }
        if !self.keep_alive {
            return Err(End::Closed);
        }
        Ok(self.reading.take().inspect(|reading| reading.close()).filter(|reading| !reading.is_done()))
    }

    /// The client does not get its answer.
    pub(super) fn forsake(mut self) {
        if let Some(mut answering) = self.answering.take() {
            answering.forsake();
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.close();
        }
    }
}
