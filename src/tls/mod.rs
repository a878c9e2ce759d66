//! TLS: handshakes by rustls, records by us.
//!
//! ```text
//!   socket ─▶ handshake (rustls) ─▶ Channel ─▶ plaintext     moves as a record::Seal
//! ```
//! Must not know: HTTP, who is connected.

mod channel;
mod clients;
mod der;
mod dial;
mod directory;
pub mod handshake;
mod keys;
mod material;
mod outward;
mod pair;
#[cfg(test)]
#[path = "../../tests/tls/pki.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
pub(crate) mod pki;
#[cfg(test)]
mod tests;
mod tickets;
mod watch;

use std::cell::RefCell;

pub use channel::{Channel, Role, SPACE, alert_in};
pub use clients::identity;
pub use dial::{Dialled, Undone, dial, refusal};
pub use directory::{Around, Change, Directory, Shown};
pub use material::{Fault, Kept};
pub use outward::{Outward, outward};
pub use tickets::Tickets;
pub use watch::Watch;

/// So many records are read or written at once.
const RECORDS: usize = 4;

thread_local! {
    static LENT: RefCell<Box<[u8; RECORDS * SPACE]>> = RefCell::new(Box::new([0; RECORDS * SPACE]));
}

/// Lends the space that a [`Channel`] reads and writes by, which all of a thread's connections share.
pub fn lend<T>(borrower: impl FnOnce(&mut [u8]) -> T) -> T {
    LENT.with_borrow_mut(|space| borrower(&mut space[..]))
}
