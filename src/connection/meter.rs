//! What a client may send as the content of one request: how much, and how slowly.
//!
//! The rate is the mean over the time in which content was awaited from the client: an endpoint that
//! takes it slowly is not the client's fault. No timer belongs to it: the sweep looks about once a
//! second, as Apache's mod_reqtimeout (`MinRate`) and Kestrel (`MinDataRate`) do, with the same grace.
//! Promises: content that is too long ends when that is known, at the latest with the byte that makes it
//! so, and nothing of that piece is passed on; of its trailers only what may be one is (RFC 9110, section 6.5.1).
//! Must not know: protocols, routes.

use std::cell::{Cell, RefCell};
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
pub(super) struct Metered {
    arriving: Arriving,
    /// How much more may come.
    room: Option<u64>,
    limit: u64,
    meter: Option<Rc<Meter>>,
}

/// How fast the content of one request comes.
pub(super) struct Meter {
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

impl Metered {
    /// Fails at once if the client has said that the content is too long.
    pub(super) fn new(arriving: Arriving, limits: &ContentLimits) -> Result<Metered, Failure> {
        let length = arriving.size_hint().exact();
        if let (Some(limit), Some(length)) = (limits.content, length)
            && length > limit
        {
            return Err(Failure::LongContent(limit));
        }
        let rate = limits.content_rate.filter(|_| !arriving.is_end_stream());
        let meter = rate.map(|least| Rc::new(Meter::new(least)));
        let (room, limit) = (limits.content, limits.content.unwrap_or(u64::MAX));
        Ok(Metered { arriving, room, limit, meter })
    }

    /// To be swept, if there is a rate to be kept.
    pub(super) fn meter(&self) -> Option<&Rc<Meter>> {
        self.meter.as_ref()
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = ContentFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentFault>>> {
        let this = &mut *self;
        if this.meter.as_ref().is_some_and(|meter| meter.too_slow.get()) {
            let least = this.meter.as_ref().map_or(0, |meter| meter.least);
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
        if let Some(meter) = &this.meter {
            meter.polled(polled.is_ready().then_some(data), cx);
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

impl Meter {
    fn new(least: u64) -> Meter {
        Meter {
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
