//! The client's end of a connection: its socket, and the bytes already read from it.
//!
//! Promises: bytes put back are read again first, in order; a read of nothing is remembered as the
//! end. Whoever holds a [`Wire`] holds all there is of the connection, so it can be served again,
//! here or elsewhere.
//! Must not know: HTTP.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::seat::Seat;

/// A connection as it was accepted, before any thread has made it its own.
#[derive(Debug)]
pub struct Accepted {
    /// Non-blocking.
    pub socket: OwnedFd,
    /// `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The name of the listener.
    pub listener: Arc<str>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected socket with what was read ahead of its reader.
pub(super) struct Wire {
    stream: Stream,
    ahead: Bytes,
    /// A shutdown is not done, only what must come before it.
    kept_open: bool,
    seat: Rc<Seat>,
}

impl Wire {
    /// Registers the socket with this thread's reactor.
    pub(super) fn new(accepted: Accepted, seat: Rc<Seat>) -> io::Result<Wire> {
        let stream = if accepted.address.is_some() {
            let socket = std::net::TcpStream::from(accepted.socket);
            socket.set_nodelay(true)?;
            Stream::Tcp(TcpStream::from_std(socket)?)
        } else {
            Stream::Unix(UnixStream::from_std(accepted.socket.into())?)
        };
        Ok(Wire { stream, ahead: Bytes::new(), kept_open: false, seat })
    }

    /// These bytes were read too early: they are read again before all others.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        if self.ahead.is_empty() {
            self.ahead = bytes;
        } else if !bytes.is_empty() {
            let mut joined = BytesMut::with_capacity(bytes.len() + self.ahead.len());
            joined.extend_from_slice(&bytes);
            joined.extend_from_slice(&self.ahead);
            self.ahead = joined.freeze();
        }
    }

    /// Whether a shutdown by who serves the connection shall leave the socket open.
    pub(super) fn keep_open(&mut self, kept_open: bool) {
        self.kept_open = kept_open;
    }

    /// Whether something to read is here: put back, or already in the socket, which is asked.
    /// What comes is put back.
    pub(super) fn has_something(&mut self) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        let mut first = [0; 512];
        let read = match rustix::net::recv(self.as_fd(), &mut first, rustix::net::RecvFlags::DONTWAIT) {
            Ok((_, read)) => read,
            Err(_) => return false,
        };
        if read == 0 {
            self.seat.saw_end();
        } else {
            self.seat.heard();
        }
        self.ahead = Bytes::copy_from_slice(&first[..read]);
        read > 0
    }

    /// The close of a TCP connection is a reset, so that an answer without framing that broke off
    /// does not look complete (RFC 9112, section 8).
    pub(super) fn reset_on_close(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            // Not being able to set it leaves an ordinary close, which is all that is left to do.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        })?;
        if buffer.filled().len() > before {
            self.seat.heard();
        } else if buffer.remaining() > 0 {
            self.seat.saw_end();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        })?;
        self.seat.wrote();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        })?;
        self.seat.wrote();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept_open {
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
