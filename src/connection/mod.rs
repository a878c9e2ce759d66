//! One client connection, from the first byte to the last: HTTP/1, HTTP/2, tunnels.
//!
//! ```text
//!   Accepted ─▶ seat ─▶ greeting ─▶ http1 ────┬─▶ exchange ─▶ body     one per request
//!                         └▶ http2 ┘      └─▶ tunnel        after 101, 2xx to CONNECT
//! ```
//! Everything here lives on one data thread and shares its [`local::Local`]: nothing is locked.
//! Each connection has a [`seat`](seat::Seat) and each request a [`flight`](flight::Flight) by
//! which it is found when the thread drains, cuts or sweeps.
//!
//! Promises: every connection and every request ends exactly once and is counted; what a client
//! can make us hold is bounded.
//! Must not know: who accepts, what other threads do, what the gateway is about to become.

mod arriving;
pub mod blueprint;
mod body;
mod direction;
mod exchange;
mod flight;
mod greeting;
mod http1;
pub mod http2;
mod linger;
pub(crate) mod local;
mod moving;
mod places;
mod preface;
mod presence;
mod proxy;
mod rate;
mod registry;
mod scratch;
mod seat;
mod story;
#[cfg(test)]
mod tests;
mod tunnel;
mod websocket;
mod wire;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt;

pub use blueprint::Blueprint;
pub use local::DrainOrder;
pub(crate) use moving::adopt;
pub(crate) use places::Places;
pub use wire::{Accepted, Claim, Kept};

use greeting::Greeted;
use local::Local;
use seat::{Seat, Seated};
use wire::Wire;

use crate::response::Failure;
use crate::tls::handshake::Protocol;

/// Begins to serve a connection; its end is known to `local`.
pub(crate) fn begin(local: &Rc<Local>, accepted: Accepted) {
    let Accepted { socket, address, listener, kept } = accepted;
    let seat = Seat::take(local, address, listener);
    seat.keep(kept);
    if let Some(time) = local.handshake_on(seat.listener()) {
        seat.awaits_handshake(time);
    }
    if local.is_introduced(seat.listener(), address) {
        seat.awaits_header();
    }
    match Wire::new(socket, Vec::new(), Rc::clone(&seat)) {
        Ok(wire) => drop(tokio::task::spawn_local(life(seat, wire))),
        Err(error) => tracing::debug!("cannot serve an accepted connection: {error}"),
    }
}

/// All of a connection. Its size is what every idle one costs.
async fn life(seat: Seated, wire: Wire) {
    contained(serve(&seat, wire)).await;
}

/// A panic in `serving` ends no more than that.
fn contained(serving: impl Future<Output = ()>) -> impl Future<Output = ()> {
    AssertUnwindSafe(serving).catch_unwind().map(|ended| {
        if let Err(panic) = ended {
            tracing::error!("a panic while serving a connection, closing it: {}", words_of(&*panic));
        }
    })
}

async fn serve(seat: &Seated, wire: Wire) {
    // What is seldom, or large, is boxed when it comes: an idle connection pays for none of it.
    let greeted =
        if seat.is_greeting() { Box::pin(greeting::greet(wire, seat)).await } else { Greeted::Open(wire) };
    let wire = match greeted {
        Greeted::Over => return,
        Greeted::Plain(wire) => return Box::pin(http1::refuse(wire, seat, Failure::PlainHttp)).await,
        Greeted::Sealed(wire, Some(Protocol::Http2)) => return Box::pin(http2::serve(wire, seat)).await,
        Greeted::Open(wire) | Greeted::Sealed(wire, _) => wire,
    };
    if let Some(wire) = http1::serve(wire, seat).await {
        Box::pin(http2::serve(wire, seat)).await;
    }
}

/// What a panic said.
pub(crate) fn words_of(panic: &(dyn Any + Send)) -> &str {
    match panic.downcast_ref::<&str>() {
        Some(words) => words,
        None => panic.downcast_ref::<String>().map_or("no words", String::as_str),
    }
}
