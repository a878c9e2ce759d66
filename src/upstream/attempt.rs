//! One attempt: a request on one connection, until the head of its answer or its failure.
//!
//! Promises: a failure says what is known of the request: that the endpoint's application has not
//! seen it, or that nobody knows. One timer at most, which is moved, not made again. Dropping the
//! attempt ends the exchange: HTTP/1.1 closes the connection, HTTP/2 resets the stream. Must not
//! know: endpoints, whether there will be another attempt.

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, Sleep};

use super::content::{Content, ContentState, Stage};
use super::endpoint::Connection;
use super::http1::Outcome;
use super::line::Line;
use crate::config::settings::Timeout;
use crate::response::{Deadline, Failure};

/// What became of an attempt that brought no answer.
pub(super) struct Lost {
    pub(super) failure: Failure,
    /// Whether bytes of an answer came before it broke.
    pub(super) begun: bool,
    /// The request, when hyper gave it back untouched.
    pub(super) request: Option<Request<Content>>,
}

/// Sends `request` and waits for the head of its answer.
pub(super) async fn attempt(
    connection: &Connection,
    request: Request<Content>,
    timeout: &Timeout,
) -> Result<Response<Incoming>, Box<Lost>> {
    let method = request.method().clone();
    let content = request.body().state();
    let before = Before::new(connection.line(), &content);
    content.supervised();
    let outcome = match connection {
        Connection::Http1(link) => match link.submit(request) {
            Ok(answer) => watched(answer, &content, timeout).await,
            Err(request) => return Err(Box::new(Lost::closed(request))),
        },
        Connection::H2c(link, _) => watched(link.submit(request), &content, timeout).await,
    };
    match outcome {
        Ok(Ok(response)) => {
            content.released();
            connection.answered(&method, &response);
            Ok(response)
        }
        Ok(Err(error)) => Err(Box::new(before.judged(error, connection, &content))),
        Err(failure) => Err(Box::new(Lost { failure, begun: false, request: None })),
    }
}

impl Connection {
    pub(super) fn line(&self) -> &Line {
        match self {
            Connection::Http1(link) => &link.line,
            Connection::H2c(link, _) => &link.line,
        }
    }

    /// Whether it has carried a request before.
    pub(super) fn reused(&self) -> bool {
        match self {
            Connection::Http1(link) => link.reused(),
            Connection::H2c(link, _) => link.reused(),
        }
    }

    /// A request failed on it. A shared connection that lost one, or that is silent, gets no more;
    /// one that only broke a stream goes on.
    pub(super) fn failed(&self, failure: &Failure) {
        if let Connection::H2c(link, shelf) = self
            && matches!(failure, Failure::Unsent(_) | Failure::Late(..))
        {
            shelf.retire(link);
        }
    }

    fn answered(&self, method: &Method, response: &Response<Incoming>) {
        if let Connection::Http1(link) = self {
            link.answered(method, response);
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

    /// What hyper's error and the socket together say.
    fn judged(
        &self,
        mut error: TrySendError<Request<Content>>,
        connection: &Connection,
        content: &ContentState,
    ) -> Lost {
        let line = connection.line();
        let request = error.take_message();
        // Other streams share an HTTP/2 connection: bytes on it are not this answer's.
        let begun = matches!(connection, Connection::Http1(_)) && line.received() > self.received;
        let error = error.into_error();
        let failure = if let Some(failure) = content.failure() {
            failure
        } else if error.is_parse() {
            Failure::BadAnswer(told(&error))
        } else if request.is_some() || refused(&error) || line.untaken_since(self.written, self.with_content)
        {
            Failure::Unsent(told(&error))
        } else {
            Failure::NoAnswer(told(&error))
        };
        Lost { failure, begun, request }
    }
}

impl Lost {
    fn closed(request: Request<Content>) -> Lost {
        let failure = Failure::Unsent("the connection was closed by the endpoint".to_owned());
        Lost { failure, begun: false, request: Some(request) }
    }
}

/// What an error of an answer's body means.
pub(super) fn failure_of(error: &hyper::Error) -> Failure {
    if error.is_parse() { Failure::BadAnswer(told(error)) } else { Failure::Truncated(told(error)) }
}

/// Whether the endpoint says that it has not acted on the request: REFUSED_STREAM, or a GOAWAY whose
/// last stream is an earlier one (RFC 9113, section 8.7). h2 gives a GOAWAY of the endpoint to those
/// streams only; streams that may have been processed end with an I/O error.
fn refused(error: &hyper::Error) -> bool {
    let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>()) else {
        return false;
    };
    cause.is_remote()
        && (cause.is_go_away() || cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// The error with its causes.
fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Waits for `answer` as long as the deadlines allow.
async fn watched(
    answer: impl Future<Output = Outcome>,
    content: &ContentState,
    timeout: &Timeout,
) -> Result<Outcome, Failure> {
    let mut answer = pin!(answer);
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
