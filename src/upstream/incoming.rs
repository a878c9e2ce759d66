//! The content of an endpoint's answer on its way here.
//!
//! Promises: an answer that breaks off ends with the failure that says so, never as if it were whole.
//! Must not know: who reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{http1, http2};
use crate::response::Failure;

/// Read as far as there is room for it; what is not read waits at the endpoint.
pub struct Incoming(Source);

enum Source {
    /// All that is left of it is here.
    Whole(Bytes),
    Http1(Box<http1::Exchange>),
    Http2(Box<http2::Exchange>),
}

impl Incoming {
    pub(super) fn empty() -> Incoming {
        Incoming::whole(Bytes::new())
    }

    pub(super) fn whole(content: Bytes) -> Incoming {
        Incoming(Source::Whole(content))
    }

    pub(super) fn http1(exchange: http1::Exchange) -> Incoming {
        Incoming(Source::Http1(Box::new(exchange)))
    }

    pub(super) fn http2(exchange: http2::Exchange) -> Incoming {
        Incoming(Source::Http2(Box::new(exchange)))
    }

    /// Goes on sending the request's content while there is no room for more of an answer that came
    /// before its end. Nothing else does that: [`Body::poll_frame`] does both.
    pub fn poll_sending(&mut self, cx: &mut Context<'_>) {
        match &mut self.0 {
            Source::Whole(_) => {}
            Source::Http1(exchange) => exchange.poll_sending(cx),
            Source::Http2(exchange) => exchange.poll_sending(cx),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut self.0 {
            Source::Whole(content) if content.is_empty() => Poll::Ready(None),
            Source::Whole(content) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(content))))),
            Source::Http1(exchange) => exchange.poll_frame(cx),
            Source::Http2(exchange) => exchange.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(content) => content.is_empty(),
            Source::Http1(exchange) => exchange.is_over(),
            Source::Http2(exchange) => exchange.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(content) => SizeHint::with_exact(content.len() as u64),
            Source::Http1(exchange) => exchange.rest().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Http2(exchange) => exchange.rest().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
