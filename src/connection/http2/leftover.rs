//! What of a request's content still comes when its answer has been given whole.
//!
//! A RST_STREAM with NO_ERROR may be sent after such an answer (RFC 9113, section 8.1), and a client must not throw away the
//! answer for it. Some do when both come at once: curl 7.88 lost 39 of 100 answers of 413. nginx and nghttpd reset at
//! once; so did we. Now the stream stays open and what comes is thrown away, until the client ends, resets, or is
//! silent, as it is when it has seen the answer; then it is reset, for a client that waits for that (curl 8.10 does).
//! It counts among `limits.streams` for so long, and its frames are metered like any.
//! Promises: bounded by [`BYTES`] and [`TIME`], whatever the client does; holds nothing of what comes.
//! Must not know: what it was answered.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::lane::Lane;
use crate::connection::seat::Seat;

/// Four windows of a stream: what comes within four round trips.
const BYTES: usize = 4 * super::STREAM_WINDOW as usize;
/// What a look costs however little came: frames that come together are one.
const LOOK: usize = 64;
/// A client that has seen its answer stops sending. What comes first must not hang on the load of a machine that tests.
const SILENCE: Duration = if cfg!(test) { Duration::from_secs(600) } else { Duration::from_millis(500) };
/// In all.
const TIME: Duration = SILENCE.saturating_mul(10);

/// Begins when the answer is whole, if something still comes.
pub(super) fn linger(lane: Lane, seat: &Rc<Seat>) {
    if lane.has_leftover() {
        let now = Instant::now();
        let alarm = Box::pin(tokio::time::sleep_until(now + SILENCE));
        let seat = Rc::clone(seat);
        tokio::task::spawn_local(Leftover { lane, seat, left: BYTES, until: now + TIME, alarm });
    }
}

/// Waits while what still comes is thrown away; the stream is reset when it is let go of.
struct Leftover {
    lane: Lane,
    seat: Rc<Seat>,
    left: usize,
    until: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Future for Leftover {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Leftover { lane, seat, left, until, alarm } = &mut *self;
        // Neither a drain nor a handover waits for it.
        if !seat.local().is_serving() {
            return Poll::Ready(());
        }
        while let Poll::Ready(came) = lane.poll_discarded(cx) {
            let Some(bytes) = came else { return Poll::Ready(()) };
            alarm.as_mut().reset((Instant::now() + SILENCE).min(*until));
            *left = left.saturating_sub(bytes.max(LOOK));
            if *left == 0 {
                return Poll::Ready(());
            }
        }
        alarm.as_mut().poll(cx)
    }
}
