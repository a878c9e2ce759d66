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
//! Where every endpoint has failed it in one of the first two ways, it waits as long as `hold` says (see [`held`]) and is sent
//! again when the application is back.
//!
//! In each case only while its content can be sent from its start ([`ContentState::replayable`]).
//! This is `response::Retry` applied to stale connections. Beyond it a route may grant attempts
//! ([`settings::Retry`], `search`), of what is unsent, idempotent or has an `Idempotency-Key` only; an answer that
//! says 502, 503 or 504 is asked for again only of another endpoint, otherwise it is the answer.
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
mod balance;
pub mod board;
pub mod breaker;
pub mod budget;
pub mod content;
mod copy;
mod dial;
mod endpoint;
pub mod fuse;
pub mod health;
pub mod held;
mod hold;
mod http1;
mod http2;
mod incoming;
mod line;
mod preference;
mod probe;
mod roster;
mod search;
pub mod tending;
mod upgraded;

#[cfg(test)]
mod tests;

pub use content::{Content, ContentError, ContentFault, ContentState, End};
pub use held::Stay;
pub use incoming::Incoming;
pub use line::{Line, Socket};
pub use upgraded::{GivenUp, Upgraded};

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version, header};

use crate::config::settings::{self, Protocol, Timeout};
use crate::http1::syntax::is_target;
use crate::response::{Failure, Fault};
use crate::tls::Outward;
use attempt::{Reply, attempt};
use board::{Board, Lineup, Row};
use breaker::{Hand, Pass};
use budget::Purse;
use endpoint::{Connection, Endpoint, Occupancy};
use held::{Out, Turn};
use roster::{Chosen, Roster};
use search::{Next, Search, retry_after};

/// The endpoints of one service, as one data thread sees them.
pub struct Upstream {
    lineup: Arc<Lineup>,
    /// With TLS to the endpoints.
    outward: Option<Arc<Outward>>,
    roster: RefCell<Rc<Roster>>,
    /// Retries that this thread has earned.
    purse: Purse,
}

/// What a route grants a request.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub timeout: &'a Timeout,
    pub retry: &'a settings::Retry,
}

/// No attempts but those that are made necessary by a connection.
impl<'a> From<&'a Timeout> for Terms<'a> {
    fn from(timeout: &'a Timeout) -> Terms<'a> {
        Terms { timeout, retry: &settings::Retry::NEVER }
    }
}

/// Whoever wants to know how a request gets on before its answer is there.
pub trait Asker {
    /// It goes to this endpoint now, perhaps not for the first time.
    fn asks(&self, endpoint: &Rc<str>);

    /// An interim answer of it came (RFC 9110, section 15.2), as the endpoint sent it; never 101.
    fn interim(&self, head: Response<()>);

    /// It failed, and is sent again because the configuration allows it.
    fn retries(&self) {}

    /// Of the client, where it has one.
    fn address(&self) -> Option<IpAddr> {
        None
    }
}

/// Why there is no answer.
pub enum Undone {
    Failed(Failure),
    /// While it was held the configuration has changed: it is to be routed again. Its head is as it shall arrive.
    Reroute(Box<Request<Content>>),
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
    occupancy: Occupancy,
}

/// An endpoint at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    pub endpoint: Rc<str>,
    pub in_flight: usize,
    pub idle: usize,
}

impl Upstream {
    /// `outward` is what a service with TLS to its endpoints needs. Connections of `before` are taken over where they are
    /// to the same endpoint in the same way.
    pub fn new(
        lineup: Arc<Lineup>,
        outward: Option<Arc<Outward>>,
        before: Option<&Upstream>,
    ) -> Rc<Upstream> {
        let known = before.filter(|before| before.speaks_as(lineup.settings(), outward.as_deref()));
        let known = known.map(|before| Rc::clone(&before.roster.borrow()));
        let known = known.as_ref().map_or(&[][..], |roster| roster.endpoints());
        let roster = Roster::new(&lineup, known, |row| open(row, &lineup, outward.as_ref()));
        let roster = RefCell::new(Rc::new(roster));
        Rc::new(Upstream { lineup, outward, roster, purse: Purse::default() })
    }

    /// Whether connections can go on serving after a reload to `settings`.
    fn speaks_as(&self, settings: &settings::Service, outward: Option<&Outward>) -> bool {
        let own = self.lineup.settings();
        own.protocol == settings.protocol && own.pool == settings.pool && self.outward.as_deref() == outward
    }

    /// What all threads know of the service.
    pub fn board(&self) -> &Arc<Board> {
        self.lineup.board()
    }

    /// Every endpoint with its load on this thread.
    pub fn survey(&self) -> Vec<Survey> {
        let seen = |endpoint: &Rc<Endpoint>| Survey {
            endpoint: Rc::clone(&endpoint.label),
            in_flight: endpoint.in_flight(),
            idle: endpoint.idle(),
        };
        self.roster().endpoints().iter().map(seen).collect()
    }

    /// As the board is at this moment.
    fn roster(&self) -> Rc<Roster> {
        let roster = Rc::clone(&self.roster.borrow());
        if roster.is_of(self.board()) {
            return roster;
        }
        let open = |row: &Arc<Row>| open(row, &self.lineup, self.outward.as_ref());
        let next = Rc::new(Roster::new(&self.lineup, roster.endpoints(), open));
        // What goes may close connections: not while it is borrowed.
        let before = self.roster.replace(Rc::clone(&next));
        drop(before);
        next
    }

    /// Sends `request` to an endpoint and returns the head of its answer.
    ///
    /// The request carries the fields as they shall arrive, an upgrade's included; its version and
    /// the form of its target (RFC 9112, section 3.2) are put right here. Dropping the future ends
    /// the attempt at once. `timeout.connect` holds for each endpoint, `timeout.first_byte` from the
    /// end of the content, `timeout.idle` for an endpoint that does not take the content;
    /// `timeout.request` is the caller's. `asker` is told each endpoint before it is asked, so that
    /// whoever gives up in the middle knows whom the request was with. `stay` is the request's waiting over all
    /// calls of this.
    pub async fn forward(
        self: &Rc<Self>,
        request: Request<Content>,
        terms: Terms<'_>,
        asker: &dyn Asker,
        stay: &mut Stay,
    ) -> Result<Answer, Undone> {
        let content = request.body().state();
        let answer = self.counted(request, terms, asker, stay).await;
        if let Err(Undone::Failed(_)) = answer {
            // Nobody reads it any more, also when somebody still knows of it.
            content.abandon();
        }
        answer
    }

    /// The same for one that is not routed again.
    #[cfg(test)]
    pub(crate) async fn send<'a>(
        self: &Rc<Self>,
        request: Request<Content>,
        terms: impl Into<Terms<'a>>,
        asker: &dyn Asker,
    ) -> Result<Answer, Failure> {
        let answer = self.forward(request, terms.into(), asker, &mut Stay::default()).await;
        answer.map_err(|undone| match undone {
            Undone::Failed(failure) => failure,
            Undone::Reroute(_) => panic!("another generation"),
        })
    }

    /// As far as the breaker of the service lets it.
    async fn counted(
        self: &Rc<Self>,
        request: Request<Content>,
        terms: Terms<'_>,
        asker: &dyn Asker,
        stay: &mut Stay,
    ) -> Result<Answer, Undone> {
        self.purse.sent(terms.retry.budget, self.board().budget());
        if !self.lineup.settings().breaker.service && self.board().fuse().hand() == Hand::Auto {
            return self.ask(request, terms, asker, stay).await;
        }
        let trial = Trial::begin(self.board())?;
        let answer = self.ask(request, terms, asker, stay).await;
        trial.ended(match &answer {
            Ok(answer) => Some(is_failing(answer.response.status())),
            Err(Undone::Failed(failure)) => speaks_against(failure),
            Err(Undone::Reroute(_)) => None,
        });
        answer
    }

    async fn ask(
        self: &Rc<Self>,
        request: Request<Content>,
        terms: Terms<'_>,
        asker: &dyn Asker,
        stay: &mut Stay,
    ) -> Result<Answer, Undone> {
        let (mut head, mut content) = request.into_parts();
        let (timeout, settings) = (terms.timeout, self.lineup.settings());
        let state = content.state();
        let upgrades = head.headers.contains_key(header::UPGRADE) || head.method == Method::CONNECT;
        if state.is_empty() {
            // Nothing follows that could wait (RFC 9110, section 10.1.1).
            head.headers.remove(header::EXPECT);
        }
        // Said here already, so that it costs no kept connection.
        match settings.protocol {
            Protocol::Http1 | Protocol::Https => shape_http1(&mut head)?,
            Protocol::H2c => shape_http2(&mut head, &state, Scheme::HTTP)?,
        }
        // What is agreed on with the endpoint decides.
        let mut for_http2 = None;
        let wanted = preference::of(&settings.balance, &head.headers, asker);
        let mut search = Search::new(&state, terms.retry);
        let held = self.board().held();
        let mut turn = None;
        loop {
            if turn.is_none() && !held.is_open() {
                match held.pass(stay, state.kept()).await {
                    Ok(given) => turn = given,
                    Err(Out::Failed(failure)) => return Err(failure.into()),
                    Err(Out::Reroute) => {
                        return Err(Undone::Reroute(Box::new(Request::from_parts(head, content))));
                    }
                }
            }
            let epoch = held.epoch();
            let roster = self.roster();
            let most = settings.concurrency.per_endpoint;
            let chosen = roster.choose(self.board(), &settings.balance, most, wanted, &search.given_up);
            let Some(Chosen { endpoint, pass }) = chosen else {
                if search.given_up.is_empty() {
                    if roster.is_full(most) {
                        return Err(Failure::NoPlace(most.unwrap_or(0)).into());
                    }
                    if self.may_come() && held.none_of_use(epoch) {
                        turn = None;
                        continue;
                    }
                    return Err(match roster.endpoints().is_empty() {
                        true => Failure::NoEndpoint.into(),
                        false => Failure::NobodyUp.into(),
                    });
                }
                if search.last.is_of_one_away() && self.is_looked_for() {
                    turn = None;
                    search.starts_again();
                    continue;
                }
                let granted = match search.wants_connection() {
                    true => search.granted(None, &self.purse, self.board().budget()),
                    false => None,
                };
                let Some(wait) = granted else { return Err(search.last.into()) };
                self.retries(&mut search, wait, asker).await;
                continue;
            };
            let mut occupancy = Occupancy::new(&endpoint, pass);
            // Whoever closes a gate and finds nobody in flight is right.
            if turn.is_none() && !held.is_open() {
                continue;
            }
            asker.asks(&endpoint.label);
            let wish = search.wish(&head, &state, upgrades);
            let connection = match endpoint.connect(wish, timeout.connect).await {
                Ok(connection) => connection,
                Err(failure) => {
                    occupancy.judged(speaks_against(&failure));
                    search.gave_up(&endpoint, failure);
                    continue;
                }
            };
            if held.is_tired() {
                held.back();
            }
            occupancy.on(&connection);
            let reused = connection.reused();
            let head = match (settings.protocol, &connection) {
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
                    let status = reply.response.status();
                    occupancy.judged(Some(is_failing(status)));
                    if search.wants_other(status, head, &state) {
                        search.given_up.insert(&endpoint);
                        let told = retry_after(reply.response.headers());
                        if self.roster().has_other_than(&search.given_up)
                            && let Some(wait) = search.granted(told, &self.purse, self.board().budget())
                            && let Some(again) = state.again()
                        {
                            content = again;
                            drop((reply, connection, occupancy));
                            self.retries(&mut search, wait, asker).await;
                            continue;
                        }
                    }
                    state.released();
                    let Reply { mut response, upgraded } = reply;
                    preference::remember(&settings.balance, wanted, endpoint.row(), &mut response);
                    let lease = Lease { content: state, occupancy };
                    let endpoint = Rc::clone(&endpoint.label);
                    turn.into_iter().for_each(Turn::answered);
                    return Ok(Answer { response, upgraded, endpoint, lease });
                }
                Ok(_) => {
                    content = state.again().ok_or(Failure::NoAnswer(String::new()))?;
                    search.stale = true;
                }
                Err(lost) => {
                    connection.failed(&lost.failure);
                    // A kept connection that turns out dead says nothing of its endpoint.
                    let died_idle = reused && !search.stale && !lost.begun;
                    occupancy.judged(speaks_against(&lost.failure).filter(|_| !died_idle));
                    match search.again(&endpoint, reused, head, &state, lost) {
                        Next::Again(again) => content = again,
                        Next::Over(failure) => return Err(failure.into()),
                        Next::Perhaps(again, failure) => {
                            let granted = search.granted(None, &self.purse, self.board().budget());
                            let Some(wait) = granted else { return Err(failure.into()) };
                            content = again;
                            search.last = failure;
                            drop((connection, occupancy));
                            self.retries(&mut search, wait, asker).await;
                        }
                    }
                }
            }
        }
    }

    /// Before another attempt that was granted.
    async fn retries(&self, search: &mut Search<'_>, wait: Duration, asker: &dyn Asker) {
        asker.retries();
        if !wait.is_zero() {
            // The wait that the configuration asks for between two attempts.
            tokio::time::sleep(wait).await;
        }
        if !self.roster().has_other_than(&search.given_up) {
            search.given_up.clear();
        }
    }

    /// Whether a request that no endpoint has taken waits; then somebody looks for the moment when one takes it.
    fn is_looked_for(&self) -> bool {
        let held = self.board().held();
        let Some(is_first) = held.away() else { return false };
        if is_first {
            let endpoints = self.lineup.rows().iter().map(|row| row.address().clone()).collect();
            tokio::task::spawn_local(held::prober::probe(Arc::clone(held), endpoints));
        }
        true
    }

    /// Whether an endpoint that gets nothing now may get something without anybody changing the configuration.
    fn may_come(&self) -> bool {
        let on_breaker = self.lineup.settings().hold.on_breaker;
        self.lineup.rows().iter().any(|row| {
            let by_breaker = row.fuse().hand() == Hand::Open;
            row.weight() > 0
                && (row.is_drained() || row.health() != health::State::Healthy || (by_breaker && on_breaker))
        })
    }

    /// Counts a tunnel that another process began as one with this endpoint, if it is still one of these.
    pub fn occupy(&self, endpoint: &str) -> Option<Lease> {
        let roster = self.roster();
        let endpoint = roster.endpoints().iter().find(|known| *known.label == *endpoint)?;
        let occupancy = Occupancy::new(endpoint, None);
        occupancy.becomes_tunnel();
        Some(Lease { content: Content::empty().state(), occupancy })
    }
}

impl From<Failure> for Undone {
    fn from(failure: Failure) -> Undone {
        Undone::Failed(failure)
    }
}

/// A request that the breaker of the service has let through.
struct Trial<'a> {
    board: &'a Board,
    pass: Option<Pass>,
}

impl Trial<'_> {
    fn begin(board: &Board) -> Result<Trial<'_>, Failure> {
        let (pass, change) = board.fuse().admit(Instant::now).map_err(|()| Failure::BreakerOpen)?;
        if let Some(change) = change {
            board.breaker_changed(None, change);
        }
        Ok(Trial { board, pass: Some(pass) })
    }

    fn ended(mut self, failed: Option<bool>) {
        if let Some(pass) = self.pass.take() {
            self.board.ended(None, pass, failed);
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.board.ended(None, pass, None);
        }
    }
}

fn open(row: &Arc<Row>, lineup: &Lineup, outward: Option<&Arc<Outward>>) -> Rc<Endpoint> {
    let secure = outward.map(|outward| (outward.config(), Arc::clone(outward)));
    Endpoint::new(row, lineup, secure.as_ref())
}

/// What a failure says of the endpoint, if it does: it is not asked for what its client or hitless did.
fn speaks_against(failure: &Failure) -> Option<bool> {
    let nobody_asked = matches!(failure, Failure::NoEndpoint | Failure::NobodyUp);
    (failure.verdict().fault == Fault::Upstream && !nobody_asked).then_some(true)
}

/// Statuses by which an application, or a gateway before it, says that it cannot.
fn is_failing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

impl Lease {
    /// What it was for goes on in another protocol.
    pub fn becomes_tunnel(&self) {
        self.occupancy.becomes_tunnel();
    }

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
