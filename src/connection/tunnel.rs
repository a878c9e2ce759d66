//! A tunnel: bytes of another protocol between a client and an endpoint (RFC 9110, sections 7.8
//! and 9.3.6).
//!
//! ```text
//!   101, 2xx to CONNECT ──▶ relaying ──┬─ both ends, an error, silence, a goodbye, a cut ──▶ told
//!             record ──────────▶       └─ handed over, both sides are whole connections ───▶ record
//! ```
//! Both directions are relayed until both have ended; an end is passed on as an end, an error ends
//! both. During a drain a WebSocket is asked to close at a random moment: each side gets a close
//! frame 1001 where a frame of that direction ends, then each side's own close is waited for, as long as
//! neither is silent for [`seat::GOODBYE`](super::seat::GOODBYE).
//!
//! Promises: holds what its two [directions](super::direction) hold. A tunnel that goes to another process leaves
//! nothing behind: what was read and not passed on goes with it, and nothing is read after that was decided.
//! Must not know: routes, the configuration: a tunnel lives on when its service is gone.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::direction::Direction;
use super::flight::Guard;
use super::local::{Local, Stage};
use super::moving::{age, ago};
use super::seat::Seat;
use super::story::{Carried, Story};
use super::websocket;
use super::wire::Wire;
use crate::handover::record::{self, Parcel, Record};
use crate::telemetry::counters::OpenTunnel;
use crate::telemetry::ledger::UNROUTED;
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

/// What there is of a tunnel beside its bytes.
struct Passage {
    websocket: bool,
    idle: Option<Duration>,
    story: Story,
    open: OpenTunnel,
    /// `None`: its endpoint is not known here.
    _lease: Option<Lease>,
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
    /// It has not: it goes on in another process.
    Departed,
}

impl Tunnel {
    /// Relays between the endpoint and the client's connection until the tunnel ends, for whatever reason, or
    /// departs.
    pub(super) async fn run(self: Box<Self>, seat: &Rc<Seat>, client: Wire) {
        let (passage, endpoint) = (*self).begin(seat);
        let relay = Relay::new(client, endpoint, passage.websocket);
        passage.follow(seat, relay).await;
    }

    /// Relays between the endpoint and one stream of the client's connection.
    pub(super) async fn run_beside<C>(self: Box<Self>, seat: &Rc<Seat>, client: C)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let (passage, endpoint) = (*self).begin(seat);
        let mut relay = Relay::new(client, endpoint, passage.websocket);
        let end = std::future::poll_fn(|cx| relay.poll(seat, cx)).await;
        passage.end(end, relay.carried(), seat);
    }

    fn begin(self, seat: &Seat) -> (Passage, Upgraded) {
        let Tunnel { endpoint, websocket, idle, lease, guard } = self;
        let pen = guard.flight().pen().clone();
        let (story, open) = (guard.switch(), pen.tunnel());
        seat.tunnels(idle, Instant::now());
        (Passage { websocket, idle, story, open, _lease: Some(lease) }, endpoint)
    }
}

/// Goes on with a tunnel that another process had, until it ends or departs again.
pub(super) fn resume(
    seat: &Rc<Seat>,
    record: record::Tunnel,
    client: Wire,
    endpoint: Upgraded,
) -> impl Future<Output = ()> {
    let record::Tunnel { client: before, up, down, websocket, idle_ms, story, .. } = record;
    let local = seat.local();
    let pen = local.counters.service(story.service.as_deref().unwrap_or(UNROUTED));
    let carried = Carried { to_client: down.carried, from_client: up.carried };
    let passage = Passage {
        websocket,
        idle: idle_ms.map(Duration::from_millis),
        _lease: lease(local, &story),
        story: Story::resume(story, carried, local),
        open: pen.adopted_tunnel(),
    };
    seat.tunnels(passage.idle, ago(before.idle_ms));
    let relay = Relay {
        up: Direction::resume(up, client_close(websocket)),
        down: Direction::resume(down, server_close(websocket)),
        ..Relay::new(client, endpoint, websocket)
    };
    passage.follow(seat, relay)
}

/// One in flight at its endpoint, if its service and that are still here.
fn lease(local: &Local, story: &record::Story) -> Option<Lease> {
    let generation = local.generation();
    generation.upstream_of(story.service.as_deref()?)?.occupy(story.endpoint.as_deref()?)
}

impl Passage {
    /// Until it ends or departs.
    async fn follow(self, seat: &Rc<Seat>, mut relay: Relay<Wire, Upgraded>) {
        relay.departs = relay.client.is_sole() && relay.endpoint.is_whole();
        match std::future::poll_fn(|cx| relay.poll(seat, cx)).await {
            End::Departed => self.depart(relay, seat),
            end => self.end(end, relay.carried(), seat),
        }
    }

    fn end(self, end: End, carried: Carried, seat: &Seat) {
        if end == End::Cut {
            self.story.warn_of_cut();
        }
        self.story.end(carried, seat);
    }

    fn depart(self, relay: Relay<Wire, Upgraded>, seat: &Seat) {
        let carried = relay.carried();
        let parts = relay.client.give_up().and_then(|client| Ok((client, relay.endpoint.give_up()?)));
        let ((client, unread, sealed), endpoint) = match parts {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!("cannot hand a tunnel over, closing it: {error}");
                return self.story.end(carried, seat);
            }
        };
        seat.moved();
        self.open.moved();
        let record = record::Tunnel {
            client: record::Connection { idle_ms: age(seat.wrote_at()), ..seat.record(unread, sealed) },
            ahead: endpoint.ahead,
            up: relay.up.record(),
            down: relay.down.record(),
            websocket: self.websocket,
            idle_ms: self.idle.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)),
            story: self.story.depart(carried, seat.local()),
            seal: endpoint.seal,
        };
        let fds = vec![client, endpoint.socket];
        seat.local().depart(Parcel { record: Record::Tunnel(Box::new(record)), fds });
    }
}

/// The close frame for the endpoint, to which we are the client.
fn client_close(websocket: bool) -> Option<Vec<u8>> {
    websocket.then(|| websocket::close_from_client(fastrand::u32(..).to_be_bytes()).to_vec())
}

fn server_close(websocket: bool) -> Option<Vec<u8>> {
    websocket.then(|| websocket::close_from_server().to_vec())
}

/// What goes between the two sides.
struct Relay<C, E> {
    client: C,
    endpoint: E,
    /// From the client to the endpoint.
    up: Direction,
    down: Direction,
    /// Both sides are whole connections, so that it may go elsewhere.
    departs: bool,
    /// The moment at which a WebSocket says goodbye in a drain.
    farewell: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin, E: AsyncRead + AsyncWrite + Unpin> Relay<C, E> {
    fn new(client: C, endpoint: E, websocket: bool) -> Relay<C, E> {
        Relay {
            client,
            endpoint,
            up: Direction::new(client_close(websocket)),
            down: Direction::new(server_close(websocket)),
            departs: false,
            farewell: None,
        }
    }

    fn carried(&self) -> Carried {
        Carried { to_client: self.down.carried(), from_client: self.up.carried() }
    }

    fn poll(&mut self, seat: &Seat, cx: &mut Context<'_>) -> Poll<End> {
        seat.attend(cx);
        if seat.eviction().is_some() {
            return Poll::Ready(End::Idle);
        }
        match seat.local().stage() {
            Stage::HandingOver { .. } if seat.shall_move() && self.may_depart() => {
                return Poll::Ready(End::Departed);
            }
            Stage::Serving | Stage::HandingOver { .. } => {}
            Stage::Draining { since, order } => self.poll_farewell(since, order.tunnel_jitter, seat, cx),
            Stage::Cut { .. } => return Poll::Ready(End::Cut),
        }
        let before = self.carried();
        let up = self.up.poll(Pin::new(&mut self.client), Pin::new(&mut self.endpoint), cx);
        let down = self.down.poll(Pin::new(&mut self.endpoint), Pin::new(&mut self.client), cx);
        if self.carried() != before {
            seat.wrote();
        }
        match (up, down) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(End::Closed),
            _ if self.up.said_goodbye() && self.down.said_goodbye() => Poll::Ready(End::GoneAway),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(End::Closed),
            _ => Poll::Pending,
        }
    }

    /// Not in the middle of a goodbye.
    fn may_depart(&self) -> bool {
        self.departs && !self.up.leaves() && !self.down.leaves()
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
