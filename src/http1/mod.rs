//! HTTP/1 as bytes: the syntax and the framing of messages (RFC 9112), for both sides of the gateway.
//!
//! ```text
//!   bytes ─▶ head::Reader ─▶ head, Framing ─▶ body::Decoder ─▶ content, trailers
//!   head, content, trailers ─▶ encode ─▶ bytes
//! ```
//! There is one reading of every message or none: what two readers could take for different messages
//! is refused, also where RFC 9112 would let a recipient repair it. Nothing here depends on how the bytes
//! were cut into pieces.
//!
//! | what | here | RFC 9112 |
//! |---|---|---|
//! | line ends | CR LF; a CR or LF of its own is refused | 2.2 |
//! | before a request line | at most one empty line | 2.2 |
//! | request line | method, SP, target, SP, version; exactly | 3 |
//! | target | bytes of [`syntax::is_target`] in the one form that fits the method | 3.2 |
//! | field line | token, colon, value; no space before the colon | 5.1 |
//! | continued lines | refused | 5.2 |
//! | `Transfer-Encoding` | `chunked`, in one line, once, not in HTTP/1.0 | 6.1 |
//! | `Content-Length` | digits, in one line, up to 2^63-1, not beside `Transfer-Encoding` | 6.2, 6.3 |
//! | chunk size | 1 to 16 hexadecimal digits | 7.1 |
//! | chunk extensions | of the right syntax, bounded, dropped | 7.1.1 |
//! | trailers | like fields, with the same limits | 7.1.2 |
//!
//! Promises: no panic, whatever the bytes; no more is held than the limits allow; what is encoded is
//! one message by these same rules.
//! Must not know: sockets, time, what a message means beyond its framing.

pub mod body;
pub mod encode;
pub mod head;
pub mod syntax;

#[cfg(test)]
mod tests;

pub use body::{Decoded, Decoder};
pub use head::{AnswerHead, Glimpse, Limits, Reader, RequestHead};

/// How the end of a message's content is told (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    Chunked,
    /// The end of the connection is the end of an answer.
    UntilClose,
}

impl Framing {
    pub const NONE: Framing = Framing::Length(0);
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It breaks a rule of the syntax or the framing.
    Malformed(&'static str),
    /// Another major version than 1.
    UnsupportedVersion,
    /// It has transfer codings other than `chunked`, which are known but not taken off here.
    UnknownCoding,
    /// The request line is too long.
    LongLine,
    /// The fields, or the trailers, are too long.
    LongFields,
    ManyFields,
}
