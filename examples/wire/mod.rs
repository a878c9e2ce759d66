//! What the sample application and the load client agree on: WebSocket frames and the bytes of a download.
//!
//! Promises: no input or output of its own, so both ends and their tests share one truth.
//! Must not know: sockets, who serves, who asks.

pub mod pattern;
pub mod websocket;
