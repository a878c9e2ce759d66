//! Which protocol a connection speaks, told by its first bytes (RFC 9113, section 3.4).
//!
//! Promises: it is known as soon as the bytes allow.
//! Must not know: where the bytes come from, what is done with the answer.

const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// `None` while the bytes are still a beginning of the preface.
pub(super) fn protocol(first: &[u8]) -> Option<Protocol> {
    let known = first.len().min(HTTP2.len());
    if first[..known] != HTTP2[..known] {
        Some(Protocol::Http1)
    } else if known == HTTP2.len() {
        Some(Protocol::Http2)
    } else {
        None
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
}
