//! Messages as bytes.
//!
//! Promises: the types of what goes in (`Method`, `HeaderName`, `HeaderValue`, `StatusCode`) leave no room
//! for a CR or LF, targets and names are looked at once more: what comes out is one message. The framing
//! is written here and nowhere else: fields must not bring one.
//! Must not know: which fields a message should have.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};

use super::Framing;
use super::syntax::{is_target, is_token};

/// The target holds a byte that would break the request line, or its form does not fit the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget;

/// The head of an HTTP/1.1 request. No content is [`Framing::Length`] of nothing: `Content-Length: 0` is
/// written for methods that anticipate content (RFC 9110, section 8.6). `UntilClose` does not exist
/// for requests and is written as no content.
pub fn request(
    out: &mut BytesMut,
    method: &Method,
    target: &str,
    fields: &HeaderMap,
    framing: Framing,
) -> Result<(), BadTarget> {
    if !is_target(target.as_bytes()) || !fits(method, target) {
        return Err(BadTarget);
    }
    out.reserve(room(fields) + target.len());
    out.extend_from_slice(method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    self::fields(out, fields);
    match framing {
        Framing::Chunked => out.extend_from_slice(CHUNKED),
        Framing::Length(0) | Framing::UntilClose => {
            if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
        }
        Framing::Length(length) => content_length(out, length),
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Whether the target has the form in which an endpoint is asked (RFC 9112, section 3.2): that of a
/// proxy, `http://host/`, is not one.
fn fits(method: &Method, target: &str) -> bool {
    match target {
        _ if *method == Method::CONNECT => target.parse::<Authority>().is_ok(),
        "*" => *method == Method::OPTIONS,
        _ => target.starts_with('/'),
    }
}

/// The head of an answer, always as HTTP/1.1 (RFC 9110, section 6.2). `None`: nothing is said about content,
/// for an interim answer, 204, a successful CONNECT, and where nobody knows what it would have been.
pub fn answer(out: &mut BytesMut, status: StatusCode, fields: &HeaderMap, framing: Option<Framing>) {
    out.reserve(room(fields));
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    self::fields(out, fields);
    match framing {
        Some(Framing::Chunked) => out.extend_from_slice(CHUNKED),
        Some(Framing::Length(length)) => content_length(out, length),
        Some(Framing::UntilClose) | None => {}
    }
    out.extend_from_slice(b"\r\n");
}

const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";

/// What comes before the data of a chunk, which must not be empty; [`CHUNK_END`] comes after it.
pub fn chunk(out: &mut BytesMut, length: usize) {
    debug_assert!(length > 0, "an empty chunk is the last one");
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    let mut at = text.len();
    let mut rest = length;
    while rest > 0 || at == text.len() {
        at -= 1;
        text[at] = DIGITS[rest & 15];
        rest >>= 4;
    }
    out.extend_from_slice(&text[at..]);
    out.extend_from_slice(b"\r\n");
}

pub const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk, and the trailers.
pub fn last_chunk(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        fields(out, trailers);
    }
    out.extend_from_slice(b"\r\n");
}

/// Every field line but those of a framing, which is not theirs to say, and those whose name is not a
/// token: `http` lets HTTP/2 bring a quotation mark.
fn fields(out: &mut BytesMut, fields: &HeaderMap) {
    for (name, value) in fields {
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING || !is_token(name.as_str().as_bytes()) {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn content_length(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"content-length: ");
    let mut text = [0; 20];
    let mut at = text.len();
    let mut rest = length;
    while rest > 0 || at == text.len() {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text[at..]);
    out.extend_from_slice(b"\r\n");
}

/// About how long a head is.
fn room(fields: &HeaderMap) -> usize {
    let lines: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    lines + 128
}
