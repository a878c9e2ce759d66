//! What of a request's content still comes when its answer has been given whole.
//!
//! A RST_STREAM with NO_ERROR may be sent after such an answer (RFC 9113, section 8.1), and a client must not throw away the
//! answer for it. Some do when both come at once: curl 7.88 lost 39 of 100 answers of 413. nginx and nghttpd reset at
//! once; so did we. Now the stream stays open and what comes is thrown away, until the client ends, resets, or is
//! silent, as it is when it has seen the answer; then it is reset, for a client that waits for that (curl 8.10 does).
//! It counts among `limits.streams` for so long, and its frames are metered like any.
//! Promises: bounded by [`BYTES`] and [`TIME`], whatever the client does; holds nothing of what comes.
//! Must not know: what it was answered.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::RecvStream;
use tokio::time::{Instant, Sleep};

use crate::connection::seat::Seat;

/// Four windows of a stream: what comes within four round trips.
const BYTES: usize = 4 * super::STREAM_WINDOW as usize;
/// What a frame costs however small it is.
const FRAME: usize = 64;
/// A client that has seen its answer stops sending. What comes first must not hang on the load of a machine that tests.
const SILENCE: Duration = if cfg!(test) { Duration::from_secs(600) } else { Duration::from_millis(500) };
/// In all.
const TIME: Duration = SILENCE.saturating_mul(10);

/// Where content is put that nobody reads any more.
pub(super) type Slot = Rc<Cell<Option<RecvStream>>>;

/// Throws away what has come while the answer is on its way, since the windows that it fills are the connection's too.
pub(super) fn discard(slot: &Slot, cx: &mut Context<'_>) {
    let Some(mut stream) = slot.take() else { return };
    if read(&mut stream, cx, |_| true).is_pending() {
        slot.set(Some(stream));
    }
}

/// Begins when the answer is whole.
pub(super) fn linger(slot: &Slot, seat: &Rc<Seat>) {
    let Some(stream) = slot.take() else { return };
    let now = Instant::now();
    let alarm = Box::pin(tokio::time::sleep_until(now + SILENCE));
    let seat = Rc::clone(seat);
    tokio::task::spawn_local(Leftover { stream, seat, left: BYTES, until: now + TIME, alarm });
}

/// Throws away what still comes; h2 resets the stream when it is let go of.
struct Leftover {
    stream: RecvStream,
    seat: Rc<Seat>,
    left: usize,
    until: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Future for Leftover {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Leftover { stream, seat, left, until, alarm } = &mut *self;
        // A drain does not wait for it.
        if seat.local().is_leaving() {
            return Poll::Ready(());
        }
        let read = read(stream, cx, |length| {
            alarm.as_mut().reset((Instant::now() + SILENCE).min(*until));
            *left = left.saturating_sub(length.max(FRAME));
            *left > 0
        });
        if read.is_ready() { Poll::Ready(()) } else { alarm.as_mut().poll(cx) }
    }
}

/// Ready at the end of the content, and when `goes_on` says so of a frame.
fn read(stream: &mut RecvStream, cx: &mut Context<'_>, mut goes_on: impl FnMut(usize) -> bool) -> Poll<()> {
    while let Some(Ok(bytes)) = ready!(stream.poll_data(cx)) {
        // Fails for a stream that is gone, whose window nobody needs.
        let _ = stream.flow_control().release_capacity(bytes.len());
        if !goes_on(bytes.len()) {
            break;
        }
    }
    Poll::Ready(())
}
