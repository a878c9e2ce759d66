//! HTTP/2 to the letter: tables of frames, of the reactions that the RFCs permit, and of what reaches an endpoint.
//!
//! Promises: a real gateway; every byte of both sides is the test's own; nothing waits for time to pass.

mod answers;
mod client;
mod connections;
mod content;
#[allow(dead_code, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/daemon.rs"]
mod daemon;
mod ears;
mod endpoint;
mod endpoint2;
mod fields;
#[allow(dead_code, reason = "the floods use more of it")]
#[path = "../../examples/wire/frames.rs"]
mod frames;
mod hpack;
#[allow(dead_code, reason = "the tests of TLS use more of it")]
#[path = "../tls/client.rs"]
mod offer;
#[allow(dead_code, reason = "the tests of TLS use more of it")]
#[path = "../tls/pki.rs"]
mod pki;
mod pseudo;
mod smuggling;
mod states;
mod stories;
mod table;
mod targets;
