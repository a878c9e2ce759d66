//! Frames as they go to a client (RFC 9113, section 6).
//!
//! Promises: each function appends whole frames; a block of fields is one HEADERS frame and as many
//! CONTINUATION frames as the client's limit demands, with nothing between them.
//! Must not know: what has been written before.

use bytes::{BufMut, BytesMut};

use super::frame::{ACK, END_HEADERS, END_STREAM, Head, Kind, Settings};
use super::{MOST, Reason};

/// The head of a DATA frame whose content follows.
pub fn data_head(out: &mut BytesMut, stream: u32, length: usize, end_stream: bool) {
    let flags = if end_stream { END_STREAM } else { 0 };
    put_head(out, Kind::Data, flags, stream, length);
}

/// HEADERS with what `block` appends, cut to frames of at most `most` bytes.
pub fn headers(
    out: &mut BytesMut,
    stream: u32,
    end_stream: bool,
    most: u32,
    block: impl FnOnce(&mut BytesMut),
) {
    let begin = out.len();
    out.put_bytes(0, Head::SIZE);
    block(out);
    let most = most as usize;
    let length = out.len() - begin - Head::SIZE;
    let rest = (length > most).then(|| out.split_off(begin + Head::SIZE + most));
    let mut flags = if end_stream { END_STREAM } else { 0 };
    if rest.is_none() {
        flags |= END_HEADERS;
    }
    let length = length.min(most) as u32;
    let head = Head { length, kind: Kind::Headers, flags, stream };
    out[begin..begin + Head::SIZE].copy_from_slice(&head.bytes());
    let mut pieces = rest.iter().flat_map(|rest| rest.chunks(most)).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        put_head(out, Kind::Continuation, flags, stream, piece.len());
        out.extend_from_slice(piece);
    }
}

pub fn reset(out: &mut BytesMut, stream: u32, reason: Reason) {
    put_head(out, Kind::Reset, 0, stream, 4);
    out.put_u32(reason.into());
}

pub fn settings(out: &mut BytesMut, settings: &Settings) {
    put_head(out, Kind::Settings, 0, 0, 6 * settings.said().count());
    for (identifier, value) in settings.said() {
        out.put_u16(identifier);
        out.put_u32(value);
    }
}

pub fn settings_ack(out: &mut BytesMut) {
    put_head(out, Kind::Settings, ACK, 0, 0);
}

pub fn ping(out: &mut BytesMut, opaque: [u8; 8], ack: bool) {
    put_head(out, Kind::Ping, if ack { ACK } else { 0 }, 0, opaque.len());
    out.extend_from_slice(&opaque);
}

pub fn goaway(out: &mut BytesMut, last: u32, reason: Reason, debug: &[u8]) {
    put_head(out, Kind::GoAway, 0, 0, 8 + debug.len());
    out.put_u32(last & MOST);
    out.put_u32(reason.into());
    out.extend_from_slice(debug);
}

/// `stream` 0 is the connection's window.
pub fn window_update(out: &mut BytesMut, stream: u32, increment: u32) {
    put_head(out, Kind::WindowUpdate, 0, stream, 4);
    out.put_u32(increment & MOST);
}

fn put_head(out: &mut BytesMut, kind: Kind, flags: u8, stream: u32, length: usize) {
    let length = length as u32;
    out.extend_from_slice(&Head { length, kind, flags, stream }.bytes());
}
