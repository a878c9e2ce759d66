//! One stream: a request and its answer, or a tunnel.
//!
//! ```text
//!   Asking ──head──▶ Answering ──last frame──▶ over
//!      │   └─tunnel─▶ Tunnelling ─────────────▶ over
//!      └── the client resets, or the connection ends: dropped, and with it the attempt upstream
//! ```
//! Promises: interim answers go out in their order, before the answer. An answer ends with END_STREAM
//! only when it is whole, and as long as it was said to be; else its stream is reset with INTERNAL_ERROR.
//! An answer that is whole while the request still comes is followed by a reset with NO_ERROR (RFC 9113,
//! section 8.1; sent when the stream is let go of), a while later ([`leftover`]). At most [`SEND_BUFFER`](super::SEND_BUFFER)
//! bytes of an answer and one piece more are handed over before the client takes them. The request ends
//! when the last of them has gone to the socket, so that a client that never takes them is found.
//! Must not know: where the answer comes from.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body as _;

use super::carried::Carried;
use super::lane::Lane;
use super::leftover;
use super::streams::Taker;
use crate::connection::body::{Body, Branch};
use crate::connection::exchange::Exchange;
use crate::connection::flight::{Flight, Stop};
use crate::connection::rate::Common;
use crate::connection::seat::{Eviction, Seat};
use crate::http1::head::content_length;
use crate::http2::Reason;
use crate::response::head::has_content;
use crate::response::hygiene;

/// How many interim answers may wait to be put into frames.
const INTERIM: usize = 16;

/// Drives one stream to its end.
pub(super) struct Stream {
    flight: Rc<Flight>,
    common: Rc<Common>,
    state: State,
    /// `None` when it has ended.
    lane: Option<Lane>,
}

enum State {
    Asking(Asking),
    Answering(Box<Answering>),
    Tunnelling(Tunnelling),
    /// The answer is whole, and at the client.
    Answered,
}

struct Asking {
    exchange: Exchange,
    /// The client has been told to continue.
    continued: bool,
}

/// What comes after the head.
struct Answering {
    body: Body,
    delivery: Delivery,
    /// Taken from the body, and not yet handed over; whether nothing follows it.
    piece: Option<(Bytes, bool)>,
    /// Still to come, when the head said how much it is.
    left: Option<u64>,
    /// All of it has been handed over.
    done: bool,
}

/// What the client takes of an answer is told to its flight, until this is dropped.
struct Delivery(Rc<Flight>);

struct Tunnelling {
    seat: Rc<Seat>,
    relay: Pin<Box<dyn Future<Output = ()>>>,
}

/// What is to be done with a stream that has no state any more.
enum Next {
    Go(State),
    Over,
}

impl Stream {
    pub(super) fn new(flight: Rc<Flight>, common: &Rc<Common>, exchange: Exchange, lane: Lane) -> Stream {
        let state = State::Asking(Asking { exchange, continued: false });
        Stream { flight, common: Rc::clone(common), state, lane: Some(lane) }
    }
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Stream { flight, common, state, lane: held } = &mut *self;
        let Some(lane) = held else { return Poll::Ready(()) };
        flight.attend(cx);
        loop {
            let polled = match state {
                State::Asking(asking) => asking.poll(flight, common, lane, cx),
                State::Answering(answering) => answering.poll(flight, lane, cx),
                State::Tunnelling(tunnelling) => return tunnelling.poll(lane, cx),
                State::Answered => {
                    if let Some(lane) = held.take() {
                        leftover::linger(lane, flight.seat());
                    }
                    return Poll::Ready(());
                }
            };
            match ready!(polled) {
                Next::Go(next) => *state = next,
                Next::Over => return Poll::Ready(()),
            }
        }
    }
}

impl Asking {
    fn poll(
        &mut self,
        flight: &Rc<Flight>,
        common: &Rc<Common>,
        lane: &Lane,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        // Reset by the client, or its connection is gone.
        if lane.poll_over(cx).is_ready() {
            return Poll::Ready(Next::Over);
        }
        let polled = self.exchange.as_mut().poll(cx);
        self.pass_interim(flight, lane);
        match ready!(polled) {
            Ok(answer) => Poll::Ready(answer_with(flight, common, lane, answer)),
            Err(_gone) => Poll::Ready(Next::Over),
        }
    }

    fn pass_interim(&mut self, flight: &Flight, lane: &Lane) {
        for head in flight.take_interim() {
            let status = head.status();
            let again = status == StatusCode::CONTINUE && self.continued;
            if again || !hygiene::passes_interim(status, Version::HTTP_2) || lane.pieces() >= INTERIM {
                continue;
            }
            self.continued |= status == StatusCode::CONTINUE;
            let mut fields = head.into_parts().0.headers;
            hygiene::for_interim(&mut fields);
            lane.send_head(status, fields, false);
        }
    }
}

/// Sends the head of the answer.
fn answer_with(flight: &Rc<Flight>, common: &Rc<Common>, lane: &Lane, answer: Response<Body>) -> Next {
    let (parts, body) = answer.into_parts();
    let (status, mut fields) = (parts.status, parts.headers);
    let method = flight.method();
    let body = match body.into_branch() {
        Ok(branch) => return tunnel(lane, status, fields, *branch),
        Err(body) => body,
    };
    say_length(&mut fields, method, status, &body);
    let expected = has_content(method, status) && !body.is_end_stream();
    let Ok(left) = content_length(&fields) else {
        lane.reset(Reason::INTERNAL_ERROR);
        return Next::Over;
    };
    lane.send_head(status, fields, !expected);
    if !expected {
        // Letting go of the body ends the request as it was planned.
        return Next::Go(State::Answered);
    }
    let delivery = Delivery::begin(flight, common, lane);
    Next::Go(State::Answering(Box::new(Answering { body, delivery, piece: None, left, done: false })))
}

/// The stream leaves HTTP, and the others go on (RFC 8441, section 5; RFC 9113, section 8.5).
fn tunnel(lane: &Lane, status: StatusCode, fields: HeaderMap, branch: Branch) -> Next {
    lane.send_head(status, fields, false);
    let Branch { tunnel, seat, stream } = branch;
    let Some(arrival) = stream.into_arrival() else { return Next::Over };
    let client = Carried::new(arrival);
    let place = Rc::clone(&seat);
    let relay = Box::pin(async move { tunnel.run_beside(&seat, client).await });
    Next::Go(State::Tunnelling(Tunnelling { seat: place, relay }))
}

/// The length of an answer that is all here (RFC 9110, section 8.6); that of others was said by whoever
/// made them.
fn say_length(headers: &mut HeaderMap, method: &Method, status: StatusCode, body: &Body) {
    let may = has_content(method, status) || *method == Method::HEAD;
    let length = body.size_hint().exact().filter(|_| may && !body.is_end_stream());
    if let Some(length) = length {
        headers.entry(http::header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
}

impl Taker for Flight {
    fn took(&self, bytes: usize) {
        self.pace().take(bytes);
    }
}

impl Delivery {
    fn begin(flight: &Rc<Flight>, common: &Rc<Common>, lane: &Lane) -> Delivery {
        flight.pace().join(common);
        let taker: Rc<Flight> = Rc::clone(flight);
        lane.watch(Some(taker));
        Delivery(Rc::clone(flight))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.0.pace().end();
    }
}

impl Answering {
    fn poll(&mut self, flight: &Flight, lane: &Lane, cx: &mut Context<'_>) -> Poll<Next> {
        if self.done && lane.is_taken() {
            return Poll::Ready(Next::Go(State::Answered));
        }
        if lane.poll_over(cx).is_ready() {
            self.body.forsake();
            return Poll::Ready(Next::Over);
        }
        if flight.broke_off() {
            self.body.forsake();
            lane.reset(match flight.stop() {
                Some(Stop::Stalled | Stop::Slow(_)) => Reason::CANCEL,
                _ => Reason::INTERNAL_ERROR,
            });
            return Poll::Ready(Next::Over);
        }
        while !self.done {
            if self.piece.is_some() {
                match self.poll_send(lane, cx) {
                    Poll::Ready(false) => {}
                    Poll::Ready(true) => break,
                    Poll::Pending => {
                        self.body.poll_sending(cx);
                        return Poll::Pending;
                    }
                }
            }
            let over = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_trailers() => {
                    self.end(lane, frame.into_trailers().unwrap_or_default())
                }
                Some(Ok(frame)) => self.take(lane, frame.into_data().unwrap_or_default()),
                None => self.end(lane, HeaderMap::new()),
                Some(Err(_broken_off)) => reset(lane),
            };
            if over {
                break;
            }
        }
        if self.done { Poll::Pending } else { Poll::Ready(Next::Over) }
    }

    /// Keeps the next piece until there is room for it; whether the stream is over.
    fn take(&mut self, lane: &Lane, piece: Bytes) -> bool {
        let last = self.body.is_end_stream();
        if let Some(left) = &mut self.left {
            match left.checked_sub(piece.len() as u64) {
                Some(less) if less == 0 || !last => *left = less,
                _ => return self.mismatch(lane),
            }
        }
        if !piece.is_empty() || last {
            self.piece = Some((piece, last));
        }
        false
    }

    /// Ready with whether the stream takes no more when the piece has been handed over.
    fn poll_send(&mut self, lane: &Lane, cx: &mut Context<'_>) -> Poll<bool> {
        let Some((piece, last)) = self.piece.take() else { return Poll::Ready(false) };
        if !piece.is_empty() {
            match lane.poll_room(cx) {
                Poll::Ready(true) => self.delivery.0.pace().hand_over(piece.len()),
                // It is no longer a stream to send on.
                Poll::Ready(false) => {
                    self.body.forsake();
                    return Poll::Ready(true);
                }
                Poll::Pending => {
                    self.delivery.0.pace().block();
                    self.piece = Some((piece, last));
                    return Poll::Pending;
                }
            }
        }
        lane.send_content(piece, last);
        self.done = last;
        Poll::Ready(last)
    }

    /// The body has ended; always over.
    fn end(&mut self, lane: &Lane, trailers: HeaderMap) -> bool {
        if self.left.is_some_and(|left| left > 0) {
            return self.mismatch(lane);
        }
        match trailers.is_empty() {
            true => lane.send_content(Bytes::new(), true),
            false => lane.send_trailers(trailers),
        }
        self.done = true;
        true
    }

    /// It is longer or shorter than it was said to be; always over.
    fn mismatch(&mut self, lane: &Lane) -> bool {
        self.body.mismatch();
        reset(lane)
    }
}

/// It must not look complete; always over.
fn reset(lane: &Lane) -> bool {
    lane.reset(Reason::INTERNAL_ERROR);
    true
}

impl Tunnelling {
    fn poll(&mut self, lane: &Lane, cx: &mut Context<'_>) -> Poll<()> {
        // A relay that has read the client's end hears of a reset from nobody else.
        if lane.poll_over(cx).is_ready() {
            self.seat.evict(Eviction::SilentTunnel);
        }
        self.relay.as_mut().poll(cx)
    }
}
