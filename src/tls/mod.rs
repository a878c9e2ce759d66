//! TLS: handshakes by rustls, records by us.
//!
//! ```text
//!   socket ─▶ handshake (rustls) ─▶ Channel ─▶ plaintext     moves as a record::Seal
//! ```
//! Must not know: HTTP, who is connected.

mod channel;
mod clients;
mod der;
mod directory;
mod keys;
mod material;
mod pair;
#[cfg(test)]
mod tests;
mod tickets;
mod watch;

pub use channel::{Channel, Role, SPACE};
pub use clients::identity;
pub use directory::{Around, Change, Directory, Shown};
pub use material::{Fault, Kept};
pub use tickets::Tickets;
pub use watch::Watch;
