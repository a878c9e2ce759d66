//! Promises of connections and data threads, kept over real sockets.
//!
//! A test plays the client and the endpoint by turns, with blocking sockets; what lies between is
//! the whole front of a gateway. Nothing waits for time to pass: a test waits for bytes, for an
//! end, or for the data threads to have come round.

mod bodies;
mod deadlines;
mod drain;
mod footprint;
mod framing;
mod http2;
mod limits;
mod moving;
mod moving_tunnels;
mod proxy;
mod reload;
mod requests;
mod stress;
mod tls;
mod tunnels;
mod turnstile;
mod world;

use http::{HeaderValue, Request, Response};

use super::flight::Flight;
use crate::upstream::Asker;

/// Called with each request before it is routed.
pub(super) fn observe<B>(flight: &Flight, request: &Request<B>) {
    if let Some(status) = request.headers().get("x-test-interim") {
        let mut interim = Response::builder().status(status.to_str().unwrap()).body(()).unwrap();
        interim.headers_mut().insert("link", HeaderValue::from_static("</style.css>"));
        interim.headers_mut().insert("keep-alive", HeaderValue::from_static("timeout=5"));
        flight.interim(interim);
    }
    assert!(!request.headers().contains_key("x-test-panic"), "asked to panic by a test");
}
