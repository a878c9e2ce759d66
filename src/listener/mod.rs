//! Listening sockets, data threads, and which thread serves an accepted connection.
//!
//! ```text
//!   sockets ─▶ every data thread accepts ─▶ the least loaded one serves (connection::begin)
//! ```
//! [`threads::Threads`] is the handle by which the rest of the gateway starts, watches and ends
//! them; it speaks to each thread by commands and reads what they publish.
//!
//! Promises: one listening socket shared by all threads, never closed for a reload; no lock on the
//! way from accept to the connection.
//! Must not know: HTTP, where sockets come from.

mod accept;
mod capacity;
mod crew;
mod refusal;
mod thread;
pub mod threads;

pub use threads::{Socket, Threads};
