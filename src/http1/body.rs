//! The content of a message, taken out of its framing.
//!
//! Promises: takes no byte that is not of this message; long content shares the buffer it came in,
//! short chunks are put together, so that many of them cost no more than their bytes. What chunks cost
//! beyond their content is bounded.
//! Must not know: heads.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::head::{Limits, Reader};
use super::syntax::{is_text, is_token_byte};
use super::{Framing, Refusal};

/// The longest line with the size of a chunk and its extensions.
const LINE: usize = 256;
/// How many bytes chunks may cost in all beyond sixteen each and twice their content.
const EXCESS: u64 = 16 * 1024;
/// The shortest content that is not copied.
const SHARED: usize = 1024;
/// The most that is put together from short chunks.
const TOGETHER: usize = 8 * 1024;

/// Takes the content of one message out of the bytes that come.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    excess: u64,
    /// Begun since somebody asked.
    chunks: usize,
}

#[derive(Debug)]
enum State {
    /// So much is still to come.
    Length(u64),
    UntilClose,
    /// The line with the size of a chunk; as far as it was looked at.
    Size(usize),
    Chunk(u64),
    /// The CR LF after the data of a chunk.
    ChunkEnd,
    Trailers(Reader),
    Done,
}

/// What was there.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Nothing whole: more bytes are needed, or, until the end of the connection, the end.
    More,
    Data(Bytes),
    /// The last thing, if there is one; never empty.
    Trailers(HeaderMap),
    End,
}

impl Decoder {
    pub fn new(framing: Framing) -> Decoder {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::UntilClose => State::UntilClose,
            Framing::Chunked => State::Size(0),
        };
        Decoder { state, excess: 0, chunks: 0 }
    }

    /// Whether all of the content has been taken. Never, if only the end of the connection ends it.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many chunks have begun since this was asked last: what work they were, which their bytes do not tell.
    pub fn take_chunks(&mut self) -> usize {
        std::mem::take(&mut self.chunks)
    }

    /// How much content is still to come, as far as that is known.
    pub fn rest(&self) -> Option<u64> {
        match self.state {
            State::Done => Some(0),
            State::Length(rest) => Some(rest),
            _ => None,
        }
    }

    /// How much content is still to come at least: the rest of a length, or of a chunk.
    pub fn announced(&self) -> u64 {
        match self.state {
            State::Length(rest) | State::Chunk(rest) => rest,
            _ => 0,
        }
    }

    /// Whether the end of the connection is the end of the content, rather than a truncation.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// The next piece of content from the front of `buffer`.
    pub fn decode(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Decoded, Refusal> {
        let mut together = BytesMut::new();
        loop {
            match &mut self.state {
                State::Done => return Ok(flushed(together, Decoded::End)),
                _ if buffer.is_empty() => return Ok(flushed(together, Decoded::More)),
                State::UntilClose => return Ok(Decoded::Data(buffer.split().freeze())),
                State::Length(rest) => {
                    let taken = take(buffer, rest);
                    if *rest == 0 {
                        self.state = State::Done;
                    }
                    return Ok(Decoded::Data(taken.freeze()));
                }
                State::Chunk(rest) => {
                    let here = (*rest).min(buffer.len() as u64) as usize;
                    if !together.is_empty() && (here >= SHARED || together.len() + here > TOGETHER) {
                        return Ok(Decoded::Data(together.freeze()));
                    }
                    // Copied without a share of the buffer, which costs more than so few bytes.
                    let short = here < SHARED;
                    let taken = if short {
                        together.extend_from_slice(&buffer[..here]);
                        buffer.advance(here);
                        *rest -= here as u64;
                        None
                    } else {
                        Some(take(buffer, rest))
                    };
                    if *rest == 0 {
                        self.state = State::ChunkEnd;
                    }
                    if let Some(taken) = taken {
                        return Ok(Decoded::Data(taken.freeze()));
                    }
                }
                State::ChunkEnd => match &buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::Size(0);
                    }
                    [b'\r'] => return Ok(flushed(together, Decoded::More)),
                    _ => return Err(Refusal::Malformed("a chunk is longer than its size")),
                },
                State::Size(seen) => match size(buffer, seen)? {
                    None => return Ok(flushed(together, Decoded::More)),
                    Some((0, _)) => self.state = State::Trailers(Reader::default()),
                    Some((size, line)) => {
                        self.spend(line, size)?;
                        self.chunks += 1;
                        self.state = State::Chunk(size);
                    }
                },
                State::Trailers(reader) => {
                    if !together.is_empty() {
                        return Ok(Decoded::Data(together.freeze()));
                    }
                    return match reader.trailers(buffer, limits)? {
                        None => Ok(Decoded::More),
                        Some(fields) => {
                            self.state = State::Done;
                            Ok(if fields.is_empty() { Decoded::End } else { Decoded::Trailers(fields) })
                        }
                    };
                }
            }
        }
    }

    /// Counts what a chunk costs beyond its content.
    fn spend(&mut self, line: usize, size: u64) -> Result<(), Refusal> {
        let cost = line as u64 + 2;
        let allowed = size.saturating_mul(2).saturating_add(16);
        self.excess = (self.excess + cost).saturating_sub(allowed);
        if self.excess > EXCESS { Err(Refusal::Malformed("too much around the chunks")) } else { Ok(()) }
    }
}

/// What was put together comes first.
fn flushed(together: BytesMut, otherwise: Decoded) -> Decoded {
    if together.is_empty() { otherwise } else { Decoded::Data(together.freeze()) }
}

fn take(buffer: &mut BytesMut, rest: &mut u64) -> BytesMut {
    let count = (*rest).min(buffer.len() as u64) as usize;
    *rest -= count as u64;
    buffer.split_to(count)
}

/// Takes the line of a chunk's size: the size, and how long the line was.
fn size(buffer: &mut BytesMut, seen: &mut usize) -> Result<Option<(u64, usize)>, Refusal> {
    let Some(at) = memchr::memchr(b'\n', &buffer[*seen..]) else {
        let line = &buffer[..];
        *seen = line.len();
        let early = line.iter().position(|byte| *byte == b'\r').is_some_and(|at| at + 1 < line.len());
        // What cannot become a size any more is refused at once, however it arrives.
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let odd =
            line.get(digits).is_some_and(|byte| digits == 0 || !matches!(byte, b';' | b'\r' | b' ' | b'\t'));
        // The CR of the line's end may be here before its LF.
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        if early || odd || digits > 16 || length > LINE {
            return Err(MALFORMED);
        }
        return Ok(None);
    };
    let end = *seen + at;
    let line = buffer.split_to(end + 1);
    let Some((b"\r\n", line)) = line.split_last_chunk::<2>().map(|(line, end)| (&end[..], line)) else {
        return Err(Refusal::Malformed("the size of a chunk ends without CR"));
    };
    if line.len() > LINE {
        return Err(MALFORMED);
    }
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at(digits);
    if !(1..=16).contains(&digits) || !are_extensions(extensions) {
        return Err(MALFORMED);
    }
    // INVARIANT: one to sixteen hexadecimal digits are a u64.
    let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
    size.map(|size| Some((size, end + 1))).ok_or(MALFORMED)
}

const MALFORMED: Refusal = Refusal::Malformed("the size of a chunk is not one");

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )` of RFC 9112, section 7.1.1.
fn are_extensions(mut rest: &[u8]) -> bool {
    loop {
        if rest.is_empty() {
            return true;
        }
        let Some(after) = blank(rest).strip_prefix(b";") else { return false };
        let Some(after) = token(blank(after)) else { return false };
        rest = after;
        if let Some(value) = blank(rest).strip_prefix(b"=") {
            let value = blank(value);
            let after = if value.starts_with(b"\"") { quoted(value) } else { token(value) };
            let Some(after) = after else { return false };
            rest = after;
        }
    }
}

fn blank(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// What follows a token.
fn token(text: &[u8]) -> Option<&[u8]> {
    let count = text.iter().take_while(|byte| is_token_byte(**byte)).count();
    (count > 0).then(|| &text[count..])
}

/// What follows a quoted string (RFC 9110, section 5.6.4).
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(&text[at + 1..]),
            b'\\' => at += 1,
            _ => {}
        }
        if !is_text(text.get(at..=at)?) {
            return None;
        }
        at += 1;
    }
}
