//! The content of an answer on its way to the client, frame by frame.
//!
//! Promises: a frame is passed on as soon as it is there and none is held back; the next one is
//! asked for only when the protocol has room, so a slow client holds its answer, not our memory.
//! An answer that breaks off is an error here, never an end. The request's entry in the ledger
//! ends with it.
//! Must not know: routes, how the answer was got.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::flight::{Flight, Guard, Stop};
use crate::response::{Deadline, Failure};
use crate::telemetry::counters::Ending;
use crate::upstream::Lease;

/// The answer's content; the last owner of its request's guard.
pub(super) struct Body {
    content: Content,
    guard: Option<Guard>,
}

enum Content {
    Whole(Bytes),
    Stream(Box<Stream>),
}

struct Stream {
    incoming: Incoming,
    _lease: Lease,
    /// Made when content is first waited for, and not moved with each frame.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// The answer broke off.
#[derive(Debug)]
pub(super) struct BrokenOff(Failure);

impl Body {
    /// An answer that is all here; the request ends with the guard's plan when it is taken.
    pub(super) fn whole(content: Bytes, guard: Guard) -> Body {
        Body { content: Content::Whole(content), guard: Some(guard) }
    }

    /// No content, and nobody's end.
    pub(super) fn none() -> Body {
        Body { content: Content::Whole(Bytes::new()), guard: None }
    }

    /// What an endpoint answers. `expected`: whether this answer has content at all, which it has
    /// not after HEAD or with status 204 and 304 (RFC 9110, section 6.4.1).
    pub(super) fn stream(incoming: Incoming, lease: Lease, mut guard: Guard, expected: bool) -> Body {
        if !expected || incoming.is_end_stream() {
            guard.plan(Ending::Answered, None);
        }
        let stream = Stream { incoming, _lease: lease, alarm: None };
        Body { content: Content::Stream(Box::new(stream)), guard: Some(guard) }
    }

    fn end(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.end(Ending::Answered, None);
        }
    }

    fn break_off(&mut self, ending: Ending, failure: Failure) -> BrokenOff {
        if let Some(guard) = self.guard.take() {
            guard.end(ending, Some(failure.clone()));
        }
        BrokenOff(failure)
    }

    /// Whether the request has been stopped from outside.
    fn stopped(&self) -> Option<(Ending, Failure)> {
        match self.guard.as_ref()?.flight().stop()? {
            Stop::Cut => Some((Ending::Cut, Failure::Drained)),
            Stop::Stalled => Some((Ending::ClientGone, Failure::ClientGone)),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        let stream = match &mut this.content {
            Content::Whole(content) => {
                let content = std::mem::take(content);
                if let Some(guard) = this.guard.take() {
                    guard.flight().passed(content.len());
                }
                return Poll::Ready((!content.is_empty()).then(|| Ok(Frame::data(content))));
            }
            Content::Stream(stream) => stream,
        };
        let Some(guard) = &this.guard else { return Poll::Ready(None) };
        guard.flight().attend(cx);
        let frame = Pin::new(&mut stream.incoming).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            guard.flight().passed(frame.data_ref().map_or(0, Bytes::len));
        }
        let late = if frame.is_pending() { stream.late(guard.flight(), cx) } else { None };
        let over = stream.incoming.is_end_stream();
        if let Some((ending, failure)) = this.stopped() {
            return Poll::Ready(Some(Err(this.break_off(ending, failure))));
        }
        match frame {
            Poll::Pending => match late {
                None => Poll::Pending,
                Some(late) => Poll::Ready(Some(Err(this.break_off(Ending::BrokenOff, late)))),
            },
            Poll::Ready(Some(Ok(frame))) => {
                if over || frame.is_trailers() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let failure = crate::upstream::failure_of(&error);
                Poll::Ready(Some(Err(this.break_off(Ending::BrokenOff, failure))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(content) => content.is_empty(),
            Content::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(content) => SizeHint::with_exact(content.len() as u64),
            Content::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

impl Stream {
    /// Whether the endpoint has been silent too long, or the whole request has taken too long.
    fn late(&mut self, flight: &Flight, cx: &mut Context<'_>) -> Option<Failure> {
        flight.awaits_upstream();
        loop {
            let (at, failure) = due(flight)?;
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
            if alarm.as_mut().poll(cx).is_pending() {
                return None;
            }
            if Instant::now() >= at {
                return Some(failure);
            }
            alarm.as_mut().reset(at.into());
        }
    }
}

/// The next moment at which waiting becomes a failure. It moves with each frame; the alarm is set
/// anew only when it has rung too early.
fn due(flight: &Flight) -> Option<(Instant, Failure)> {
    let idle = flight.idle_limit().map(|limit| late(flight.moved_at() + limit, Deadline::Idle, limit));
    let whole = flight.deadline().map(|(at, limit)| late(at, Deadline::Request, limit));
    match (idle, whole) {
        (Some(idle), Some(whole)) => Some(if whole.0 < idle.0 { whole } else { idle }),
        (idle, whole) => idle.or(whole),
    }
}

fn late(at: Instant, deadline: Deadline, limit: Duration) -> (Instant, Failure) {
    (at, Failure::Late(deadline, limit))
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer broke off: {}", self.0.verdict().code)
    }
}

impl std::error::Error for BrokenOff {}
