//! Whether the client of an HTTP/1 request in flight is still there.
//!
//! A client that closes its connection and one that only says that it has sent everything
//! (`shutdown(2)`, `nc -N`) look the same: the end of what it sends has come. RFC 9112, section 9.6
//! allows the second, and it must get its answer; the first shall end its attempt upstream. Only
//! writing tells them apart: the kernel of a closed socket answers with a reset. So
//! ```text
//!   end seen ─┬─ before the answer ──▶ its first byte, the H of HTTP, is written ahead ──reset──▶ gone
//!             └─ within the answer ──▶ each write tells; SILENCE without one ──────────────▶ gone
//! ```
//! Rejected: taking every end for a client that has gone (nginx, Envoy and Go do, and lose the answer
//! of the other kind), and taking none for one (an abandoned request works on to its end).
//!
//! Promises: costs nothing before an end is seen. A client that closed is known to be gone one round
//! trip later, or, if its answer had begun, with the next bytes of it, at the latest after [`SILENCE`]
//! without any. A client that ended its side gets a whole answer, unless that pauses so long.
//! Must not know: what is answered.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep};

use super::seat::Seat;
use super::wire::Socket;

/// How long an answer that has begun may pause after the client has ended its side.
const SILENCE: Duration = Duration::from_secs(1);

/// What every answer of HTTP/1 begins with.
const FIRST: &[u8] = b"H";

/// Of one request.
#[derive(Default)]
pub(super) struct Presence {
    /// When the end of what the client sends was seen.
    ended: Option<Instant>,
    /// How much of the next answer has been written already.
    ahead: usize,
    /// Rings at a reset; made when an answer was begun ahead.
    alarm: Option<Pin<Box<dyn Future<Output = ()>>>>,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Presence {
    /// How many bytes of what is written next the client has got already.
    pub(super) fn take_ahead(&mut self) -> usize {
        std::mem::take(&mut self.ahead)
    }

    /// After the end of what the client sends, with nothing waiting to be written: ready when the client
    /// has gone.
    pub(super) fn poll_gone(
        &mut self,
        socket: &Socket,
        seat: &Seat,
        answering: bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let ended = *self.ended.get_or_insert_with(Instant::now);
        if answering { self.poll_silence(ended, seat, cx) } else { self.poll_reset(socket, cx) }
    }

    fn poll_reset(&mut self, socket: &Socket, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm.get_or_insert_with(|| reset(socket));
        if self.ahead == 0 {
            match socket.write_now(FIRST) {
                Ok(written) => self.ahead = written,
                // What was answered before fills the socket: whether the client takes it will tell.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        alarm.as_mut().poll(cx)
    }

    fn poll_silence(&mut self, ended: Instant, seat: &Seat, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let at = ended.max(seat.wrote_at().into()) + SILENCE;
            let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if silence.deadline() < at && silence.is_elapsed() {
                silence.as_mut().reset(at);
            }
            ready!(silence.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
        }
    }
}

/// Resolves when the connection is reset. The socket itself cannot say so: it is readable for ever
/// once the end has come, so another descriptor is registered for nothing but errors.
fn reset(socket: &Socket) -> Pin<Box<dyn Future<Output = ()>>> {
    let duplicate = socket.duplicate();
    Box::pin(async move {
        let alarm = duplicate.and_then(|socket| {
            // SAFETY: the descriptor is owned, open, and neither replaced nor closed while the AsyncFd
            // owns it: nothing here takes it out again.
            unsafe { AsyncFd::register_with_interest(socket, Interest::ERROR) }.map_err(Into::into)
        });
        match alarm {
            // An error of the reactor is its end.
            Ok(alarm) => drop(alarm.ready(Interest::ERROR).await),
            // No descriptor to spare: the answer itself will tell.
            Err(_) => std::future::pending().await,
        }
    })
}
