//! One request in a stream, and its answer.
//!
//! ```text
//!   head, content ──▶ Sending ──────────────────────────────▶ the rest of the content ──▶ …
//!                        answer ◀── 1xx … ◀── head ◀── content, trailers ◀── END_STREAM
//! ```
//! Both directions move whenever either is polled, so neither waits for the other.
//!
//! Promises: only END_STREAM ends an answer: a reset in the middle of it breaks it off, NO_ERROR too (RFC
//! 9113, section 8.1), and after it means nothing. A malformed answer (section 8.1.1) is said to be one.
//! The window opens again as the answer is taken. Dropped before both messages are complete, the
//! exchange resets its stream with CANCEL; a request that is not complete when its answer is, is
//! given up. Must not know: other attempts, deadlines, except that an expectation is not waited for
//! indefinitely.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;

use super::carried::Carried;
use super::sending::Sending;
use crate::http1::head;
use crate::response::Failure;
use crate::response::head::has_content;
use crate::upstream::Asker;
use crate::upstream::attempt::{Broken, INTERIM, Reply};
use crate::upstream::content::Content;
use crate::upstream::hold::Hold;
use crate::upstream::incoming::Incoming;
use crate::upstream::upgraded::Upgraded;

/// The fields of a connection beside `TE` (RFC 9113, section 8.2.2).
const OF_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// From the head of the request to the end of the answer.
pub(in crate::upstream) struct Exchange {
    sending: Sending,
    /// Until it has ended.
    answer: Option<RecvStream>,
    /// How much of it is still to come, when that is known.
    rest: Option<u64>,
    /// Nothing but trailers follows.
    trailing: bool,
    /// Why the request cannot be sent to its end; told when nothing more of the answer is here.
    fault: Option<Failure>,
}

/// A request before the head of its answer.
struct Asked {
    sending: Sending,
    answer: ResponseFuture,
    interim: usize,
}

/// Gives a request the fields that it has over HTTP/2 (RFC 9113, section 8.2.2).
pub(in crate::upstream) fn prepare(request: &mut Parts, length: Option<u64>) {
    let means_content = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
    let fields = &mut request.headers;
    fields.remove(HOST);
    for name in OF_CONNECTION {
        fields.remove(name);
    }
    if fields.get_all(TE).iter().any(|te| te != "trailers") {
        fields.remove(TE);
    }
    // RFC 9110, section 8.6.
    if let Some(length) = length.filter(|length| *length > 0 || means_content) {
        fields.insert(CONTENT_LENGTH, length.into());
    }
}

impl Exchange {
    /// Sends a request and reads the answer as far as its head. `idle` bounds how long content is held
    /// back for the endpoint's 100.
    pub(super) async fn ask(
        mut sender: SendRequest<Bytes>,
        request: &Parts,
        content: Content,
        idle: Option<Duration>,
        asker: &dyn Asker,
    ) -> Result<Reply, Broken> {
        let content = Some(content).filter(|content| !content.state().is_empty());
        let ends = content.is_none() && request.method != Method::CONNECT;
        let hold = if content.is_some() { Hold::asked_by(&request.headers, idle) } else { Hold::none() };
        let submitted = sender.send_request(head_of(request), ends);
        // h2 has not taken it.
        let (answer, stream) =
            submitted.map_err(|error| Broken::Failure(Failure::Unsent(error.to_string())))?;
        let sending = Sending::new(stream, content, hold);
        let mut asked = Asked { sending, answer, interim: 0 };
        let response = std::future::poll_fn(|cx| asked.poll(asker, cx)).await?;
        reply(asked.sending, response, &request.method)
    }

    /// The next of the answer's content. The rest of the request's content goes on meanwhile.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.poll_sending(cx);
        let Some(answer) = &mut self.answer else { return Poll::Ready(None) };
        while !self.trailing {
            match answer.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    // Fails for a stream that is gone, whose window nobody needs.
                    let _ = answer.flow_control().release_capacity(data.len());
                    self.rest = self.rest.map(|rest| rest.saturating_sub(data.len() as u64));
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(self.truncated(&error)))),
                Poll::Ready(None) => self.trailing = true,
                Poll::Pending => return self.fault.take().map_or(Poll::Pending, |fault| self.faulty(fault)),
            }
        }
        match ready!(answer.poll_trailers(cx)) {
            Ok(trailers) => {
                self.end();
                let trailers = trailers.filter(|trailers| !trailers.is_empty());
                Poll::Ready(trailers.map(|trailers| match head::can_be_said(&trailers) {
                    Ok(()) => Ok(Frame::trailers(trailers)),
                    Err(reason) => Err(Failure::BadAnswer(reason.to_owned())),
                }))
            }
            Err(error) => Poll::Ready(Some(Err(self.truncated(&error)))),
        }
    }

    /// Goes on sending the request's content, without asking for more of the answer.
    pub(in crate::upstream) fn poll_sending(&mut self, cx: &mut Context<'_>) {
        if self.fault.is_none()
            && let Poll::Ready(Err(failure)) = self.sending.poll(cx)
        {
            self.fault = Some(failure);
        }
    }

    /// Whether nothing more comes of the answer.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        self.answer.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    /// How much of the answer is still to come, if it is known.
    pub(in crate::upstream) fn rest(&self) -> Option<u64> {
        self.rest
    }

    /// The answer is over, in whichever way.
    fn end(&mut self) {
        self.answer = None;
        self.sending.give_up();
    }

    fn truncated(&mut self, error: &h2::Error) -> Failure {
        self.end();
        Failure::Truncated(error.to_string())
    }

    fn faulty(&mut self, fault: Failure) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.end();
        Poll::Ready(Some(Err(fault)))
    }
}

impl Asked {
    /// The head of the answer, after those of interim ones.
    fn poll(
        &mut self,
        asker: &dyn Asker,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<RecvStream>, Broken>> {
        loop {
            if let Poll::Ready(Err(failure)) = self.sending.poll(cx) {
                return Poll::Ready(Err(Broken::Failure(failure)));
            }
            match ready!(self.answer.poll_informational(cx)) {
                Some(Ok(head)) => self.pass(head, asker)?,
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => break,
            }
        }
        self.answer.poll_unpin(cx).map_err(|error| broken(&error))
    }

    fn pass(&mut self, head: Response<()>, asker: &dyn Asker) -> Result<(), Broken> {
        self.interim += 1;
        if self.interim > INTERIM {
            return Err(bad_answer("interim answers without end"));
        }
        if head.status() == StatusCode::SWITCHING_PROTOCOLS {
            // RFC 9113, section 8.6.
            return Err(bad_answer("101 over HTTP/2"));
        }
        head::can_be_said(head.headers()).map_err(bad_answer)?;
        if head.status() == StatusCode::CONTINUE {
            self.sending.go_ahead();
        }
        asker.interim(head);
        Ok(())
    }
}

/// What the head promises.
fn reply(mut sending: Sending, response: Response<RecvStream>, method: &Method) -> Result<Reply, Broken> {
    let (head, answer) = response.into_parts();
    head::can_be_said(&head.headers).map_err(bad_answer)?;
    if *method == Method::CONNECT && head.status.is_success() {
        let upgraded = Upgraded::http2(Carried::new(answer, sending.into_stream()));
        let response = Response::from_parts(head, Incoming::empty());
        return Ok(Reply { response, upgraded: Some(upgraded) });
    }
    let Ok(length) = head::content_length(&head.headers) else {
        return Err(bad_answer("Content-Length is not one number"));
    };
    if sending.is_held() {
        sending.give_up();
    }
    let incoming = if answer.is_end_stream() {
        Incoming::empty()
    } else {
        let rest = length.filter(|_| has_content(method, head.status));
        let answer = Some(answer);
        Incoming::http2(Exchange { sending, answer, rest, trailing: false, fault: None })
    };
    Ok(Reply { response: Response::from_parts(head, incoming), upgraded: None })
}

/// h2 wants to keep it.
fn head_of(request: &Parts) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method.clone();
    *head.uri_mut() = request.uri.clone();
    *head.version_mut() = request.version;
    *head.headers_mut() = request.headers.clone();
    head
}

fn bad_answer(reason: &str) -> Broken {
    Broken::Failure(Failure::BadAnswer(reason.to_owned()))
}

/// What it means that no answer came.
fn broken(error: &h2::Error) -> Broken {
    if is_refusal(error) {
        Broken::Failure(Failure::Unsent(error.to_string()))
    } else if error.is_library() {
        // It is h2 that has ended the stream, or the connection: the endpoint broke the protocol.
        bad_answer(&error.to_string())
    } else {
        Broken::Closed(error.to_string())
    }
}

/// Whether the endpoint says that it has not acted on the request: REFUSED_STREAM, or a GOAWAY whose
/// last stream is an earlier one (RFC 9113, section 8.7). h2 gives a GOAWAY of the endpoint to those
/// streams only; streams that may have been processed end with an I/O error.
fn is_refusal(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
}
