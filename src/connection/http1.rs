//! HTTP/1.0 and HTTP/1.1 on one connection.
//!
//! hyper serves; what is ours is when a connection ends. hyper never closes the socket: it gives it
//! back, and then it is closed here, lingering, or becomes a tunnel.
//! ```text
//!   Served ──answer said close, client ended, broken──▶ closed
//!     │  └──101, 2xx to CONNECT──▶ tunnel
//!     └─idle for the grace of a drain──▶ taken back ─┬─ a request is there ──▶ Served, once more
//!                                                    └─ nothing is there ───▶ closed
//! ```
//! Promises: in a drain no idle connection is closed while a request waits in it, and each answer
//! says `Connection: close`. An answer that broke off never looks complete. A head that does not
//! come in time is 408.
//! Must not know: what a request is answered with.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use super::exchange::Requests;
use super::linger;
use super::local::Stage;
use super::presence::Presence;
use super::seat::{Eviction, Seat};
use super::wire::Wire;

/// Bounds a request's head and the bytes of an answer that wait for a slow client.
const BUFFER: usize = 64 * 1024;

/// After a cut, to write what is written to everybody.
const LAST_WORDS: Duration = Duration::from_millis(500);

const LATE_HEAD: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

type Connection = http1::Connection<TokioIo<Wire>, Requests>;

/// Why hyper no longer serves a connection.
#[derive(Debug)]
enum End {
    Done(hyper::Result<()>),
    /// It was idle in a drain and nothing is half done.
    TakenBack,
    Evicted(Eviction),
    /// The client went away with a request in flight.
    Gone,
    Cut,
}

/// What is due with a connection in a drain.
enum Leave {
    /// It has been idle long enough.
    TakeBack,
    /// It has had its last words.
    Drop,
}

/// Serves until the connection ends.
pub(super) async fn serve(mut wire: Wire, seat: &Rc<Seat>) {
    let mut last = false;
    loop {
        wire.keep_open(true);
        let presence = Presence::new(wire.watch());
        let requests = Requests { seat: Rc::clone(seat) };
        let mut connection = builder().serve_connection(TokioIo::new(wire), requests);
        let served =
            Served { connection: &mut connection, presence, seat, last, asked_at: None, grace: None };
        let end = served.await;
        let parts = connection.into_parts();
        wire = parts.io.into_inner();
        wire.keep_open(false);
        wire.put_back(parts.read_buf);
        match end {
            End::TakenBack if wire.has_something() => last = true,
            End::TakenBack => return linger::close(wire, seat).await,
            End::Done(result) => return finish(wire, seat, result).await,
            End::Evicted(Eviction::SlowHead) => return linger::say(wire, seat, LATE_HEAD).await,
            End::Gone => return,
            End::Evicted(_) | End::Cut => return wire.reset_on_close(),
        }
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // hyper would take the end of what the client sends for its departure; `presence` knows better.
    builder.max_buf_size(BUFFER).header_read_timeout(None).half_close(true);
    builder
}

async fn finish(wire: Wire, seat: &Rc<Seat>, result: hyper::Result<()>) {
    match result {
        Ok(()) => match seat.take_tunnel() {
            Some(tunnel) => tunnel.run(seat, wire).await,
            None => linger::close(wire, seat).await,
        },
        // hyper has answered 400 or 431.
        Err(error) if error.is_parse() => linger::close(wire, seat).await,
        // An answer broke off, or there is nobody to answer. Where the end of the connection would be
        // the end of the answer it is a reset; elsewhere that might destroy what has been sent so far.
        Err(error) if error.is_user() && seat.ends_with_answer() => wire.reset_on_close(),
        Err(error) if error.is_user() => linger::close(wire, seat).await,
        Err(_) => {}
    }
}

/// Drives hyper, and watches for what ends a connection from outside.
struct Served<'a> {
    connection: &'a mut Connection,
    presence: Presence,
    seat: &'a Seat,
    /// It was taken back once: a second time nothing would be there.
    last: bool,
    /// How many requests there had been when it was asked to end while idle.
    asked_at: Option<u64>,
    grace: Option<Pin<Box<Sleep>>>,
}

impl Future for Served<'_> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = &mut *self;
        this.seat.attend(cx);
        loop {
            if let Some(eviction) = this.seat.eviction() {
                return Poll::Ready(End::Evicted(eviction));
            }
            if let Poll::Ready(result) = Pin::new(&mut *this.connection).poll(cx) {
                return Poll::Ready(this.ended(result));
            }
            if this.presence.poll_gone(this.seat, cx).is_ready() {
                return Poll::Ready(End::Gone);
            }
            match ready!(this.poll_leaving(cx)) {
                Leave::Drop => return Poll::Ready(End::Cut),
                Leave::TakeBack => {
                    this.asked_at = Some(this.seat.requests());
                    Pin::new(&mut *this.connection).graceful_shutdown();
                }
            }
        }
    }
}

impl Served<'_> {
    fn ended(&self, result: hyper::Result<()>) -> End {
        let untouched = self.asked_at == Some(self.seat.requests());
        if untouched && result.is_ok() && !self.seat.has_ended() { End::TakenBack } else { End::Done(result) }
    }

    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Leave> {
        let may_take_back = !self.last && self.asked_at.is_none() && self.seat.is_idle();
        match self.seat.local().stage() {
            Stage::Draining { since, order } if may_take_back => {
                let at = since.max(self.seat.idle_since()) + order.idle_grace;
                self.poll_at(at, cx).map(|()| Leave::TakeBack)
            }
            Stage::Serving | Stage::Draining { .. } => Poll::Pending,
            Stage::Cut { .. } if may_take_back => Poll::Ready(Leave::TakeBack),
            // What is in flight has had its turn: it was answered with 503, or broke off.
            Stage::Cut { since } => self.poll_at(since + LAST_WORDS, cx).map(|()| Leave::Drop),
        }
    }

    fn poll_at(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let grace = self.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if grace.deadline() != at.into() {
            grace.as_mut().reset(at.into());
        }
        grace.as_mut().poll(cx)
    }
}
