//! What the load client and an application that is asked by it agree on: WebSocket frames, numbered messages, and
//! the bytes of a download.
//!
//! Promises: no input or output of its own, so both ends and their tests share one truth.
//! Must not know: sockets, who serves, who asks.

pub mod numbered;
pub mod pattern;
pub mod websocket;
