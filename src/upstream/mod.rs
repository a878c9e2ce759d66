//! The endpoints of a service: which one is asked, over which connection, and what came of it.
//!
//! Promises: all of it lives on one data thread (`Rc`, no locks); a request is sent to one endpoint
//! at a time; and **a kept connection that turns out dead never becomes an error of its own**: the
//! request is sent again on a fresh connection when that is safe, and never otherwise. Must not know:
//! routes, listeners, which fields are forwarded, how a failure is told to the client.
//!
//! # When a request is sent again
//! | what is known | which requests |
//! |---|---|
//! | no connection was made | all: the next endpoint, each at most once |
//! | the endpoint's application has not seen it (`Failure::Unsent`) | all |
//! | nobody knows, the connection was a kept one, no byte of an answer came (`Failure::NoAnswer`) | idempotent ones (RFC 9110, section 9.2.2) |
//! | it had not all of the content, no byte of an answer came, and the route keeps uploads (`replay.file`) | all |
//! | anything else | none |
//!
//! In each case only while its content can be sent from its start ([`ContentState::replayable`]).
//! This is `response::Retry` applied to stale connections; further attempts are a matter of policy.
//!
//! # How "has not seen it" is proven
//! - HTTP/2: it was not written, or the endpoint refused the stream, or named an earlier one as its
//!   last.
//! - The socket tells: see `line::Line::untaken_since`.
//!
//! # Where it cannot be proven, and what is done about it
//! An endpoint that closes a kept connection at the moment when a request has reached its kernel but
//! not its program answers with a reset, and so does one that dies with the request half done. A
//! request that must not be sent twice therefore avoids kept connections that are likely to be about
//! to close: its socket is asked first, an announced `Keep-Alive: timeout=` is kept to with a second
//! to spare, an endpoint must have been seen keeping a connection open, and after it has closed an
//! idle one unannounced such requests get only connections that were idle for less than half of
//! that time, for a minute. Content that is too long to be kept, and over a Unix socket any content
//! of such a request, goes out on a fresh connection. The window that remains is the first
//! unannounced closing by an endpoint that has kept connections open so far, if it falls into the
//! microseconds between its look at the socket and its close; and on HTTP/2 content longer than
//! [`content::KEPT`].
//!
//! # What is waited for before content is sent
//! A request that says `Expect: 100-continue` has its content held back until the endpoint says 100, or
//! for a second (RFC 9110, section 10.1.1); after any final answer it is not sent at all. An endpoint
//! whose last answer was of HTTP/1.0 gets no expectation and no chunks: content of unknown length is
//! gathered first, up to [`content::KEPT`], and longer content fails. Before its first answer an endpoint
//! is taken to speak what is configured.

mod attempt;
pub mod content;
mod copy;
mod dial;
mod endpoint;
mod hold;
mod http1;
mod http2;
mod incoming;
mod line;
mod upgraded;

#[cfg(test)]
mod tests;

pub use content::{Content, ContentError, ContentFault, ContentState, End};
pub use incoming::Incoming;
pub use line::{Line, Socket};
pub use upgraded::{GivenUp, Upgraded};

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version, header};

use crate::config::settings::{self, Protocol, Timeout};
use crate::http1::syntax::is_target;
use crate::response::{Failure, Retry};
use crate::tls::Outward;
use attempt::{Lost, Reply, attempt};
use endpoint::{Connection, Endpoint, Occupancy, Wish};

/// The endpoints of one service, as one data thread sees them.
pub struct Upstream {
    settings: Arc<settings::Service>,
    /// With TLS to the endpoints.
    outward: Option<Arc<Outward>>,
    endpoints: Box<[Rc<Endpoint>]>,
    /// Where the search for the least busy endpoint begins.
    next: Cell<usize>,
}

/// Whoever wants to know how a request gets on before its answer is there.
pub trait Asker {
    /// It goes to this endpoint now, perhaps not for the first time.
    fn asks(&self, endpoint: &Rc<str>);

    /// An interim answer of it came (RFC 9110, section 15.2), as the endpoint sent it; never 101.
    fn interim(&self, head: Response<()>);
}

/// The head of an answer, its body still to be read.
pub struct Answer {
    pub response: Response<Incoming>,
    /// What goes on in another protocol: after 101, whether it was asked for or not, and after a
    /// success to CONNECT.
    pub upgraded: Option<Upgraded>,
    /// The endpoint that answered, as the operator wrote it.
    pub endpoint: Rc<str>,
    pub lease: Lease,
}

/// Held as long as the exchange lasts. Dropped, it counts the request down and stops what is still
/// being sent of its content.
pub struct Lease {
    content: Rc<ContentState>,
    _occupancy: Occupancy,
}

/// An endpoint at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub endpoint: Rc<str>,
    pub in_flight: usize,
    pub idle: usize,
}

impl Upstream {
    /// `outward` is what a service with TLS to its endpoints needs.
    pub fn new(settings: Arc<settings::Service>, outward: Option<Arc<Outward>>) -> Rc<Upstream> {
        let secure = outward.as_ref().map(|outward| (outward.config(), Arc::clone(outward)));
        let endpoints = settings
            .endpoints
            .iter()
            .map(|address| Endpoint::new(address, settings.protocol, settings.pool, secure.as_ref()))
            .collect();
        Rc::new(Upstream { settings, outward, endpoints, next: Cell::new(0) })
    }

    /// Whether it can go on serving after a reload to `settings`.
    pub fn serves(&self, settings: &settings::Service, outward: Option<&Outward>) -> bool {
        self.settings.endpoints == settings.endpoints
            && self.settings.protocol == settings.protocol
            && self.settings.pool == settings.pool
            && self.outward.as_deref() == outward
    }

    /// Every endpoint with its load on this thread.
    pub fn survey(&self) -> Vec<Survey> {
        let seen = |endpoint: &Rc<Endpoint>| Survey {
            endpoint: Rc::clone(&endpoint.label),
            in_flight: endpoint.in_flight(),
            idle: endpoint.idle(),
        };
        self.endpoints.iter().map(seen).collect()
    }

    /// Sends `request` to an endpoint and returns the head of its answer.
    ///
    /// The request carries the fields as they shall arrive, an upgrade's included; its version and
    /// the form of its target (RFC 9112, section 3.2) are put right here. Dropping the future ends
    /// the attempt at once. `timeout.connect` holds for each endpoint, `timeout.first_byte` from the
    /// end of the content, `timeout.idle` for an endpoint that does not take the content;
    /// `timeout.request` is the caller's. `asker` is told each endpoint before it is asked, so that
    /// whoever gives up in the middle knows whom the request was with.
    pub async fn send(
        self: &Rc<Self>,
        request: Request<Content>,
        timeout: &Timeout,
        asker: &dyn Asker,
    ) -> Result<Answer, Failure> {
        let content = request.body().state();
        let answer = self.ask(request, timeout, asker).await;
        if answer.is_err() {
            // Nobody reads it any more, also when somebody still knows of it.
            content.abandon();
        }
        answer
    }

    async fn ask(
        self: &Rc<Self>,
        request: Request<Content>,
        timeout: &Timeout,
        asker: &dyn Asker,
    ) -> Result<Answer, Failure> {
        let (mut head, mut content) = request.into_parts();
        let state = content.state();
        let upgrades = head.headers.contains_key(header::UPGRADE) || head.method == Method::CONNECT;
        if state.is_empty() {
            // Nothing follows that could wait (RFC 9110, section 10.1.1).
            head.headers.remove(header::EXPECT);
        }
        // Said here already, so that it costs no kept connection.
        match self.settings.protocol {
            Protocol::Http1 | Protocol::Https => shape_http1(&mut head)?,
            Protocol::H2c => shape_http2(&mut head, &state, Scheme::HTTP)?,
        }
        // What is agreed on with the endpoint decides.
        let mut for_http2 = None;
        let mut search = Search::new(&state);
        loop {
            let Some((index, endpoint)) = self.choose(&search) else { return Err(search.last) };
            asker.asks(&endpoint.label);
            let mut occupancy = Occupancy::new(endpoint);
            let wish = search.wish(&head, &state, upgrades);
            let connection = match endpoint.connect(wish, timeout.connect).await {
                Ok(connection) => connection,
                Err(failure) => {
                    search.gave_up(index, failure);
                    continue;
                }
            };
            occupancy.on(&connection);
            let reused = connection.reused();
            let head = match (self.settings.protocol, &connection) {
                (Protocol::Https, Connection::Http2(..)) => match &mut for_http2 {
                    Some(shaped) => shaped,
                    none => {
                        let mut shaped = head.clone();
                        shape_http2(&mut shaped, &state, Scheme::HTTPS)?;
                        none.insert(shaped)
                    }
                },
                _ => &head,
            };
            match attempt(&connection, head, content, timeout, asker).await {
                Ok(reply) if search.stale || !reused || !is_told_idle(head, &state, &reply) => {
                    let Reply { response, upgraded } = reply;
                    let lease = Lease { content: state, _occupancy: occupancy };
                    let endpoint = Rc::clone(&endpoint.label);
                    return Ok(Answer { response, upgraded, endpoint, lease });
                }
                Ok(_) => {
                    content = state.again().ok_or(Failure::NoAnswer(String::new()))?;
                    search.stale = true;
                }
                Err(lost) => {
                    connection.failed(&lost.failure);
                    content = search.again(index, reused, head, &state, lost)?;
                }
            }
        }
    }

    /// Counts a tunnel that another process began as one with this endpoint, if it is still one of these.
    pub fn occupy(&self, endpoint: &str) -> Option<Lease> {
        let endpoint = self.endpoints.iter().find(|known| *known.label == *endpoint)?;
        Some(Lease { content: Content::empty().state(), _occupancy: Occupancy::new(endpoint) })
    }

    /// The least busy endpoint that was not given up, the first one found from a rotating start.
    fn choose(&self, search: &Search) -> Option<(usize, &Rc<Endpoint>)> {
        let count = self.endpoints.len();
        let start = self.next.get();
        let mut best: Option<(usize, &Rc<Endpoint>)> = None;
        for index in (start..count).chain(0..start.min(count)) {
            let endpoint = &self.endpoints[index];
            if search.given_up.contains(&index) {
                continue;
            }
            if best.is_none_or(|(_, other)| endpoint.in_flight() < other.in_flight()) {
                best = Some((index, endpoint));
            }
            if endpoint.in_flight() == 0 {
                break;
            }
        }
        if let Some((index, _)) = best {
            self.next.set((index + 1) % count);
        }
        best
    }
}

impl Lease {
    /// The content of the request, which may still be on its way.
    pub fn content(&self) -> &Rc<ContentState> {
        &self.content
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.content.abandon();
    }
}

/// The attempts of one request.
struct Search {
    given_up: Vec<usize>,
    last: Failure,
    /// A kept connection has failed this request: the next one is a fresh one.
    stale: bool,
}

impl Search {
    fn new(content: &ContentState) -> Search {
        debug_assert!(!content.touched(), "content is sent from its start");
        Search { given_up: Vec::new(), last: Failure::NoEndpoint, stale: false }
    }

    fn wish(&self, request: &Parts, content: &ContentState, upgrades: bool) -> Wish {
        Wish {
            upgrades,
            repeatable: request.method.is_idempotent(),
            with_content: !content.is_empty(),
            fresh: self.stale || !(content.is_empty() || content.is_short()),
        }
    }

    fn gave_up(&mut self, index: usize, failure: Failure) {
        self.given_up.push(index);
        self.last = failure;
    }

    /// The content for the next attempt, or the failure that the request ends with.
    fn again(
        &mut self,
        index: usize,
        reused: bool,
        request: &Parts,
        content: &Rc<ContentState>,
        lost: Lost,
    ) -> Result<Content, Failure> {
        let allowed = match lost.failure.verdict().retry {
            Retry::Never => false,
            Retry::Unsent => true,
            Retry::Safe if lost.begun => false,
            Retry::Safe => lost.cut && content.survives() || reused && request.method.is_idempotent(),
        };
        if !allowed {
            return Err(lost.failure);
        }
        let Some(content) = content.again() else { return Err(lost.failure) };
        if reused && !self.stale {
            self.stale = true;
            self.last = lost.failure;
        } else {
            self.gave_up(index, lost.failure);
        }
        Ok(content)
    }
}

/// A 408 on a kept connection is the endpoint's word on its idleness, which met the request on
/// its way (RFC 9110, section 15.5.9): an idempotent request is asked again.
fn is_told_idle(request: &Parts, content: &ContentState, reply: &Reply) -> bool {
    reply.response.status() == StatusCode::REQUEST_TIMEOUT
        && request.method.is_idempotent()
        && content.is_empty()
}

/// Version and target as HTTP/1.1 wants them.
fn shape_http1(head: &mut Parts) -> Result<(), Failure> {
    head.version = Version::HTTP_11;
    if head.method != Method::CONNECT && head.uri.authority().is_some() {
        head.uri = Uri::from(path_of(&head.uri));
    }
    let path = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if !path.is_empty() && !is_target(path.as_bytes()) {
        return Err(Failure::BadRequest("its target cannot be forwarded"));
    }
    Ok(())
}

/// Version, target and fields as HTTP/2 wants them.
fn shape_http2(head: &mut Parts, content: &ContentState, scheme: Scheme) -> Result<(), Failure> {
    head.version = Version::HTTP_2;
    if head.method != Method::CONNECT {
        head.uri = absolute(head, scheme)?;
    }
    http2::prepare(head, content.length());
    Ok(())
}

fn path_of(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// The target with its authority, taken from `Host` when it has none (RFC 9113, section 8.3.1).
fn absolute(request: &Parts, scheme: Scheme) -> Result<Uri, Failure> {
    let named = request.uri.authority().cloned();
    let host = || request.headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok();
    let authority = named.or_else(host).ok_or(Failure::BadRequest("it names no host"))?;
    let parts = Uri::builder().scheme(scheme).authority(authority).path_and_query(path_of(&request.uri));
    parts.build().map_err(|_| Failure::BadRequest("its target cannot be forwarded"))
}
