//! What comes before anything is served on a connection: the PROXY header of a load balancer, the TLS handshake.
//!
//! ```text
//!   header ──▶ hear ──hello──▶ wait in line ──▶ answer ──agreed──▶ served
//!    │          │ ├─ it speaks HTTP ──▶ 400, in plain text
//!    ├──────────┴─┴─ the thread hands over ──▶ moved, with what came
//!    └─ refused, late, cut ──▶ closed
//! ```
//! Either may be all that there is. Until its hello is whole nothing has been done with a connection, so it moves as it is; from then on it finishes
//! its handshake, and is then one that was just accepted.
//!
//! Promises: bounded in time, and in number from the hello on: who is over the number waits in line, within the same
//! time. A client that waits before its hello costs no more than an idle connection with a task. Who is refused is told
//! why by an alert, and counted. Whom a header names is the client from then on; who is to send one and does not is
//! closed without a word.
//! Must not know: HTTP, which certificates there are.

use std::cell::Cell;
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::time::Sleep;

use super::blueprint::Generation;
use super::local::Stage;
use super::proxy::{self, Malformed};
use super::seat::Seat;
use super::wire::{Gulp, Wire};
use super::{linger, moving};
use crate::telemetry::counters::Limit;
use crate::tls::handshake::{self, Established, Hello, Protocol, Refused};
use crate::tls::{Channel, Role};

/// Between two lines about clients that are refused, on one thread.
const LINES: Duration = Duration::from_secs(1);

/// What a handshake has come to.
pub(super) enum Greeted {
    /// Without TLS, as it shall be.
    Open(Wire),
    Sealed(Wire, Option<Protocol>),
    /// It speaks HTTP without TLS; what came is unread.
    Plain(Wire),
    /// It is over, or goes on elsewhere.
    Over,
}

/// Why it is not gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Late,
    Cut,
    /// To another gateway.
    Departs,
    /// The grace of a drain is over.
    Grace,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
enum Nameless {
    #[error("the connection ended: {0}")]
    Gone(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

pub(super) async fn greet(mut wire: Wire, seat: &Rc<Seat>) -> Greeted {
    let mut came = std::mem::take(&mut *wire.unread());
    if seat.lacks_header() {
        let header = async |wire: &mut Wire, came: &mut BytesMut| header(wire, came).await;
        match hear(&mut wire, &mut came, seat, header).await {
            Ok(Ok(client)) if seat.introduced(client) => {}
            // One too many of its client: as one that came without a load balancer.
            Ok(Ok(_)) => {
                wire.reset_on_close();
                return Greeted::Over;
            }
            Ok(Err(nameless)) => {
                refuse(seat, "a PROXY header", &nameless, matches!(nameless, Nameless::Malformed(_)));
                return Greeted::Over;
            }
            Err(stop) => return stopped(stop, wire, came, seat),
        }
    }
    if seat.shakes_hands() {
        return shake_hands(wire, came, seat).await;
    }
    *wire.unread() = came;
    Greeted::Open(wire)
}

async fn shake_hands(mut wire: Wire, mut came: BytesMut, seat: &Rc<Seat>) -> Greeted {
    let hello = async |wire: &mut Wire, came: &mut BytesMut| handshake::hear(wire, came).await;
    let refused = match hear(&mut wire, &mut came, seat, hello).await {
        Ok(Ok(hello)) => match settle(hello, &mut wire, came, seat).await {
            Ok(Ok(established)) => return seal(wire, established, seat),
            Ok(Err(refused)) => refused,
            Err(stop) => return stopped(stop, wire, BytesMut::new(), seat),
        },
        Ok(Err(Refused::NotTls)) if came.first().is_some_and(u8::is_ascii_alphabetic) => {
            *wire.unread() = came;
            seat.greeted();
            return Greeted::Plain(wire);
        }
        Ok(Err(refused)) => refused,
        Err(stop) => return stopped(stop, wire, came, seat),
    };
    // Who goes away or does not speak TLS at all is nobody's concern.
    let matters = !matches!(refused, Refused::Gone(_) | Refused::NotTls);
    refuse(seat, "a TLS handshake", &refused, matters);
    linger::close(wire, seat).await;
    Greeted::Over
}

/// Whom the header names, behind which is what is left in `came`. Whoever stops waiting for it has all that was read.
async fn header(wire: &mut Wire, came: &mut BytesMut) -> Result<Option<IpAddr>, Nameless> {
    loop {
        if let Some(header) = proxy::read(came)? {
            came.advance(header.length);
            return Ok(header.client);
        }
        if poll_fn(|cx| wire.poll_fill(Gulp::Small, cx)).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        came.unsplit(std::mem::take(&mut *wire.unread()));
    }
}

/// What `listen` waits for, behind which is what is left in `came`.
async fn hear<T>(
    wire: &mut Wire,
    came: &mut BytesMut,
    seat: &Rc<Seat>,
    listen: impl AsyncFn(&mut Wire, &mut BytesMut) -> T,
) -> Result<T, Stop> {
    let mut grace = None;
    let mut graced = false;
    loop {
        let heard = {
            let mut hearing = pin!(listen(wire, came));
            poll_fn(|cx| {
                if seat.shall_move() && !seat.has_ended() {
                    return Poll::Ready(Err(Stop::Departs));
                }
                match poll_stop(seat, cx) {
                    Poll::Ready(stop) => return Poll::Ready(Err(stop)),
                    Poll::Pending => {}
                }
                if let Poll::Ready(heard) = hearing.as_mut().poll(cx) {
                    return Poll::Ready(Ok(heard));
                }
                if graced {
                    Poll::Pending
                } else {
                    poll_grace(&mut grace, seat, cx).map(|()| Err(Stop::Grace))
                }
            })
            .await
        };
        match heard {
            Err(Stop::Grace) => {
                // As before every idle connection is closed: a client that has begun is waited for.
                if came.is_empty() && !wire.has_something() {
                    return Err(Stop::Grace);
                }
                let more = std::mem::take(&mut *wire.unread());
                came.extend_from_slice(&more);
                graced = true;
            }
            heard => return heard,
        }
    }
}

/// The rest of it, when it is this one's turn.
async fn settle(
    hello: Hello,
    wire: &mut Wire,
    came: BytesMut,
    seat: &Rc<Seat>,
) -> Result<Result<Established, Refused>, Stop> {
    let generation = seat.local().generation();
    let _place = match generation.handshakes.try_acquire() {
        Ok(place) => Ok(place),
        Err(_) => {
            seat.local().counters.reached(Limit::Handshakes);
            unless_stopped(seat, generation.handshakes.acquire()).await?
        }
    };
    let answering = hello.answer(wire, came, |name| generation.blueprint.tls.config(name));
    unless_stopped(seat, answering).await
}

fn seal(wire: Wire, established: Established, seat: &Seat) -> Greeted {
    let Established { seal, protocol } = established;
    let channel = Channel::adopt(Role::Server, &seal);
    let Some(wire) = channel.and_then(|channel| wire.seal(channel).ok()) else {
        tracing::error!(
            "cannot serve a TLS connection whose cipher suite is {:#06x}, closing it",
            seal.suite
        );
        return Greeted::Over;
    };
    seat.local().counters.shook_hands();
    seat.seals(&seal);
    seat.greeted();
    Greeted::Sealed(wire, protocol)
}

async fn unless_stopped<F: Future>(seat: &Rc<Seat>, work: F) -> Result<F::Output, Stop> {
    let mut work = pin!(work);
    poll_fn(|cx| match poll_stop(seat, cx) {
        Poll::Ready(stop) => Poll::Ready(Err(stop)),
        Poll::Pending => work.as_mut().poll(cx).map(Ok),
    })
    .await
}

fn poll_stop(seat: &Seat, cx: &Context<'_>) -> Poll<Stop> {
    seat.attend(cx);
    if seat.eviction().is_some() {
        Poll::Ready(Stop::Late)
    } else if matches!(seat.local().stage(), Stage::Cut { .. }) {
        Poll::Ready(Stop::Cut)
    } else {
        Poll::Pending
    }
}

/// Ready when one that says nothing is to go.
fn poll_grace(grace: &mut Option<Pin<Box<Sleep>>>, seat: &Seat, cx: &mut Context<'_>) -> Poll<()> {
    let at = match seat.local().stage() {
        Stage::Draining { since, order } => since.max(seat.idle_since()) + order.idle_grace,
        Stage::HandingOver { since } if let Some(at) = seat.stays(since) => {
            at + idle_grace(&seat.local().generation())
        }
        _ => return Poll::Pending,
    };
    let grace = grace.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
    if grace.deadline() != at.into() {
        grace.as_mut().reset(at.into());
    }
    ready!(grace.as_mut().poll(cx));
    Poll::Ready(())
}

fn idle_grace(generation: &Generation) -> Duration {
    generation.blueprint.settings.drain.idle_grace
}

fn stopped(stop: Stop, wire: Wire, came: BytesMut, seat: &Seat) -> Greeted {
    match stop {
        Stop::Departs => {
            *wire.unread() = came;
            moving::depart(wire, seat);
        }
        Stop::Late => {
            seat.local().counters.refused_handshake();
            let generation = seat.local().generation();
            let settings = &generation.blueprint.settings;
            let (key, limit) = if seat.shakes_hands() {
                ("tls.handshake-time", settings.tls.handshake_time)
            } else {
                ("limits.head-time", settings.limits.head_time)
            };
            let what = if seat.lacks_header() { "PROXY header" } else { "TLS handshake" };
            tracing::debug!("no {what} within {key}, {limit:?}, closing the connection");
        }
        Stop::Cut | Stop::Grace => {}
    }
    Greeted::Over
}

/// A client that cannot be served is worth a line if it `matters`, but not one of each.
fn refuse(seat: &Seat, what: &str, why: &dyn Display, matters: bool) {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
        static UNTOLD: Cell<u64> = const { Cell::new(0) };
    }
    seat.local().counters.refused_handshake();
    let client = seat.address().map(|address| address.to_string());
    let client = client.as_deref().unwrap_or("-");
    tracing::debug!(client, "refused {what}: {why}");
    if !matters {
        return;
    }
    let now = Instant::now();
    if LAST.get().is_some_and(|last| now.saturating_duration_since(last) < LINES) {
        return UNTOLD.set(UNTOLD.get() + 1);
    }
    LAST.set(Some(now));
    tracing::warn!(client, untold = UNTOLD.take(), "refused {what}: {why}");
}
