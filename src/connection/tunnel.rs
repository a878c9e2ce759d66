//! A tunnel: bytes of another protocol between a client and an endpoint (RFC 9110, sections 7.8
//! and 9.3.6).
//!
//! ```text
//!   each direction:  Relaying ──asked──▶ at the end of a frame ──▶ Closing ──▶ over
//!                        └────────────────── end of stream ──────────────────────▲
//! ```
//! Both directions are relayed until both have ended; an end is passed on as an end, an error ends
//! both. During a drain a WebSocket is asked to close at a random moment: each side gets a close
//! frame 1001 where a frame of that direction ends, then each side's own close is waited for, as long as
//! neither is silent for [`seat::GOODBYE`](super::seat::GOODBYE).
//!
//! Promises: holds at most [`scratch::SIZE`] bytes per direction, and none while nothing flows.
//! Must not know: routes, the configuration: a tunnel lives on when its service is gone.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::flight::Guard;
use super::local::Stage;
use super::scratch;
use super::seat::Seat;
use super::websocket::{self, Frames};
use crate::upstream::{Lease, Upgraded};

/// A tunnel that begins when the client's connection has been given up by HTTP.
pub(super) struct Tunnel {
    pub(super) endpoint: Upgraded,
    pub(super) websocket: bool,
    /// The longest silence in both directions.
    pub(super) idle: Option<Duration>,
    pub(super) lease: Lease,
    pub(super) guard: Guard,
}

/// How a tunnel ended, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both ends said so, or one broke.
    Closed,
    /// It was closed by us in the way of its protocol.
    GoneAway,
    /// Silent too long.
    Idle,
    /// The drain's deadline came.
    Cut,
}

impl Tunnel {
    /// Relays until the tunnel ends, for whatever reason.
    pub(super) async fn run<C: AsyncRead + AsyncWrite + Unpin>(self: Box<Self>, seat: &Rc<Seat>, client: C) {
        let Tunnel { endpoint, websocket, idle, lease, guard } = *self;
        guard.switch();
        let _open = guard.flight().pen().tunnel();
        seat.tunnel_began(idle);
        let (carried, end) = relay(seat, client, endpoint, websocket).await;
        if end == End::Cut {
            guard.flight().warn_of_cut_tunnel();
        }
        drop(lease);
        guard.tell_tunnel(carried);
    }
}

/// Returns the bytes to and from the client, and how it ended.
async fn relay<C, E>(seat: &Rc<Seat>, client: C, endpoint: E, websocket: bool) -> ((u64, u64), End)
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    let mut relay = Relay {
        up: Direction::new(client_close(websocket)),
        down: Direction::new(server_close(websocket)),
        client,
        endpoint,
        farewell: None,
    };
    let end = std::future::poll_fn(|cx| relay.poll(seat, cx)).await;
    ((relay.down.carried, relay.up.carried), end)
}

/// The close frame for the endpoint, to which we are the client.
fn client_close(websocket: bool) -> Option<Vec<u8>> {
    websocket.then(|| websocket::close_from_client(fastrand::u32(..).to_be_bytes()).to_vec())
}

fn server_close(websocket: bool) -> Option<Vec<u8>> {
    websocket.then(|| websocket::close_from_server().to_vec())
}

struct Relay<C, E> {
    client: C,
    endpoint: E,
    /// From the client to the endpoint.
    up: Direction,
    down: Direction,
    /// The moment at which a WebSocket says goodbye in a drain.
    farewell: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin, E: AsyncRead + AsyncWrite + Unpin> Relay<C, E> {
    fn poll(&mut self, seat: &Seat, cx: &mut Context<'_>) -> Poll<End> {
        seat.attend(cx);
        if seat.eviction().is_some() {
            return Poll::Ready(End::Idle);
        }
        match seat.local().stage() {
            Stage::Serving | Stage::HandingOver { .. } => {}
            Stage::Draining { since, order } => self.poll_farewell(since, order.tunnel_jitter, seat, cx),
            Stage::Cut { .. } => return Poll::Ready(End::Cut),
        }
        let before = self.up.carried + self.down.carried;
        let up = self.up.poll(Pin::new(&mut self.client), Pin::new(&mut self.endpoint), cx);
        let down = self.down.poll(Pin::new(&mut self.endpoint), Pin::new(&mut self.client), cx);
        if self.up.carried + self.down.carried > before {
            seat.wrote();
        }
        match (up, down) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(End::Closed),
            _ if self.up.said_goodbye() && self.down.said_goodbye() => Poll::Ready(End::GoneAway),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Closed),
            _ => Poll::Pending,
        }
    }

    fn poll_farewell(&mut self, since: Instant, jitter: Duration, seat: &Seat, cx: &mut Context<'_>) {
        let farewell = self.farewell.get_or_insert_with(|| {
            let at = since + jitter.mul_f64(fastrand::f64());
            Box::pin(tokio::time::sleep_until(at.into()))
        });
        if !farewell.is_elapsed() && farewell.as_mut().poll(cx).is_pending() {
            return;
        }
        if self.up.ask() | self.down.ask() {
            seat.tunnel_leaves();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    No,
    /// The next end of a frame is the last.
    Asked,
    /// Our close frame is on its way; what else comes is not relayed.
    Closing,
}

struct Direction {
    /// Read and not yet written; empty, without memory, unless the writing side is slow.
    pending: Vec<u8>,
    /// How much of it has been written.
    written: usize,
    carried: u64,
    ended: bool,
    shut: bool,
    frames: Frames,
    /// The frame to close with; `None` for a protocol that we do not know.
    close: Option<Vec<u8>>,
    leave: Leave,
}

impl Direction {
    fn new(close: Option<Vec<u8>>) -> Direction {
        Direction {
            pending: Vec::new(),
            written: 0,
            carried: 0,
            ended: false,
            shut: false,
            frames: Frames::default(),
            close,
            leave: Leave::No,
        }
    }

    /// Whether it was asked just now.
    fn ask(&mut self) -> bool {
        let asked = self.close.is_some() && self.leave == Leave::No;
        if asked {
            self.leave = Leave::Asked;
        }
        asked
    }

    /// The other end knows that we go, and this one has said that it goes.
    fn said_goodbye(&self) -> bool {
        self.leave == Leave::Closing && self.pending.is_empty() && (self.ended || self.frames.closed())
    }

    /// Ready when the end of `from` has been passed on to `to`.
    fn poll<F: AsyncRead, T: AsyncWrite>(
        &mut self,
        mut from: Pin<&mut F>,
        mut to: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.shut {
            ready!(self.poll_pending(to.as_mut(), cx))?;
            self.close_at_boundary();
            if !self.pending.is_empty() {
                continue;
            }
            if self.ended {
                ready!(to.as_mut().poll_shutdown(cx))?;
                self.shut = true;
            } else {
                ready!(self.poll_some(from.as_mut(), to.as_mut(), cx))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_pending<T: AsyncWrite>(
        &mut self,
        mut to: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            self.written += ready!(to.as_mut().poll_write(cx, &self.pending[self.written..]))?;
        }
        if !self.pending.is_empty() {
            self.pending = Vec::new();
            self.written = 0;
            ready!(to.poll_flush(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Everything read has been written: if a frame ends here, ours may come now.
    fn close_at_boundary(&mut self) {
        if self.leave == Leave::Asked && (self.frames.at_boundary() || self.ended) {
            self.leave = Leave::Closing;
            // After a close frame or the end nothing may follow, not even another close.
            if !self.frames.closed() && !self.ended {
                self.pending = self.close.take().unwrap_or_default();
            }
        }
    }

    /// Reads once, and writes as much of it as goes.
    fn poll_some<F: AsyncRead, T: AsyncWrite>(
        &mut self,
        from: Pin<&mut F>,
        to: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        scratch::with(|space| {
            let mut buffer = ReadBuf::new(space);
            ready!(from.poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            self.ended = read.is_empty();
            let passed = self.follow(read);
            self.carried += passed as u64;
            self.pass(&read[..passed], to, cx)
        })
    }

    /// How much of what was read is to be passed on.
    fn follow(&mut self, read: &[u8]) -> usize {
        if self.close.is_none() && self.leave == Leave::No {
            return read.len();
        }
        match self.leave {
            Leave::No => {
                self.frames.follow(read);
                read.len()
            }
            Leave::Asked => {
                let passed = self.frames.follow_frame(read);
                self.frames_after_goodbye(&read[passed..]);
                passed
            }
            Leave::Closing => {
                self.frames.follow(read);
                0
            }
        }
    }

    /// What follows the last frame that is passed on is not relayed, but may be a close.
    fn frames_after_goodbye(&mut self, rest: &[u8]) {
        if !rest.is_empty() && !self.frames.closed() {
            self.leave = Leave::Closing;
            self.pending = self.close.take().unwrap_or_default();
            self.frames.follow(rest);
        }
    }

    /// Writes without a copy when the other side has room; keeps the rest.
    fn pass<T: AsyncWrite>(
        &mut self,
        bytes: &[u8],
        mut to: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut written = 0;
        while written < bytes.len() {
            match to.as_mut().poll_write(cx, &bytes[written..]) {
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if written < bytes.len() {
            let close = std::mem::take(&mut self.pending);
            self.pending.extend_from_slice(&bytes[written..]);
            self.pending.extend_from_slice(&close);
        }
        Poll::Ready(Ok(()))
    }
}
