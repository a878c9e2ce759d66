//! One request on a connection, and its answer.
//!
//! ```text
//!   head, content ──▶ Sending ──────────────────────────────▶ the rest of the content ──▶ …
//!                        answer ◀── 1xx … ◀── head ◀── content, trailers ◀── end ──▶ the pool
//! ```
//! Both directions move whenever either is polled, so neither waits for the other.
//!
//! Promises: an answer is read by the rules of [`crate::http1`] or not at all, and one that breaks off
//! never ends as if it were whole. The connection is used again only when both messages are complete
//! and nothing follows them; dropped, the exchange closes it. Must not know: other attempts, deadlines,
//! except that an expectation is not waited for indefinitely.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{EXPECT, TRAILER};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use super::super::Asker;
use super::super::attempt::{Broken, INTERIM, Reply};
use super::super::content::{Content, ContentError, KEPT};
use super::super::hold::Hold;
use super::super::incoming::Incoming;
use super::super::line::Line;
use super::super::upgraded::Upgraded;
use super::Link;
use super::sending::Sending;
use crate::http1::{AnswerHead, Decoded, Decoder, Framing, Limits, Reader, Refusal, encode};
use crate::response::Failure;

/// What the head of an answer may take, and its trailers: 64 KiB in all.
const LIMITS: Limits = Limits { line: 8 * 1024, fields: 56 * 1024, count: 256 };

/// How much is read at once: at first, and at most, when the endpoint has that much to say.
const SPACE: usize = 8 * 1024;
const MOST_SPACE: usize = 64 * 1024;

/// From the head of the request to the end of the answer.
pub(in crate::upstream) struct Exchange {
    /// Until the answer is read to its end.
    link: Option<Rc<Link>>,
    sending: Sending,
    buffer: BytesMut,
    space: usize,
    answer: Option<Receiving>,
    /// Why the request cannot be sent to its end; told when nothing more of the answer is here.
    fault: Option<Failure>,
}

/// An answer after its head.
struct Receiving {
    decoder: Decoder,
    /// How much is still to come, when that is known.
    rest: Option<u64>,
    keep_alive: bool,
    /// Decoded already, to see whether the end follows.
    ahead: Option<Decoded>,
}

impl Exchange {
    /// Sends a request on `link` and reads the answer as far as its head. `idle` bounds how long content
    /// is held back for the endpoint's 100.
    pub(in crate::upstream) async fn ask(
        link: Rc<Link>,
        request: &Parts,
        content: Content,
        idle: Option<Duration>,
        asker: &dyn Asker,
    ) -> Result<Reply, Broken> {
        let sending = sending(&link, request, content, idle).await?;
        let mut exchange = Exchange {
            link: Some(link),
            sending,
            buffer: BytesMut::new(),
            space: SPACE,
            answer: None,
            fault: None,
        };
        let head = exchange.final_head(asker).await?;
        exchange.reply(head, &request.method)
    }

    /// The head of the answer, after those of interim ones.
    async fn final_head(&mut self, asker: &dyn Asker) -> Result<AnswerHead, Broken> {
        for interim in 0.. {
            let mut reader = Reader::default();
            let head = std::future::poll_fn(|cx| self.poll_head(&mut reader, cx)).await?;
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(head);
            }
            if interim == INTERIM {
                break;
            }
            head.framing(&Method::GET).map_err(bad_answer)?;
            if head.status == StatusCode::CONTINUE {
                self.sending.go_ahead();
            }
            asker.interim(response(head, ()));
        }
        Err(Broken::Failure(Failure::BadAnswer("interim answers without end".to_owned())))
    }

    fn poll_head(&mut self, reader: &mut Reader, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Broken>> {
        let Some(link) = self.link.clone() else { return Poll::Pending };
        loop {
            if let Poll::Ready(Err(failure)) = self.sending.poll(&link.line, cx) {
                return Poll::Ready(Err(Broken::Failure(failure)));
            }
            if let Some(head) = reader.answer(&mut self.buffer, &LIMITS).map_err(bad_answer)? {
                return Poll::Ready(Ok(head));
            }
            match ready!(self.poll_receive(&link.line, cx)) {
                Ok(0) if self.buffer.is_empty() => {
                    return Poll::Ready(Err(Broken::Closed("the endpoint closed the connection".to_owned())));
                }
                Ok(0) => return Poll::Ready(Err(Broken::Closed("it ends in its head".to_owned()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Broken::Closed(told(&error)))),
            }
        }
    }

    /// What the head promises.
    fn reply(mut self, head: AnswerHead, method: &Method) -> Result<Reply, Broken> {
        let tunnel = head.status == StatusCode::SWITCHING_PROTOCOLS
            || (*method == Method::CONNECT && head.status.is_success());
        // RFC 9110, section 9.3.6: a framing of the answer to a CONNECT is to be ignored.
        let framing = if tunnel { Framing::NONE } else { head.framing(method).map_err(bad_answer)? };
        if let Some(link) = &self.link {
            link.answered(&head);
        }
        if self.sending.is_held() {
            self.sending.give_up();
        }
        let rest = if let Framing::Length(length) = framing { Some(length) } else { None };
        let keep_alive = head.keep_alive && !tunnel;
        self.answer = Some(Receiving { decoder: Decoder::new(framing), rest, keep_alive, ahead: None });
        if tunnel {
            let upgraded = self.upgraded().ok_or(Broken::Failure(Failure::BadUpgrade))?;
            return Ok(Reply { response: response(head, Incoming::empty()), upgraded: Some(upgraded) });
        }
        Ok(Reply { response: response(head, self.incoming()), upgraded: None })
    }

    /// The connection itself, unless the request is not complete (RFC 9110, section 7.8).
    fn upgraded(&mut self) -> Option<Upgraded> {
        let link = self.link.take().filter(|_| self.sending.is_complete())?;
        let read = std::mem::take(&mut self.buffer);
        let read = if read.is_empty() { Bytes::new() } else { read.freeze() };
        Some(Upgraded::http1(link.line.clone(), read))
    }

    fn incoming(mut self) -> Incoming {
        match self.answer.as_ref().and_then(|answer| answer.rest) {
            Some(0) => {
                self.end();
                Incoming::empty()
            }
            // All of it came with its head.
            Some(length) if length <= self.buffer.len() as u64 => {
                let whole = self.buffer.split_to(length as usize).freeze();
                self.end();
                Incoming::whole(whole)
            }
            _ => Incoming::http1(self),
        }
    }

    /// The next of the answer's content. The rest of the request's content goes on meanwhile.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.poll_sending(cx);
        loop {
            let Some(answer) = &mut self.answer else { return Poll::Ready(None) };
            let decoded = match answer.ahead.take() {
                Some(decoded) => Ok(decoded),
                None if self.link.is_none() => return Poll::Ready(None),
                None => answer.decoder.decode(&mut self.buffer, &LIMITS),
            };
            return Poll::Ready(match decoded {
                Ok(Decoded::Data(data)) => Some(self.passed(data).map(Frame::data)),
                Ok(Decoded::Trailers(fields)) => {
                    self.end();
                    Some(Ok(Frame::trailers(fields)))
                }
                Ok(Decoded::End) => {
                    self.end();
                    None
                }
                Err(refusal) => Some(Err(self.broken(Failure::BadAnswer(reason(refusal).to_owned())))),
                Ok(Decoded::More) => match ready!(self.poll_more(cx)) {
                    Ok(true) => continue,
                    Ok(false) => None,
                    Err(failure) => Some(Err(self.broken(failure))),
                },
            });
        }
    }

    /// Goes on sending the request's content, without asking for more of the answer.
    pub(in crate::upstream) fn poll_sending(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = &self.link
            && self.fault.is_none()
            && let Poll::Ready(Err(failure)) = self.sending.poll(&link.line, cx)
        {
            self.fault = Some(failure);
        }
    }

    /// Whether nothing more comes of the answer.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        self.link.is_none() && self.answer.as_ref().is_none_or(|answer| answer.ahead.is_none())
    }

    /// How much of the answer is still to come, if it is known.
    pub(in crate::upstream) fn rest(&self) -> Option<u64> {
        self.answer.as_ref()?.rest
    }

    /// Takes note of content that is passed on, and sees whether it was the last.
    fn passed(&mut self, data: Bytes) -> Result<Bytes, Failure> {
        let Some(answer) = &mut self.answer else { return Ok(data) };
        if let Some(rest) = &mut answer.rest {
            *rest = rest.saturating_sub(data.len() as u64);
        }
        let last = answer.decoder.is_done();
        if !last && !self.buffer.is_empty() {
            match answer.decoder.decode(&mut self.buffer, &LIMITS) {
                Ok(Decoded::More) => {}
                Ok(Decoded::End) => self.end(),
                Ok(decoded) => answer.ahead = Some(decoded),
                // What came before the mistake is not worth more than the answer.
                Err(refusal) => return Err(self.broken(Failure::BadAnswer(reason(refusal).to_owned()))),
            }
        } else if last {
            self.end();
        }
        Ok(data)
    }

    /// Reads more of the answer; false at its end, where the connection ends it.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Failure>> {
        let (Some(link), Some(answer)) = (self.link.clone(), &self.answer) else {
            return Poll::Ready(Ok(false));
        };
        let until_close = answer.decoder.ends_with_connection();
        let Poll::Ready(received) = self.poll_receive(&link.line, cx) else {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            return self.fault.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure)));
        };
        Poll::Ready(match received {
            // What a write was told of a reset no read is told again: then this is no end.
            Ok(0) if until_close && !link.line.was_cut() => {
                self.end();
                Ok(false)
            }
            Ok(0) => Err(Failure::Truncated("the endpoint closed the connection".to_owned())),
            Ok(_) => Ok(true),
            Err(error) => Err(Failure::Truncated(told(&error))),
        })
    }

    fn poll_receive(&mut self, line: &Line, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let count = ready!(line.poll_receive(cx, &mut self.buffer, self.space))?;
        if count >= self.space / 2 {
            self.space = (self.space * 2).min(MOST_SPACE);
        }
        Poll::Ready(Ok(count))
    }

    /// The answer is complete. Its connection goes to the pool if the request is complete too, and
    /// nothing that is not of this answer has come.
    fn end(&mut self) {
        let Some(link) = self.link.take() else { return };
        let kept = self.answer.as_ref().is_some_and(|answer| answer.keep_alive);
        if kept && self.sending.is_complete() && self.buffer.is_empty() {
            link.rest();
        }
        self.sending.give_up();
        self.buffer = BytesMut::new();
    }

    /// The answer breaks off.
    fn broken(&mut self, failure: Failure) -> Failure {
        self.link = None;
        self.answer = None;
        self.sending.give_up();
        self.buffer = BytesMut::new();
        failure
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(link) = &self.link
            && self.answer.is_none()
        {
            link.lost();
        }
    }
}

/// The request as it is to be sent on `link`.
async fn sending(
    link: &Link,
    request: &Parts,
    mut content: Content,
    idle: Option<Duration>,
) -> Result<Sending, Broken> {
    let length = content.state().length();
    // The head alone would be a whole request, and content may still come (RFC 9113, section 8.1.1).
    if length == Some(0) && !content.is_end_stream() {
        gathered(&mut content).await?;
    }
    if link.is_old() {
        let data = if length.is_none() { Some(gathered(&mut content).await?) } else { None };
        let mut request = request.clone();
        request.headers.remove(EXPECT);
        let framing = Framing::Length(data.as_ref().map_or(length.unwrap_or(0), |data| data.len() as u64));
        let head = encoded(&request, framing)?;
        return Ok(match data {
            Some(data) => Sending::whole(head, data),
            None => Sending::new(head, content, framing, Hold::none()),
        });
    }
    let framing = match length {
        Some(0) => Framing::NONE,
        // What is announced has no place behind content of a known length (RFC 9112, section 7.1.2).
        Some(length) if !request.headers.contains_key(TRAILER) => Framing::Length(length),
        Some(_) | None => Framing::Chunked,
    };
    let hold = Hold::asked_by(&request.headers, idle);
    Ok(Sending::new(encoded(request, framing)?, content, framing, hold))
}

fn encoded(request: &Parts, framing: Framing) -> Result<BytesMut, Broken> {
    let uri = &request.uri;
    let target = if request.method == Method::CONNECT {
        uri.authority().map(http::uri::Authority::as_str)
    } else {
        uri.path_and_query().map(http::uri::PathAndQuery::as_str)
    };
    let mut head = BytesMut::new();
    encode::request(&mut head, &request.method, target.unwrap_or("/"), &request.headers, framing)
        .map_err(|_| Broken::Failure(Failure::BadRequest("its target cannot be forwarded")))?;
    Ok(head)
}

/// All of the content, for an endpoint that must know its length, if it is not too long to be held.
async fn gathered(content: &mut Content) -> Result<Bytes, Broken> {
    let mut whole = BytesMut::new();
    while let Some(frame) = content.frame().await {
        let frame = frame.map_err(|error| {
            let failure = if let ContentError::Ended(end) = error { end.failure() } else { None };
            Broken::Failure(failure.unwrap_or(Failure::ClientGone))
        })?;
        if let Ok(data) = frame.into_data() {
            if whole.len() as u64 + data.len() as u64 > KEPT {
                let told = "the endpoint speaks HTTP/1.0, which takes no long content of unknown length";
                return Err(Broken::Failure(Failure::Unsent(told.to_owned())));
            }
            whole.extend_from_slice(&data);
        }
        if content.is_end_stream() {
            break;
        }
    }
    Ok(whole.freeze())
}

fn response<B>(head: AnswerHead, content: B) -> Response<B> {
    let mut response = Response::new(content);
    *response.status_mut() = head.status;
    *response.version_mut() = head.version;
    *response.headers_mut() = head.fields;
    response
}

fn bad_answer(refusal: Refusal) -> Broken {
    Broken::Failure(Failure::BadAnswer(reason(refusal).to_owned()))
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Malformed(reason) => reason,
        Refusal::UnsupportedVersion => "it is of another version of HTTP",
        Refusal::UnknownCoding => "it has a transfer coding that was not asked for",
        Refusal::LongLine => "its status line is too long",
        Refusal::LongFields => "its fields are too long",
        Refusal::ManyFields => "it has too many fields",
    }
}

/// The error without its number.
fn told(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
