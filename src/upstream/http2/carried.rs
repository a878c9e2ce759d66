//! One stream of HTTP/2 as the endpoint's end of a tunnel (RFC 9113, section 8.5).
//!
//! Promises: what waits for the endpoint is bounded as content is; an end is END_STREAM, and everything
//! else that ends the stream is an error. Dropped before both ends, it resets the stream.
//! Must not know: what goes through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sending::poll_room;

pub(in crate::upstream) struct Carried {
    receiver: RecvStream,
    /// Received and not yet read.
    ahead: Bytes,
    sender: SendStream<Bytes>,
}

impl Carried {
    pub(super) fn new(receiver: RecvStream, sender: SendStream<Bytes>) -> Carried {
        Carried { receiver, ahead: Bytes::new(), sender }
    }
}

impl AsyncRead for Carried {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ahead.is_empty() {
            match ready!(this.receiver.poll_data(cx)) {
                Some(Ok(bytes)) => this.ahead = bytes,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead[..count]);
        this.ahead.advance(count);
        // Fails for a stream that is gone, whose window nobody needs.
        let _ = this.receiver.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !ready!(poll_room(&mut self.sender, cx)) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.sender.send_data(Bytes::copy_from_slice(bytes), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.sender.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(io::Error::other))
    }
}
