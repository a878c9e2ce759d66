//! What one process gives another: messages with file descriptors.
//!
//! [`mailbox`] carries datagrams, [`control`] is what keeper and gateway say over one,
//! in `words` for people; [`snapshot`] is the configuration they agree on. Connections will move over the same mailbox.
//! Must not know: who is at the other end, or HTTP.

pub mod control;
pub mod mailbox;
pub mod snapshot;
mod words;
