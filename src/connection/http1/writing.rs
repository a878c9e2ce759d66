//! Answers on their way into the socket.
//!
//! Promises: content that is worth it is not copied, and goes out with its head and its chunk framing in
//! one system call. An answer's body is polled only while little waits for the client. A body that
//! yields more or less than it said breaks off, as one that fails does: nothing is written that
//! would make it look whole.
//! Must not know: when a connection ends, requests.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;

use crate::connection::body::Body;
use crate::connection::wire::Socket;
use crate::http1::{Framing, encode};

/// How much may wait for the client before an answer's body is asked for more.
const ROOM: usize = 64 * 1024;
/// The shortest content that is not copied.
const SHARED: usize = 1024;
/// The most pieces that are written at once.
const SLICES: usize = 16;

/// What waits to be written: text that is made here, and content between it.
#[derive(Default)]
pub(super) struct Output {
    /// Heads, chunk framing and short content, in order.
    text: BytesMut,
    /// Content, each with how much of the text comes before it.
    content: VecDeque<(usize, Bytes)>,
    /// How much of the text comes before content.
    placed: usize,
    /// Of the content.
    bytes: usize,
}

impl Output {
    /// Where more text is written to.
    pub(super) fn text(&mut self) -> &mut BytesMut {
        &mut self.text
    }

    fn content(&mut self, data: Bytes) {
        if data.len() < SHARED {
            self.text.extend_from_slice(&data);
        } else {
            self.bytes += data.len();
            self.content.push_back((self.text.len() - self.placed, data));
            self.placed = self.text.len();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the client has to take something first.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= ROOM
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.text.len() + self.bytes
    }

    /// Ready when all of it is written.
    pub(super) fn poll_write(&mut self, socket: &Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.slices(&mut slices);
            match ready!(socket.poll_write(&slices[..count], cx))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
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

    /// So much of it has been written.
    pub(super) fn advance(&mut self, mut written: usize) {
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
}

/// The content of one answer.
pub(super) struct Answering {
    body: Body,
    framing: Framing,
    /// Of a framing by length: how much is still to come.
    rest: u64,
    /// The client may get trailers.
    trailers: bool,
    done: bool,
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The body has nothing more for now.
    Waits,
    /// There is no room for more.
    Full,
    Done,
}

/// It cannot be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BrokenOff;

impl Answering {
    /// `framing` as it was told in the head; `None`: this answer has no content.
    pub(super) fn new(body: Body, framing: Option<Framing>, trailers: bool) -> Answering {
        let rest = if let Some(Framing::Length(length)) = framing { length } else { 0 };
        let done = framing.is_none();
        Answering { body, framing: framing.unwrap_or(Framing::NONE), rest, trailers, done }
    }

    /// Whether only the end of the connection is its end (RFC 9112, section 6.3).
    pub(super) fn is_unframed(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    /// The client did not get all of it.
    pub(super) fn forsake(&mut self) {
        self.body.forsake();
    }

    /// The client has no room for more: the request's content is not to wait for that.
    pub(super) fn poll_sending(&mut self, cx: &mut Context<'_>) {
        self.body.poll_sending(cx);
    }

    /// Moves what the body has into `output`, as far as there is room.
    pub(super) fn fill(&mut self, output: &mut Output, cx: &mut Context<'_>) -> Result<Progress, BrokenOff> {
        while !self.done {
            if output.is_full() {
                return Ok(Progress::Full);
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Ok(Progress::Waits);
            };
            let frame = match frame {
                None => {
                    self.end(output, None)?;
                    break;
                }
                Some(frame) => frame.map_err(|_| BrokenOff)?,
            };
            match frame.into_data() {
                Ok(data) => {
                    self.write(output, data)?;
                    // So that the last chunk goes with the last data.
                    if self.body.is_end_stream() {
                        self.end(output, None)?;
                    }
                }
                Err(frame) => self.end(output, frame.into_trailers().ok().as_ref())?,
            }
        }
        Ok(Progress::Done)
    }

    fn write(&mut self, output: &mut Output, data: Bytes) -> Result<(), BrokenOff> {
        if data.is_empty() {
            return Ok(());
        }
        match self.framing {
            Framing::Length(_) => {
                match self.rest.checked_sub(data.len() as u64) {
                    Some(rest) => self.rest = rest,
                    None => return Err(self.mismatch()),
                }
                output.content(data);
            }
            Framing::Chunked => {
                encode::chunk(output.text(), data.len());
                output.content(data);
                output.text().extend_from_slice(encode::CHUNK_END);
            }
            Framing::UntilClose => output.content(data),
        }
        Ok(())
    }

    fn mismatch(&mut self) -> BrokenOff {
        self.body.mismatch();
        BrokenOff
    }

    fn end(&mut self, output: &mut Output, trailers: Option<&http::HeaderMap>) -> Result<(), BrokenOff> {
        if self.rest > 0 {
            return Err(self.mismatch());
        }
        if self.framing == Framing::Chunked {
            encode::last_chunk(output.text(), trailers.filter(|_| self.trailers));
        }
        self.done = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = output.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn what_is_written_piece_by_piece_keeps_its_order() {
        for step in [1, 7, 700, 1024, 5000] {
            let mut output = Output::default();
            let mut expected = Vec::new();
            for (text, data) in [("head ", 1100), ("", 1024), ("between ", 10), ("more ", 1030), ("end", 0)] {
                output.text().extend_from_slice(text.as_bytes());
                output.content(Bytes::from(vec![text.len() as u8; data]));
                expected.extend_from_slice(text.as_bytes());
                expected.extend(vec![text.len() as u8; data]);
            }
            let mut came = Vec::new();
            while !output.is_empty() {
                assert_eq!(output.len(), expected.len() - came.len());
                let next = written(&output);
                let count = step.min(next.len());
                came.extend_from_slice(&next[..count]);
                output.advance(count);
            }
            assert_eq!(came, expected, "{step}");
        }
    }
}
