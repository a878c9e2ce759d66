//! What one process gives another: messages with file descriptors.
//!
//! [`mailbox`] carries datagrams, [`control`] is what keeper and gateway say over one,
//! in `words` for people; [`snapshot`] is the configuration they agree on; [`record`] is what moves to another
//! gateway, or into systemd's fd store, and [`post`] moves it over a mailbox of its own; both put what is
//! long into a `sealed` memory file. What is [`secret`] is wiped on both sides.
//! Must not know: who is at the other end, or HTTP.

pub mod control;
mod hex;
pub mod mailbox;
pub mod post;
pub mod record;
pub mod sealed;
pub mod secret;
pub mod snapshot;
mod words;
