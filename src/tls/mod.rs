//! TLS: handshakes by rustls, records by us.
//!
//! ```text
//!   socket ─▶ handshake (rustls) ─▶ Channel ─▶ plaintext     moves as a record::Seal
//! ```
//! Must not know: HTTP, who is connected.

mod channel;
pub mod handshake;
mod keys;

pub use channel::{Channel, Role, SPACE};
