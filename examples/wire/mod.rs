//! What the sample application and the load client agree on, which the library has: `src/prove/wire`.
//!
//! `frames.rs` beside this file, HTTP/2 by hand, is for the floods and the tests.

#![allow(unused_imports, reason = "each program uses a part of it")]

pub use hitless::prove::wire::{numbered, pattern, websocket};
