//! The TLS handshake of a connection, before anything is served on it.
//!
//! ```text
//!   hear ──hello──▶ wait in line ──▶ answer ──agreed──▶ served
//!    │ ├─ it speaks HTTP ──▶ 400, in plain text
//!    │ └─ the thread hands over ──▶ moved, with what came
//!    └─ refused, late, cut ──▶ closed
//! ```
//! Until its hello is whole nothing has been done with a connection, so it moves as it is; from then on it finishes
//! its handshake, and is then one that was just accepted.
//!
//! Promises: bounded in time, and in number from the hello on: who is over the number waits in line, within the same
//! time. A client that waits before its hello costs no more than an idle connection with a task. Who is refused is told
//! why by an alert, and counted.
//! Must not know: HTTP, which certificates there are.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::Sleep;

use super::blueprint::Generation;
use super::local::Stage;
use super::seat::Seat;
use super::wire::Wire;
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

pub(super) async fn greet(mut wire: Wire, seat: &Rc<Seat>) -> Greeted {
    let mut came = std::mem::take(&mut *wire.unread());
    let refused = match hear(&mut wire, &mut came, seat).await {
        Ok(Ok(hello)) => match settle(hello, &mut wire, came, seat).await {
            Ok(Ok(established)) => return seal(wire, established, seat),
            Ok(Err(refused)) => refused,
            Err(stop) => return stopped(stop, seat),
        },
        Ok(Err(Refused::NotTls)) if came.first().is_some_and(u8::is_ascii_alphabetic) => {
            *wire.unread() = came;
            seat.greeted();
            return Greeted::Plain(wire);
        }
        Ok(Err(refused)) => refused,
        Err(Stop::Departs) => {
            *wire.unread() = came;
            moving::depart(wire, seat);
            return Greeted::Over;
        }
        Err(stop) => return stopped(stop, seat),
    };
    refuse(seat, &refused);
    linger::close(wire, seat).await;
    Greeted::Over
}

/// The client's hello, behind which is what is left in `came`.
async fn hear(wire: &mut Wire, came: &mut BytesMut, seat: &Rc<Seat>) -> Result<Result<Hello, Refused>, Stop> {
    let mut grace = None;
    let mut graced = false;
    loop {
        let heard = {
            let mut hearing = pin!(handshake::hear(wire, came));
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

fn stopped(stop: Stop, seat: &Seat) -> Greeted {
    if stop == Stop::Late {
        let limit = seat.local().generation().blueprint.settings.tls.handshake_time;
        seat.local().counters.refused_handshake();
        tracing::debug!("no TLS handshake within tls.handshake-time, {limit:?}, closing the connection");
    }
    Greeted::Over
}

/// A client that cannot be served is worth a line, but not one of each.
fn refuse(seat: &Seat, refused: &Refused) {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
        static UNTOLD: Cell<u64> = const { Cell::new(0) };
    }
    seat.local().counters.refused_handshake();
    let client = seat.address().map(|address| address.to_string());
    let client = client.as_deref().unwrap_or("-");
    tracing::debug!(client, "refused a TLS handshake: {refused}");
    // Who goes away or does not speak TLS at all is nobody's concern.
    if matches!(refused, Refused::Gone(_) | Refused::NotTls) {
        return;
    }
    let now = Instant::now();
    if LAST.get().is_some_and(|last| now.saturating_duration_since(last) < LINES) {
        return UNTOLD.set(UNTOLD.get() + 1);
    }
    LAST.set(Some(now));
    tracing::warn!(client, untold = UNTOLD.take(), "refused a TLS handshake: {refused}");
}
