//! HTTP/2 as bytes: frames and compressed fields (RFC 9113, RFC 7541), for the side of the server.
//!
//! ```text
//!   bytes ─▶ frame::Head ─▶ frame::parse ─▶ Frame ─▶ block, whole ─▶ head::request ─▶ request
//!                                             │                       └─ head::trailers
//!                                             └─ everything else: the connection's
//!   answer ─▶ hpack::Encoder ─▶ write ─▶ bytes
//! ```
//! What breaks a rule is told by whom it concerns: [`Error::Connection`] ends everything, since the two
//! sides no longer agree about what the bytes mean; [`Error::Stream`] and [`Malformed`] end one stream, and the
//! state that all streams share goes on as if nothing had been.
//!
//! Promises: no panic, whatever the bytes; nothing is held but the table of compressed fields, which is bounded;
//! a field that repeats one before it is not copied.
//! Must not know: sockets, time, the states of streams, what fields and content mean.

pub mod frame;
pub mod head;
pub mod hpack;
pub mod write;

mod reason;

#[cfg(test)]
mod tests;

pub use frame::{Frame, Kind, Settings};
pub use head::{Malformed, Protocol};
pub use hpack::{Decoder, Encoder};
pub use reason::Reason;

/// What a client says before its first frame (RFC 9113, section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest window (RFC 9113, section 6.9.1), and the largest identifier of a stream.
pub const MOST: u32 = (1 << 31) - 1;

/// A rule was broken, and what that ends (RFC 9113, section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    Connection(Reason, &'static str),
    Stream(u32, Reason, &'static str),
}
