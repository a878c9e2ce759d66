//! The streams of one connection: what of each is open, what has come in it, what is to go out.
//!
//! ```text
//!                 ┌─ END_STREAM comes ─▶ half-closed (remote) ─ END_STREAM goes ─┐
//!   idle ─▶ open ─┤                                                            ├─▶ closed
//!                 └─ END_STREAM goes ──▶ half-closed (local) ── END_STREAM comes ─┘     (RFC 9113, section 5.1)
//!     any ── a reset, by whom ever ──▶ closed: nothing more comes, what has not gone is thrown away
//! ```
//! A stream is remembered as long as somebody here holds it: the task of its request, or whoever reads its
//! content. It counts against the client's limit only until it is closed.
//!
//! Promises: whoever waits for a stream is woken by what changes in it. Those that we have reset are remembered for a
//! while after, since what a client sent before it knew is no error of it.
//! Must not know: frames, requests, what content means.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::flow::{Intake, Outlet};
use super::{RESET_STREAMS, RESET_TIME};
use crate::upstream::ContentFault;

/// Content that came in small frames is put together to pieces of this size.
const PIECE: usize = 16 * 1024;
/// An idle connection has no room for more streams than this.
const KEPT: usize = 16;

/// Who is told of what the client takes of an answer.
pub(super) trait Taker {
    /// So much of its content.
    fn took(&self, bytes: usize);
}

/// What is to be sent in a stream, in order.
pub(super) enum Piece {
    Head(Box<(StatusCode, HeaderMap)>),
    Content(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    /// Of its content.
    fn length(&self) -> usize {
        match self {
            Piece::Content(content) => content.len(),
            Piece::Head(_) | Piece::Trailers(_) => 0,
        }
    }
}

pub(super) struct Stream {
    pub(super) intake: Intake,
    /// Content that nobody has taken.
    arrived: VecDeque<BytesMut>,
    trailers: Option<Result<HeaderMap, ContentFault>>,
    /// Still to come, when the client said how much it is.
    pub(super) left: Option<u64>,
    /// Nothing more comes.
    pub(super) received: bool,
    /// What comes is thrown away.
    discards: bool,
    /// Frames that were, each with its size, for whoever bounds that.
    discarded: Option<usize>,

    pub(super) outlet: Outlet,
    pub(super) pieces: VecDeque<Piece>,
    /// Content handed over, and not yet taken by the client's connection.
    waiting: usize,
    /// Whoever sends waits for room.
    wants_room: bool,
    /// Nothing more will be handed over.
    pub(super) last: bool,
    /// The end has been put into a frame.
    pub(super) sent: bool,
    /// The client's connection has taken the end.
    taken: bool,
    /// It is among those that are to be sent.
    pub(super) queued: bool,
    taker: Option<Rc<dyn Taker>>,

    /// Why it is over before its end.
    over: Option<Over>,
    owner: Option<Waker>,
    reader: Option<Waker>,
    owned: bool,
    read: bool,
}

/// Why a stream ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// By the client, or with the connection.
    Gone,
    /// By us: what came is not to the letter.
    Malformed,
    /// By us, for a reason of our own.
    Given,
}

impl Stream {
    pub(super) fn new(intake: u32, outlet: Outlet) -> Stream {
        Stream {
            intake: Intake::new(intake),
            arrived: VecDeque::new(),
            trailers: None,
            left: None,
            received: false,
            discards: false,
            discarded: None,
            outlet,
            pieces: VecDeque::new(),
            waiting: 0,
            wants_room: false,
            last: false,
            sent: false,
            taken: false,
            queued: false,
            taker: None,
            over: None,
            owner: None,
            reader: None,
            owned: true,
            read: false,
        }
    }

    /// RFC 9113, section 5.1.
    pub(super) fn is_closed(&self) -> bool {
        self.over.is_some() || (self.received && self.sent)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.over == Some(Over::Gone)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Content has come; how much of it was thrown away.
    pub(super) fn arrive(&mut self, content: &[u8]) -> usize {
        if self.discards {
            self.discarded = Some(self.discarded.unwrap_or(0) + content.len());
            self.wake_reader();
            return content.len();
        }
        match self.arrived.back_mut() {
            Some(last) if last.len() + content.len() <= PIECE => last.extend_from_slice(content),
            _ if content.is_empty() => {}
            _ => self.arrived.push_back(BytesMut::from(content)),
        }
        self.wake_reader();
        0
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self, trailers: Option<Result<HeaderMap, ContentFault>>) {
        self.received = true;
        self.trailers = trailers;
        self.wake_reader();
    }

    /// It is over before its end.
    pub(super) fn break_off(&mut self, why: Over) {
        if self.over.is_none() {
            self.over = Some(why);
        }
        self.pieces = VecDeque::new();
        self.wake_reader();
        self.wake_owner();
    }

    /// Content that came, in order. `None`: nothing more comes.
    pub(super) fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ContentFault>>> {
        if self.over == Some(Over::Malformed) {
            let what = "its content is not what was announced";
            return Poll::Ready(Some(Err(ContentFault::Malformed(what))));
        }
        if let Some(piece) = self.arrived.pop_front() {
            return Poll::Ready(Some(Ok(piece.freeze())));
        }
        match (self.received, self.over) {
            (true, _) => Poll::Ready(None),
            (false, Some(_)) => Poll::Ready(Some(Err(ContentFault::Gone))),
            (false, None) => {
                note(&mut self.reader, cx);
                Poll::Pending
            }
        }
    }

    pub(super) fn take_trailers(&mut self) -> Option<Result<HeaderMap, ContentFault>> {
        self.trailers.take()
    }

    /// Whether all of it has come and was taken, trailers as well.
    pub(super) fn is_read(&self) -> bool {
        self.received && self.arrived.is_empty() && self.trailers.is_none()
    }

    /// Nobody reads it any more; how much had come.
    pub(super) fn discard(&mut self) -> usize {
        self.discards = true;
        self.reader = None;
        self.trailers = None;
        self.arrived.drain(..).map(|piece| piece.len()).sum()
    }

    /// What has been thrown away since the last time; `None` when nothing more comes.
    pub(super) fn poll_discarded(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if let Some(bytes) = self.discarded.take() {
            return Poll::Ready(Some(bytes));
        }
        if self.received || self.over.is_some() {
            return Poll::Ready(None);
        }
        note(&mut self.reader, cx);
        Poll::Pending
    }

    /// Somebody reads its content, who may outlive its request.
    pub(super) fn is_read_by_somebody(&mut self, read: bool) {
        self.read = read;
    }

    pub(super) fn is_reader_gone(&self) -> bool {
        !self.read
    }

    pub(super) fn let_go(&mut self) {
        self.owned = false;
    }

    /// Whether nobody here has anything to do with it.
    pub(super) fn is_forgotten(&self) -> bool {
        !self.owned && !self.read
    }

    /// Whether its end has been handed over, and not been put into a frame.
    pub(super) fn is_ending(&self) -> bool {
        self.last && !self.sent && self.over.is_none()
    }

    /// Ready when it is over before its end.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        note(&mut self.owner, cx);
        if self.over.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ready with whether it takes another piece, when there is a window for it and little waits. `open`: the connection's
    /// window is.
    pub(super) fn poll_room(&mut self, open: bool, room: usize, cx: &mut Context<'_>) -> Poll<bool> {
        if self.poll_over(cx).is_ready() {
            return Poll::Ready(false);
        }
        let unframed: usize = self.pieces.iter().map(Piece::length).sum();
        let windows = open && self.outlet.room(unframed + 1) > unframed;
        self.wants_room = !(windows && self.waiting < room);
        if self.wants_room { Poll::Pending } else { Poll::Ready(true) }
    }

    /// A window has opened.
    pub(super) fn offer_room(&mut self) {
        if std::mem::take(&mut self.wants_room) {
            self.wake_owner();
        }
    }

    pub(super) fn is_watched_by(&mut self, taker: Option<Rc<dyn Taker>>) {
        self.taker = taker;
    }

    pub(super) fn waits(&mut self, bytes: usize) {
        self.waiting += bytes;
    }

    /// The client's connection has taken so much of its content; `room`: whoever sends may go on with this much waiting.
    pub(super) fn took(&mut self, bytes: usize, room: usize) {
        let was_full = self.waiting >= room;
        self.waiting -= bytes.min(self.waiting);
        if let Some(taker) = &self.taker {
            taker.took(bytes);
        }
        if was_full && self.waiting < room {
            self.offer_room();
        }
    }

    /// Its end as well.
    pub(super) fn took_end(&mut self) {
        self.taken = true;
        self.wake_owner();
    }

    pub(super) fn is_taken(&self) -> bool {
        self.taken
    }

    pub(super) fn has_content_next(&self) -> bool {
        matches!(self.pieces.front(), Some(Piece::Content(content)) if !content.is_empty())
    }

    /// Whether there is something that may be put into a frame, as far as the stream's own window goes.
    pub(super) fn can_send(&self) -> bool {
        !self.pieces.is_empty() && (self.outlet.is_open() || !self.has_content_next())
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_owner(&mut self) {
        if let Some(waker) = &self.owner {
            waker.wake_by_ref();
        }
    }
}

fn note(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(known) if known.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

/// All of them, by their numbers.
#[derive(Default)]
pub(super) struct Streams {
    known: HashMap<u32, Stream, BuildHasherDefault<ByNumber>>,
    /// Those that are not closed.
    open: usize,
    /// Those that we have reset, and when.
    reset: VecDeque<(u32, Instant)>,
}

impl Streams {
    pub(super) fn insert(&mut self, number: u32, stream: Stream) {
        self.open += 1;
        self.known.insert(number, stream);
    }

    pub(super) fn get(&self, number: u32) -> Option<&Stream> {
        self.known.get(&number)
    }

    /// What is done with it may close it.
    pub(super) fn with<T>(&mut self, number: u32, work: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        let stream = self.known.get_mut(&number)?;
        let was_closed = stream.is_closed();
        let done = work(stream);
        if !was_closed && stream.is_closed() {
            self.open -= 1;
        }
        Some(done)
    }

    pub(super) fn each(&mut self, mut visit: impl FnMut(u32, &mut Stream)) {
        let numbers: Vec<u32> = self.known.keys().copied().collect();
        for number in numbers {
            self.with(number, |stream| visit(number, stream));
        }
    }

    /// Nobody here has anything to do with it any more; it must be closed.
    pub(super) fn remove(&mut self, number: u32) {
        self.known.remove(&number);
        if self.known.is_empty() && self.known.capacity() > KEPT {
            self.known = HashMap::default();
        }
    }

    /// How many count against the client's limit.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What still comes for it is no error.
    pub(super) fn remember_reset(&mut self, number: u32, now: Instant) {
        if self.reset.len() == RESET_STREAMS {
            self.reset.pop_front();
        }
        self.reset.push_back((number, now));
    }

    pub(super) fn was_reset(&self, number: u32) -> bool {
        self.reset.iter().any(|(known, _)| *known == number)
    }

    /// By time.
    pub(super) fn forget_resets(&mut self, now: Instant) {
        while let Some((_, at)) = self.reset.front()
            && now.saturating_duration_since(*at) > RESET_TIME
        {
            self.reset.pop_front();
        }
        if self.reset.is_empty() && self.reset.capacity() > KEPT {
            self.reset = VecDeque::new();
        }
    }
}

/// Numbers of streams are given in order, by a client that may choose which: they are spread by an odd factor.
#[derive(Default)]
struct ByNumber(u64);

impl Hasher for ByNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}
