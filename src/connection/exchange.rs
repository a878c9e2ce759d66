//! One request, from its head to the head of its answer.
//!
//! ```text
//!   admit ─▶ identity ─▶ authority ─▶ route ─┬─▶ redirect, fixed answer ──────────┬─▶ answer
//!                                            └─▶ fields ─▶ upstream ─▶ hygiene ───┤
//!             any of them fails, panics or is cut ─▶ the table of failures ───────┘
//! ```
//! Promises: a request keeps the generation with which it began; dropping an exchange, because its
//! client has gone, drops the attempt upstream at once; nothing that happens in here ends more than
//! this request.
//! Must not know: HTTP/1 from HTTP/2, except for what their answers may carry, and that a tunnel is
//! the rest of a connection in one and a stream in the other.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;

use super::arriving::Arriving;
use super::body::{Body, Branch};
use super::flight::{Flight, Guard};
use super::local::Local;
use super::rate::Limited;
use super::seat::Seat;
use super::tunnel::Tunnel;
use crate::config::settings::{Action, Clients};
use crate::http2::Protocol;
use crate::policy::crowd::Shed;
use crate::policy::fields::{self, Client};
use crate::policy::hops::{self, Hop};
use crate::policy::identity::{self, Identity};
use crate::policy::origin::origin;
use crate::policy::turnstile::Entry;
use crate::policy::upgrade::{self, Upgrade};
use crate::policy::{expect, https, remaining};
use crate::response::{Deadline, Failure, answer, head, hygiene};
use crate::route::{Lookup, Route, check_authority, host_of, target_of};
use crate::telemetry::counters::Ending;
use crate::upstream::{Answer, Content, End, Lease, Stay, Terms, Undone, Upgraded};

/// RFC 9110, section 15.4.9.
const PERMANENT: u16 = 308;

/// There is nobody to answer: the protocol lets go of the request.
#[derive(Debug)]
pub(super) struct Gone;

pub(super) type Exchange = Pin<Box<dyn Future<Output = Result<Response<Body>, Gone>>>>;

/// The request is admitted already; its guard says how it ends.
pub(super) fn begin(guard: Guard, request: Request<Arriving>) -> Exchange {
    Box::pin(exchange(guard, request))
}

/// A request whose head was read and is refused: it is admitted and told like every other.
pub(super) fn turn_away<B>(guard: Guard, failure: Failure, request: Request<B>) -> Exchange {
    let flight = Rc::clone(guard.flight());
    flight.identify(identity::identify(request.headers(), &mut || fastrand::u64(..)));
    let response = refuse(guard, failure, request.headers().get(ACCEPT));
    flight.begin_answer(response.status().as_u16());
    Box::pin(std::future::ready(Ok(response)))
}

/// The answer to what was to become a request but did not.
pub(super) fn refuse_broken(guard: Guard, failure: Failure) -> Response<Body> {
    let flight = Rc::clone(guard.flight());
    flight.identify(identity::identify(&HeaderMap::new(), &mut || fastrand::u64(..)));
    let response = refuse(guard, failure, None);
    flight.begin_answer(response.status().as_u16());
    response
}

/// What a request comes to.
enum Outcome {
    /// Made here.
    Own(Response<Bytes>),
    Endpoint(Box<Answer>),
    /// With the endpoint's side, and the client's stream, when the connection goes on without it.
    Switched(Box<Answer>, Upgraded, Option<Arriving>),
}

async fn exchange(guard: Guard, request: Request<Arriving>) -> Result<Response<Body>, Gone> {
    let flight = Rc::clone(guard.flight());
    let accept = request.headers().get(ACCEPT).cloned();
    let outcome = {
        let work = pin!(AssertUnwindSafe(answer(&flight, request)).catch_unwind());
        until_cut(&flight, work).await
    };
    let outcome = match outcome {
        Err(cut) => Err(cut),
        Ok(Err(panic)) => Err(panicked(&flight, &*panic)),
        Ok(Ok(outcome)) => outcome,
    };
    let response = match outcome {
        Ok(outcome) => respond(guard, outcome),
        Err(Failure::ClientGone) => return Err(Gone),
        Err(failure) => {
            flight.leave();
            refuse(guard, failure, accept.as_ref())
        }
    };
    flight.begin_answer(response.status().as_u16());
    Ok(response)
}

/// Lets `work` go on until the drain's deadline stops this request. By reference, like all that wraps a large future here: one
/// that is passed by value has its place twice.
async fn until_cut<W: Future>(flight: &Flight, mut work: Pin<&mut W>) -> Result<W::Output, Failure> {
    std::future::poll_fn(|cx| {
        flight.attend(cx);
        match flight.stop() {
            Some(_) => Poll::Ready(Err(Failure::Drained)),
            None => work.as_mut().poll(cx).map(Ok),
        }
    })
    .await
}

async fn answer(flight: &Rc<Flight>, mut request: Request<Arriving>) -> Result<Outcome, Failure> {
    let identity = flight.identify(identity::identify(request.headers(), &mut || fastrand::u64(..)));
    #[cfg(test)]
    super::tests::observe(flight, &request);
    let authority = authority(flight, &request)?;
    agree(flight, authority)?;
    expect::awaits_continue(flight.version(), request.headers_mut())?;
    let route = find(flight, authority, &request)?;
    flight.routed(&route);
    if let Some(location) = securely(flight, authority, &route, &request)? {
        return Ok(Outcome::Own(answer::redirect(PERMANENT, location)));
    }
    charge(flight, &route, request.headers())?;
    match configured(flight, authority, &route) {
        Some(outcome) => Ok(outcome),
        None => {
            flight.generation().blueprint.via.check(request.headers())?;
            let content = !request.body().is_end_stream();
            match hops::count(flight.method(), request.headers_mut(), content)? {
                Hop::Last => Ok(Outcome::Own(answer::last_hop(flight.method(), &route.settings.methods))),
                Hop::On => {
                    believe(flight, &route, request.headers());
                    let work = pin!(forward(flight, identity, authority, &route, request));
                    in_time(flight, work).await
                }
            }
        }
    }
}

/// The answer of a route that asks nobody.
fn configured(flight: &Flight, authority: &str, route: &Route) -> Option<Outcome> {
    match &route.settings.action {
        Action::Redirect { status, .. } => {
            // A port of this listener says nothing about where the redirect leads.
            let host = host_of(authority).unwrap_or(authority);
            let location = route.location(flight.seat().scheme(), host, &path_of(flight.uri()));
            Some(Outcome::Own(answer::redirect(*status, location)))
        }
        Action::Answer { status, content_type, body } => {
            Some(Outcome::Own(answer::fixed(*status, content_type, body)))
        }
        Action::Forward => None,
    }
}

/// The authority that routes the request; empty where HTTP/1.0 has none.
fn authority<'a>(flight: &'a Flight, request: &Request<Arriving>) -> Result<&'a str, Failure> {
    check_authority(request.method(), request.uri(), request.version(), request.headers())?;
    Ok(flight.authority().unwrap_or_default())
}

/// RFC 9110, section 7.4: one TLS connection may be used for several hosts, but for none whose clients are proven by
/// something else.
fn agree(flight: &Flight, authority: &str) -> Result<(), Failure> {
    let (seat, tls) = (flight.seat(), &flight.generation().blueprint.tls);
    let host = host_of(authority).unwrap_or(authority);
    match seat.is_sealed() && !authority.is_empty() && !tls.agrees(seat.name(), host) {
        true => Err(Failure::WrongName),
        false => Ok(()),
    }
}

/// Where the client has to ask instead, by TLS. RFC 9110, section 15.4.9: the method stays.
fn securely(
    flight: &Flight,
    authority: &str,
    route: &Route,
    request: &Request<Arriving>,
) -> Result<Option<HeaderValue>, Failure> {
    let (seat, generation) = (flight.seat(), flight.generation());
    let service = &generation.blueprint.settings.services[route.service];
    let proves = service.tls.clients == Clients::Required;
    if seat.is_sealed() {
        // Whoever was not asked for a certificate came by the name of another service.
        return if proves && seat.identity().is_none() { Err(Failure::WrongName) } else { Ok(None) };
    }
    let believed = || Local::trusts(generation, seat.address()) && https::came_by_tls(request.headers());
    let open = !proves && (https::is_challenge(request.uri().path()) || believed());
    if !service.https.redirect || open || request.method() == Method::CONNECT {
        return if proves { Err(Failure::WrongName) } else { Ok(None) };
    }
    let host = host_of(authority).unwrap_or_default();
    https::location(host, &path_of(flight.uri())).map(Some).ok_or(Failure::BadRequest("it names no host"))
}

fn find(flight: &Flight, authority: &str, request: &Request<Arriving>) -> Result<Arc<Route>, Failure> {
    // With a `:protocol` it is what a GET with an upgrade is on HTTP/1.1 (RFC 8441, section 5).
    let method = if extended(request.extensions()).is_some() { &Method::GET } else { request.method() };
    let route = look_up(flight, authority, method, request.headers())?;
    // HTTP/1.0 has no CONNECT.
    if method == Method::CONNECT && request.version() < Version::HTTP_11 {
        return Err(Failure::ConnectRefused);
    }
    Ok(route)
}

fn look_up(
    flight: &Flight,
    authority: &str,
    method: &Method,
    fields: &HeaderMap,
) -> Result<Arc<Route>, Failure> {
    let host = if authority.is_empty() { Some("") } else { host_of(authority) };
    let lookup = Lookup {
        listener: flight.seat().listener(),
        host: host.ok_or(Failure::BadRequest("the authority is not a host"))?,
        method,
        path: if method == Method::CONNECT { "" } else { flight.uri().path() },
        fields,
    };
    flight.generation().blueprint.routes.find(&lookup).map(Arc::clone)
}

/// The `:protocol` of an extended CONNECT.
fn extended(extensions: &http::Extensions) -> Option<&Protocol> {
    extensions.get::<Protocol>()
}

fn path_of(uri: &Uri) -> PathAndQuery {
    target_of(uri).unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// The deadline of the whole request, as far as the head of the answer; its content has its own watch.
async fn in_time(
    flight: &Flight,
    work: Pin<&mut impl Future<Output = Result<Outcome, Failure>>>,
) -> Result<Outcome, Failure> {
    let Some((at, limit)) = flight.deadline() else { return work.await };
    let late = || Failure::Late(Deadline::Request, limit);
    tokio::time::timeout_at(at.into(), work).await.unwrap_or_else(|_| {
        flight.heard(true);
        Err(late())
    })
}

/// A trusted proxy knows how long its client waits.
fn believe(flight: &Flight, route: &Route, headers: &HeaderMap) {
    let field = &flight.generation().blueprint.settings.services[route.service].deadline_field;
    if let Some(field) = field
        && Local::trusts(flight.generation(), flight.seat().address())
        && let Some(limit) = remaining::told(headers, field)
    {
        flight.shorten(limit);
    }
}

/// Whether the rates of its service and route let it through.
fn charge(flight: &Flight, route: &Route, headers: &HeaderMap) -> Result<(), Failure> {
    let trusts = |address| Local::trusts(flight.generation(), address);
    let origin = || origin(headers, flight.seat().address(), trusts);
    flight.turnstile(route).charge(&route.settings.id, headers, origin, flight.began())
}

/// Waits for a place among the requests of its service, and does what a drill wants.
async fn enter(flight: &Flight, route: &Route, headers: &HeaderMap) -> Result<(), Failure> {
    let turnstile = flight.turnstile(route);
    match turnstile.enter(headers, flight.began())? {
        Entry::Free => {}
        Entry::In(stay) => flight.stays(stay),
        Entry::Wait(queued) => {
            let limit = turnstile.queue_time();
            let waited = tokio::time::timeout(limit, queued).await.map_err(|_| Failure::LongQueue(limit))?;
            let mut stay = waited.map_err(|Shed| Failure::Shed)?;
            stay.begin(Instant::now());
            flight.stays(stay);
        }
    }
    let Some(fault) = turnstile.drill().strike(flight.began(), fastrand::f64()) else { return Ok(()) };
    if let Some(delay) = fault.delay {
        tokio::time::sleep(delay).await;
    }
    fault.abort.map_or(Ok(()), |status| Err(Failure::Fault(status)))
}

async fn forward(
    flight: &Flight,
    identity: &Identity,
    authority: &str,
    route: &Route,
    request: Request<Arriving>,
) -> Result<Outcome, Failure> {
    let streams = streams(&request);
    let (mut parts, incoming) = request.into_parts();
    if hygiene::is_coded(&parts.headers) {
        return Err(Failure::BadRequest("its transfer coding is not known here"));
    }
    let asked = asked(&mut parts)?;
    let connects = parts.method == Method::CONNECT;
    if asked.is_some() || connects {
        take_place(flight)?;
    }
    enter(flight, route, &parts.headers).await?;
    prepare(flight, &mut parts, identity, authority, route, asked.as_ref());
    // What follows the head of a CONNECT belongs to its tunnel.
    let (content, stream) = if streams {
        (Content::empty(), Some(incoming))
    } else if connects {
        (Content::empty(), None)
    } else {
        (content(flight, route, incoming)?, None)
    };
    flight.receives(content.state());
    let mut request = Request::from_parts(parts, content);
    let mut stay = Stay::default();
    let mut again: Option<Arc<Route>> = None;
    let mut answer = loop {
        let route = again.as_deref().unwrap_or(route);
        let upstream = &flight.generation().upstreams[route.service];
        let terms = Terms { timeout: &route.settings.timeout, retry: &route.settings.retry };
        match upstream.forward(request, terms, flight, &mut stay).await {
            Ok(answer) => {
                flight.heard(answer.response.status() == StatusCode::SERVICE_UNAVAILABLE);
                break Box::new(answer);
            }
            Err(Undone::Failed(failure)) => {
                if matches!(failure, Failure::Late(Deadline::FirstByte, _)) {
                    flight.heard(true);
                }
                return Err(failure);
            }
            Err(Undone::Reroute(held)) => {
                request = *held;
                let route = reroute(flight, authority, &mut request)?;
                if let Some(outcome) = configured(flight, authority, &route) {
                    return Ok(outcome);
                }
                again = Some(route);
            }
        }
    };
    if hygiene::is_coded(answer.response.headers()) {
        return Err(Failure::BadAnswer("it has a transfer coding that was not asked for".to_owned()));
    }
    let status = answer.response.status();
    let met = asked.as_ref().is_some_and(|asked| asked.is_met_by(answer.response.headers()));
    // RFC 9110, section 7.8: the request is received whole before anything else is spoken.
    let whole = answer.lease.content().end() == Some(End::Complete);
    if status == StatusCode::SWITCHING_PROTOCOLS && !(met && whole) {
        return Err(Failure::BadUpgrade);
    }
    if let Some(endpoint) = answer.upgraded.take() {
        // A tunnel may last for days.
        flight.leave();
        return Ok(Outcome::Switched(answer, endpoint, stream));
    }
    flight.leave_place();
    // To the client of a CONNECT any success is a tunnel.
    if stream.is_some() && status.is_success() {
        Err(Failure::BadUpgrade)
    } else {
        Ok(Outcome::Endpoint(answer))
    }
}

/// By the configuration that serves now. The fields stay as they were made ready, but for what says who the client is.
fn reroute(flight: &Flight, authority: &str, request: &mut Request<Content>) -> Result<Arc<Route>, Failure> {
    flight.look_again();
    let route = look_up(flight, authority, request.method(), request.headers())?;
    flight.routed(&route);
    agree(flight, authority)?;
    let service = &flight.generation().blueprint.settings.services[route.service];
    if service.tls.clients == Clients::Required && flight.seat().identity().is_none() {
        return Err(Failure::WrongName);
    }
    if let Some(name) = &service.tls.client_field {
        fields::set_proof(request.headers_mut(), name, flight.seat().identity());
    }
    if request.method() != Method::CONNECT {
        *request.uri_mut() = Uri::from(route.target(&path_of(flight.uri())));
    }
    Ok(route)
}

/// Before an endpoint is asked for a tunnel.
fn take_place(flight: &Flight) -> Result<(), Failure> {
    let limit = flight.generation().blueprint.settings.limits.tunnels;
    let place = flight.local().places.take(limit).ok_or(Failure::ManyTunnels(limit.unwrap_or(0)))?;
    flight.take_place(place);
    Ok(())
}

/// The client's content within the limits of its route.
fn content(flight: &Flight, route: &Route, arriving: Arriving) -> Result<Content, Failure> {
    let limited = Limited::new(arriving, &route.settings.limits)?;
    if let Some(rate) = limited.rate() {
        flight.measure(Rc::clone(rate));
    }
    Ok(Content::stream(limited, route.settings.timeout.idle, route.settings.replay))
}

/// Whether what is asked for is a tunnel in one stream of many.
fn streams(request: &Request<Arriving>) -> bool {
    request.method() == Method::CONNECT && request.version() == Version::HTTP_2
}

/// The protocol that is asked for; an extended CONNECT becomes the upgrade that an endpoint knows.
fn asked(parts: &mut Parts) -> Result<Option<Upgrade>, Failure> {
    let Some(protocol) = extended(&parts.extensions) else {
        return Ok(upgrade::asked(&parts.method, parts.version, &parts.headers));
    };
    let asked = upgrade::of_connect(protocol.as_str()).ok_or(Failure::ConnectRefused)?;
    parts.method = Method::GET;
    if asked.is_websocket() {
        let key = upgrade::websocket_key(fastrand::u128(..).to_be_bytes());
        parts.headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    Ok(Some(asked))
}

/// Turns the head that came into the one that goes.
fn prepare(
    flight: &Flight,
    parts: &mut Parts,
    identity: &Identity,
    authority: &str,
    route: &Route,
    asked: Option<&Upgrade>,
) {
    let address = flight.seat().address();
    let client = Client {
        address,
        unix: address.is_none(),
        trusted: Local::trusts(flight.generation(), address),
        scheme: flight.seat().scheme(),
        version: parts.version,
    };
    let blueprint = &flight.generation().blueprint;
    let service = &blueprint.settings.services[route.service];
    let protocol = service.protocol;
    fields::for_upstream(&mut parts.headers, &client, authority, &blueprint.via, identity, asked, protocol);
    if let Some(field) = &service.deadline_field {
        let left = flight.deadline().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        remaining::tell(&mut parts.headers, field, left, client.trusted);
    }
    if let Some(name) = &service.tls.client_field {
        fields::set_proof(&mut parts.headers, name, flight.seat().identity());
    }
    if parts.method != Method::CONNECT {
        parts.uri = Uri::from(route.target(&path_of(&parts.uri)));
    }
    parts.extensions.clear();
}

fn respond(mut guard: Guard, outcome: Outcome) -> Response<Body> {
    match outcome {
        Outcome::Own(response) => own(guard, response, Ending::Answered, None),
        Outcome::Endpoint(answer) => {
            let (answer, version) = (*answer, guard.flight().version());
            let (mut parts, incoming) = answer.response.into_parts();
            let upgrade = parts.status == StatusCode::UPGRADE_REQUIRED && version == Version::HTTP_11;
            clean(&guard, &mut parts, upgrade);
            if parts.status == StatusCode::RESET_CONTENT {
                // Whatever the endpoint sends with it (RFC 9110, section 15.3.6).
                guard.plan(Ending::Answered, None);
                return Response::from_parts(parts, Body::whole(Bytes::new(), guard));
            }
            let expected = head::has_content(guard.flight().method(), parts.status);
            Response::from_parts(parts, Body::stream(incoming, answer.lease, guard, expected))
        }
        Outcome::Switched(answer, endpoint, None) => switch(guard, *answer, endpoint),
        Outcome::Switched(answer, endpoint, Some(stream)) => branch(guard, *answer, endpoint, stream),
    }
}

/// Makes the head of an endpoint's answer ready for the client; `upgrade`: it may speak of one.
fn clean(guard: &Guard, parts: &mut http::response::Parts, upgrade: bool) {
    if let Some(identity) = guard.flight().identity() {
        let trace = identity.trace.header();
        hygiene::for_client(&mut parts.headers, &identity.request_id, &trace, parts.version, upgrade);
    }
    settle(guard.flight(), parts);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
}

/// What the status demands of it, and when it came.
fn settle(flight: &Flight, parts: &mut http::response::Parts) {
    let now = || flight.local().dates.at(SystemTime::now());
    head::settle(&mut parts.headers, parts.status, flight.method(), flight.version(), now);
    // RFC 6797, section 7.2: not without TLS.
    if let Some(strict) = flight.route().and_then(|route| route.strict.as_ref())
        && flight.seat().is_sealed()
    {
        parts.headers.insert(STRICT_TRANSPORT_SECURITY, strict.clone());
    }
}

/// An answer that was made here.
fn own(
    mut guard: Guard,
    response: Response<Bytes>,
    ending: Ending,
    failure: Option<Failure>,
) -> Response<Body> {
    let (mut parts, content) = response.into_parts();
    if let Some(identity) = guard.flight().identity() {
        hygiene::identify(&mut parts.headers, &identity.request_id, &identity.trace.header());
    }
    settle(guard.flight(), &mut parts);
    guard.plan(ending, failure);
    Response::from_parts(parts, Body::whole(content, guard))
}

/// The connection leaves HTTP as soon as this answer is written.
fn switch(guard: Guard, answer: Answer, endpoint: Upgraded) -> Response<Body> {
    let flight = Rc::clone(guard.flight());
    let (mut parts, _) = answer.response.into_parts();
    clean(&guard, &mut parts, true);
    flight.seat().switch_to(tunnel(guard, endpoint, is_websocket(&parts.headers), answer.lease));
    Response::from_parts(parts, Body::none())
}

/// One stream of the connection leaves HTTP, the others go on (RFC 8441, section 5).
fn branch(guard: Guard, answer: Answer, endpoint: Upgraded, stream: Arriving) -> Response<Body> {
    let seat = Seat::beside(guard.flight().seat());
    let (mut parts, _) = answer.response.into_parts();
    let websocket = is_websocket(&parts.headers);
    parts.status = StatusCode::OK;
    clean(&guard, &mut parts, false);
    parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
    let tunnel = Box::new(tunnel(guard, endpoint, websocket, answer.lease));
    Response::from_parts(parts, Body::branch(Branch { tunnel, seat, stream }))
}

fn tunnel(guard: Guard, endpoint: Upgraded, websocket: bool, lease: Lease) -> Tunnel {
    let idle = guard.flight().route().and_then(|route| route.settings.timeout.tunnel_idle);
    lease.becomes_tunnel();
    Tunnel { endpoint, websocket, idle, lease, guard }
}

fn is_websocket(headers: &http::HeaderMap) -> bool {
    let upgrade = headers.get(http::header::UPGRADE);
    upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn refuse(guard: Guard, failure: Failure, accept: Option<&HeaderValue>) -> Response<Body> {
    let flight = guard.flight();
    if failure.verdict().close {
        flight.end_connection();
    }
    warn_of_limit(flight, &failure);
    let fallback = flight.route().and_then(|route| route.settings.fallback.as_ref());
    let response = match fallback.filter(|_| failure.asks_nobody()) {
        Some(fallback) => answer::fallback(fallback),
        None => answer::error(&failure, &flight.request_id(), accept, flight.error_pages()),
    };
    let ending = if failure == Failure::Drained { Ending::Cut } else { Ending::Refused };
    own(guard, response, ending, Some(failure))
}

/// Of requests that a limit turns away, once a second at most; each has its line in the access log.
fn warn_of_limit(flight: &Flight, failure: &Failure) {
    let limited = matches!(
        failure,
        Failure::ManyRequests(_) | Failure::NoPlace(_) | Failure::LongQueue(_) | Failure::Shed
    );
    let Some(route) = flight.route().filter(|_| limited) else { return };
    if let Some(count) = flight.turnstile(route).turned_away(Instant::now()) {
        tracing::warn!(
            service = flight.service().unwrap_or("-"),
            route = route.settings.id.as_str(),
            code = failure.verdict().code,
            count,
            "a limit turned requests away, {count} since it was last said; the last one: {failure}",
        );
    }
}

fn panicked(flight: &Flight, panic: &(dyn Any + Send)) -> Failure {
    tracing::error!(
        request_id = flight.request_id().to_str().unwrap_or("-"),
        service = flight.service().unwrap_or("-"),
        "a panic while serving a request, answering 500: {}",
        super::words_of(panic),
    );
    Failure::Panicked
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client has gone")
    }
}

impl std::error::Error for Gone {}
