//! One client connection, from the first byte to the last: HTTP/1, HTTP/2, tunnels.
//!
//! ```text
//!   Accepted ─▶ seat ─▶ http1 ────┬─▶ exchange ─▶ body     one per request
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
mod exchange;
mod flight;
mod http1;
pub mod http2;
mod linger;
pub(crate) mod local;
mod places;
mod preface;
mod presence;
mod rate;
mod registry;
mod scratch;
mod seat;
#[cfg(test)]
mod tests;
mod tunnel;
mod websocket;
mod wire;

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt;

pub use blueprint::Blueprint;
pub use local::DrainOrder;
pub(crate) use places::Places;
pub use wire::{Accepted, Kept};

use local::Local;
use seat::{Seat, Seated};
use wire::Wire;

/// Begins to serve a connection; its end is known to `local`.
pub(crate) fn begin(local: &Rc<Local>, accepted: Accepted) {
    tokio::task::spawn_local(life(local, accepted));
}

/// All of a connection. Its size is what every idle one costs.
fn life(local: &Rc<Local>, mut accepted: Accepted) -> impl Future<Output = ()> + use<> {
    let seat = Seat::take(local, accepted.address, accepted.listener.clone());
    seat.keep(accepted.kept.take());
    async move {
        if let Err(panic) = AssertUnwindSafe(serve(&seat, accepted)).catch_unwind().await {
            tracing::error!("a panic while serving a connection, closing it: {}", words_of(&*panic));
        }
    }
}

async fn serve(seat: &Seated, accepted: Accepted) {
    let wire = match Wire::new(accepted, Rc::clone(seat)) {
        Ok(wire) => wire,
        Err(error) => return tracing::debug!("cannot serve an accepted connection: {error}"),
    };
    // What is seldom, or large, is boxed when it comes: an idle connection pays for none of it.
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
