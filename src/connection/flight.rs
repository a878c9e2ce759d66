//! One request in flight: its entry in the ledger, from admission to its one ending.
//!
//! Promises: admitted once, ended once, whatever happens: whoever lets go of the [`Guard`] without
//! an ending says that the client has gone, or that the drain's deadline cut the request. What the
//! access log tells is collected here as it becomes known.
//! Must not know: how a request is answered.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{HeaderValue, Method, Request, Response, Uri, Version};

use super::blueprint::Generation;
use super::local::{Local, Stage};
use super::places::Place;
use super::rate::{Pace, Rate};
use super::seat::{self, Eviction, Seat};
use super::story::Story;
use crate::config::settings::{ErrorPages, Service};
use crate::handover::record;
use crate::http1::Glimpse;
use crate::policy::Turnstile;
use crate::policy::identity::Identity;
use crate::policy::turnstile::Stay;
use crate::response::{Failure, Fault};
use crate::route::Route;
use crate::telemetry::access::Entry;
use crate::telemetry::counters::{Ending, Pen, Ticket};
use crate::upstream::{Asker, ContentState};

/// In the log, for what is not known of a request whose head was refused.
const UNKNOWN: &str = "-";

/// How long a client may take nothing of an answer for which no route says it.
const UNROUTED_IDLE: Duration = Duration::from_secs(30);

/// The most interim answers that wait for a client that does not read.
const INTERIM: usize = 16;

/// Why a request is stopped from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The drain's deadline came.
    Cut,
    /// The client does not take its answer.
    Stalled,
    /// It takes fewer bytes a second than this.
    Slow(u64),
}

pub(super) struct Flight {
    seat: Rc<Seat>,
    key: Cell<usize>,
    ticket: RefCell<Option<Ticket>>,
    began: Instant,
    view: View,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    identity: OnceCell<Identity>,
    endpoint: RefCell<Option<Rc<str>>>,
    /// How often an endpoint was asked.
    attempts: Cell<u32>,
    /// Interim answers on their way to the client.
    interim: RefCell<Vec<Response<()>>>,
    received: RefCell<Option<Rc<ContentState>>>,
    rate: RefCell<Option<Rc<Rate>>>,
    pace: Pace,
    /// Among the tunnels, if it may become one.
    place: RefCell<Option<Place>>,
    /// Among the requests of its service, if these are limited.
    stay: RefCell<Option<Stay>>,
    /// What its sender has said about how long it may take.
    shortened: Cell<Option<Duration>>,
    /// Its answer is the last one of its HTTP/1 connection.
    last: Cell<bool>,
    /// 0 until the head of the answer has gone to the protocol.
    status: Cell<u16>,
    sent: Cell<u64>,
    /// What the counters know of its bytes, to and from the client.
    counted: Cell<(u64, u64)>,
    moved_at: Cell<Instant>,
    /// Whether the answer's next bytes are awaited from upstream, not from the client's reading.
    awaits_upstream: Cell<bool>,
    stop: Cell<Option<Stop>>,
    stopped_in_answer: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The generation by which a request is served, and its route there. One that was held while the configuration changed has
/// another one behind it; what was borrowed from the first one stays.
struct View {
    generation: Rc<Generation>,
    route: OnceCell<Arc<Route>>,
    next: OnceCell<Box<View>>,
}

impl View {
    fn of(generation: Rc<Generation>) -> View {
        View { generation, route: OnceCell::new(), next: OnceCell::new() }
    }

    fn last(&self) -> &View {
        let mut view = self;
        while let Some(next) = view.next.get() {
            view = next;
        }
        view
    }
}

impl Flight {
    /// Admits a request whose head is complete.
    pub(super) fn admit<B>(seat: &Rc<Seat>, request: &Request<B>) -> Guard {
        Flight::begin(
            seat,
            request.method().clone(),
            request.uri().clone(),
            request.version(),
            request.headers().get(HOST).cloned(),
        )
    }

    /// Admits what was to become a request, to refuse it. What is not known of it is told as `-`.
    pub(super) fn admit_broken(seat: &Rc<Seat>, known: Glimpse) -> Guard {
        let unknown = || Method::from_bytes(UNKNOWN.as_bytes()).unwrap_or_default();
        Flight::begin(
            seat,
            known.method.unwrap_or_else(unknown),
            known.target.unwrap_or(Uri::from_static(UNKNOWN)),
            known.version.unwrap_or(Version::HTTP_09),
            None,
        )
    }

    fn begin(
        seat: &Rc<Seat>,
        method: Method,
        uri: Uri,
        version: Version,
        host: Option<HeaderValue>,
    ) -> Guard {
        let local = seat.local();
        let now = Instant::now();
        let flight = Rc::new(Flight {
            seat: Rc::clone(seat),
            key: Cell::new(0),
            ticket: RefCell::new(Some(local.unrouted.admit())),
            began: now,
            view: View::of(local.generation()),
            method,
            uri,
            version,
            host,
            identity: OnceCell::new(),
            endpoint: RefCell::new(None),
            attempts: Cell::new(0),
            interim: RefCell::new(Vec::new()),
            received: RefCell::new(None),
            rate: RefCell::new(None),
            pace: Pace::new(now),
            place: RefCell::new(None),
            stay: RefCell::new(None),
            shortened: Cell::new(None),
            last: Cell::new(false),
            status: Cell::new(0),
            sent: Cell::new(0),
            counted: Cell::new((0, 0)),
            moved_at: Cell::new(now),
            awaits_upstream: Cell::new(true),
            stop: Cell::new(matches!(local.stage(), Stage::Cut { .. }).then_some(Stop::Cut)),
            stopped_in_answer: Cell::new(false),
            waker: RefCell::new(None),
        });
        if local.flights.is_empty() {
            local.counters.oldest(Some(now));
        }
        flight.key.set(local.flights.insert(Rc::clone(&flight)));
        seat.request_began();
        Guard { flight, planned: None }
    }

    pub(super) fn seat(&self) -> &Rc<Seat> {
        &self.seat
    }

    pub(super) fn local(&self) -> &Rc<Local> {
        self.seat.local()
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn generation(&self) -> &Rc<Generation> {
        &self.view.last().generation
    }

    /// It was held while the configuration changed, and is looked at by what serves now.
    pub(super) fn look_again(&self) {
        let _ = self.view.last().next.set(Box::new(View::of(self.local().generation())));
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn identify(&self, identity: Identity) -> &Identity {
        self.identity.get_or_init(|| identity)
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    pub(super) fn request_id(&self) -> HeaderValue {
        let known = self.identity.get().map(|identity| identity.request_id.clone());
        known.unwrap_or_else(|| HeaderValue::from_static("-"))
    }

    /// Whom the request is for, as the absolute form or `:authority` says it, which `Host` must not
    /// contradict (RFC 9112, section 3.2.2; RFC 9113, section 8.3.1).
    pub(super) fn authority(&self) -> Option<&str> {
        match self.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => self.host.as_ref()?.to_str().ok(),
        }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn routed(&self, route: &Arc<Route>) {
        if self.view.last().route.set(Arc::clone(route)).is_ok()
            && let Some(ticket) = &mut *self.ticket.borrow_mut()
        {
            ticket.turn_to(self.pen());
        }
    }

    pub(super) fn route(&self) -> Option<&Arc<Route>> {
        self.view.last().route.get()
    }

    /// Where what becomes of it is counted.
    pub(super) fn pen(&self) -> &Pen {
        let service = self.route().and_then(|route| self.generation().pens.get(route.service));
        service.unwrap_or(&self.local().unrouted)
    }

    pub(super) fn receives(&self, content: Rc<ContentState>) {
        *self.received.borrow_mut() = Some(content);
    }

    /// The interim answers that have come since the last time, in their order.
    pub(super) fn take_interim(&self) -> Vec<Response<()>> {
        self.interim.take()
    }

    /// The head of the answer goes to the protocol now.
    pub(super) fn begin_answer(&self, status: u16) {
        self.status.set(status);
        self.moved_at.set(Instant::now());
    }

    /// Its answer is the last one of its connection, if that speaks HTTP/1.
    pub(super) fn end_connection(&self) {
        self.last.set(true);
    }

    pub(super) fn ends_connection(&self) -> bool {
        self.last.get()
    }

    /// What may become of it is a tunnel.
    pub(super) fn take_place(&self, place: Place) {
        *self.place.borrow_mut() = Some(place);
    }

    /// It has not become a tunnel.
    pub(super) fn leave_place(&self) {
        self.place.take();
    }

    /// The way into the service of its route.
    pub(super) fn turnstile(&self, route: &Route) -> &Turnstile {
        &self.generation().blueprint.turnstiles[route.service]
    }

    /// It has a place among the requests of its service.
    pub(super) fn stays(&self, stay: Stay) {
        *self.stay.borrow_mut() = Some(stay);
    }

    /// The application has answered, or did not in time. `lost`: to overload, as far as anybody can tell.
    pub(super) fn heard(&self, lost: bool) {
        if let Some(stay) = &mut *self.stay.borrow_mut() {
            stay.answered(Instant::now(), lost);
        }
    }

    /// The application has done with it.
    pub(super) fn leave(&self) {
        self.stay.take();
    }

    /// The content is measured by the sweep.
    pub(super) fn measure(&self, rate: Rc<Rate>) {
        *self.rate.borrow_mut() = Some(rate);
    }

    /// How fast the client takes the answer.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(super) fn has_begun_answer(&self) -> bool {
        self.status.get() != 0
    }

    /// Content of the answer went to the protocol.
    pub(super) fn passed(&self, bytes: usize) {
        let now = Instant::now();
        self.sent.set(self.sent.get() + bytes as u64);
        self.moved_at.set(now);
        self.awaits_upstream.set(false);
        if let Some(received) = &*self.received.borrow() {
            received.answer_moved(now);
        }
    }

    /// The client has room and the endpoint has nothing: its silence counts from now.
    pub(super) fn awaits_upstream(&self) {
        if !self.awaits_upstream.replace(true) {
            self.moved_at.set(Instant::now());
        }
    }

    /// When content last moved, in either direction: an endpoint that still takes what the client
    /// sends is not silent.
    pub(super) fn moved_at(&self) -> Instant {
        let received = self.received.borrow();
        received.as_ref().map_or(self.moved_at.get(), |received| received.moved_at().max(self.moved_at.get()))
    }

    /// The moment at which the whole request is late.
    pub(super) fn deadline(&self) -> Option<(Instant, Duration)> {
        let own = self.route()?.settings.timeout.request;
        let limit = own.into_iter().chain(self.shortened.get()).min()?;
        Some((self.began + limit, limit))
    }

    /// Whoever sent it, and is believed, waits no longer than this.
    pub(super) fn shorten(&self, limit: Duration) {
        self.shortened.set(Some(limit));
    }

    pub(super) fn idle_limit(&self) -> Option<Duration> {
        match self.route() {
            Some(route) => route.settings.timeout.idle,
            None => Some(UNROUTED_IDLE),
        }
    }

    /// The task that polls with `cx` is the one to wake.
    pub(super) fn attend(&self, cx: &Context<'_>) {
        seat::note(&self.waker, cx);
    }

    pub(super) fn stop(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// Whether its answer had begun when it was stopped, so that it cannot end well.
    pub(super) fn broke_off(&self) -> bool {
        self.stopped_in_answer.get()
    }

    /// The drain's deadline came: 503 if the answer has not begun, otherwise it breaks off.
    pub(super) fn cut(&self) {
        self.halt(Stop::Cut);
    }

    fn halt(&self, stop: Stop) {
        if self.stop.get().is_none() {
            self.stop.set(Some(stop));
            self.stopped_in_answer.set(self.has_begun_answer());
            seat::wake(&self.waker);
        }
    }

    /// Stops an answer that waits for its client when that has read nothing for the idle limit or too little
    /// for the rate, or when it is past its deadline: nobody polls it meanwhile.
    pub(super) fn swept(&self, now: Instant) {
        self.count();
        if let Some(rate) = &*self.rate.borrow() {
            rate.swept(now);
        }
        if !self.has_begun_answer() {
            return;
        }
        let idle = self.idle_limit();
        let least = self.route().and_then(|route| route.settings.limits.answer_rate);
        let slow = least.filter(|least| self.pace.is_too_slow(now, *least, idle));
        if !self.pace.is_held() {
            return;
        }
        let silent = idle.is_some_and(|limit| {
            let is_past = |(since, times): (Instant, u32)| {
                let since = since.max(self.moved_at.get());
                now.saturating_duration_since(since) >= limit.saturating_mul(times)
            };
            self.pace.silences().into_iter().any(is_past)
        });
        let late = self.deadline().is_some_and(|(at, _)| now >= at);
        match slow {
            _ if silent || late => self.give_up(Stop::Stalled),
            Some(least) => self.give_up(Stop::Slow(least)),
            None => {}
        }
    }

    fn give_up(&self, stop: Stop) {
        self.halt(stop);
        if self.version < Version::HTTP_2 {
            self.seat.evict(Eviction::SlowReader);
        }
    }

    fn end(&self, ending: Ending, failure: Option<&Failure>) {
        let Some(ticket) = self.ticket.borrow_mut().take() else { return };
        let code = failure.map(|failure| failure.verdict().code);
        ticket.end(ending, code, self.began.elapsed());
        let local = self.local();
        self.count();
        local.flights.remove(self.key.get());
        if local.flights.is_empty() {
            local.counters.oldest(None);
        }
        self.seat.request_ended();
        if ending == Ending::Cut {
            self.warn_of_cut();
        }
    }

    /// Tells the counters what has moved since the last time: a long answer is seen to make progress
    /// before it ends.
    fn count(&self) {
        let now = (self.sent.get(), self.content_received());
        let before = self.counted.replace(now);
        self.local().counters.sent(now.0 - before.0);
        self.local().counters.received(now.1 - before.1);
    }

    fn content_received(&self) -> u64 {
        self.received.borrow().as_ref().map_or(0, |content| content.bytes())
    }

    fn warn_of_cut(&self) {
        tracing::warn!(
            message_id = crate::telemetry::event::CUT,
            request_id = self.identity.get().map_or("-", |identity| text(&identity.request_id)),
            service = self.service().unwrap_or("-"),
            age_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            answer_begun = self.has_begun_answer(),
            "cut a request at the deadline of the drain",
        );
    }

    pub(super) fn service(&self) -> Option<&str> {
        Some(&self.service_settings()?.name)
    }

    fn service_settings(&self) -> Option<&Service> {
        let service = self.generation().blueprint.settings.services.get(self.route()?.service)?;
        Some(service)
    }

    /// The operator's pages for an error of this request.
    pub(super) fn error_pages(&self) -> &ErrorPages {
        match self.service_settings() {
            Some(service) => &service.errors,
            None => &self.generation().blueprint.settings.errors,
        }
    }

    /// What the log will say when the tunnel has ended that it became.
    fn story(&self) -> Story {
        let trace = self.identity.get().map(|identity| identity.trace.trace_id());
        let told = record::Story {
            request_id: text(&self.request_id()).to_owned(),
            trace_id: trace.unwrap_or("-").to_owned(),
            service: self.service().map(str::to_owned),
            route: self.route().map(|route| route.settings.id.clone()),
            endpoint: self.endpoint.borrow().as_deref().map(str::to_owned),
            method: self.method.as_str().to_owned(),
            authority: self.authority().unwrap_or("").to_owned(),
            path: self.path_told().to_owned(),
            protocol: protocol(self.version).to_owned(),
            status: self.status.get(),
            age_ms: 0,
            sent: self.sent.get(),
            received: self.content_received(),
        };
        Story::begin(told, self.began, self.place.take())
    }

    /// Writes the access log.
    fn tell(&self, failure: Option<&Failure>) {
        let access = &self.generation().blueprint.access;
        let verdict = failure.map(Failure::verdict);
        if !access.wants(verdict.is_some_and(|verdict| verdict.fault != Fault::Client)) {
            return;
        }
        let trace = self.identity.get().map(|identity| identity.trace.trace_id());
        let endpoint = self.endpoint.borrow();
        let error = failure.map(Failure::to_string);
        access.write(&Entry {
            request_id: self.identity.get().map_or("-", |identity| text(&identity.request_id)),
            trace_id: trace.unwrap_or("-"),
            client: self.seat.address(),
            service: self.service(),
            route: self.route().map(|route| route.settings.id.as_str()),
            endpoint: endpoint.as_deref(),
            attempts: self.attempts.get(),
            method: self.method.as_str(),
            authority: self.authority().unwrap_or(""),
            path: self.path_told(),
            protocol: protocol(self.version),
            status: self.status_told(verdict.map(|verdict| verdict.status)),
            code: verdict.map_or("ok", |verdict| verdict.code),
            fault: verdict.map(|verdict| verdict.fault.word()),
            phase: verdict.map(|verdict| verdict.phase.word()),
            error: error.as_deref(),
            sent: self.sent.get(),
            received: self.content_received(),
            duration: self.began.elapsed(),
        });
    }

    fn path_told(&self) -> &str {
        match self.uri.path_and_query() {
            Some(path) => path.as_str(),
            None if self.uri == UNKNOWN => UNKNOWN,
            None => "",
        }
    }

    fn status_told(&self, failed: Option<u16>) -> u16 {
        match self.status.get() {
            0 => failed.unwrap_or(499),
            sent => sent,
        }
    }
}

impl Asker for Flight {
    fn retries(&self) {
        self.local().counters.retried();
    }

    fn address(&self) -> Option<IpAddr> {
        self.seat.address()
    }

    fn asks(&self, endpoint: &Rc<str>) {
        self.local().counters.attempted();
        self.attempts.set(self.attempts.get().saturating_add(1));
        *self.endpoint.borrow_mut() = Some(Rc::clone(endpoint));
    }

    /// An endpoint that sends them without end gets no more of them through than [`INTERIM`] at a time.
    fn interim(&self, head: Response<()>) {
        let mut interim = self.interim.borrow_mut();
        if interim.len() < INTERIM {
            interim.push(head);
            drop(interim);
            seat::wake(&self.waker);
        }
    }
}

/// The duty to end a request. Dropped without an ending: the client has gone, or it was cut.
pub(super) struct Guard {
    flight: Rc<Flight>,
    /// How the request ends if the rest of its answer is not asked for, because there is none.
    planned: Option<(Ending, Option<Failure>)>,
}

impl Guard {
    pub(super) fn flight(&self) -> &Rc<Flight> {
        &self.flight
    }

    /// From here on dropping the guard is this ending.
    pub(super) fn plan(&mut self, ending: Ending, failure: Option<Failure>) {
        self.planned = Some((ending, failure));
    }

    /// The request has ended and is told.
    pub(super) fn end(mut self, ending: Ending, failure: Option<Failure>) {
        self.planned = Some((ending, failure));
    }

    /// All of its answer has been passed on: when that has arrived it ends as planned, and well if
    /// nothing else was planned.
    pub(super) fn plan_whole(&mut self) {
        self.planned.get_or_insert((Ending::Answered, None));
    }

    /// Its answer has not arrived, whatever was planned.
    pub(super) fn forsake(&mut self) {
        self.planned = None;
    }

    /// The request has ended as a request: a tunnel begins, and with it a story that is told at its end.
    pub(super) fn switch(self) -> Story {
        self.flight.end(Ending::Answered, None);
        self.flight.story()
    }

    fn unplanned(&self) -> (Ending, Option<Failure>) {
        if std::thread::panicking() {
            return (Ending::BrokenOff, Some(Failure::Panicked));
        }
        match self.flight.stop() {
            Some(Stop::Cut) => (Ending::Cut, Some(Failure::Drained)),
            Some(Stop::Slow(least)) => (Ending::ClientGone, Some(Failure::SlowReader(least))),
            _ => (Ending::ClientGone, Some(Failure::ClientGone)),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flight.leave_place();
        self.flight.leave();
        if self.flight.ticket.borrow().is_none() {
            return;
        }
        let (ending, failure) = self.planned.take().unwrap_or_else(|| self.unplanned());
        if let Some(failure) = &failure {
            let request_id = self.flight.request_id();
            tracing::debug!(request_id = text(&request_id), "a request failed: {failure}");
        }
        self.flight.end(ending, failure.as_ref());
        self.flight.tell(failure.as_ref());
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("-")
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP",
    }
}
