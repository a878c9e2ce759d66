//! The content of a request that comes in one stream of many.
//!
//! Promises: the window of a stream opens again as its frames are taken, so a slow reader holds its
//! client. A client that waits for a 100 gets it when somebody wants its content and nothing of it has
//! come (RFC 9110, section 10.1.1). Content that ends other than its framing says ends with a fault.
//! Must not know: who reads it.

use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::head;
use super::leftover::Slot;
use super::metered::Gauge;
use crate::config::settings::Limits;
use crate::connection::flight::Flight;
use crate::upstream::{Asker, ContentFault};

pub(in crate::connection) struct Content {
    /// None when it has become a tunnel's.
    stream: Option<RecvStream>,
    /// For what nobody reads any more.
    leftover: Slot,
    /// Still to come, when the client said how much it is.
    left: Option<u64>,
    /// Whose client waits for a 100.
    expected: Option<Weak<Flight>>,
    trailing: bool,
    limits: Limits,
    gauge: Rc<Gauge>,
}

impl Content {
    /// `expected`: its client waits for a 100.
    pub(super) fn new(
        stream: RecvStream,
        leftover: &Slot,
        length: Option<u64>,
        expected: Option<&Rc<Flight>>,
        limits: &Limits,
        gauge: &Rc<Gauge>,
    ) -> Content {
        Content {
            stream: Some(stream),
            leftover: Rc::clone(leftover),
            left: length,
            expected: expected.map(Rc::downgrade),
            trailing: false,
            limits: limits.clone(),
            gauge: Rc::clone(gauge),
        }
    }

    /// The stream itself, when it is to carry a tunnel.
    pub(in crate::connection) fn into_stream(mut self) -> Option<RecvStream> {
        self.stream.take()
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ContentFault>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        loop {
            match stream.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    // Fails for a stream that is gone, whose window nobody needs.
                    let _ = stream.flow_control().release_capacity(bytes.len());
                    self.expected = None;
                    self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(fault_of(&error)))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    self.ask_for_it();
                    return Poll::Pending;
                }
            }
        }
    }

    fn ask_for_it(&mut self) {
        let flight = self.expected.take().and_then(|flight| flight.upgrade());
        if let Some(flight) = flight.filter(|flight| !flight.has_begun_answer()) {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::CONTINUE;
            flight.interim(head);
        }
    }

    fn trailers(&self, trailers: Option<HeaderMap>) -> Option<Result<Frame<Bytes>, ContentFault>> {
        let trailers = trailers?;
        let stream = self.stream.as_ref()?.stream_id();
        if self.gauge.take_malformed(stream.as_u32()) {
            return Some(Err(ContentFault::Malformed("a pseudo-field in its trailers")));
        }
        if head::check_fields(&trailers, &self.limits).is_err() {
            return Some(Err(ContentFault::Malformed("its trailers cannot be passed on")));
        }
        (!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers)))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = ContentFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        let this = self.get_mut();
        if !this.trailing {
            if let Some(data) = ready!(this.poll_data(cx)) {
                return Poll::Ready(Some(data.map(Frame::data)));
            }
            this.trailing = true;
        }
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(this.trailers(trailers)),
            Err(error) => Poll::Ready(Some(Err(fault_of(&error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.leftover.set(self.stream.take().filter(|stream| !stream.is_end_stream()));
    }
}

/// h2 itself resets a stream whose content is not as long as it was said to be, or broke its window.
fn fault_of(error: &h2::Error) -> ContentFault {
    if error.is_reset() && error.is_library() {
        ContentFault::Malformed("its content is not what was announced")
    } else {
        ContentFault::Gone
    }
}
