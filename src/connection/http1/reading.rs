//! The content of a request, read from the connection by whoever consumes it.
//!
//! ```text
//!   consumer polls ─▶ decode what is unread ─▶ read the socket ─▶ wait for it, in the consumer's task
//! ```
//! There is no task and no queue between a client's socket and an endpoint's: the consumer reads, so
//! what it does not take stays at the client. While it waits, it is the one whom the socket wakes;
//! otherwise that is the connection, which watches for the end.
//!
//! Promises: takes no byte behind its own content. `100 Continue` is asked for when the content is wanted
//! and nothing of it has come (RFC 9110, section 10.1.1). Closed, it reads nothing more, whoever
//! still holds it.
//! Must not know: limits of routes, what the content is for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::connection::scratch;
use crate::connection::seat::Seat;
use crate::connection::wire::{Gulp, Socket, charge_chunks};
use crate::http1::{Decoded, Decoder, Framing, Limits, Refusal};
use crate::upstream::ContentFault;

/// One content, as its connection and its consumer share it.
pub(super) struct Reading {
    /// `None`: the request has ended.
    socket: RefCell<Option<Rc<Socket>>>,
    seat: Rc<Seat>,
    decoder: RefCell<Decoder>,
    limits: Limits,
    expectation: Cell<Expectation>,
    /// The consumer waits for the socket.
    awaited: Cell<bool>,
    /// The connection waits for the consumer to read.
    unwatched: Cell<bool>,
    gulp: Cell<Gulp>,
    fault: Cell<Option<ContentFault>>,
}

/// The consumer's end.
pub(in crate::connection) struct Reader(Rc<Reading>);

/// Whether the client waits for `100 Continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    /// Not, or not any more.
    None,
    Waiting,
    /// It shall be told now.
    Due,
}

impl Reading {
    pub(super) fn new(
        socket: Rc<Socket>,
        seat: Rc<Seat>,
        framing: Framing,
        limits: Limits,
        expects: bool,
    ) -> Rc<Reading> {
        let expectation = if expects { Expectation::Waiting } else { Expectation::None };
        Rc::new(Reading {
            socket: RefCell::new(Some(socket)),
            seat,
            decoder: RefCell::new(Decoder::new(framing)),
            limits,
            expectation: Cell::new(expectation),
            awaited: Cell::new(false),
            unwatched: Cell::new(false),
            gulp: Cell::new(Gulp::Small),
            fault: Cell::new(None),
        })
    }

    pub(super) fn reader(self: &Rc<Self>) -> Reader {
        Reader(Rc::clone(self))
    }

    /// Whether all of it has been taken.
    pub(super) fn is_done(&self) -> bool {
        self.decoder.borrow().is_done()
    }

    /// How much is still to be taken, as far as that is known and can be believed.
    pub(super) fn rest(&self) -> Option<u64> {
        self.decoder.borrow().rest().filter(|_| self.fault.get().is_none())
    }

    /// Whether the consumer is the one to be woken by the socket.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.get()
    }

    /// Nobody watches the socket, because something is there: the connection is to be woken when that
    /// has been read.
    pub(super) fn tell_when_read(&self) {
        self.unwatched.set(true);
    }

    /// Whether the client is still waiting to be asked for it.
    pub(super) fn is_unasked(&self) -> bool {
        self.expectation.get() != Expectation::None
    }

    /// Whether `100 Continue` is to be written now; it will have been.
    pub(super) fn take_due(&self) -> bool {
        let due = self.expectation.get() == Expectation::Due;
        if due {
            self.expectation.set(Expectation::None);
        }
        due
    }

    /// The endpoint asks for the content: the client shall be told, if it waits for that.
    pub(super) fn ask(&self) {
        if self.expectation.get() == Expectation::Waiting {
            self.expectation.set(Expectation::Due);
        }
    }

    /// Nothing more is read for a consumer.
    pub(super) fn close(&self) {
        self.socket.take();
        self.awaited.set(false);
    }

    /// Reads on without a consumer, for the sake of what follows; an error: nothing can follow.
    pub(super) fn poll_discard(&self, socket: &Socket, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        loop {
            let decoded = self.decoder.borrow_mut().decode(&mut socket.unread(), &self.limits);
            charge_chunks(self.decoder.borrow_mut().take_chunks(), cx);
            match decoded {
                Err(_) => return Poll::Ready(Err(())),
                Ok(Decoded::End | Decoded::Trailers(_)) => return Poll::Ready(Ok(())),
                Ok(Decoded::Data(_)) => continue,
                Ok(Decoded::More) => {}
            }
            match ready!(socket.poll_fill(Gulp::Small, cx)) {
                Err(_) | Ok(0) => return Poll::Ready(Err(())),
                Ok(_) => {}
            }
        }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        let waited = self.awaited.get();
        let polled = self.poll_next(cx);
        if polled.is_pending() {
            self.awaited.set(true);
        } else if waited | self.unwatched.get() {
            // Until the consumer wants more, it is the connection that watches the socket.
            self.awaited.set(false);
            self.unwatched.set(false);
            self.seat.wake();
        }
        polled
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        loop {
            let socket = self.socket.borrow();
            let fault = match (self.fault.get(), &*socket) {
                (Some(fault), _) => fault,
                (None, None) => ContentFault::Gone,
                (None, Some(socket)) => match self.decode(socket, cx) {
                    Err(fault) => fault,
                    Ok(Decoded::End) => return Poll::Ready(None),
                    Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Decoded::Trailers(fields)) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                    Ok(Decoded::More) => match ready!(self.poll_fill(socket, cx)) {
                        Some(_) => continue,
                        None => ContentFault::Gone,
                    },
                },
            };
            self.fault.set(Some(fault));
            return Poll::Ready(Some(Err(fault)));
        }
    }

    fn decode(&self, socket: &Socket, cx: &mut Context<'_>) -> Result<Decoded, ContentFault> {
        let mut unread = socket.unread();
        if !unread.is_empty() && self.expectation.get() != Expectation::None {
            // It did not wait.
            self.expectation.set(Expectation::None);
        }
        let mut decoder = self.decoder.borrow_mut();
        let decoded = decoder.decode(&mut unread, &self.limits);
        charge_chunks(decoder.take_chunks(), cx);
        decoded.map_err(|refusal| match refusal {
            Refusal::Malformed(reason) => ContentFault::Malformed(reason),
            Refusal::ManyFields => ContentFault::ManyTrailers(self.limits.count as u64),
            _ => ContentFault::LongTrailers(self.limits.fields as u64),
        })
    }

    /// `None`: nothing more comes.
    fn poll_fill(&self, socket: &Socket, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.seat.has_ended() {
            return Poll::Ready(None);
        }
        let Poll::Ready(read) = socket.poll_fill(self.gulp.get(), cx) else {
            if self.expectation.get() == Expectation::Waiting {
                self.expectation.set(Expectation::Due);
                self.seat.wake();
            }
            return Poll::Pending;
        };
        let read = read.ok().filter(|read| *read > 0);
        // Who fills the scratch has more to send than that.
        self.gulp.set(if read >= Some(scratch::SIZE) { Gulp::Bulk } else { Gulp::Small });
        Poll::Ready(read)
    }
}

impl Reader {
    pub(in crate::connection) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        self.0.poll_frame(cx)
    }

    pub(in crate::connection) fn is_end(&self) -> bool {
        self.0.is_done()
    }

    pub(in crate::connection) fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.0.decoder.borrow().announced());
        if let Some(rest) = self.0.rest() {
            hint.set_upper(rest);
        }
        hint
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.0.awaited.replace(false) {
            self.0.seat.wake();
        }
    }
}
