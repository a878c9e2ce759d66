//! One client connection, from the first byte to the last: HTTP/1, HTTP/2, tunnels.
//!
//! ```text
//!   Accepted ─▶ seat ─▶ preface ─┬─▶ http1 ─┬─▶ exchange ─▶ body     one per request
//!                                └─▶ http2 ─┘      └─▶ tunnel        after 101, 2xx to CONNECT
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
mod preface;
mod presence;
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
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::Sleep;

pub use blueprint::Blueprint;
pub use local::DrainOrder;
pub use wire::{Accepted, Kept};

use local::{Local, Stage};
use preface::{Preface, Protocol};
use seat::{Seat, Seated};
use wire::Wire;

/// Begins to serve a connection; its end is known to `local`.
pub(crate) fn begin(local: &Rc<Local>, mut accepted: Accepted) {
    let seat = Seat::take(local, accepted.address, accepted.listener.clone());
    seat.keep(accepted.kept.take());
    tokio::task::spawn_local(async move {
        if let Err(panic) = AssertUnwindSafe(serve(&seat, accepted)).catch_unwind().await {
            tracing::error!("a panic while serving a connection, closing it: {}", words_of(&*panic));
        }
    });
}

async fn serve(seat: &Seated, accepted: Accepted) {
    let mut wire = match Wire::new(accepted, Rc::clone(seat)) {
        Ok(wire) => wire,
        Err(error) => return tracing::debug!("cannot serve an accepted connection: {error}"),
    };
    let first = First { wire: &mut wire, seat, preface: Preface::default(), grace: None }.await;
    let Some((protocol, bytes)) = first else { return };
    wire.put_back(bytes);
    match protocol {
        Protocol::Http1 => http1::serve(wire, seat).await,
        Protocol::Http2 => http2::serve(wire, seat).await,
    }
}

/// Waits for the protocol, as long as the connection may say nothing; `None`: it is to be closed.
struct First<'a> {
    wire: &'a mut Wire,
    seat: &'a Seat,
    preface: Preface,
    grace: Option<Pin<Box<Sleep>>>,
}

impl Future for First<'_> {
    type Output = Option<(Protocol, Bytes)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.seat.attend(cx);
        loop {
            if this.seat.eviction().is_some() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(protocol) = this.preface.poll(this.wire, cx) {
                return Poll::Ready(protocol.unwrap_or(None));
            }
            if !this.is_over(cx) {
                return Poll::Pending;
            }
            // The last look, and then it is closed at once.
            if !this.wire.has_something() {
                return Poll::Ready(None);
            }
        }
    }
}

impl First<'_> {
    /// Whether a connection that has said nothing yet has been waited for long enough.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        match self.seat.local().stage() {
            Stage::Serving => false,
            Stage::Draining { .. } if self.preface.has_begun() => false,
            Stage::Draining { since, order } => {
                let at = since.max(self.seat.idle_since()) + order.idle_grace;
                let grace = self.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
                grace.is_elapsed() || grace.as_mut().poll(cx).is_ready()
            }
            Stage::Cut { .. } => true,
        }
    }
}

/// What a panic said.
pub(crate) fn words_of(panic: &(dyn Any + Send)) -> &str {
    match panic.downcast_ref::<&str>() {
        Some(words) => words,
        None => panic.downcast_ref::<String>().map_or("no words", String::as_str),
    }
}
