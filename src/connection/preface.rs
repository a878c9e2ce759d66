//! Which protocol a connection speaks, told by its first bytes (RFC 9113, section 3.4).
//!
//! Promises: reads no further than it must know plus what came along, and loses none of it; an
//! end before that is an end, not a protocol. A connection that has sent nothing costs no buffer.
//! Must not know: what is done with the answer.

use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

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

/// The protocol, and the bytes that were read to know it; `None` at an early end.
pub(super) async fn detect<R: AsyncRead + Unpin>(wire: &mut R) -> io::Result<Option<(Protocol, Bytes)>> {
    let mut first = BytesMut::new();
    loop {
        let read = std::future::poll_fn(|cx| {
            scratch::with(|space| {
                let mut buffer = ReadBuf::new(space);
                ready!(Pin::new(&mut *wire).poll_read(cx, &mut buffer))?;
                first.extend_from_slice(buffer.filled());
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            })
        });
        if read.await? == 0 {
            // Bytes that could still become either are an HTTP/1 request that breaks off.
            return Ok(if first.is_empty() { None } else { Some((Protocol::Http1, first.freeze())) });
        }
        if let Some(protocol) = protocol(&first) {
            return Ok(Some((protocol, first.freeze())));
        }
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

    #[tokio::test(flavor = "current_thread")]
    async fn every_byte_read_is_given_back_however_it_arrives() {
        for piece in [1, 5, 24, 30] {
            let sent = [HTTP2, b"frames"].concat();
            let mut reader = tokio_reader(&sent, piece);
            let (protocol, first) = detect(&mut reader).await.unwrap().unwrap();
            assert_eq!(protocol, Protocol::Http2);
            assert!(sent.starts_with(&first) && first.len() >= HTTP2.len());
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_before_the_first_byte_is_no_protocol() {
        assert_eq!(detect(&mut tokio_reader(b"", 1)).await.unwrap(), None);
        let early = detect(&mut tokio_reader(b"PRI", 1)).await.unwrap();
        assert_eq!(early, Some((Protocol::Http1, Bytes::from_static(b"PRI"))));
    }

    struct Pieces<'a> {
        rest: &'a [u8],
        piece: usize,
    }

    fn tokio_reader(rest: &[u8], piece: usize) -> Pieces<'_> {
        Pieces { rest, piece }
    }

    impl AsyncRead for Pieces<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let count = self.piece.min(self.rest.len()).min(buffer.remaining());
            buffer.put_slice(&self.rest[..count]);
            self.rest = &self.rest[count..];
            Poll::Ready(Ok(()))
        }
    }
}
