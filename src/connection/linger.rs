//! Closing a connection so that the last answer arrives (RFC 9112, section 9.6).
//!
//! A socket that is closed with bytes unread is reset, and a reset may overtake the answer. So the
//! writing side is closed first, and what still comes is read and thrown away until the client
//! closes or is silent: a client that uploads a large file may look for an answer only after it. The limits
//! are nginx's (`lingering_timeout`, `lingering_time`); a drain does not wait that long.
//! Promises: bounded in time, and without memory, whatever the client does.
//! Must not know: why the connection is closed.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::scratch;
use super::seat::Seat;
use super::wire::Wire;

/// The longest silence.
const SILENCE: Duration = Duration::from_secs(5);
/// In all.
const TIME: Duration = Duration::from_secs(30);
/// In all while the thread drains or hands over.
const HURRY: Duration = Duration::from_secs(1);

pub(super) async fn close(mut wire: Wire, seat: &Rc<Seat>) {
    if seat.has_ended() {
        wire.say_end();
    } else if wire.shutdown().await.is_ok() {
        discard(&mut wire, seat).await;
    }
}

/// Reads until the end, or until it has been long enough.
async fn discard(wire: &mut Wire, seat: &Seat) {
    let began = Instant::now();
    let mut heard = began;
    let mut alarm = std::pin::pin!(tokio::time::sleep_until(began + SILENCE));
    let work = std::future::poll_fn(|cx| {
        // A drain or a handover that begins meanwhile shortens the time.
        seat.attend(cx);
        while let Poll::Ready(read) = poll_discard(wire, cx) {
            if read == 0 {
                return Poll::Ready(());
            }
            heard = Instant::now();
        }
        let until =
            if seat.local().is_serving() { (heard + SILENCE).min(began + TIME) } else { began + HURRY };
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(until);
        alarm.as_mut().poll(cx)
    });
    work.await;
}

/// How much was read; 0 at the end, whatever kind of end it is.
fn poll_discard(wire: &mut Wire, cx: &mut Context<'_>) -> Poll<usize> {
    scratch::with(|space| {
        let mut buffer = ReadBuf::new(space);
        let read = ready!(Pin::new(wire).poll_read(cx, &mut buffer));
        Poll::Ready(read.map_or(0, |()| buffer.filled().len()))
    })
}
