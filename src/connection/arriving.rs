//! The content of a client's request on its way here.
//!
//! Promises: content that breaks off ends with the fault that says why, never as if it were whole.
//! Must not know: who reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{http1, http2};
use crate::upstream::ContentFault;

/// Read as far as there is room for it; what is not read waits at the client.
pub(super) enum Arriving {
    Http1(http1::Reader),
    Http2(http2::Content),
    /// There is none.
    Nothing,
}

impl Arriving {
    /// The stream that it comes in, of HTTP/2.
    pub(super) fn into_arrival(self) -> Option<http2::Arrival> {
        match self {
            Arriving::Http2(content) => Some(content.into_arrival()),
            Arriving::Http1(_) | Arriving::Nothing => None,
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = ContentFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        match self.get_mut() {
            Arriving::Http1(reader) => reader.poll_frame(cx),
            Arriving::Http2(content) => Pin::new(content).poll_frame(cx),
            Arriving::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Arriving::Http1(reader) => reader.is_end(),
            Arriving::Http2(content) => content.is_end_stream(),
            Arriving::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Arriving::Http1(reader) => reader.size_hint(),
            Arriving::Http2(content) => content.size_hint(),
            Arriving::Nothing => SizeHint::with_exact(0),
        }
    }
}
