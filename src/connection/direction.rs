//! One direction of a tunnel: what is read from one side is written to the other.
//!
//! ```text
//!   Relaying ──asked──▶ at the end of a frame ──▶ Closing ──▶ over
//!       └────────────────── end of stream ───────────────────▲
//! ```
//! Promises: what was read is written once and in order, and then an end as an end; holds at most
//! [`scratch::SIZE`] bytes, and none while nothing flows. Between two polls everything that has been read and
//! not been written is in `pending`, so a direction goes on from its record as if it had never stopped.
//! Must not know: who is at either side, nor why it is asked to close.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::scratch;
use super::websocket::Frames;
use crate::handover::record;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    No,
    /// The next end of a frame is the last.
    Asked,
    /// Our close frame is on its way; what else comes is not relayed.
    Closing,
}

pub(super) struct Direction {
    /// Read and not yet written; empty, without memory, unless the writing side is slow.
    pending: Vec<u8>,
    /// How much of it has been written.
    written: usize,
    carried: u64,
    ended: bool,
    shut: bool,
    frames: Frames,
    /// The frame to close with; `None` for a protocol that we do not know.
    close: Option<Vec<u8>>,
    leave: Leave,
}

impl Direction {
    pub(super) fn new(close: Option<Vec<u8>>) -> Direction {
        Direction {
            pending: Vec::new(),
            written: 0,
            carried: 0,
            ended: false,
            shut: false,
            frames: Frames::default(),
            close,
            leave: Leave::No,
        }
    }

    /// Goes on where it stopped in another process.
    pub(super) fn resume(record: record::Direction, close: Option<Vec<u8>>) -> Direction {
        Direction {
            pending: record.pending,
            carried: record.carried,
            ended: record.ended,
            shut: record.shut,
            frames: Frames::resume(&record.header, record.left, record.closed),
            ..Direction::new(close)
        }
    }

    /// What another process has to know to go on with it. Not of one that has been asked to close.
    pub(super) fn record(self) -> record::Direction {
        let mut pending = self.pending;
        pending.drain(..self.written);
        record::Direction {
            pending,
            carried: self.carried,
            ended: self.ended,
            shut: self.shut,
            header: self.frames.header().to_vec(),
            left: self.frames.left(),
            closed: self.frames.closed(),
        }
    }

    /// Bytes read so far that were or will be passed on.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// Whether it has been asked to close.
    pub(super) fn leaves(&self) -> bool {
        self.leave != Leave::No
    }

    /// Whether it was asked just now.
    pub(super) fn ask(&mut self) -> bool {
        let asked = self.close.is_some() && self.leave == Leave::No;
        if asked {
            self.leave = Leave::Asked;
        }
        asked
    }

    /// The other end knows that we go, and this one has said that it goes.
    pub(super) fn said_goodbye(&self) -> bool {
        self.leave == Leave::Closing && self.pending.is_empty() && (self.ended || self.frames.closed())
    }

    /// Ready when the end of `from` has been passed on to `to`.
    pub(super) fn poll<F: AsyncRead, T: AsyncWrite>(
        &mut self,
        mut from: Pin<&mut F>,
        mut to: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.shut {
            ready!(self.poll_pending(to.as_mut(), cx))?;
            self.close_at_boundary();
            if !self.pending.is_empty() {
                continue;
            }
            if self.ended {
                ready!(to.as_mut().poll_shutdown(cx))?;
                self.shut = true;
            } else {
                ready!(self.poll_some(from.as_mut(), to.as_mut(), cx))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_pending<T: AsyncWrite>(
        &mut self,
        mut to: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            self.written += ready!(to.as_mut().poll_write(cx, &self.pending[self.written..]))?;
        }
        if !self.pending.is_empty() {
            self.pending = Vec::new();
            self.written = 0;
            ready!(to.poll_flush(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Everything read has been written: if a frame ends here, ours may come now.
    fn close_at_boundary(&mut self) {
        if self.leave == Leave::Asked && (self.frames.at_boundary() || self.ended) {
            self.leave = Leave::Closing;
            // After a close frame or the end nothing may follow, not even another close.
            if !self.frames.closed() && !self.ended {
                self.pending = self.close.take().unwrap_or_default();
            }
        }
    }

    /// Reads once, and writes as much of it as goes.
    fn poll_some<F: AsyncRead, T: AsyncWrite>(
        &mut self,
        from: Pin<&mut F>,
        to: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        scratch::with(|space| {
            let mut buffer = ReadBuf::new(space);
            ready!(from.poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            self.ended = read.is_empty();
            let passed = self.follow(read);
            self.carried += passed as u64;
            self.pass(&read[..passed], to, cx)
        })
    }

    /// How much of what was read is to be passed on.
    fn follow(&mut self, read: &[u8]) -> usize {
        if self.close.is_none() && self.leave == Leave::No {
            return read.len();
        }
        match self.leave {
            Leave::No => {
                self.frames.follow(read);
                read.len()
            }
            Leave::Asked => {
                let passed = self.frames.follow_frame(read);
                self.frames_after_goodbye(&read[passed..]);
                passed
            }
            Leave::Closing => {
                self.frames.follow(read);
                0
            }
        }
    }

    /// What follows the last frame that is passed on is not relayed, but may be a close.
    fn frames_after_goodbye(&mut self, rest: &[u8]) {
        if !rest.is_empty() && !self.frames.closed() {
            self.leave = Leave::Closing;
            self.pending = self.close.take().unwrap_or_default();
            self.frames.follow(rest);
        }
    }

    /// Writes without a copy when the other side has room; keeps the rest.
    fn pass<T: AsyncWrite>(
        &mut self,
        bytes: &[u8],
        mut to: Pin<&mut T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut written = 0;
        while written < bytes.len() {
            match to.as_mut().poll_write(cx, &bytes[written..]) {
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if written < bytes.len() {
            let close = std::mem::take(&mut self.pending);
            self.pending.extend_from_slice(&bytes[written..]);
            self.pending.extend_from_slice(&close);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;
    use crate::connection::websocket;

    /// One side: what it sends, and how much it takes.
    #[derive(Default)]
    struct Side {
        sends: VecDeque<u8>,
        ends: bool,
        takes: usize,
        taken: Vec<u8>,
        shut: bool,
    }

    impl AsyncRead for Side {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let count = self.sends.len().min(buffer.remaining());
            let bytes: Vec<u8> = self.sends.drain(..count).collect();
            buffer.put_slice(&bytes);
            if count == 0 && !self.ends { Poll::Pending } else { Poll::Ready(Ok(())) }
        }
    }

    impl AsyncWrite for Side {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = self.takes.min(bytes.len());
            if count == 0 {
                return Poll::Pending;
            }
            self.takes -= count;
            self.taken.extend(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut = true;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// So many more bytes come.
        Comes(usize),
        /// There is room for so many.
        Takes(usize),
        Moves,
        AskedToClose,
        Ends,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1..40usize).prop_map(Step::Comes),
            1 => (1..40_000usize).prop_map(Step::Comes),
            3 => (0..60usize).prop_map(Step::Takes),
            1 => (0..50_000usize).prop_map(Step::Takes),
            4 => Just(Step::Moves),
            1 => Just(Step::AskedToClose),
            1 => Just(Step::Ends),
        ]
    }

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![4 => 0..20usize, 2 => 120..130usize, 1 => 65_530..65_540usize];
        let first = prop_oneof![Just(0x81u8), Just(0x02), Just(0x80), Just(0x89), Just(0x88)];
        (first, length, any::<Option<[u8; 4]>>(), any::<u8>()).prop_map(|(first, length, mask, fill)| {
            let masked = if mask.is_some() { 0x80 } else { 0 };
            let mut bytes = vec![first];
            match length {
                short @ 0..126 => bytes.push(masked | short as u8),
                medium @ 126..65_536 => {
                    bytes.push(masked | 126);
                    bytes.extend((medium as u16).to_be_bytes());
                }
                long => {
                    bytes.push(masked | 127);
                    bytes.extend((long as u64).to_be_bytes());
                }
            }
            bytes.extend(mask.iter().flatten());
            bytes.extend((0..length).map(|at| fill.wrapping_add(at as u8)));
            bytes
        })
    }

    /// What became of it: what went through, whether its end did, and what is known of it at last.
    type Outcome = (Vec<u8>, bool, u64, bool, record::Direction);

    fn outcome(bytes: &[u8], steps: &[Step], websocket: bool, moves: bool) -> Outcome {
        let close = || websocket.then(|| websocket::close_from_server().to_vec());
        let (mut direction, mut from, mut to) = (Direction::new(close()), Side::default(), Side::default());
        let mut coming = bytes.iter().copied();
        let mut cx = Context::from_waker(Waker::noop());
        let last = [Step::Comes(usize::MAX), Step::Takes(usize::MAX)];
        for step in steps.iter().chain(&last) {
            match *step {
                Step::Comes(count) if !from.ends => from.sends.extend(coming.by_ref().take(count)),
                Step::Comes(_) => {}
                Step::Takes(count) => to.takes = count,
                Step::Moves if moves && !direction.leaves() => {
                    let record = serde_json::to_string(&direction.record()).unwrap();
                    direction = Direction::resume(serde_json::from_str(&record).unwrap(), close());
                }
                Step::Moves => {}
                Step::AskedToClose => drop(direction.ask()),
                Step::Ends => from.ends = true,
            }
            if let Poll::Ready(done) = direction.poll(Pin::new(&mut from), Pin::new(&mut to), &mut cx) {
                done.unwrap();
            }
        }
        let (carried, goodbye) = (direction.carried(), direction.said_goodbye());
        (to.taken, to.shut, carried, goodbye, direction.record())
    }

    proptest! {
        /// However its bytes are cut, with whatever is pending, asked to close or ended before or after.
        #[test]
        fn nobody_can_tell_that_it_has_moved(
            frames in prop::collection::vec(frame(), 0..8),
            steps in prop::collection::vec(step(), 0..60),
            websocket: bool,
        ) {
            let bytes = frames.concat();
            let moved = outcome(&bytes, &steps, websocket, true);
            prop_assert_eq!(&moved, &outcome(&bytes, &steps, websocket, false));
            let asked = steps.iter().any(|step| matches!(step, Step::AskedToClose));
            if !(asked && websocket) {
                prop_assert!(bytes.starts_with(&moved.0) && moved.2 == moved.0.len() as u64);
            }
        }
    }
}
