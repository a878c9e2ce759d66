//! The endpoint's side of an exchange that left HTTP.
//!
//! Promises: what the endpoint sent right behind its answer is read first. Must not know: what is
//! spoken now.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::http2::Carried;
use super::line::{Line, Socket};

/// Bytes of another protocol, in both directions.
pub struct Upgraded {
    /// Read already.
    ahead: Bytes,
    stream: Stream,
}

enum Stream {
    /// All of a connection.
    Http1(Line),
    /// One stream of a connection (RFC 9113, section 8.5).
    Http2(Carried),
}

impl Upgraded {
    /// The connection behind `line`, of which `ahead` was read too early.
    pub(super) fn http1(line: Line, ahead: Bytes) -> Upgraded {
        line.become_tunnel();
        Upgraded { ahead, stream: Stream::Http1(line) }
    }

    pub(super) fn http2(stream: Carried) -> Upgraded {
        Upgraded { ahead: Bytes::new(), stream: Stream::Http2(stream) }
    }

    /// A whole connection, of which `ahead` was read, as [`Upgraded::give_up`] gave it away elsewhere.
    pub fn adopt(socket: OwnedFd, ahead: Vec<u8>) -> io::Result<Upgraded> {
        Ok(Upgraded::http1(Line::new(Socket::adopt(socket)?), ahead.into()))
    }

    /// Whether it is a whole connection that nobody else has, so that it can go elsewhere.
    pub fn is_whole(&self) -> bool {
        matches!(&self.stream, Stream::Http1(line) if line.is_sole())
    }

    /// The socket, and what was read of it. Of one that is [whole](Upgraded::is_whole).
    pub fn give_up(self) -> io::Result<(OwnedFd, Vec<u8>)> {
        match self.stream {
            Stream::Http1(line) => Ok((line.into_fd()?, self.ahead.into())),
            Stream::Http2(_) => Err(io::Error::other("it is one stream of many")),
        }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return match &mut self.stream {
                Stream::Http1(line) => Pin::new(line).poll_read(cx, buffer),
                Stream::Http2(stream) => Pin::new(stream).poll_read(cx, buffer),
            };
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Http1(line) => Pin::new(line).poll_write(cx, bytes),
            Stream::Http2(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Http1(line) => Pin::new(line).poll_flush(cx),
            Stream::Http2(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Http1(line) => Pin::new(line).poll_shutdown(cx),
            Stream::Http2(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
