//! Which protocol a connection speaks, told by its first bytes (RFC 9113, section 3.4).
//!
//! Promises: reads no further than it must know plus what came along, and loses none of it; an
//! end before that is an end, not a protocol. A connection that has sent nothing costs no buffer.
//! Must not know: what is done with the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::scratch;

const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// `None` while the bytes are still a beginning of the preface.
fn protocol(first: &[u8]) -> Option<Protocol> {
    let known = first.len().min(HTTP2.len());
    if first[..known] != HTTP2[..known] {
        Some(Protocol::Http1)
    } else if known == HTTP2.len() {
        Some(Protocol::Http2)
    } else {
        None
    }
}

/// What is known of a connection before its protocol is.
#[derive(Debug, Default)]
pub(super) struct Preface {
    first: BytesMut,
}

impl Preface {
    /// Whether a byte has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.first.is_empty()
    }

    /// The protocol, and the bytes that were read to know it; `None` at an early end.
    pub(super) fn poll<R: AsyncRead + Unpin>(
        &mut self,
        wire: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<(Protocol, Bytes)>>> {
        loop {
            let read = ready!(self.poll_more(wire, cx))?;
            let first = &mut self.first;
            if read == 0 {
                // Bytes that could still become either are an HTTP/1 request that breaks off.
                let broken = !first.is_empty();
                return Poll::Ready(Ok(broken.then(|| (Protocol::Http1, first.split().freeze()))));
            }
            if let Some(protocol) = protocol(first) {
                return Poll::Ready(Ok(Some((protocol, first.split().freeze()))));
            }
        }
    }

    fn poll_more<R: AsyncRead + Unpin>(
        &mut self,
        wire: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        scratch::with(|space| {
            let mut buffer = ReadBuf::new(space);
            ready!(Pin::new(wire).poll_read(cx, &mut buffer))?;
            self.first.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_known_as_soon_as_the_bytes_allow() {
        assert_eq!(protocol(b""), None);
        assert_eq!(protocol(b"P"), None);
        assert_eq!(protocol(b"PO"), Some(Protocol::Http1));
        assert_eq!(protocol(b"GET / HTTP/1.1\r\n"), Some(Protocol::Http1));
        assert_eq!(protocol(&HTTP2[..23]), None);
        assert_eq!(protocol(HTTP2), Some(Protocol::Http2));
        assert_eq!(protocol(&[HTTP2, b"more"].concat()), Some(Protocol::Http2));
        assert_eq!(protocol(b"PRI * HTTP/1.1\r\n"), Some(Protocol::Http1));
    }

    #[test]
    fn every_byte_read_is_given_back_however_it_arrives() {
        for piece in [1, 5, 24, 30] {
            let sent = [HTTP2, b"frames"].concat();
            let mut reader = pieces(&sent, piece);
            let (protocol, first) = detect(&mut reader).unwrap();
            assert_eq!(protocol, Protocol::Http2);
            assert!(sent.starts_with(&first) && first.len() >= HTTP2.len());
        }
    }

    #[test]
    fn an_end_before_the_first_byte_is_no_protocol() {
        assert_eq!(detect(&mut pieces(b"", 1)), None);
        let early = detect(&mut pieces(b"PRI", 1));
        assert_eq!(early, Some((Protocol::Http1, Bytes::from_static(b"PRI"))));
    }

    fn detect(reader: &mut Pieces<'_>) -> Option<(Protocol, Bytes)> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Preface::default().poll(reader, &mut cx) {
            Poll::Ready(detected) => detected.unwrap(),
            Poll::Pending => unreachable!("there is always something to read"),
        }
    }

    struct Pieces<'a> {
        rest: &'a [u8],
        piece: usize,
    }

    fn pieces(rest: &[u8], piece: usize) -> Pieces<'_> {
        Pieces { rest, piece }
    }

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let count = self.piece.min(self.rest.len()).min(buffer.remaining());
            buffer.put_slice(&self.rest[..count]);
            self.rest = &self.rest[count..];
            Poll::Ready(Ok(()))
        }
    }
}
