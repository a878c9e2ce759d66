//! The place of one connection on its data thread: what others may know of it, and tell it.
//!
//! Promises: belongs to the thread's registry from accept until it is dropped; whoever wants the
//! connection's attention sets something here and wakes it. Idle means: no request in flight. What is
//! known of a connection that moves goes with it, as ages.
//! Must not know: protocols.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::local::{Local, Stage};
use super::moving::{age, ago};
use super::tunnel::Tunnel;
use super::wire::Kept;
use crate::config::settings::Limits;
use crate::handover::record;
use crate::telemetry::counters::Open;

/// How long a tunnel that has been asked to close may be silent: a client that vanished without a word
/// would hold every drain up until its deadline.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// Why a connection is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// The head of a request did not come in time.
    SlowHead,
    /// The client does not read its answer.
    SlowReader,
    /// No request has come for too long.
    Idle,
    /// No byte went through the tunnel.
    SilentTunnel,
    /// No TLS was agreed on in time.
    SlowHandshake,
}

/// What a TLS connection is about.
struct Names {
    /// The name that the client asked for.
    asked: Option<Box<str>>,
    /// Who the client has proven to be.
    identity: Option<Box<str>>,
}

pub(super) struct Seat {
    local: Rc<Local>,
    key: Cell<usize>,
    /// Of the client, as far as it is known.
    address: Cell<Option<IpAddr>>,
    listener: Arc<str>,
    accepted_at: Instant,
    /// When another gateway gave it to this one.
    adopted_at: Option<Instant>,
    waker: RefCell<Option<Waker>>,
    /// When the head now being read began.
    head_since: Cell<Option<Instant>>,
    in_flight: Cell<usize>,
    /// Requests admitted so far.
    requests: Cell<u64>,
    /// Heads are not told apart from other frames.
    multiplexed: Cell<bool>,
    idle_since: Cell<Instant>,
    wrote_at: Cell<Instant>,
    ended: Cell<bool>,
    eviction: Cell<Option<Eviction>>,
    /// What is to happen by when, and why the connection is ended otherwise.
    expected: Cell<Option<(Instant, Eviction)>>,
    /// Set by the exchange that switches protocols, taken by the connection.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    is_tunnel: Cell<bool>,
    /// How long the tunnel on this connection may be silent.
    tunnel_idle: Cell<Option<Duration>>,
    /// Counts the connection as open; not as long as a request may remember this seat.
    open: Cell<Option<Open>>,
    /// What the connection takes up elsewhere, as long as it is open.
    kept: RefCell<Option<Kept>>,
    /// A PROXY header is still to come, in front of everything.
    header: Cell<bool>,
    /// Its TLS handshake is not over.
    greeting: Cell<bool>,
    /// Of a TLS connection. Boxed, for those that are none.
    names: OnceCell<Box<Names>>,
    /// The connection of which this is one stream.
    carrier: Option<Rc<Seat>>,
}

/// Keeps a connection registered for as long as it is served.
pub(super) struct Seated(Rc<Seat>);

impl Seat {
    pub(super) fn take(local: &Rc<Local>, address: Option<IpAddr>, listener: Arc<str>) -> Seated {
        let open = Some(local.counters.connection());
        Seat::reserve(local, address, listener, open, None)
    }

    /// A place for the client's side of what another gateway had. Its listener is called `listener`.
    pub(super) fn adopt(local: &Rc<Local>, client: &record::Connection, listener: Arc<str>) -> Seated {
        let now = Instant::now();
        let open = Some(local.counters.adopted_connection());
        let mut seat = Seat::new(local, client.address, listener, open, None, now);
        seat.accepted_at = ago(client.age_ms);
        seat.adopted_at = Some(now);
        seat.requests.set(client.requests);
        let since = ago(client.idle_ms);
        seat.idle_since.set(since);
        if let Some(seal) = &client.seal {
            seat.seals(seal);
        }
        let awaits_head = client.requests == 0 || !client.unread.is_empty();
        seat.head_since.set(awaits_head.then_some(since));
        Seat::register(seat)
    }

    /// What there is to say of it to whoever adopts it, with what was read and not used.
    pub(super) fn record(&self, unread: Vec<u8>, seal: Option<record::Seal>) -> record::Connection {
        let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let seal = seal.map(|seal| match self.names.get() {
            Some(names) => {
                record::Seal { name: owned(&names.asked), identity: owned(&names.identity), ..seal }
            }
            None => seal,
        });
        record::Connection {
            listener: self.listener.as_ref().into(),
            address: self.address.get(),
            unread,
            requests: self.requests.get(),
            age_ms: age(self.accepted_at),
            idle_ms: age(self.head_since.get().unwrap_or(self.idle_since.get())),
            header: self.header.get(),
            greeting: self.greeting.get(),
            seal: seal.map(Box::new),
        }
    }

    /// A place for a tunnel that is one stream of the connection `carrier`, which is not idle
    /// meanwhile.
    pub(super) fn beside(carrier: &Rc<Seat>) -> Seated {
        carrier.in_flight.set(carrier.in_flight.get() + 1);
        let (local, listener) = (carrier.local(), Arc::clone(carrier.listener()));
        Seat::reserve(local, carrier.address(), listener, None, Some(Rc::clone(carrier)))
    }

    fn reserve(
        local: &Rc<Local>,
        address: Option<IpAddr>,
        listener: Arc<str>,
        open: Option<Open>,
        carrier: Option<Rc<Seat>>,
    ) -> Seated {
        Seat::register(Seat::new(local, address, listener, open, carrier, Instant::now()))
    }

    fn new(
        local: &Rc<Local>,
        address: Option<IpAddr>,
        listener: Arc<str>,
        open: Option<Open>,
        carrier: Option<Rc<Seat>>,
        now: Instant,
    ) -> Seat {
        Seat {
            local: Rc::clone(local),
            key: Cell::new(0),
            address: Cell::new(address),
            listener,
            accepted_at: now,
            adopted_at: None,
            waker: RefCell::new(None),
            head_since: Cell::new(carrier.is_none().then_some(now)),
            in_flight: Cell::new(0),
            requests: Cell::new(0),
            multiplexed: Cell::new(false),
            idle_since: Cell::new(now),
            wrote_at: Cell::new(now),
            ended: Cell::new(false),
            eviction: Cell::new(None),
            expected: Cell::new(None),
            tunnel: RefCell::new(None),
            is_tunnel: Cell::new(carrier.is_some()),
            tunnel_idle: Cell::new(None),
            open: Cell::new(open),
            kept: RefCell::new(None),
            header: Cell::new(false),
            greeting: Cell::new(false),
            names: OnceCell::new(),
            carrier,
        }
    }

    fn register(seat: Seat) -> Seated {
        let seat = Rc::new(seat);
        seat.key.set(seat.local.seat_taken(&seat));
        Seated(seat)
    }

    pub(super) fn keep(&self, kept: Option<Kept>) {
        *self.kept.borrow_mut() = kept;
    }

    pub(super) fn with_kept(&self, visit: impl FnOnce(&mut dyn Any)) {
        if let Some(kept) = &mut *self.kept.borrow_mut() {
            visit(&mut **kept);
        }
    }

    pub(super) fn local(&self) -> &Rc<Local> {
        &self.local
    }

    /// Whether the connection shall depart.
    pub(super) fn shall_move(&self) -> bool {
        matches!(self.local.stage(), Stage::HandingOver { since } if self.stays(since).is_none())
    }

    /// While the thread hands over since then: since when this connection is to end here, because it had departed and
    /// came back, or because TLS connections do not move.
    pub(super) fn stays(&self, since: Instant) -> Option<Instant> {
        let moves = || self.local.generation().blueprint.settings.tls.moves;
        if self.is_sealed() && !moves() { Some(since) } else { self.adopted_at.filter(|at| *at >= since) }
    }

    /// Whether answers on it are the last ones.
    pub(super) fn is_leaving(&self) -> bool {
        match self.local.stage() {
            Stage::Serving => false,
            Stage::HandingOver { since } => self.stays(since).is_some(),
            Stage::Draining { .. } | Stage::Cut { .. } => true,
        }
    }

    /// A PROXY header comes first. It has the time of the TLS handshake that follows, or else that of a head.
    pub(super) fn awaits_header(&self) {
        self.header.set(true);
    }

    pub(super) fn lacks_header(&self) -> bool {
        self.header.get()
    }

    /// The header has come; whether this client may have one more connection.
    pub(super) fn introduced(&self, client: Option<IpAddr>) -> bool {
        self.header.set(false);
        self.address.set(client.or(self.address.get()));
        if !self.greeting.get() {
            self.greeted();
        }
        match (self.address.get(), &mut *self.kept.borrow_mut()) {
            (Some(client), Some(kept)) => kept.turns_out(client, &self.local.counters),
            _ => true,
        }
    }

    /// A TLS handshake comes first, until then.
    pub(super) fn awaits_handshake(&self, time: Duration) {
        self.greeting.set(true);
        self.multiplex();
        self.expect(Some((self.accepted_at + time, Eviction::SlowHandshake)));
    }

    /// Whether something comes before the first request.
    pub(super) fn is_greeting(&self) -> bool {
        self.greeting.get() || self.header.get()
    }

    /// Whether its TLS handshake is not over.
    pub(super) fn shakes_hands(&self) -> bool {
        self.greeting.get()
    }

    /// The handshake is over: the head of a request may come.
    pub(super) fn greeted(&self) {
        self.greeting.set(false);
        self.multiplexed.set(false);
        self.expect(None);
        self.take_eviction();
        self.idle_since.set(Instant::now());
        self.awaits_rest();
    }

    /// It is a TLS connection.
    pub(super) fn seals(&self, seal: &record::Seal) {
        let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
        let names = Names { asked: boxed(&seal.name), identity: boxed(&seal.identity) };
        let _ = self.names.set(Box::new(names));
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.names.get().is_some()
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_sealed() { "https" } else { "http" }
    }

    /// The name that the client has asked TLS for.
    pub(super) fn name(&self) -> Option<&str> {
        self.names.get()?.asked.as_deref()
    }

    /// Who the client has proven to be.
    pub(super) fn identity(&self) -> Option<&str> {
        self.names.get()?.identity.as_deref()
    }

    /// It goes on in another gateway: from now on it counts as moved.
    pub(super) fn moved(&self) {
        if let Some(open) = self.open.take() {
            open.moved();
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address.get()
    }

    pub(super) fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    /// The task that polls with `cx` is the one to wake.
    pub(super) fn attend(&self, cx: &Context<'_>) {
        note(&self.waker, cx);
    }

    pub(super) fn wake(&self) {
        wake(&self.waker);
    }

    /// Something came from the client.
    pub(super) fn heard(&self) {
        let expects_head = !self.multiplexed.get() && !self.is_tunnel.get();
        if self.in_flight.get() == 0 && expects_head && self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
        if self.tunnel_idle.get().is_some() {
            self.wrote_at.set(Instant::now());
        }
    }

    pub(super) fn wrote(&self) {
        self.wrote_at.set(Instant::now());
    }

    pub(super) fn wrote_at(&self) -> Instant {
        self.wrote_at.get()
    }

    /// The client will send nothing more.
    pub(super) fn saw_end(&self) {
        self.ended.set(true);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// A request's head is complete.
    pub(super) fn request_began(&self) {
        self.head_since.set(None);
        self.in_flight.set(self.in_flight.get() + 1);
        self.requests.set(self.requests.get() + 1);
    }

    /// The request has been answered, and the rest of its content is awaited: as long as a head is.
    pub(super) fn awaits_rest(&self) {
        self.head_since.set(Some(Instant::now()));
    }

    /// The next head may come, as late as it likes.
    pub(super) fn awaits_request(&self) {
        self.head_since.set(None);
        self.idle_since.set(Instant::now());
    }

    pub(super) fn request_ended(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.idle_since.set(Instant::now());
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Many requests at a time, each as a stream of frames: heads have no deadline here.
    pub(super) fn multiplex(&self) {
        self.multiplexed.set(true);
        self.head_since.set(None);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.get() == 0
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    pub(super) fn switch_to(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(Box::new(tunnel));
    }

    pub(super) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.borrow_mut().take()
    }

    /// Bytes through a tunnel are what is expected here, instead of heads, since this moment.
    pub(super) fn tunnels(&self, idle: Option<Duration>, since: Instant) {
        self.head_since.set(None);
        self.is_tunnel.set(true);
        self.wrote_at.set(since);
        self.tunnel_idle.set(idle);
    }

    /// The tunnel has been asked to close.
    pub(super) fn tunnel_leaves(&self) {
        let idle = self.tunnel_idle.get().map_or(GOODBYE, |idle| idle.min(GOODBYE));
        self.wrote_at.set(Instant::now());
        self.tunnel_idle.set(Some(idle));
    }

    /// From now on the connection is evicted at this moment, unless something else is expected by then.
    pub(super) fn expect(&self, expected: Option<(Instant, Eviction)>) {
        self.expected.set(expected);
    }

    pub(super) fn evict(&self, why: Eviction) {
        if self.eviction.get().is_none() {
            self.eviction.set(Some(why));
            self.wake();
        }
    }

    pub(super) fn eviction(&self) -> Option<Eviction> {
        self.eviction.get()
    }

    /// The eviction, if there is one, is heeded now.
    pub(super) fn take_eviction(&self) -> Option<Eviction> {
        self.eviction.take()
    }

    pub(super) fn swept(&self, now: Instant, limits: &Limits) {
        let past = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if let Some((_, why)) = self.expected.get().filter(|(at, _)| now >= *at) {
            self.evict(why);
        }
        match self.head_since.get() {
            Some(since) if past(since, limits.head_time) => self.evict(Eviction::SlowHead),
            Some(_) => {}
            // One of many streams says by itself what is expected.
            None if self.is_tunnel.get() || self.multiplexed.get() || !self.is_idle() => {}
            None if limits.keep_alive.is_some_and(|limit| past(self.idle_since.get(), limit)) => {
                self.evict(Eviction::Idle);
            }
            None => {}
        }
        if self.tunnel_idle.get().is_some_and(|idle| now.duration_since(self.wrote_at.get()) >= idle) {
            self.evict(Eviction::SilentTunnel);
        }
    }
}

impl std::ops::Deref for Seated {
    type Target = Rc<Seat>;

    fn deref(&self) -> &Rc<Seat> {
        &self.0
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        // A tunnel that never began knows this seat, and would keep it for ever.
        drop(self.0.take_tunnel());
        drop(self.0.open.take());
        drop(self.0.kept.take());
        match &self.0.carrier {
            None => self.0.local.seat_left(self.0.key.get()),
            // No connection has gone, but this one may be idle now.
            Some(carrier) => {
                self.0.local.seats.remove(self.0.key.get());
                carrier.request_ended();
                carrier.wake();
            }
        }
    }
}

/// Remembers whom to wake; a clone only when it is somebody else than before.
pub(super) fn note(place: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut waker = place.borrow_mut();
    match &*waker {
        Some(known) if known.will_wake(cx.waker()) => {}
        _ => *waker = Some(cx.waker().clone()),
    }
}

pub(super) fn wake(place: &RefCell<Option<Waker>>) {
    let waker = place.borrow().clone();
    if let Some(waker) = waker {
        waker.wake();
    }
}
