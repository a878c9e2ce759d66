//! A request on its way to an endpoint: the head, then the content as it comes.
//!
//! ```text
//!   [front: head, chunk size] [data: one frame of the content] [tail: end of the chunk, last chunk]
//! ```
//! Promises: content is not copied, and is asked for only when what came before it has been written;
//! what is there already goes out in one write with the head. What is written is one message: content
//! that does not fit its length is not passed on as if it did. Must not know: answers.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame};

use super::super::content::{Content, ContentError, LONGER, SHORTER};
use super::super::hold::Hold;
use super::super::line::Line;
use crate::http1::{Framing, encode};
use crate::response::Failure;

const CHUNK_END: &[u8] = encode::CHUNK_END;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";

pub(super) struct Sending {
    front: BytesMut,
    data: Bytes,
    tail: &'static [u8],
    /// Until nothing more is to be asked of it.
    content: Option<Content>,
    /// Of what is still to be asked for.
    framing: Framing,
    hold: Hold,
    /// The rest will never be sent.
    given_up: bool,
}

impl Sending {
    /// `head` is the encoded head.
    pub(super) fn new(head: BytesMut, content: Content, framing: Framing, hold: Hold) -> Sending {
        let content = (framing != Framing::NONE).then_some(content);
        let hold = if content.is_some() { hold } else { Hold::none() };
        Sending { front: head, data: Bytes::new(), tail: b"", content, framing, hold, given_up: false }
    }

    /// A request whose content is all here.
    pub(super) fn whole(head: BytesMut, data: Bytes) -> Sending {
        Sending {
            front: head,
            data,
            tail: b"",
            content: None,
            framing: Framing::NONE,
            hold: Hold::none(),
            given_up: false,
        }
    }

    /// Whether the whole request has been given to the kernel.
    pub(super) fn is_complete(&self) -> bool {
        !self.given_up && self.is_written() && (self.content.is_none() || self.framing == Framing::NONE)
    }

    pub(super) fn is_held(&self) -> bool {
        self.hold.is_on()
    }

    /// The endpoint wants the content.
    pub(super) fn go_ahead(&mut self) {
        self.hold.lift();
    }

    /// What has not been sent is not sent any more.
    pub(super) fn give_up(&mut self) {
        self.given_up |= !self.is_complete();
        self.content = None;
        self.hold.lift();
        self.front = BytesMut::new();
        self.data = Bytes::new();
        self.tail = b"";
    }

    /// Sends as much as there is and goes. Ready when nothing more will be done here; an error is the
    /// client's. A connection that takes nothing any more is no error: what can be read from it says
    /// what has happened.
    pub(super) fn poll(&mut self, line: &Line, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            if self.data.is_empty() && self.tail.is_empty() {
                self.fetch(cx)?;
            }
            if self.is_written() {
                return if self.content.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let slices = [IoSlice::new(&self.front), IoSlice::new(&self.data), IoSlice::new(self.tail)];
            // What is last is seldom there.
            let last = slices.iter().rposition(|slice| !slice.is_empty()).unwrap_or(0);
            let written = ready!(line.poll_send(cx, &slices[..=last]));
            match written {
                Ok(count) if !line.deaf() => self.advance(count),
                _ => self.give_up(),
            }
        }
    }

    fn is_written(&self) -> bool {
        self.front.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    fn advance(&mut self, count: usize) {
        let front = count.min(self.front.len());
        self.front.advance(front);
        let data = (count - front).min(self.data.len());
        self.data.advance(data);
        self.tail = &self.tail[count - front - data..];
        if self.front.is_empty() && self.content.is_none() {
            self.front = BytesMut::new();
        }
    }

    /// Asks for the next of the content, as far as there is any now.
    fn fetch(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if self.hold.poll(cx).is_pending() {
            return Ok(());
        }
        while let Some(content) = &mut self.content
            && self.data.is_empty()
            && self.tail.is_empty()
        {
            match Pin::new(content).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(frame))) => self.put(frame)?,
                Poll::Ready(None) => self.end()?,
                Poll::Ready(Some(Err(ContentError::Over))) => self.give_up(),
                Poll::Ready(Some(Err(ContentError::Ended(end)))) => {
                    return Err(end.failure().unwrap_or(Failure::ClientGone));
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, frame: Frame<Bytes>) -> Result<(), Failure> {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => match &mut self.framing {
                Framing::Length(rest) => {
                    *rest = rest.checked_sub(data.len() as u64).ok_or(LONGER)?;
                    self.data = data;
                }
                Framing::Chunked | Framing::UntilClose => {
                    encode::chunk(&mut self.front, data.len());
                    self.data = data;
                    self.tail = CHUNK_END;
                }
            },
            // With a length there is no place for them (RFC 9110, section 6.5).
            Err(frame) => {
                if let (Ok(trailers), Framing::Chunked) = (frame.into_trailers(), self.framing) {
                    encode::last_chunk(&mut self.front, Some(&trailers));
                    self.content = None;
                    return Ok(());
                }
            }
        }
        if self.content.as_ref().is_some_and(Content::is_end_stream) { self.end() } else { Ok(()) }
    }

    /// The content has ended.
    fn end(&mut self) -> Result<(), Failure> {
        self.content = None;
        match self.framing {
            Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(SHORTER),
            Framing::Chunked | Framing::UntilClose => {
                self.tail = if self.tail.is_empty() { LAST_CHUNK } else { CHUNK_END_AND_LAST };
                Ok(())
            }
        }
    }
}
