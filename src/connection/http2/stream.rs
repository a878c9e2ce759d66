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
//! section 8.1; h2 sends it when both halves are let go), a while later ([`leftover`]). At most [`SEND_BUFFER`](super::SEND_BUFFER)
//! bytes of an answer and one piece more are handed over before the client takes them. The request ends
//! when the last of them has gone to the socket, so that a client that never takes them is found.
//! Must not know: where the answer comes from.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body as _;

use super::carried::Carried;
use super::leftover::{self, Slot};
use super::metered::{Delivery, Gauge};
use crate::connection::body::{Body, Branch};
use crate::connection::exchange::Exchange;
use crate::connection::flight::{Flight, Stop};
use crate::connection::seat::{Eviction, Seat};
use crate::http1::head::content_length;
use crate::response::head::has_content;
use crate::response::hygiene;

/// Drives one stream to its end.
pub(super) struct Stream {
    flight: Rc<Flight>,
    gauge: Rc<Gauge>,
    state: State,
    /// What of the request nobody reads any more.
    leftover: Slot,
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
    respond: SendResponse<Bytes>,
    /// The client has been told to continue.
    continued: bool,
}

/// What comes after the head.
struct Answering {
    body: Body,
    sender: SendStream<Bytes>,
    delivery: Delivery,
    /// Taken from the body, and not yet handed over; whether nothing follows it.
    piece: Option<(Bytes, bool)>,
    /// Still to come, when the head said how much it is.
    left: Option<u64>,
    /// All of it has been handed over.
    done: bool,
}

struct Tunnelling {
    seat: Rc<Seat>,
    sender: Rc<RefCell<SendStream<Bytes>>>,
    relay: Pin<Box<dyn Future<Output = ()>>>,
}

/// What is to be done with a stream that has no state any more.
enum Next {
    Go(State),
    Over,
}

impl Stream {
    pub(super) fn new(
        flight: Rc<Flight>,
        gauge: Rc<Gauge>,
        respond: SendResponse<Bytes>,
        exchange: Exchange,
        leftover: Slot,
    ) -> Stream {
        let asking = Asking { exchange, respond, continued: false };
        Stream { flight, gauge, state: State::Asking(asking), leftover }
    }
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.flight.attend(cx);
        loop {
            let polled = match &mut this.state {
                State::Asking(asking) => asking.poll(&this.flight, &this.gauge, cx),
                State::Answering(answering) => answering.poll(&this.flight, cx),
                State::Tunnelling(tunnelling) => return tunnelling.poll(cx),
                State::Answered => {
                    leftover::linger(&this.leftover, this.flight.seat());
                    return Poll::Ready(());
                }
            };
            match polled {
                Poll::Ready(Next::Go(state)) => this.state = state,
                Poll::Ready(Next::Over) => return Poll::Ready(()),
                Poll::Pending => {
                    leftover::discard(&this.leftover, cx);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Asking {
    fn poll(&mut self, flight: &Rc<Flight>, gauge: &Rc<Gauge>, cx: &mut Context<'_>) -> Poll<Next> {
        // Reset by the client, or its connection is gone.
        if self.respond.poll_reset(cx).is_ready() {
            return Poll::Ready(Next::Over);
        }
        let polled = self.exchange.as_mut().poll(cx);
        if self.pass_interim(flight).is_err() {
            return Poll::Ready(Next::Over);
        }
        match ready!(polled) {
            Ok(answer) => Poll::Ready(self.answer(flight, gauge, answer)),
            Err(_gone) => Poll::Ready(Next::Over),
        }
    }

    fn pass_interim(&mut self, flight: &Flight) -> Result<(), h2::Error> {
        for head in flight.take_interim() {
            let status = head.status();
            let again = status == StatusCode::CONTINUE && self.continued;
            if again || !hygiene::passes_interim(status, Version::HTTP_2) {
                continue;
            }
            self.continued |= status == StatusCode::CONTINUE;
            let mut interim = Response::new(());
            *interim.status_mut() = status;
            *interim.headers_mut() = head.into_parts().0.headers;
            hygiene::for_interim(interim.headers_mut());
            self.respond.send_informational(interim)?;
        }
        Ok(())
    }

    fn answer(&mut self, flight: &Rc<Flight>, gauge: &Rc<Gauge>, answer: Response<Body>) -> Next {
        let (parts, body) = answer.into_parts();
        let mut head = Response::new(());
        *head.status_mut() = parts.status;
        *head.headers_mut() = parts.headers;
        let method = flight.method();
        let body = match body.into_branch() {
            Ok(branch) => return self.tunnel(head, *branch, Rc::clone(gauge)),
            Err(body) => body,
        };
        let status = head.status();
        say_length(head.headers_mut(), method, status, &body);
        let expected = has_content(method, status) && !body.is_end_stream();
        let Ok(left) = content_length(head.headers()) else {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
            return Next::Over;
        };
        match self.respond.send_response(head, !expected) {
            // Letting go of the body ends the request as it was planned.
            Ok(_) if !expected => Next::Go(State::Answered),
            Ok(sender) => {
                let delivery = gauge.deliver(sender.stream_id().as_u32(), flight);
                let answering = Answering { body, sender, delivery, piece: None, left, done: false };
                Next::Go(State::Answering(Box::new(answering)))
            }
            Err(_) => {
                self.respond.send_reset(Reason::INTERNAL_ERROR);
                Next::Over
            }
        }
    }

    /// The stream leaves HTTP, and the others go on (RFC 8441, section 5; RFC 9113, section 8.5).
    fn tunnel(&mut self, head: Response<()>, branch: Branch, gauge: Rc<Gauge>) -> Next {
        let Ok(sender) = self.respond.send_response(head, false) else { return Next::Over };
        let sender = Rc::new(RefCell::new(sender));
        let Branch { tunnel, seat, stream } = branch;
        let Some(stream) = stream.into_stream() else { return Next::Over };
        let client = Carried::new(stream, Rc::clone(&sender), gauge);
        let place = Rc::clone(&seat);
        let relay = Box::pin(async move { tunnel.run(&seat, client).await });
        Next::Go(State::Tunnelling(Tunnelling { seat: place, sender, relay }))
    }
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

impl Answering {
    fn poll(&mut self, flight: &Flight, cx: &mut Context<'_>) -> Poll<Next> {
        if self.done && self.delivery.is_over() {
            return Poll::Ready(Next::Go(State::Answered));
        }
        if self.sender.poll_reset(cx).is_ready() {
            self.body.forsake();
            return Poll::Ready(Next::Over);
        }
        if flight.broke_off() {
            self.body.forsake();
            self.sender.send_reset(match flight.stop() {
                Some(Stop::Stalled | Stop::Slow(_)) => Reason::CANCEL,
                _ => Reason::INTERNAL_ERROR,
            });
            return Poll::Ready(Next::Over);
        }
        while !self.done {
            if self.piece.is_some() {
                match self.poll_send(cx) {
                    Poll::Ready(false) => {}
                    Poll::Ready(true) => break,
                    Poll::Pending => {
                        self.body.poll_sending(cx);
                        return Poll::Pending;
                    }
                }
            }
            let over = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_trailers() => self.end(frame.into_trailers().unwrap_or_default()),
                Some(Ok(frame)) => self.take(frame.into_data().unwrap_or_default()),
                None => self.end(HeaderMap::new()),
                Some(Err(_broken_off)) => self.reset(),
            };
            if over {
                break;
            }
        }
        if self.done { Poll::Pending } else { Poll::Ready(Next::Over) }
    }

    /// Keeps the next piece until there is room for it; whether the stream is over.
    fn take(&mut self, piece: Bytes) -> bool {
        let last = self.body.is_end_stream();
        if let Some(left) = &mut self.left {
            match left.checked_sub(piece.len() as u64) {
                Some(less) if less == 0 || !last => *left = less,
                _ => return self.mismatch(),
            }
        }
        if !piece.is_empty() || last {
            self.piece = Some((piece, last));
        }
        false
    }

    /// Ready with whether the stream is over when the piece has been handed over.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some((piece, last)) = self.piece.take() else { return Poll::Ready(false) };
        if !piece.is_empty() {
            match poll_room(&mut self.sender, cx) {
                Poll::Ready(true) => self.delivery.hand_over(piece.len(), last),
                // It is no longer a stream to send on.
                Poll::Ready(false) => {
                    self.body.forsake();
                    return Poll::Ready(true);
                }
                Poll::Pending => {
                    self.delivery.block();
                    self.piece = Some((piece, last));
                    return Poll::Pending;
                }
            }
        }
        match self.sender.send_data(piece, last) {
            Ok(()) => {
                self.done = last;
                Poll::Ready(last)
            }
            Err(_) => {
                self.body.forsake();
                Poll::Ready(self.reset())
            }
        }
    }

    /// The body has ended; always over.
    fn end(&mut self, trailers: HeaderMap) -> bool {
        if self.left.is_some_and(|left| left > 0) {
            return self.mismatch();
        }
        self.sender.reserve_capacity(0);
        let ended = match trailers.is_empty() {
            true => self.sender.send_data(Bytes::new(), true),
            false => self.sender.send_trailers(trailers),
        };
        self.done = ended.is_ok();
        self.done || self.reset()
    }

    /// It is longer or shorter than it was said to be; always over.
    fn mismatch(&mut self) -> bool {
        self.body.mismatch();
        self.reset()
    }

    /// It must not look complete; always over.
    fn reset(&mut self) -> bool {
        self.sender.send_reset(Reason::INTERNAL_ERROR);
        true
    }
}

/// Ready with true when the stream takes another piece, with false when it takes nothing any more.
///
/// One byte is asked for, not the piece: what is asked for is taken from the window of the whole
/// connection as soon as there is some, and would be missing elsewhere.
pub(super) fn poll_room(sender: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<bool> {
    sender.reserve_capacity(1);
    while sender.capacity() == 0 {
        match ready!(sender.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(false),
        }
    }
    Poll::Ready(true)
}

impl Tunnelling {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A relay that has read the client's end hears of a reset from nobody else.
        if self.sender.borrow_mut().poll_reset(cx).is_ready() {
            self.seat.evict(Eviction::SilentTunnel);
        }
        self.relay.as_mut().poll(cx)
    }
}
