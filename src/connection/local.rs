//! What all connections of one data thread share: the generation, the stage of life, who is here.
//!
//! ```text
//!   Serving ⇄ HandingOver ──drain──▶ Draining ──cut──▶ Cut
//! ```
//! In `Serving` connections are kept. In `HandingOver` each connection that can move departs as a parcel as
//! soon as no request of its own is in flight, and what cannot move is ended without haste; so is what departed
//! and came back meanwhile, because nobody else wanted it. In `Draining` each answer is its connection's last,
//! and a connection goes when it has been idle for the grace. In `Cut` everything goes at once.
//!
//! Promises: a change of stage wakes everyone whom it concerns, once; nothing here runs while
//! nothing happens, except [`Local::sweep`], which its owner calls about once a second while
//! there are connections.
//! Must not know: how connections are served.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::blueprint::{Blueprint, Generation};
use super::flight::Flight;
use super::places::Places;
use super::registry::Registry;
use super::seat::Seat;
use crate::config::settings::Network;
use crate::handover::record::Parcel;
use crate::response::date::Dates;
use crate::telemetry::counters::{Counters, Pen};

/// How many connections are woken at a time to depart.
const CALLED: usize = 128;

/// How a drain goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOrder {
    /// How long an idle connection is still served.
    pub idle_grace: Duration,
    /// Each WebSocket is closed at a random moment within this time.
    pub tunnel_jitter: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Serving,
    HandingOver { since: Instant },
    Draining { since: Instant, order: DrainOrder },
    Cut { since: Instant },
}

/// One data thread's state; never leaves it.
pub(crate) struct Local {
    generation: RefCell<Rc<Generation>>,
    stage: Cell<Stage>,
    pub(super) seats: Registry<Seat>,
    pub(super) flights: Registry<Flight>,
    pub(crate) counters: Arc<Counters>,
    /// Of requests whose service is not known yet.
    pub(super) unrouted: Pen,
    /// Shared by all data threads.
    pub(super) places: Arc<Places>,
    pub(super) dates: Dates,
    /// Where those go that move, while this thread hands over.
    departures: RefCell<Option<UnboundedSender<Parcel>>>,
    came: Notify,
    left: Notify,
    on_leave: Box<dyn Fn()>,
}

impl Local {
    /// `on_leave` is called after each connection that has gone.
    pub(crate) fn new(
        blueprint: Arc<Blueprint>,
        counters: Arc<Counters>,
        places: Arc<Places>,
        on_leave: impl Fn() + 'static,
    ) -> Rc<Local> {
        Rc::new(Local {
            generation: RefCell::new(Rc::new(Generation::new(blueprint, None, &counters))),
            stage: Cell::new(Stage::Serving),
            seats: Registry::new(),
            flights: Registry::new(),
            unrouted: counters.unrouted(),
            counters,
            places,
            dates: Dates::default(),
            departures: RefCell::default(),
            came: Notify::new(),
            left: Notify::new(),
            on_leave: Box::new(on_leave),
        })
    }

    /// The generation for a request that begins now.
    pub(super) fn generation(&self) -> Rc<Generation> {
        Rc::clone(&self.generation.borrow())
    }

    pub(crate) fn install(&self, blueprint: Arc<Blueprint>) {
        let next = Rc::new(Generation::new(blueprint, Some(&self.generation()), &self.counters));
        let before = self.generation.replace(next);
        drop(before);
    }

    /// What each connection has been given to keep.
    pub(crate) fn each_kept(&self, visit: impl Fn(&mut dyn Any)) {
        self.seats.each(|seat| seat.with_kept(&visit));
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Whether connections are kept here.
    pub(super) fn is_serving(&self) -> bool {
        self.stage() == Stage::Serving
    }

    /// From now on whoever can move departs when it is woken, see [`Local::call_some`]. Nobody departs any more when `departures` has been dropped,
    /// which is at [`Local::take_back`], [`Local::drain`] or [`Local::cut`].
    pub(crate) fn hand_over(&self, departures: UnboundedSender<Parcel>) {
        if self.is_serving() {
            *self.departures.borrow_mut() = Some(departures);
            self.stage.set(Stage::HandingOver { since: Instant::now() });
        }
    }

    /// Wakes some who may depart, in a handover; where to go on, `None` when all have been woken. All at once would
    /// keep those who are asking waiting until thousands had gone.
    pub(crate) fn call_some(&self, first: usize) -> Option<usize> {
        self.seats.some(first, CALLED, |seat| seat.wake())
    }

    /// Whoever has not departed stays; whether there was a handover.
    pub(crate) fn take_back(&self) -> bool {
        let handing_over = matches!(self.stage(), Stage::HandingOver { .. });
        if handing_over {
            self.departures.take();
            self.stage.set(Stage::Serving);
            self.seats.each(|seat| seat.wake());
        }
        handing_over
    }

    /// A connection that counted here could not be adopted.
    pub(super) fn depart_in_vain(&self) {
        (self.on_leave)();
    }

    /// A connection moves. Not to be called but in `HandingOver`.
    pub(super) fn depart(&self, parcel: Parcel) {
        if let Some(departures) = &*self.departures.borrow()
            && departures.send(parcel).is_err()
        {
            tracing::error!("nobody waits for the connections that depart, closing one");
        }
    }

    pub(crate) fn drain(&self, order: DrainOrder) {
        if matches!(self.stage(), Stage::Serving | Stage::HandingOver { .. }) {
            self.departures.take();
            self.stage.set(Stage::Draining { since: Instant::now(), order });
            self.seats.each(|seat| seat.wake());
        }
    }

    pub(crate) fn cut(&self) {
        if !matches!(self.stage(), Stage::Cut { .. }) {
            self.departures.take();
            self.stage.set(Stage::Cut { since: Instant::now() });
            self.flights.each(|flight| flight.cut());
            self.seats.each(|seat| seat.wake());
        }
    }

    /// Resolves when there is a connection.
    pub(crate) async fn somebody(&self) {
        while self.seats.is_empty() {
            self.came.notified().await;
        }
    }

    pub(super) fn seat_taken(&self, seat: &Rc<Seat>) -> usize {
        self.came.notify_waiters();
        self.seats.insert(Rc::clone(seat))
    }

    /// Resolves when a connection goes.
    pub(crate) async fn one_left(&self) {
        self.left.notified().await;
    }

    pub(super) fn seat_left(&self, key: usize) {
        self.seats.remove(key);
        self.left.notify_waiters();
        (self.on_leave)();
    }

    /// Ends what has been silent too long, where a timer of its own would cost more than it is
    /// worth, and notes the age of the oldest request.
    pub(crate) fn sweep(&self, now: Instant) {
        let generation = self.generation();
        let limits = &generation.blueprint.settings.limits;
        self.seats.each(|seat| seat.swept(now, limits));
        let mut oldest: Option<Instant> = None;
        self.flights.each(|flight| {
            flight.swept(now);
            oldest = Some(oldest.map_or(flight.began(), |oldest| oldest.min(flight.began())));
        });
        self.counters.oldest(oldest);
    }

    /// How long a TLS handshake may take on the listener of this name; `None` if there is none.
    pub(super) fn handshake_on(&self, listener: &str) -> Option<Duration> {
        let generation = self.generation();
        let settings = &generation.blueprint.settings;
        let known = settings.listeners.iter().find(|known| known.name == listener);
        known.is_some_and(|known| known.tls).then_some(settings.tls.handshake_time)
    }

    /// Whether who comes from there to the listener of this name begins with a PROXY header.
    pub(crate) fn is_introduced(&self, listener: &str, address: Option<IpAddr>) -> bool {
        let generation = self.generation.borrow();
        generation.introduces && {
            let mut listeners = generation.blueprint.settings.listeners.iter();
            listeners.any(|known| known.name == listener && among(&known.proxy, address))
        }
    }

    /// Whether the client at this address may speak for others.
    pub(super) fn trusts(generation: &Generation, address: Option<IpAddr>) -> bool {
        among(&generation.blueprint.settings.trusted_proxies, address)
    }
}

/// Whether it is in one of these; without an address it is at a Unix socket.
fn among(networks: &[Network], address: Option<IpAddr>) -> bool {
    networks.iter().any(|network| match (network, address) {
        (Network::Unix, None) => true,
        (block, Some(address)) => block.contains(address),
        _ => false,
    })
}
