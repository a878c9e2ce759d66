//! The content of a request that comes in one stream of many.
//!
//! Promises: the window of a stream opens again as its content is taken, so a slow reader holds its
//! client. A client that waits for a 100 gets it when somebody wants its content and nothing of it has
//! come (RFC 9110, section 10.1.1). Content that ends other than its framing says ends with a fault.
//! Must not know: who reads it.

use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::lane::Arrival;
use crate::connection::flight::Flight;
use crate::upstream::{Asker, ContentFault};

pub(in crate::connection) struct Content {
    arrival: Arrival,
    /// Still to come, when the client said how much it is.
    left: Option<u64>,
    /// Whose client waits for a 100.
    expected: Option<Weak<Flight>>,
    trailing: bool,
}

impl Content {
    /// `expected`: its client waits for a 100.
    pub(super) fn new(arrival: Arrival, length: Option<u64>, expected: Option<&Rc<Flight>>) -> Content {
        Content { arrival, left: length, expected: expected.map(Rc::downgrade), trailing: false }
    }

    /// The stream itself, when it is to carry a tunnel.
    pub(in crate::connection) fn into_arrival(self) -> Arrival {
        self.arrival
    }

    fn ask_for_it(&mut self) {
        let flight = self.expected.take().and_then(|flight| flight.upgrade());
        if let Some(flight) = flight.filter(|flight| !flight.has_begun_answer()) {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::CONTINUE;
            flight.interim(head);
        }
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
            let polled = this.arrival.poll_content(cx);
            if polled.is_pending() {
                this.ask_for_it();
            }
            if let Some(data) = ready!(polled) {
                if let Ok(bytes) = &data {
                    this.expected = None;
                    this.left = this.left.map(|left| left.saturating_sub(bytes.len() as u64));
                }
                return Poll::Ready(Some(data.map(Frame::data)));
            }
            this.trailing = true;
        }
        Poll::Ready(this.arrival.take_trailers().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.arrival.is_read()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
