//! One stream of HTTP/2 as the client's end of a tunnel (RFC 8441, section 5; RFC 9113, section 8.5).
//!
//! Promises: what waits for the client is bounded as that of an answer is; an end is END_STREAM, and everything else
//! that ends the stream is an error.
//! Must not know: what goes through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lane::{Arrival, Link};

pub(super) struct Carried {
    arrival: Arrival,
    /// Received and not yet read.
    bytes: Bytes,
    link: Link,
}

impl Carried {
    pub(super) fn new(arrival: Arrival) -> Carried {
        Carried { link: arrival.link(), arrival, bytes: Bytes::new() }
    }
}

impl AsyncRead for Carried {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.bytes.is_empty() {
            match ready!(this.arrival.poll_content(cx)) {
                Some(Ok(bytes)) => this.bytes = bytes,
                Some(Err(_)) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.bytes.len().min(buffer.remaining());
        buffer.put_slice(&this.bytes.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !ready!(self.link.poll_room(cx)) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.link.send_content(Bytes::copy_from_slice(bytes), false);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.send_content(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}
