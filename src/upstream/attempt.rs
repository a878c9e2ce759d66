//! One attempt: a request on one connection, until the head of its answer or its failure.
//!
//! Promises: a failure says what is known of the request: that the endpoint's application has not
//! seen it, or that nobody knows. One timer at most, which is moved, not made again. Dropping the
//! attempt ends the exchange: HTTP/1.1 closes the connection, HTTP/2 resets the stream. Must not
//! know: endpoints, whether there will be another attempt.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http::request::Parts;
use tokio::time::{Instant, Sleep};

use super::Asker;
use super::content::{Content, ContentState, Stage};
use super::endpoint::Connection;
use super::http1::Exchange;
use super::incoming::Incoming;
use super::line::Line;
use super::upgraded::Upgraded;
use crate::config::settings::Timeout;
use crate::response::{Deadline, Failure};
use crate::tls;

/// The most interim answers to one request.
pub(super) const INTERIM: usize = 32;

/// The head of an answer.
pub(super) struct Reply {
    pub(super) response: Response<Incoming>,
    /// When the connection, or the stream, has left HTTP with it.
    pub(super) upgraded: Option<Upgraded>,
}

/// Why an exchange brought no answer, as far as its protocol knows.
pub(super) enum Broken {
    Failure(Failure),
    /// The connection ended, in these words: the socket tells what that means for the request.
    Closed(String),
}

/// What became of an attempt that brought no answer.
pub(super) struct Lost {
    pub(super) failure: Failure,
    /// Whether bytes of an answer came before it broke.
    pub(super) begun: bool,
    /// The endpoint has certainly not had all of the content.
    pub(super) cut: bool,
}

/// Sends a request and waits for the head of its answer. Whoever takes that says so to the content
/// ([`ContentState::released`]).
pub(super) async fn attempt(
    connection: &Connection,
    request: &Parts,
    content: Content,
    timeout: &Timeout,
    asker: &dyn Asker,
) -> Result<Reply, Lost> {
    let state = content.state();
    let before = Before::new(connection.line(), &state);
    state.supervised();
    let outcome = match connection {
        Connection::Http1(link) => {
            let answer = pin!(Exchange::ask(link.clone(), request, content, timeout.idle, asker));
            watched(answer, &state, timeout).await
        }
        Connection::Http2(link, _) => {
            let answer = pin!(link.ask(request, content, timeout.idle, asker));
            watched(answer, &state, timeout).await
        }
    };
    match outcome {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(broken)) => Err(before.judged(broken, connection, &state)),
        Err(failure) => Err(Lost { failure, begun: false, cut: false }),
    }
}

impl Connection {
    pub(super) fn line(&self) -> &Line {
        match self {
            Connection::Http1(link) => &link.line,
            Connection::Http2(link, _) => &link.line,
        }
    }

    /// Whether it has carried a request before.
    pub(super) fn reused(&self) -> bool {
        match self {
            Connection::Http1(link) => link.reused(),
            Connection::Http2(link, _) => link.reused(),
        }
    }

    /// A request failed on it. A shared connection that lost one, or that is silent, gets no more;
    /// one that only broke a stream goes on.
    pub(super) fn failed(&self, failure: &Failure) {
        if let Connection::Http2(link, shelf) = self
            && matches!(failure, Failure::Unsent(_) | Failure::Late(..))
        {
            shelf.retire(link);
        }
    }
}

/// How the socket stood before the request was written.
struct Before {
    written: u64,
    received: u64,
    with_content: bool,
}

impl Before {
    fn new(line: &Line, content: &ContentState) -> Before {
        Before { written: line.written(), received: line.received(), with_content: !content.is_empty() }
    }

    /// What the protocol and the socket together say.
    fn judged(&self, broken: Broken, connection: &Connection, content: &ContentState) -> Lost {
        let line = connection.line();
        // Other streams share an HTTP/2 connection: bytes on it are not this answer's.
        let alone = matches!(connection, Connection::Http1(_));
        let begun = alone && line.received() > self.received;
        // What could not be written any more was missing there.
        let cut = self.with_content && (content.end().is_none() || alone && line.deaf());
        let failure = content.failure().unwrap_or_else(|| match broken {
            Broken::Failure(failure) => failure,
            Broken::Closed(told) if line.refusal().is_some() => line
                .refusal()
                .map_or(Failure::NoAnswer(told), |alert| Failure::Handshake(tls::refusal(alert))),
            Broken::Closed(told) if line.untaken_since(self.written, self.with_content) => {
                Failure::Unsent(told)
            }
            Broken::Closed(told) => Failure::NoAnswer(told),
        });
        Lost { failure, begun, cut }
    }
}

/// Waits for `answer` as long as the deadlines allow.
async fn watched<A: Future>(
    mut answer: Pin<&mut A>,
    content: &ContentState,
    timeout: &Timeout,
) -> Result<A::Output, Failure> {
    // Nothing is registered before it is reset to a deadline.
    let timer = pin!(tokio::time::sleep(Duration::MAX));
    let mut watch = Watch { content, timeout, timer };
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        watch.poll(cx).map(Err)
    })
    .await
}

/// The deadlines of an attempt on one timer. Which one rules depends on where the content is; the
/// timer is looked at when it fires, and moved when its deadline has moved meanwhile.
struct Watch<'a> {
    content: &'a ContentState,
    timeout: &'a Timeout,
    timer: Pin<&'a mut Sleep>,
}

impl Watch<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        loop {
            let Some((due, failure)) = self.due(cx) else { return Poll::Pending };
            // A timer that fires too early is moved then; only one that is too late is moved now.
            if self.timer.deadline() > due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if due <= Instant::now() {
                if failure == Failure::ClientSilent {
                    self.content.silent();
                }
                return Poll::Ready(failure);
            }
            self.timer.as_mut().reset(due);
        }
    }

    fn due(&self, cx: &Context<'_>) -> Option<(Instant, Failure)> {
        match self.content.stage(cx.waker()) {
            Stage::Sent(at) => {
                let limit = self.timeout.first_byte?;
                Some((at + limit, Failure::Late(Deadline::FirstByte, limit)))
            }
            Stage::AwaitingClient(since) => Some((since + self.content.idle()?, Failure::ClientSilent)),
            Stage::AwaitingEndpoint(since) => {
                let limit = self.timeout.idle?;
                Some((since + limit, Failure::Late(Deadline::Idle, limit)))
            }
        }
    }
}
