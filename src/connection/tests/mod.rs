//! Promises of connections and data threads, kept over real sockets.
//!
//! A test plays the client and the endpoint by turns, with blocking sockets; what lies between is
//! the whole front of a gateway. Nothing waits for time to pass: a test waits for bytes, for an
//! end, or for the data threads to have come round.

mod bodies;
mod deadlines;
mod drain;
mod http2;
mod reload;
mod requests;
mod tunnels;
mod world;

use http::Request;

/// Called with each request before it is routed.
pub(super) fn observe<B>(request: &Request<B>) {
    assert!(!request.headers().contains_key("x-test-panic"), "asked to panic by a test");
}
