//! The content of a request on its way into a stream.
//!
//! Promises: content is asked for only when the stream takes more: what waits in h2 is at most its send
//! buffer and one piece. What is sent is one message: content that does not fit its length never ends as if
//! it did. Must not know: answers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http_body::{Body as _, Frame};

use crate::response::Failure;
use crate::upstream::content::{Content, ContentError, LONGER, SHORTER};
use crate::upstream::hold::Hold;

pub(super) struct Sending {
    stream: SendStream<Bytes>,
    /// Until nothing more is to be asked of it.
    content: Option<Content>,
    /// Still to be asked for, when the client said how much it is.
    rest: Option<u64>,
    hold: Hold,
}

impl Sending {
    /// `content`: what there is behind the head.
    pub(super) fn new(stream: SendStream<Bytes>, content: Option<Content>, hold: Hold) -> Sending {
        let rest = content.as_ref().and_then(|content| content.state().length());
        Sending { stream, content, rest, hold }
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
        self.hold.lift();
        self.content = None;
    }

    /// The stream itself, when it is to carry a tunnel.
    pub(super) fn into_stream(self) -> SendStream<Bytes> {
        self.stream
    }

    /// Sends as much as there is and goes. Ready when nothing more will be done here; an error is the
    /// client's. A stream that takes nothing any more is no error: what can be read from it says what
    /// has happened.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.content.is_none() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.hold.poll(cx));
        while let Some(content) = &mut self.content {
            // The end needs no room.
            if self.rest != Some(0) && !ready!(poll_room(&mut self.stream, cx)) {
                self.give_up();
                break;
            }
            match ready!(Pin::new(content).poll_frame(cx)) {
                Some(Ok(frame)) => self.put(frame)?,
                None => self.end()?,
                Some(Err(ContentError::Over)) => self.give_up(),
                Some(Err(ContentError::Ended(end))) => {
                    return Poll::Ready(Err(end.failure().unwrap_or(Failure::ClientGone)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn put(&mut self, frame: Frame<Bytes>) -> Result<(), Failure> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                if trailers.is_empty() {
                    return self.end();
                }
                self.check_end()?;
                self.content = None;
                // Fails for a stream that is gone, of which the answer tells.
                let _ = self.stream.send_trailers(trailers);
                return Ok(());
            }
        };
        if let Some(rest) = &mut self.rest {
            *rest = rest.checked_sub(data.len() as u64).ok_or(LONGER)?;
        }
        let last = self.content.as_ref().is_some_and(|content| content.is_end_stream());
        if last {
            self.check_end()?;
            self.content = None;
        }
        if (last || !data.is_empty()) && self.stream.send_data(data, last).is_err() {
            self.give_up();
        }
        Ok(())
    }

    /// The content has ended.
    fn end(&mut self) -> Result<(), Failure> {
        self.check_end()?;
        self.content = None;
        let _ = self.stream.send_data(Bytes::new(), true);
        Ok(())
    }

    fn check_end(&self) -> Result<(), Failure> {
        if self.rest.is_some_and(|rest| rest > 0) { Err(SHORTER) } else { Ok(()) }
    }
}

/// Ready with true when the stream takes another piece, with false when it takes nothing any more.
///
/// One byte is asked for, not the piece: what is asked for is taken from the window of the whole
/// connection as soon as there is some, and would be missing elsewhere.
pub(super) fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<bool> {
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(false),
        }
    }
    Poll::Ready(true)
}
