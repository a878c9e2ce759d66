//! The content of a client's request on its way here.
//!
//! Promises: content that breaks off ends with the fault that says why, never as if it were whole.
//! Must not know: who reads it.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::http1::Reader;
use crate::upstream::ContentFault;

/// Read as far as there is room for it; what is not read waits at the client.
pub(super) enum Arriving {
    Hyper(hyper::body::Incoming),
    Http1(Reader),
    /// There is none.
    Nothing,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = ContentFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        match self.get_mut() {
            Arriving::Hyper(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| Some(frame?.map_err(|error| fault_of(&error))))
            }
            Arriving::Http1(reader) => reader.poll_frame(cx),
            Arriving::Nothing => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Arriving::Hyper(body) => body.is_end_stream(),
            Arriving::Http1(reader) => reader.is_end(),
            Arriving::Nothing => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Arriving::Hyper(body) => body.size_hint(),
            Arriving::Http1(reader) => reader.size_hint(),
            Arriving::Nothing => SizeHint::with_exact(0),
        }
    }
}

/// hyper reports broken chunks as an input error below its own.
fn fault_of(error: &hyper::Error) -> ContentFault {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let malformed = cause.is_some_and(|cause| {
        matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
    });
    if malformed {
        ContentFault::Malformed("the framing of the content is broken")
    } else {
        ContentFault::Gone
    }
}
