//! The content of a request on its way from the client to an endpoint.
//!
//! Promises: it streams (one frame at a time, only when the endpoint takes it), keeps an exact length
//! exact and passes trailers on. A client that is gone or silent ends it with an error that says so.
//! A copy of it is kept until the answer begins, so that it can be sent again, within the limits of
//! [`Replay`]; of longer content there is none, and [`ContentState::replayable`] tells. Must not know:
//! endpoints, connections, when to send again.
//!
//! ```text
//!  Waiting ⇄ Moving ──► Complete            the client's last frame was handed over
//!     │         └─────► ClientGone, Malformed
//!     └───────────────► ClientSilent        nothing for longer than the idle deadline
//!  any ──(the attempt is over)──► the next poll fails, and the connection with it
//! ```

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::copy::{self, Copy, Place};
use crate::config::settings::Replay;
use crate::response::Failure;

/// The longest content that is gathered for an endpoint of HTTP/1.0.
pub const KEPT: u64 = 64 * 1024;

/// Content that does not fit its length.
pub(super) const LONGER: Failure = Failure::BadRequest("its content is longer than it said");
pub(super) const SHORTER: Failure = Failure::BadRequest("its content is shorter than it said");

/// One handle on the content of a request; the newest handle is the one that may be read.
pub struct Content {
    state: Rc<ContentState>,
    /// How many handles were made before this one.
    turn: u32,
    /// How far in the copy this handle is.
    place: Place,
    begun: bool,
    /// Armed only while nobody else watches the client (see [`ContentState::released`]).
    timer: Option<Pin<Box<Sleep>>>,
}

/// What is known about the content, shared with whoever waits for the answer.
pub struct ContentState {
    source: RefCell<Source>,
    /// Exact, when the client said it.
    length: Option<u64>,
    idle: Option<Duration>,
    replay: Replay,
    copy: RefCell<Copy>,
    keeping: Cell<bool>,
    bytes: Cell<u64>,
    touched: Cell<bool>,
    end: Cell<Option<End>>,
    waiting: Cell<bool>,
    /// When the last frame moved, here or in the answer, or the attempt began.
    moved: Cell<Instant>,
    turn: Cell<u32>,
    /// Whether the newest handle is still somewhere.
    held: Cell<bool>,
    over: Cell<bool>,
    supervised: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    supervisor: RefCell<Option<Waker>>,
}

/// How the content ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    ClientGone,
    ClientSilent,
    /// The client broke the framing of its content (RFC 9112, section 7.1).
    Malformed(&'static str),
    /// It is longer than this limit.
    Long(u64),
    /// It comes with fewer bytes a second than this limit.
    Slow(u64),
    /// Its trailers are longer than this limit.
    LongTrailers(u64),
    /// It has more trailers than this limit.
    ManyTrailers(u64),
}

/// Why the client's content ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentFault {
    Gone,
    Malformed(&'static str),
    Long(u64),
    Slow(u64),
    LongTrailers(u64),
    ManyTrailers(u64),
}

/// The client's content, whatever protocol it comes in.
type Stream = Pin<Box<dyn Body<Data = Bytes, Error = ContentFault>>>;

enum Source {
    Empty,
    Whole(Bytes),
    Stream(Stream),
}

/// Why no more content comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentError {
    Ended(End),
    /// The attempt that it was for is over.
    Over,
}

/// Where the content is, for the deadlines of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The client has to send something; since when.
    AwaitingClient(Instant),
    /// The endpoint has to take something; since when.
    AwaitingEndpoint(Instant),
    /// All of it was handed over; when.
    Sent(Instant),
}

impl Content {
    /// A request without content.
    pub fn empty() -> Content {
        Content::new(Source::Empty, Some(0), None, Replay::default())
    }

    /// Content that is here already.
    pub fn whole(bytes: Bytes) -> Content {
        let length = bytes.len() as u64;
        let source = if length == 0 { Source::Empty } else { Source::Whole(bytes) };
        Content::new(source, Some(length), None, Replay::default())
    }

    /// The client's content as it arrives; `idle` is the longest silence of the client, `replay` how much of it is
    /// kept.
    pub fn stream(
        incoming: impl Body<Data = Bytes, Error = ContentFault> + 'static,
        idle: Option<Duration>,
        replay: Replay,
    ) -> Content {
        if incoming.is_end_stream() {
            return Content::empty();
        }
        let length = incoming.size_hint().exact();
        Content::new(Source::Stream(Box::pin(incoming)), length, idle, replay)
    }

    /// What is known about it, also after the content itself was handed over.
    pub fn state(&self) -> Rc<ContentState> {
        Rc::clone(&self.state)
    }

    fn new(source: Source, length: Option<u64>, idle: Option<Duration>, replay: Replay) -> Content {
        let keeping = replay.keeps(length);
        let end = matches!(source, Source::Empty).then_some(End::Complete);
        let state = Rc::new(ContentState {
            source: RefCell::new(source),
            length,
            idle,
            replay,
            copy: RefCell::default(),
            keeping: Cell::new(keeping),
            bytes: Cell::new(0),
            touched: Cell::new(false),
            end: Cell::new(end),
            waiting: Cell::new(false),
            moved: Cell::new(Instant::now()),
            turn: Cell::new(0),
            held: Cell::new(true),
            over: Cell::new(false),
            supervised: Cell::new(false),
            reader: RefCell::new(None),
            supervisor: RefCell::new(None),
        });
        Content { state, turn: 0, place: Place::default(), begun: false, timer: None }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(idle) = self.state.idle else { return Poll::Pending };
        if self.state.supervised.get() {
            return Poll::Pending;
        }
        let due = self.state.moved.get() + idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() < due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = ContentError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        let this = self.get_mut();
        this.begun = true;
        if this.turn != this.state.turn.get() || this.state.over.get() {
            return Poll::Ready(Some(Err(ContentError::Over)));
        }
        // What an earlier handle has taken already.
        match ready!(this.state.copy.borrow_mut().poll_from(&mut this.place, cx)) {
            Some(Ok(frame)) => {
                this.state.moved.set(Instant::now());
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => {
                tracing::error!("cannot send an upload again: cannot read its copy: {error}");
                return Poll::Ready(Some(Err(ContentError::Over)));
            }
            None => {}
        }
        let polled = this.state.poll_source(cx);
        if polled.is_ready() {
            this.place = this.state.copy.borrow().end();
            return polled;
        }
        if this.poll_silence(cx).is_ready() {
            return Poll::Ready(Some(Err(this.state.ended(End::ClientSilent))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.place == self.state.copy.borrow().end() && self.state.source.borrow().is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match self.state.length {
            Some(length) if !self.begun => SizeHint::with_exact(length),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if self.turn == self.state.turn.get() {
            self.state.held.set(false);
            self.state.let_go();
        }
    }
}

impl ContentState {
    /// Whether any of it was handed over.
    pub fn touched(&self) -> bool {
        self.touched.get()
    }

    /// Bytes taken from the client so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// When something last moved while it was on its way.
    pub fn moved_at(&self) -> std::time::Instant {
        self.moved.get().into_std()
    }

    /// Content of the answer moved: while it does, a client that sends nothing is not silent.
    pub fn answer_moved(&self, at: std::time::Instant) {
        if self.end.get().is_none() {
            self.moved.set(at.into());
        }
    }

    /// How it ended, if it did.
    pub fn end(&self) -> Option<End> {
        self.end.get()
    }

    /// The failure of a request whose content ended like this, if it was the client's.
    pub fn failure(&self) -> Option<Failure> {
        self.end.get()?.failure()
    }

    /// The length that it has, if the client said it.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether all of it can be sent from its start, and will stay so until the answer begins.
    pub fn replayable(&self) -> bool {
        self.length == Some(0) || self.keeping.get()
    }

    /// Bytes in memory that are kept for sending it again.
    pub(super) fn kept(&self) -> u64 {
        self.copy.borrow().memory()
    }

    /// Whether it is sure to be kept, whatever is still to come of it.
    pub(super) fn is_short(&self) -> bool {
        self.length.is_some_and(|length| length <= self.replay.memory) && self.replayable()
    }

    /// Whether it shall survive whoever has not had all of it.
    pub(super) fn survives(&self) -> bool {
        self.replay.file.is_some() && self.replayable()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == Some(0)
    }

    /// A new handle from the start of the content, unless a part of it is lost.
    pub(super) fn again(self: &Rc<Self>) -> Option<Content> {
        if self.touched.get() && !self.replayable() {
            return None;
        }
        let turn = self.turn.get() + 1;
        self.turn.set(turn);
        self.held.set(true);
        let state = Rc::clone(self);
        Some(Content { state, turn, place: Place::default(), begun: false, timer: None })
    }

    /// An attempt begins and watches the client's silence until [`ContentState::released`].
    pub(super) fn supervised(&self) {
        self.supervised.set(true);
        self.moved.set(Instant::now());
    }

    /// The answer has begun: nothing is kept any more, and the content watches the client by itself.
    pub(super) fn released(&self) {
        self.supervised.set(false);
        self.keeping.set(false);
        self.let_go();
        if self.end.get().is_none() {
            wake(&self.reader);
        }
    }

    /// Frees what was kept once nobody can ask for it.
    fn let_go(&self) {
        if !self.keeping.get() && !self.held.get() {
            self.copy.take();
        }
    }

    /// The attempt is over: whoever still sends this content is told to stop.
    pub(super) fn abandon(&self) {
        self.over.set(true);
        *self.source.borrow_mut() = Source::Empty;
        wake(&self.reader);
    }

    /// The client was silent for too long.
    pub(super) fn silent(&self) {
        self.end.set(Some(End::ClientSilent));
    }

    pub(super) fn idle(&self) -> Option<Duration> {
        self.idle
    }

    /// Where it is; `waker` is woken when it reaches [`Stage::Sent`] or [`Stage::AwaitingClient`].
    pub(super) fn stage(&self, waker: &Waker) -> Stage {
        let moved = self.moved.get();
        if self.end.get().is_some() {
            return Stage::Sent(moved);
        }
        self.supervisor.borrow_mut().get_or_insert_with(|| waker.clone()).clone_from(waker);
        if self.waiting.get() { Stage::AwaitingClient(moved) } else { Stage::AwaitingEndpoint(moved) }
    }

    fn poll_source(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        if self.keeping.get()
            && let Err(error) = ready!(self.copy.borrow_mut().poll_room(cx))
        {
            copy::tell(&error);
            self.keeping.set(false);
        }
        let polled = self.source.borrow_mut().poll(cx);
        let waited = self.waiting.replace(polled.is_pending());
        let Poll::Ready(frame) = polled else {
            if !waited {
                wake(&self.supervisor);
            }
            self.reader.borrow_mut().get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
            return Poll::Pending;
        };
        self.touched.set(true);
        self.moved.set(Instant::now());
        match frame {
            Some(Ok(frame)) => {
                self.note(&frame);
                if self.source.borrow().is_end() {
                    self.ended(End::Complete);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(fault)) => Poll::Ready(Some(Err(self.ended(fault.into())))),
            None => {
                self.ended(End::Complete);
                Poll::Ready(None)
            }
        }
    }

    fn note(&self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes.set(self.bytes.get() + data.len() as u64);
        }
        let kept = self.keeping.get() && self.copy.borrow_mut().add(frame, &self.replay);
        if !kept {
            self.keeping.set(false);
            self.copy.take();
        }
    }

    fn ended(&self, end: End) -> ContentError {
        if self.end.get().is_none() {
            self.end.set(Some(end));
            wake(&self.supervisor);
        }
        ContentError::Ended(end)
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        match self {
            Source::Empty => Poll::Ready(None),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Source::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Source::Stream(incoming) => incoming.as_mut().poll_frame(cx),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Source::Empty => true,
            Source::Whole(_) => false,
            Source::Stream(incoming) => incoming.is_end_stream(),
        }
    }
}

impl End {
    /// The failure that it is, if it was the client's.
    pub(super) fn failure(self) -> Option<Failure> {
        match self {
            End::Complete => None,
            End::ClientGone => Some(Failure::ClientGone),
            End::ClientSilent => Some(Failure::ClientSilent),
            End::Malformed(reason) => Some(Failure::BadRequest(reason)),
            End::Long(limit) => Some(Failure::LongContent(limit)),
            End::Slow(limit) => Some(Failure::SlowContent(limit)),
            End::LongTrailers(limit) => Some(Failure::LongFields(limit)),
            End::ManyTrailers(limit) => Some(Failure::ManyFields(limit)),
        }
    }
}

impl From<ContentFault> for End {
    fn from(fault: ContentFault) -> End {
        match fault {
            ContentFault::Gone => End::ClientGone,
            ContentFault::Malformed(reason) => End::Malformed(reason),
            ContentFault::Long(limit) => End::Long(limit),
            ContentFault::Slow(limit) => End::Slow(limit),
            ContentFault::LongTrailers(limit) => End::LongTrailers(limit),
            ContentFault::ManyTrailers(limit) => End::ManyTrailers(limit),
        }
    }
}

fn wake(slot: &RefCell<Option<Waker>>) {
    // Taken first: waking may run code that looks at the slot.
    let waker = slot.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContentError::Ended(End::Complete) => "the content is complete",
            ContentError::Ended(End::ClientGone) => "the client is gone",
            ContentError::Ended(End::ClientSilent) => "the client is silent",
            ContentError::Ended(End::Malformed(_)) => "the client's content is malformed",
            ContentError::Ended(End::Long(_)) => "the client's content is too long",
            ContentError::Ended(End::Slow(_)) => "the client's content comes too slowly",
            ContentError::Ended(End::LongTrailers(_)) => "the client's trailers are too long",
            ContentError::Ended(End::ManyTrailers(_)) => "the client sends too many trailers",
            ContentError::Over => "the attempt is over",
        })
    }
}

impl Error for ContentError {}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// Each byte was kept as a piece of its own, which costs more than a hundred.
    #[test]
    fn content_that_comes_byte_by_byte_is_kept_together_and_replayed_whole() {
        let pieces = [vec![1; 5], vec![1500], vec![1; 700], vec![1023; 3], vec![2000, 1]].concat();
        let whole: Vec<u8> = (0..pieces.iter().sum()).map(|at: usize| at as u8).collect();
        let mut rest = Bytes::from(whole.clone());
        let frames: Vec<_> = pieces.iter().map(|size| Ok(Frame::data(rest.split_to(*size)))).collect();
        let (state, mut content) = kept(frames, whole.len() as u64);
        for _ in &pieces[..600] {
            content.frame().now_or_never().unwrap().unwrap().unwrap();
        }
        assert_eq!(state.copy.borrow().pieces(), 3);
        for _ in 0..2 {
            let again = state.again().unwrap().collect().now_or_never().unwrap().unwrap();
            assert_eq!(again.to_bytes(), whole);
        }
    }

    fn kept(frames: Vec<Result<Frame<Bytes>, ContentFault>>, length: u64) -> (Rc<ContentState>, Content) {
        let content = Content::new(
            Source::Stream(Box::pin(StreamBody::new(stream::iter(frames)))),
            Some(length),
            None,
            Replay::default(),
        );
        (content.state(), content)
    }
}
