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
use crate::handover::record::Seal;
use crate::tls::{Channel, Role};

/// Bytes of another protocol, in both directions.
pub struct Upgraded {
    /// Read already.
    ahead: Bytes,
    stream: Stream,
}

/// A whole connection on its way to another process.
pub struct GivenUp {
    pub socket: OwnedFd,
    /// The TLS around it, if there is.
    pub seal: Option<Box<Seal>>,
    /// What was read of it, of its plaintext.
    pub ahead: Vec<u8>,
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

    /// A whole connection, as [`Upgraded::give_up`] gave it away elsewhere.
    pub fn adopt(given: GivenUp) -> io::Result<Upgraded> {
        let GivenUp { socket, seal, ahead } = given;
        let mut line = Line::new(Socket::adopt(socket)?);
        if let Some(seal) = seal {
            let channel = Channel::adopt(Role::Client, &seal);
            line = line.secured(channel.ok_or_else(|| io::Error::other("its TLS is not known here"))?);
        }
        Ok(Upgraded::http1(line, ahead.into()))
    }

    /// Whether it is a whole connection that nobody else has, so that it can go elsewhere.
    pub fn is_whole(&self) -> bool {
        matches!(&self.stream, Stream::Http1(line) if line.is_sole())
    }

    /// What goes elsewhere. Of one that is [whole](Upgraded::is_whole).
    pub fn give_up(self) -> io::Result<GivenUp> {
        match self.stream {
            Stream::Http1(line) => {
                let (socket, seal, behind) = line.into_parts()?;
                Ok(GivenUp { socket, seal, ahead: [&self.ahead[..], &behind].concat() })
            }
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
