//! What waits to be written to one connection: frames, and who is to be told when they have been.
//!
//! ```text
//!   frames ─▶ text, content between it ─▶ one writev ─▶ told: which frame, which stream, how much
//! ```
//! Promises: frames go out whole and in order; content that is worth it is not copied; many small frames are one
//! write. Holds no buffer when nothing waits and it is told to rest.
//! Must not know: why a frame is sent.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::http2::frame::Head;
use crate::http2::write;

/// How much may wait for the client before streams are asked for more.
pub(super) const ROOM: usize = 64 * 1024;
/// The shortest content that is not copied.
const SHARED: usize = 2048;
/// The most pieces that are written at once.
pub(super) const SLICES: usize = 32;
/// What an idle connection may keep for its next answers.
const KEPT: usize = 1024;

#[derive(Default)]
pub(super) struct Outbox {
    /// Everything but the content that is not copied, in order.
    text: BytesMut,
    /// Content, each with how much of the text comes before it.
    content: VecDeque<(usize, Bytes)>,
    /// How much of the text comes before content.
    placed: usize,
    /// Of the content.
    bytes: usize,
    frames: VecDeque<Waiting>,
}

/// A frame that has not been written to its end.
struct Waiting {
    head: Head,
    /// Of the frame's 9 bytes and its payload.
    written: usize,
}

/// What has been written of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) head: Head,
    /// Its first byte is among it.
    pub(super) begun: bool,
    /// Of its payload.
    pub(super) payload: usize,
    /// Its last byte is among it.
    pub(super) ended: bool,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= ROOM
    }

    fn len(&self) -> usize {
        self.text.len() + self.bytes
    }

    /// Whole frames, which `write` appends.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut at = self.text.len();
        write(&mut self.text);
        while let Some(head) = self.text.get(at..).and_then(Head::parse) {
            self.frames.push_back(Waiting { head, written: 0 });
            at += Head::SIZE + head.length as usize;
        }
    }

    /// A DATA frame.
    pub(super) fn data(&mut self, stream: u32, content: Bytes, end_stream: bool) {
        let at = self.text.len();
        write::data_head(&mut self.text, stream, content.len(), end_stream);
        if let Some(head) = Head::parse(&self.text[at..]) {
            self.frames.push_back(Waiting { head, written: 0 });
        }
        if content.len() < SHARED {
            return self.text.extend_from_slice(&content);
        }
        self.bytes += content.len();
        self.content.push_back((self.text.len() - self.placed, content));
        self.placed = self.text.len();
    }

    /// The beginning of what waits.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let last = (self.text.len() - self.placed, &[][..]);
        let content = self.content.iter().map(|(before, data)| (*before, &data[..]));
        let (mut text, mut count) = (&self.text[..], 0);
        for (before, data) in content.chain([last]) {
            let (first, rest) = text.split_at(before);
            text = rest;
            for piece in [first, data] {
                if !piece.is_empty() && count < SLICES {
                    slices[count] = IoSlice::new(piece);
                    count += 1;
                }
            }
        }
        count
    }

    /// So much of it has been written, which is told frame by frame.
    pub(super) fn advance(&mut self, written: usize, mut tell: impl FnMut(Written)) {
        self.let_go(written);
        let mut left = written;
        while left > 0 {
            let Some(frame) = self.frames.front_mut() else { return };
            let (before, whole) = (frame.written, Head::SIZE + frame.head.length as usize);
            let now = left.min(whole - before);
            left -= now;
            frame.written += now;
            let payload = |bytes: usize| bytes.saturating_sub(Head::SIZE);
            tell(Written {
                head: frame.head,
                begun: before == 0,
                payload: payload(frame.written) - payload(before),
                ended: frame.written == whole,
            });
            if frame.written == whole {
                self.frames.pop_front();
            }
        }
    }

    fn let_go(&mut self, mut written: usize) {
        while written > 0 {
            let Some((before, data)) = self.content.front_mut() else {
                self.text.advance(written);
                return;
            };
            let text = written.min(*before);
            *before -= text;
            self.placed -= text;
            self.text.advance(text);
            written -= text;
            let content = written.min(data.len());
            data.advance(content);
            self.bytes -= content;
            written -= content;
            if data.is_empty() {
                self.content.pop_front();
            }
        }
    }

    /// Nothing may follow for a long time.
    pub(super) fn rest(&mut self) {
        if self.is_empty() {
            if self.text.capacity() > KEPT {
                self.text = BytesMut::new();
            }
            if self.content.capacity() > 0 {
                self.content = VecDeque::new();
            }
            if self.frames.capacity() > 8 {
                self.frames = VecDeque::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::frame::Kind;

    fn written(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = outbox.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn what_is_written_piece_by_piece_keeps_its_order_and_is_told_by_frame() {
        for step in [1, 7, 700, 2048, 90_000] {
            let mut outbox = Outbox::default();
            let mut expected = BytesMut::new();
            for (number, length) in [(1, 20), (2, 3000), (3, 5), (4, 0), (5, 2048), (6, 4)] {
                let content = Bytes::from(vec![number as u8; length]);
                write::data_head(&mut expected, number, length, true);
                expected.extend_from_slice(&content);
                outbox.data(number, content, true);
                outbox.write(|text| write::ping(text, [7; 8], false));
                write::ping(&mut expected, [7; 8], false);
            }
            let (mut came, mut frames, mut payload) = (Vec::new(), Vec::new(), 0);
            while !outbox.is_empty() {
                assert_eq!(outbox.len(), expected.len() - came.len());
                let next = written(&outbox);
                let count = step.min(next.len());
                came.extend_from_slice(&next[..count]);
                outbox.advance(count, |told| {
                    payload += told.payload;
                    frames.extend(told.begun.then_some((told.head.stream, false)));
                    frames.extend(told.ended.then_some((told.head.stream, true)));
                });
            }
            assert_eq!(came, expected, "{step}");
            let order = [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0].map(|stream| [(stream, false), (stream, true)]);
            assert_eq!((frames, payload), (order.concat(), expected.len() - 12 * Head::SIZE), "{step}");
        }
    }

    #[test]
    fn each_frame_of_a_long_block_is_one() {
        let mut outbox = Outbox::default();
        outbox.write(|text| write::headers(text, 5, true, 10, |block| block.extend_from_slice(&[7; 25])));
        let (mut told, all) = (Vec::new(), written(&outbox).len());
        outbox.advance(all, |frame| told.push((frame.head.kind, frame.head.length)));
        assert_eq!(told, [(Kind::Headers, 10), (Kind::Continuation, 10), (Kind::Continuation, 5)]);
        assert!(outbox.is_empty());
    }
}
