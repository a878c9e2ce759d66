//! The client's wire with a meter on it, as h2 reads and writes it.
//!
//! Promises: what comes is metered before h2 sees it, so that nothing of the read with which a client
//! goes too far is acted on; and h2, which reads as long as there is something to read, stops after
//! [`TURN`] new requests until they have been admitted and what is to be sent has had its chance. The
//! wire outlives h2, so that it can be closed in peace.
//! Must not know: what the meter minds.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::calm::{Meter, Offence};
use crate::connection::flight::Flight;
use crate::connection::rate::Common;
use crate::connection::wire::Wire;

/// Requests of one connection between two looks at the others: as many as may run at the same time.
const TURN: u64 = 128;

/// What h2 has.
pub(super) struct Metered {
    wire: Rc<RefCell<Wire>>,
    gauge: Rc<Gauge>,
}

/// What the driver and the streams know of it.
pub(super) struct Gauge {
    meter: RefCell<Meter>,
    /// How many requests had begun when this turn did.
    turn: Cell<u64>,
    /// Those whose answers have content, by their streams.
    answered: RefCell<HashMap<u32, Rc<Flight>>>,
    common: Rc<Common>,
}

/// An answer with content that is on its way; what of it the client takes is told to its flight.
pub(super) struct Delivery {
    gauge: Rc<Gauge>,
    stream: u32,
    flight: Rc<Flight>,
}

impl Metered {
    pub(super) fn new(wire: &Rc<RefCell<Wire>>) -> Metered {
        let now = Instant::now();
        let meter = RefCell::new(Meter::new(now));
        let (answered, common) = (RefCell::default(), Rc::new(Common::new(now)));
        let gauge = Rc::new(Gauge { meter, turn: Cell::new(0), answered, common });
        Metered { wire: Rc::clone(wire), gauge }
    }

    pub(super) fn gauge(&self) -> Rc<Gauge> {
        Rc::clone(&self.gauge)
    }
}

impl Gauge {
    pub(super) fn offence(&self) -> Option<Offence> {
        self.meter.borrow().offence()
    }

    pub(super) fn owed_since(&self) -> Option<Instant> {
        self.meter.borrow().owed_since()
    }

    /// A piece of so many bytes is handed to h2; `last`: END_STREAM goes with it.
    pub(super) fn hand_over(&self, length: usize, last: bool) {
        self.meter.borrow_mut().hand_over(length, last);
    }

    /// Whether the trailers of this stream had a pseudo-field; to be asked once.
    pub(super) fn take_malformed(&self, stream: u32) -> bool {
        self.meter.borrow_mut().take_malformed(stream)
    }

    /// h2 may take more requests.
    pub(super) fn begin_turn(&self) {
        self.turn.set(self.meter.borrow().opened());
    }

    fn turn_is_over(&self) -> bool {
        self.meter.borrow().opened() >= self.turn.get() + TURN
    }

    pub(super) fn deliver(self: &Rc<Self>, stream: u32, flight: &Rc<Flight>) -> Delivery {
        flight.pace().join(&self.common);
        self.answered.borrow_mut().insert(stream, Rc::clone(flight));
        Delivery { gauge: Rc::clone(self), stream, flight: Rc::clone(flight) }
    }

    /// The client has taken so much of an answer, and its end.
    fn took(&self, stream: u32, length: usize, end: bool) {
        let mut answered = self.answered.borrow_mut();
        if let Some(flight) = answered.get(&stream) {
            if length > 0 {
                flight.pace().take(length);
            }
            if end {
                flight.wake();
                answered.remove(&stream);
            }
        }
    }

    fn wrote<'a>(
        &self,
        wrote: Poll<io::Result<usize>>,
        slices: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        let mut meter = self.meter.borrow_mut();
        match &wrote {
            Poll::Pending => meter.block(),
            Poll::Ready(Err(_)) => {}
            Poll::Ready(Ok(count)) => {
                let mut left = *count;
                for slice in slices {
                    let taken = left.min(slice.len());
                    meter.send(&slice[..taken], |stream, length, end| self.took(stream, length, end));
                    left -= taken;
                }
            }
        }
        wrote
    }
}

impl Delivery {
    /// A piece of so many bytes is handed to h2; `last`: END_STREAM goes with it.
    pub(super) fn hand_over(&self, length: usize, last: bool) {
        self.gauge.hand_over(length, last);
        self.flight.pace().hand_over(length);
    }

    /// There is no room for the next piece.
    pub(super) fn block(&self) {
        self.flight.pace().block();
    }

    /// Whether the client has taken all of it.
    pub(super) fn is_over(&self) -> bool {
        !self.gauge.answered.borrow().contains_key(&self.stream)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.flight.pace().end();
        self.gauge.answered.borrow_mut().remove(&self.stream);
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gauge = &*self.gauge;
        if gauge.offence().is_some() {
            // The driver looks for it whenever h2 waits.
            return Poll::Pending;
        }
        if gauge.turn_is_over() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *self.wire.borrow_mut()).poll_read(cx, buffer))?;
        let mut meter = gauge.meter.borrow_mut();
        meter.receive(&buffer.filled()[before..], Instant::now());
        if meter.offence().is_some() {
            buffer.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut *self.wire.borrow_mut()).poll_write(cx, bytes);
        self.gauge.wrote(wrote, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut *self.wire.borrow_mut()).poll_write_vectored(cx, slices);
        self.gauge.wrote(wrote, slices.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire.borrow_mut()).poll_shutdown(cx)
    }
}
