//! What a client may send as the content of one request, how much and how slowly, and how slowly it may
//! take an answer.
//!
//! The rate is the mean over the time in which content was awaited from the client: an endpoint that
//! takes it slowly is not the client's fault. No timer belongs to it: the sweep looks about once a
//! second, as Apache's mod_reqtimeout (`MinRate`) and Kestrel (`MinDataRate`) do, with the same grace.
//! The same holds the other way round: what counts is the time in which an answer waits for its client. What
//! a client took faster before excuses a pause, but only one as long as it may be silent: what the kernel has
//! swallowed for it at once shall not excuse hours. The answers of one HTTP/2 connection take turns, so that
//! each has its share of the time, and all of them together the whole.
//! Promises: content that is too long ends when that is known, at the latest with the byte that makes it
//! so, and nothing of that piece is passed on; of its trailers only what may be one is (RFC 9110, section 6.5.1).
//! Must not know: protocols, routes.

use std::cell::{Cell, OnceCell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::arriving::Arriving;
use super::seat;
use crate::config::settings::ContentLimits;
use crate::response::{Failure, hygiene};
use crate::upstream::ContentFault;

/// How long content may be awaited before its rate is looked at.
const GRACE: Duration = Duration::from_secs(5);

/// A client's content within its limits.
pub(super) struct Limited {
    arriving: Arriving,
    /// How much more may come.
    room: Option<u64>,
    limit: u64,
    rate: Option<Rc<Rate>>,
}

/// How fast a client takes its answer.
pub(super) struct Pace {
    /// Handed to the protocol, and not yet written to the socket.
    waiting: Cell<u64>,
    /// There is more, for which the protocol has no room.
    blocked: Cell<bool>,
    taken: Cell<u64>,
    taken_at: Cell<Instant>,
    /// Since when it waits for its client, as far as that has not been counted.
    held_at: Cell<Option<Instant>>,
    own: Lag,
    joint: Lag,
    common: OnceCell<Rc<Common>>,
}

/// What the answers of one connection have in common.
pub(super) struct Common {
    taken: Cell<u64>,
    taken_at: Cell<Instant>,
    /// How many of them wait for the client.
    held: Cell<u32>,
}

/// How far behind a rate something is, in seconds; below zero it is ahead.
#[derive(Default)]
struct Lag {
    counted: Cell<u64>,
    seconds: Cell<f64>,
}

/// How fast the content of one request comes.
pub(super) struct Rate {
    /// Bytes a second.
    least: u64,
    bytes: Cell<u64>,
    /// Whole waits so far.
    awaited: Cell<Duration>,
    /// When the present wait began.
    since: Cell<Option<Instant>>,
    too_slow: Cell<bool>,
    reader: RefCell<Option<std::task::Waker>>,
}

impl Limited {
    /// Fails at once if the client has said that the content is too long.
    pub(super) fn new(arriving: Arriving, limits: &ContentLimits) -> Result<Limited, Failure> {
        let length = arriving.size_hint().exact();
        if let (Some(limit), Some(length)) = (limits.content, length)
            && length > limit
        {
            return Err(Failure::LongContent(limit));
        }
        let least = limits.content_rate.filter(|_| !arriving.is_end_stream());
        let rate = least.map(|least| Rc::new(Rate::new(least)));
        let (room, limit) = (limits.content, limits.content.unwrap_or(u64::MAX));
        Ok(Limited { arriving, room, limit, rate })
    }

    /// To be swept, if there is a rate to be kept.
    pub(super) fn rate(&self) -> Option<&Rc<Rate>> {
        self.rate.as_ref()
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = ContentFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        let this = &mut *self;
        if this.rate.as_ref().is_some_and(|rate| rate.too_slow.get()) {
            let least = this.rate.as_ref().map_or(0, |rate| rate.least);
            return Poll::Ready(Some(Err(ContentFault::Slow(least))));
        }
        let mut polled = Pin::new(&mut this.arriving).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            hygiene::trailers(trailers);
        }
        let data = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len) as u64,
            _ => 0,
        };
        if let Some(rate) = &this.rate {
            rate.polled(polled.is_ready().then_some(data), cx);
        }
        if let Some(room) = &mut this.room {
            // A chunk says how long it is.
            let announced = this.arriving.size_hint().lower();
            match room.checked_sub(data) {
                Some(rest) if announced <= rest => *room = rest,
                _ => return Poll::Ready(Some(Err(ContentFault::Long(this.limit)))),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.arriving.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.arriving.size_hint()
    }
}

impl Rate {
    fn new(least: u64) -> Rate {
        Rate {
            least,
            bytes: Cell::new(0),
            awaited: Cell::default(),
            since: Cell::new(None),
            too_slow: Cell::new(false),
            reader: RefCell::new(None),
        }
    }

    /// So much came, or nothing yet.
    fn polled(&self, came: Option<u64>, cx: &Context<'_>) {
        let now = Instant::now();
        match came {
            None => {
                seat::note(&self.reader, cx);
                if self.since.get().is_none() {
                    self.since.set(Some(now));
                }
            }
            Some(bytes) => {
                self.bytes.set(self.bytes.get() + bytes);
                if let Some(since) = self.since.take() {
                    self.awaited.set(self.awaited.get() + now.saturating_duration_since(since));
                }
            }
        }
    }

    /// Ends the content if it comes too slowly.
    pub(super) fn swept(&self, now: Instant) {
        let Some(since) = self.since.get() else { return };
        let awaited = self.awaited.get() + now.saturating_duration_since(since);
        if awaited > GRACE && (self.bytes.get() as f64) < self.least as f64 * awaited.as_secs_f64() {
            self.too_slow.set(true);
            seat::wake(&self.reader);
        }
    }
}

impl Pace {
    pub(super) fn new(now: Instant) -> Pace {
        Pace {
            waiting: Cell::new(0),
            blocked: Cell::new(false),
            taken: Cell::new(0),
            taken_at: Cell::new(now),
            held_at: Cell::new(None),
            own: Lag::default(),
            joint: Lag::default(),
            common: OnceCell::new(),
        }
    }

    /// It is one of several answers.
    pub(super) fn join(&self, common: &Rc<Common>) {
        self.joint.counted.set(common.taken.get());
        let _ = self.common.set(Rc::clone(common));
    }

    /// So much waits for the client now, of which so much more has been taken.
    pub(super) fn wrote(&self, taken: usize, waiting: usize) {
        if taken > 0 {
            self.note(taken as u64);
        }
        self.change(|| self.waiting.set(waiting as u64));
    }

    /// So much more waits for the client.
    pub(super) fn hand_over(&self, length: usize) {
        self.change(|| {
            self.waiting.set(self.waiting.get() + length as u64);
            self.blocked.set(false);
        });
    }

    /// There is more, and no room for it.
    pub(super) fn block(&self) {
        self.change(|| self.blocked.set(true));
    }

    /// The client has taken so much.
    pub(super) fn take(&self, length: usize) {
        self.note(length as u64);
        self.change(|| self.waiting.set(self.waiting.get().saturating_sub(length as u64)));
    }

    /// There is nothing more.
    pub(super) fn end(&self) {
        self.change(|| {
            self.waiting.set(0);
            self.blocked.set(false);
        });
    }

    pub(super) fn is_held(&self) -> bool {
        self.waiting.get() > 0 || self.blocked.get()
    }

    /// Since when its client has taken nothing, and how many times as long as elsewhere that may be: the
    /// answers of one connection take turns.
    pub(super) fn silences(&self) -> [(Instant, u32); 2] {
        match self.common.get() {
            Some(common) => [(common.taken_at.get(), 1), (self.taken_at.get(), common.held.get().max(1))],
            None => [(self.taken_at.get(), 1); 2],
        }
    }

    /// Whether its client takes less than `least` bytes a second. What it took before excuses a pause as
    /// long as `excuse`.
    pub(super) fn is_too_slow(&self, now: Instant, least: u64, excuse: Option<Duration>) -> bool {
        let since = self.held_at.get();
        let waited = since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
        self.held_at.set(since.map(|since| since.max(now)));
        let excuse = excuse.map_or(f64::INFINITY, |excuse| excuse.as_secs_f64());
        let least = least as f64;
        match self.common.get() {
            None => self.own.look(waited, self.taken.get(), least, excuse),
            Some(common) => {
                let share = waited / f64::from(common.held.get().max(1));
                let own = self.own.look(share, self.taken.get(), least, excuse);
                self.joint.look(waited, common.taken.get(), least, excuse) || own
            }
        }
    }

    fn note(&self, bytes: u64) {
        let now = Instant::now();
        self.taken.set(self.taken.get() + bytes);
        self.taken_at.set(now);
        if let Some(common) = self.common.get() {
            common.taken.set(common.taken.get() + bytes);
            common.taken_at.set(now);
        }
    }

    fn change(&self, change: impl FnOnce()) {
        let before = self.is_held();
        change();
        if self.is_held() == before {
            return;
        }
        self.held_at.set((!before).then(Instant::now));
        if let Some(common) = self.common.get() {
            let held = common.held.get();
            common.held.set(if before { held - 1 } else { held + 1 });
        }
    }
}

impl Common {
    pub(super) fn new(now: Instant) -> Common {
        Common { taken: Cell::new(0), taken_at: Cell::new(now), held: Cell::new(0) }
    }
}

impl Lag {
    /// After so many seconds more; whether that is too far behind.
    fn look(&self, waited: f64, taken: u64, least: f64, excuse: f64) -> bool {
        let more = taken - self.counted.replace(taken);
        let lag = (self.seconds.get() + waited - more as f64 / least).max(-excuse);
        self.seconds.set(lag);
        waited > 0.0 && lag > GRACE.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const IDLE: Option<Duration> = Some(Duration::from_secs(20));

    /// Of looks once a second, the first at which it is too slow.
    fn ends(pace: &Pace, from: Instant, took: impl Fn(u32)) -> Option<u32> {
        (1..=1000).find(|second| {
            took(*second);
            pace.is_too_slow(from + SECOND * *second, 100, IDLE)
        })
    }

    #[test]
    fn a_client_that_takes_an_answer_too_slowly_is_found_after_its_grace() {
        for (each, end) in [(0, Some(6)), (70, Some(17)), (100, None), (1000, None)] {
            let from = Instant::now();
            let pace = Pace::new(from);
            pace.hand_over(10_000_000);
            assert_eq!(ends(&pace, from, |_| pace.take(each)), end, "{each} bytes a second");
        }
    }

    #[test]
    fn what_was_taken_faster_excuses_a_pause_and_not_hours() {
        for (first, end) in [(0, 6), (500, 11), (2000, 26), (1_000_000, 27)] {
            let from = Instant::now();
            let pace = Pace::new(from);
            pace.hand_over(10_000_000);
            pace.take(first);
            let found = ends(&pace, from, |_| ());
            assert_eq!(found, Some(end), "{first} bytes at once");
        }
    }

    #[test]
    fn an_answer_that_waits_for_nobody_is_not_slow() {
        let pace = Pace::new(Instant::now());
        pace.hand_over(10);
        pace.take(10);
        assert_eq!(ends(&pace, Instant::now(), |_| ()), None);
    }

    /// Of four answers that take turns each has a quarter of the time, and all of them the whole.
    #[test]
    fn the_answers_of_one_connection_share_its_time() {
        let common = Rc::new(Common::new(Instant::now()));
        let paces: Vec<Pace> = (0..4).map(|_| Pace::new(Instant::now())).collect();
        for pace in &paces {
            pace.join(&common);
            pace.hand_over(10_000_000);
        }
        let from = Instant::now();
        assert_eq!(ends(&paces[0], from, |second| paces[second as usize % 4].take(100)), None);
        let from = Instant::now();
        let alone = ends(&paces[1], from, |_| paces[0].take(100));
        assert!(alone.is_some_and(|seconds| seconds > 20), "{alone:?}");
        paces[0].end();
        assert_eq!(common.held.get(), 3);
    }
}
