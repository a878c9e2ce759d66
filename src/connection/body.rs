//! The content of an answer on its way to the client, frame by frame.
//!
//! Promises: a frame is passed on as soon as it is there and none is held back; the next one is
//! asked for only when the protocol has room, so a slow client holds its answer, not our memory.
//! An answer that breaks off is an error here, never an end. The request's entry in the ledger
//! ends with it: whoever writes the answer drops its body when the client has got it.
//! Must not know: routes, how the answer was got.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;

use super::arriving::Arriving;
use super::flight::{Flight, Guard, Stop};
use super::seat::Seated;
use super::tunnel::Tunnel;
use crate::response::{Deadline, Failure, hygiene};
use crate::telemetry::counters::Ending;
use crate::upstream::{Incoming, Lease};

/// The answer's content; the last owner of its request's guard.
pub(super) struct Body {
    content: Content,
    ended: bool,
    guard: Option<Guard>,
}

enum Content {
    Whole(Bytes),
    Stream(Box<Stream>),
    /// In place of content: the stream becomes a tunnel.
    Branch(Box<Branch>),
}

/// A tunnel on one stream of a connection.
pub(super) struct Branch {
    pub(super) tunnel: Box<Tunnel>,
    pub(super) seat: Seated,
    /// What comes from the client.
    pub(super) stream: Arriving,
}

struct Stream {
    incoming: Incoming,
    _lease: Lease,
    /// Made when content is first waited for, and not moved with each frame.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// What comes next of the content.
enum Next {
    /// Not yet.
    Nothing,
    Frame(Frame<Bytes>),
    Last(Frame<Bytes>),
    End,
    Failure(Ending, Failure),
}

/// The answer broke off.
#[derive(Debug)]
pub(super) struct BrokenOff(Failure);

impl Body {
    /// An answer that is all here; the request ends with the guard's plan when it is taken.
    pub(super) fn whole(content: Bytes, guard: Guard) -> Body {
        Body { content: Content::Whole(content), ended: false, guard: Some(guard) }
    }

    /// No content, and nobody's end.
    pub(super) fn none() -> Body {
        Body { content: Content::Whole(Bytes::new()), ended: true, guard: None }
    }

    /// What comes instead of content when a stream leaves HTTP.
    pub(super) fn branch(branch: Branch) -> Body {
        Body { content: Content::Branch(Box::new(branch)), ended: true, guard: None }
    }

    /// The tunnel, if there is one.
    pub(super) fn into_branch(self) -> Result<Box<Branch>, Body> {
        match self {
            Body { content: Content::Branch(branch), .. } => Ok(branch),
            body => Err(body),
        }
    }

    /// What an endpoint answers. `expected`: whether this answer has content at all, which it has
    /// not after HEAD or with status 204 and 304 (RFC 9110, section 6.4.1).
    pub(super) fn stream(incoming: Incoming, lease: Lease, mut guard: Guard, expected: bool) -> Body {
        if !expected || incoming.is_end_stream() {
            guard.plan(Ending::Answered, None);
        }
        let stream = Stream { incoming, _lease: lease, alarm: None };
        Body { content: Content::Stream(Box::new(stream)), ended: false, guard: Some(guard) }
    }

    fn pass(&self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(trailers) = frame.trailers_mut() {
            hygiene::trailers(trailers);
        }
        if let Some(guard) = &self.guard {
            guard.flight().passed(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    /// All of it has been passed on: the request ends as planned when this body is dropped.
    fn end(&mut self) {
        // The endpoint is done with.
        self.content = Content::Whole(Bytes::new());
        self.ended = true;
        if let Some(guard) = &mut self.guard {
            guard.flight().leave();
            guard.plan_whole();
        }
    }

    /// It is not as long as its head has said.
    pub(super) fn mismatch(&mut self) {
        let failure = Failure::Truncated("its content is not as long as its head said".to_owned());
        self.break_off(Ending::BrokenOff, failure);
    }

    /// There is no room for more of it: what is still to be sent of the request goes on meanwhile.
    pub(super) fn poll_sending(&mut self, cx: &mut Context<'_>) {
        if let Content::Stream(stream) = &mut self.content {
            stream.incoming.poll_sending(cx);
        }
    }

    /// The client did not get what it was passed: its request will not have ended as planned.
    pub(super) fn forsake(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.forsake();
        }
    }

    /// Whether it was all here from the beginning.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.content, Content::Whole(_))
    }

    fn break_off(&mut self, ending: Ending, failure: Failure) -> BrokenOff {
        if let Some(guard) = self.guard.take() {
            guard.end(ending, Some(failure.clone()));
        }
        self.ended = true;
        BrokenOff(failure)
    }

    /// Whether the request has been stopped from outside.
    fn stopped(&self) -> Option<Next> {
        match (&self.content, self.guard.as_ref()?.flight().stop()?) {
            // It is all here, and may be the very answer that tells of the stop.
            (Content::Whole(_) | Content::Branch(_), _) => None,
            (_, Stop::Cut) => Some(Next::Failure(Ending::Cut, Failure::Drained)),
            (_, Stop::Stalled) => Some(Next::Failure(Ending::ClientGone, Failure::ClientGone)),
            (_, Stop::Slow(least)) => Some(Next::Failure(Ending::ClientGone, Failure::SlowReader(least))),
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
        let Some(guard) = this.guard.as_ref().filter(|_| !this.ended) else { return Poll::Ready(None) };
        guard.flight().attend(cx);
        let next = match &mut this.content {
            Content::Whole(content) => Next::Last(Frame::data(std::mem::take(content))),
            Content::Stream(stream) => stream.next(guard.flight(), cx),
            Content::Branch(_) => return Poll::Ready(None),
        };
        let next = this.stopped().unwrap_or(next);
        Poll::Ready(match next {
            Next::Nothing => return Poll::Pending,
            Next::Frame(frame) => Some(Ok(this.pass(frame))),
            Next::Last(frame) => {
                let frame = this.pass(frame);
                this.end();
                Some(Ok(frame))
            }
            Next::End => {
                this.end();
                None
            }
            Next::Failure(ending, failure) => Some(Err(this.break_off(ending, failure))),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(content) => content.is_empty(),
            Content::Stream(stream) => stream.incoming.is_end_stream(),
            Content::Branch(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(content) => SizeHint::with_exact(content.len() as u64),
            Content::Stream(stream) => stream.incoming.size_hint(),
            Content::Branch(_) => SizeHint::default(),
        }
    }
}

impl Stream {
    fn next(&mut self, flight: &Flight, cx: &mut Context<'_>) -> Next {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) if self.incoming.is_end_stream() || frame.is_trailers() => {
                Next::Last(frame)
            }
            Poll::Ready(Some(Ok(frame))) => Next::Frame(frame),
            Poll::Ready(None) => Next::End,
            Poll::Ready(Some(Err(failure))) => Next::Failure(Ending::BrokenOff, failure),
            Poll::Pending => match self.late(flight, cx) {
                Some(late) => Next::Failure(Ending::BrokenOff, late),
                None => Next::Nothing,
            },
        }
    }

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
