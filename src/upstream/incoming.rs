//! The content of an endpoint's answer on its way here.
//!
//! Promises: an answer that breaks off ends with the failure that says so, never as if it were whole.
//! Must not know: who reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::attempt::failure_of;
use crate::response::Failure;

/// Read as far as there is room for it; what is not read waits at the endpoint.
pub struct Incoming(hyper::body::Incoming);

impl Incoming {
    pub(super) fn new(body: hyper::body::Incoming) -> Incoming {
        Incoming(body)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Pin::new(&mut self.0).poll_frame(cx).map(|frame| Some(frame?.map_err(|error| failure_of(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
