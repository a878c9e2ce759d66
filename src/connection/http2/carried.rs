//! One stream of HTTP/2 as the client's end of a tunnel (RFC 8441, section 5; RFC 9113, section 8.5).
//!
//! Promises: what waits for the client is bounded as that of an answer is; an end is END_STREAM, and everything else
//! that ends the stream is an error.
//! Must not know: what goes through.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::metered::Gauge;
use super::stream::poll_room;

pub(super) struct Carried {
    receiver: RecvStream,
    /// Received and not yet read.
    bytes: Bytes,
    sender: Rc<RefCell<SendStream<Bytes>>>,
    gauge: Rc<Gauge>,
}

impl Carried {
    pub(super) fn new(
        receiver: RecvStream,
        sender: Rc<RefCell<SendStream<Bytes>>>,
        gauge: Rc<Gauge>,
    ) -> Carried {
        Carried { receiver, bytes: Bytes::new(), sender, gauge }
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
            match ready!(this.receiver.poll_data(cx)) {
                Some(Ok(bytes)) => this.bytes = bytes,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.bytes.len().min(buffer.remaining());
        buffer.put_slice(&this.bytes.split_to(count));
        // Fails for a stream that is gone, whose window nobody needs.
        let _ = this.receiver.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut sender = self.sender.borrow_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !ready!(poll_room(&mut sender, cx)) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.gauge.hand_over(bytes.len(), false);
        sender.send_data(Bytes::copy_from_slice(bytes), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.sender.borrow_mut().send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(io::Error::other))
    }
}
