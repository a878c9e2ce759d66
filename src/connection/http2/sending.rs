//! What streams hand over, on its way into frames: in turns, as far as the windows and the socket go.
//!
//! ```text
//!   a stream's pieces ─┬─ nobody waits ─────────────────▶ outbox
//!                      └─ ready ─ a frame at a time ────▶ outbox
//!                           └─ the connection's window is closed ─▶ starved ─▶ ready
//! ```
//! Promises: heads are compressed in the order in which they go out. Streams that have something to send take turns,
//! one frame of at most [`FRAME`] bytes each; one whose window is closed is left out. Nothing is put into frames while as
//! much waits for the socket as it takes at a time.
//! Must not know: sockets, where answers come from.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::SEND_BUFFER;
use super::flow::Outlet;
use super::outbox::Outbox;
use super::session::Session;
use super::streams::{Piece, Stream};
use crate::http2::frame::{END_STREAM, Kind};
use crate::http2::{Encoder, write};

/// What a frame is filled to: what every client takes (RFC 9113, section 4.2).
const FRAME: usize = 16 * 1024;

impl Session {
    /// The head of an answer; `last`: nothing follows it.
    pub(super) fn send_head(&mut self, number: u32, status: StatusCode, fields: HeaderMap, last: bool) {
        if self.is_free(number) {
            let Session { streams, outbox, encoder, .. } = self;
            streams.with(number, |stream| {
                put_head(outbox, encoder, number, status, &fields, last);
                stream.last = last;
                stream.sent = last;
            });
            return self.tell();
        }
        self.queue(number, Piece::Head(Box::new((status, fields))), last);
    }

    /// A piece of its content.
    pub(super) fn send_content(&mut self, number: u32, content: Bytes, last: bool) {
        self.meter.hand_over(content.len(), last);
        self.streams.with(number, |stream| stream.waits(content.len()));
        let mut rest = Some(Piece::Content(content));
        if self.is_free(number) {
            let Session { streams, outbox, encoder, outlet, .. } = self;
            streams.with(number, |stream| {
                stream.last = last;
                while let Some(piece) = rest.take() {
                    let closed = !stream.outlet.is_open() || !outlet.is_open();
                    let empty = matches!(&piece, Piece::Content(content) if content.is_empty());
                    if (closed && !empty) || outbox.is_full() {
                        rest = Some(piece);
                        break;
                    }
                    rest = put(outbox, encoder, outlet, number, stream, piece);
                }
            });
            self.tell();
        }
        if let Some(rest) = rest {
            self.queue(number, rest, last);
        }
    }

    /// What comes at its end.
    pub(super) fn send_trailers(&mut self, number: u32, fields: HeaderMap) {
        self.queue(number, Piece::Trailers(fields), true);
    }

    /// Whether what this stream hands over goes before everything else that waits.
    fn is_free(&self, number: u32) -> bool {
        let first =
            self.streams.get(number).is_some_and(|stream| stream.pieces.is_empty() && !stream.is_over());
        first && self.ready.is_empty() && !self.outbox.is_full()
    }

    fn queue(&mut self, number: u32, piece: Piece, last: bool) {
        self.streams.with(number, |stream| {
            if !stream.is_over() {
                stream.last = last;
                stream.pieces.push_back(piece);
            }
        });
        self.enqueue(number);
    }

    /// It has its turn if it can send something.
    pub(super) fn enqueue(&mut self, number: u32) {
        let queued = self.streams.with(number, |stream| {
            let queued = !stream.queued && stream.can_send();
            stream.queued |= queued;
            queued
        });
        if queued == Some(true) {
            self.ready.push_back(number);
            self.tell();
        }
    }

    /// Puts into frames what may go, as far as there is room.
    pub(super) fn pump(&mut self) {
        if !self.outbox.is_full()
            && let Some(increment) = self.intake.take(0)
        {
            self.write(|text| write::window_update(text, 0, increment));
        }
        while !self.outbox.is_full() {
            let Some(number) = self.ready.pop_front() else { return };
            let Session { streams, outbox, encoder, outlet, ready, starved, .. } = self;
            let forgotten = streams.with(number, |stream| {
                stream.queued = stream.can_send();
                if !stream.queued {
                    return stream.is_forgotten();
                }
                if stream.has_content_next() && !outlet.is_open() {
                    starved.push_back(number);
                    return false;
                }
                if let Some(piece) = stream.pieces.pop_front()
                    && let Some(rest) = put(outbox, encoder, outlet, number, stream, piece)
                {
                    stream.pieces.push_front(rest);
                }
                ready.push_back(number);
                false
            });
            if forgotten == Some(true) {
                self.forget(number, Instant::now());
            }
        }
    }

    /// So much of the outbox has been taken by the client's connection.
    pub(super) fn wrote(&mut self, bytes: usize) {
        let Session { outbox, streams, meter, .. } = self;
        meter.unblock();
        outbox.advance(bytes, |written| {
            let head = written.head;
            if written.begun {
                meter.sent(head);
            }
            let content = if head.kind == Kind::Data { written.payload } else { 0 };
            let end =
                written.ended && matches!(head.kind, Kind::Data | Kind::Headers) && head.has(END_STREAM);
            if content > 0 || end {
                streams.with(head.stream, |stream| {
                    if content > 0 {
                        stream.took(content, SEND_BUFFER);
                    }
                    if end {
                        stream.took_end();
                    }
                });
            }
        });
    }
}

/// Puts one frame of this piece into the outbox; what is left of it.
fn put(
    outbox: &mut Outbox,
    encoder: &mut Encoder,
    outlet: &mut Outlet,
    number: u32,
    stream: &mut Stream,
    piece: Piece,
) -> Option<Piece> {
    let last = stream.last && stream.pieces.is_empty();
    match piece {
        Piece::Head(head) => {
            put_head(outbox, encoder, number, head.0, &head.1, last);
            stream.sent = last;
        }
        Piece::Trailers(fields) => {
            outbox.write(|text| {
                write::headers(text, number, true, FRAME as u32, |block| encoder.trailers(&fields, block));
            });
            stream.sent = true;
        }
        Piece::Content(mut content) => {
            let length = outlet.room(stream.outlet.room(content.len().min(FRAME)));
            let now = content.split_to(length);
            outlet.spend(length);
            stream.outlet.spend(length);
            let last = last && content.is_empty();
            outbox.data(number, now, last);
            stream.sent = last;
            return (!content.is_empty()).then_some(Piece::Content(content));
        }
    }
    None
}

fn put_head(
    outbox: &mut Outbox,
    encoder: &mut Encoder,
    number: u32,
    status: StatusCode,
    fields: &HeaderMap,
    last: bool,
) {
    outbox.write(|text| {
        write::headers(text, number, last, FRAME as u32, |block| encoder.head(status, fields, block));
    });
}
