//! The messages of clients as they come in: heads of requests, content, trailers (RFC 9113, section 8).
//!
//! Promises: what is refused before it is a request leaves the state that all streams share as it must be: its fields are
//! decoded, its content counts against the connection's window and is given back.
//! Must not know: how frames are cut out of bytes, what a request is answered with.

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request};

use super::flow::{self, Outlet};
use super::session::{Session, protocol};
use super::streams::Stream;
use super::{STREAM_WINDOW, head, list_size};
use crate::http1::head::content_length;
use crate::http2::frame::Head;
use crate::http2::{self, Error, Reason, write};
use crate::upstream::ContentFault;

/// A request that has begun.
pub(super) struct Asked {
    pub(super) stream: u32,
    /// `None`: so much of it was too long that nothing is known of it.
    pub(super) request: Option<Request<()>>,
    /// Fields of it were dropped, because there are too many.
    pub(super) long: bool,
    /// It has no content.
    pub(super) whole: bool,
}

impl Session {
    /// A block of fields is whole.
    pub(super) fn take_block(
        &mut self,
        number: u32,
        block: &[u8],
        end_stream: bool,
        circular: bool,
        now: Instant,
    ) -> Result<Option<Asked>, Error> {
        if number.is_multiple_of(2) {
            return Err(protocol("a client begins a stream of ours"));
        }
        let bound = list_size(&self.limits) as usize;
        let broken = |_| Error::Connection(Reason::COMPRESSION_ERROR, "a block of fields cannot be read");
        if number <= self.newest {
            let read = http2::head::trailers(&mut self.decoder, block, bound).map_err(broken)?;
            self.meter.resizes(read.decoded.resizes);
            let trailers = match read.message {
                Ok(_) if read.decoded.long => Err(ContentFault::Malformed("its trailers are too long")),
                Ok(fields) => Ok(fields),
                Err(http2::Malformed(why)) => Err(ContentFault::Malformed(why)),
            };
            let trailers = trailers.and_then(|fields| match head::check_fields(&fields, &self.limits) {
                Ok(()) => Ok(fields),
                Err(_) => Err(ContentFault::Malformed("its trailers cannot be passed on")),
            });
            return self.take_trailers(number, trailers, end_stream).map(|()| None);
        }
        self.newest = number;
        let read = http2::head::request(&mut self.decoder, block, bound).map_err(broken)?;
        self.meter.resizes(read.decoded.resizes);
        let long = read.decoded.long;
        if !self.takes_streams() {
            // RFC 9113, section 6.8: it knows that nobody will look at it.
            self.streams.remember_reset(number, now);
            return Ok(None);
        }
        if self.streams.open() >= usize::try_from(self.limits.streams).unwrap_or(usize::MAX) {
            self.refuse(number, Reason::REFUSED_STREAM, now);
            return Ok(None);
        }
        let request = match read.message {
            Ok(request) if !circular => request,
            Err(_) if long => return Ok(Some(self.open(number, None, None, end_stream))),
            _ => {
                self.refuse(number, Reason::PROTOCOL_ERROR, now);
                return Ok(None);
            }
        };
        // A length that is none is answered where all requests are looked at.
        let length = content_length(request.headers()).ok().flatten();
        if end_stream && length.unwrap_or(0) > 0 {
            self.refuse(number, Reason::PROTOCOL_ERROR, now);
            return Ok(None);
        }
        let asked = self.open(number, Some(request), length, end_stream);
        Ok(Some(Asked { long, ..asked }))
    }

    fn open(
        &mut self,
        number: u32,
        request: Option<Request<()>>,
        length: Option<u64>,
        end_stream: bool,
    ) -> Asked {
        let mut stream = Stream::new(STREAM_WINDOW, Outlet::new(self.initial_outlet));
        if self.unsettled {
            stream.intake.is_known_as(flow::INITIAL);
        }
        stream.left = length;
        stream.received = end_stream;
        self.streams.insert(number, stream);
        Asked { stream: number, long: request.is_none(), request, whole: end_stream }
    }

    fn take_trailers(
        &mut self,
        number: u32,
        trailers: Result<HeaderMap, ContentFault>,
        end_stream: bool,
    ) -> Result<(), Error> {
        let wrong = |reason, why| Err(Error::Stream(number, reason, why));
        let (streams, meter) = (&mut self.streams, &mut self.meter);
        let taken = streams.with(number, |stream| {
            if stream.is_gone() {
                // RFC 9113, sections 5.1, "closed", and 5.4.1.
                let why = "HEADERS on a stream that the client has reset";
                return Err(Error::Connection(Reason::STREAM_CLOSED, why));
            }
            if stream.is_over() {
                return Ok(());
            }
            if stream.received {
                return wrong(Reason::STREAM_CLOSED, "HEADERS on a stream that the client has ended");
            }
            if !end_stream {
                return wrong(Reason::PROTOCOL_ERROR, "trailers that do not end their stream");
            }
            if stream.left.is_some_and(|left| left > 0) {
                return wrong(Reason::PROTOCOL_ERROR, "less content than was announced");
            }
            if trailers.is_err() {
                meter.resets(Reason::PROTOCOL_ERROR);
            }
            let is_empty = trailers.as_ref().is_ok_and(HeaderMap::is_empty);
            stream.end((!is_empty).then_some(trailers));
            Ok(())
        });
        match taken {
            Some(taken) => taken,
            None if self.streams.was_reset(number) => Ok(()),
            None => Err(Error::Connection(Reason::STREAM_CLOSED, "HEADERS on a stream that is closed")),
        }
    }

    pub(super) fn take_data(&mut self, head: Head, content: &[u8], end_stream: bool) -> Result<(), Error> {
        let number = head.stream;
        self.began(number, "DATA on a stream that never began")?;
        let whole = head.length as usize;
        let flow = "more DATA than its window";
        self.intake.arrive(head.length).map_err(|_| Error::Connection(Reason::FLOW_CONTROL_ERROR, flow))?;
        let wrong = |reason, why| (whole, Err(Error::Stream(number, reason, why)));
        let taken = self.streams.with(number, |stream| {
            if stream.is_over() {
                return (whole, Ok(()));
            }
            if stream.received {
                return wrong(Reason::STREAM_CLOSED, "DATA on a stream that the client has ended");
            }
            if stream.intake.arrive(head.length).is_err() {
                return wrong(Reason::FLOW_CONTROL_ERROR, flow);
            }
            if let Some(left) = &mut stream.left {
                match left.checked_sub(content.len() as u64) {
                    Some(less) if less == 0 || !end_stream => *left = less,
                    _ => return wrong(Reason::PROTOCOL_ERROR, "not as much content as was announced"),
                }
            }
            let discarded = stream.arrive(content);
            if end_stream {
                stream.end(None);
            }
            (whole - content.len() + discarded, Ok(()))
        });
        match taken {
            Some((back, taken)) => {
                self.give_back(number, back);
                taken
            }
            None => {
                self.give_back(number, whole);
                match self.streams.was_reset(number) {
                    true => Ok(()),
                    false => {
                        Err(Error::Stream(number, Reason::STREAM_CLOSED, "DATA on a stream that is closed"))
                    }
                }
            }
        }
    }

    /// So much content has been used: the client may send as much again.
    fn give_back(&mut self, number: u32, bytes: usize) {
        if bytes == 0 {
            return;
        }
        // A client that does not read gets no more of them: there is no end of what it may send otherwise.
        self.intake.keep(bytes);
        let all = if self.outbox.is_full() { None } else { self.intake.take(0) };
        let one = self.streams.with(number, |stream| {
            (!stream.received && !stream.is_over()).then(|| stream.intake.take(bytes)).flatten()
        });
        if let Some(increment) = all {
            self.write(|text| write::window_update(text, 0, increment));
        }
        if let Some(increment) = one.flatten() {
            self.write(|text| write::window_update(text, number, increment));
        }
    }

    /// Content that came, which the client may send again.
    pub(super) fn poll_content(
        &mut self,
        number: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ContentFault>>> {
        let polled = self.streams.with(number, |stream| stream.poll_content(cx));
        let polled = polled.unwrap_or(Poll::Ready(Some(Err(ContentFault::Gone))));
        if let Poll::Ready(Some(Ok(bytes))) = &polled {
            self.give_back(number, bytes.len());
        }
        polled
    }

    /// Nobody reads its content any more.
    pub(super) fn discard(&mut self, number: u32) {
        let came = self.streams.with(number, Stream::discard).unwrap_or(0);
        self.give_back(number, came);
    }
}
