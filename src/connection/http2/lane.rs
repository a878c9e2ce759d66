//! One stream as those see it who have to do with it: the task of its request, and whoever reads its content.
//!
//! Promises: a stream is forgotten when both have let go of it; one that is not at its end is reset then. What
//! nobody reads any more is thrown away as it comes, so that the windows that it fills stay open.
//! Must not know: frames, what content means.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::SEND_BUFFER;
use super::session::Session;
use super::streams::{Over, Stream, Taker};
use crate::http2::Reason;
use crate::upstream::ContentFault;

/// Where the stream is.
#[derive(Clone)]
pub(super) struct Link {
    session: Rc<RefCell<Session>>,
    number: u32,
}

/// The stream, as the task of its request holds it.
pub(super) struct Lane(Link);

/// Its content, as whoever reads it holds it.
pub(in crate::connection) struct Arrival(Link);

impl Link {
    fn with<T>(&self, work: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        self.session.borrow_mut().streams.with(self.number, work)
    }

    pub(super) fn send_head(&self, status: StatusCode, fields: HeaderMap, last: bool) {
        self.session.borrow_mut().send_head(self.number, status, fields, last);
    }

    pub(super) fn send_content(&self, content: Bytes, last: bool) {
        self.session.borrow_mut().send_content(self.number, content, last);
    }

    pub(super) fn send_trailers(&self, fields: HeaderMap) {
        self.session.borrow_mut().send_trailers(self.number, fields);
    }

    /// Ready with true when the stream takes another piece, with false when it takes nothing any more.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let Session { streams, outlet, .. } = &mut *self.session.borrow_mut();
        let open = outlet.is_open();
        let polled = streams.with(self.number, |stream| stream.poll_room(open, SEND_BUFFER, cx));
        polled.unwrap_or(Poll::Ready(false))
    }

    /// Ready when it is over before its end: reset, or its connection is gone.
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|stream| stream.poll_over(cx)).unwrap_or(Poll::Ready(()))
    }

    pub(super) fn reset(&self, reason: Reason) {
        self.session.borrow_mut().reset(self.number, reason, Over::Given, Instant::now());
    }

    /// Who is told of what the client takes.
    pub(super) fn watch(&self, taker: Option<Rc<dyn Taker>>) {
        self.with(|stream| stream.is_watched_by(taker));
    }

    /// How many pieces wait to be put into frames.
    pub(super) fn pieces(&self) -> usize {
        self.with(|stream| stream.pieces.len()).unwrap_or(0)
    }
}

impl Lane {
    pub(super) fn new(session: &Rc<RefCell<Session>>, number: u32) -> Lane {
        Lane(Link { session: Rc::clone(session), number })
    }

    /// What comes in it, for somebody.
    pub(super) fn arrival(&self) -> Arrival {
        self.with(|stream| stream.is_read_by_somebody(true));
        Arrival(self.0.clone())
    }

    /// What comes in it is for nobody.
    pub(super) fn discard(&self) {
        self.session.borrow_mut().discard(self.number);
    }

    /// Whether the client's connection has taken its end.
    pub(super) fn is_taken(&self) -> bool {
        self.with(|stream| stream.is_taken()).unwrap_or(false)
    }

    /// Whether more comes, and nobody reads it.
    pub(super) fn has_leftover(&self) -> bool {
        self.with(|stream| !stream.received && !stream.is_over() && stream.is_reader_gone()).unwrap_or(false)
    }

    /// What of it has been thrown away since the last time; `None` when nothing more comes.
    pub(super) fn poll_discarded(&self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.with(|stream| stream.poll_discarded(cx)).unwrap_or(Poll::Ready(None))
    }
}

impl Deref for Lane {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut session = self.session.borrow_mut();
        session.streams.with(self.number, Stream::let_go);
        session.forget(self.number, Instant::now());
    }
}

impl Arrival {
    pub(super) fn link(&self) -> Link {
        self.0.clone()
    }

    /// `None` when nothing more comes.
    pub(super) fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ContentFault>>> {
        let Link { session, number } = &self.0;
        loop {
            let polled = ready!(session.borrow_mut().poll_content(*number, cx));
            if !matches!(&polled, Some(Ok(bytes)) if bytes.is_empty()) {
                return Poll::Ready(polled);
            }
        }
    }

    pub(super) fn take_trailers(&mut self) -> Option<Result<HeaderMap, ContentFault>> {
        self.0.with(Stream::take_trailers).flatten()
    }

    /// Whether all of it has come and was taken.
    pub(super) fn is_read(&self) -> bool {
        self.0.with(|stream| stream.is_read()).unwrap_or(true)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let Link { session, number } = &self.0;
        let mut session = session.borrow_mut();
        session.discard(*number);
        session.streams.with(*number, |stream| stream.is_read_by_somebody(false));
        session.forget(*number, Instant::now());
    }
}
