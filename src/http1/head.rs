//! The head of a message: its first line and its fields.
//!
//! Promises: a head is known as soon as its last byte is there, and refused at the first byte that
//! shows that there is no way out of it or that a limit is passed; values share the buffer they came in.
//! Must not know: content.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version};

use super::syntax::{is_target, is_text, is_token, is_token_byte, length, trimmed};
use super::{Framing, Refusal};

/// What a head may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the first line, without its end.
    pub line: usize,
    /// Bytes of all field lines with their ends.
    pub fields: usize,
    /// Field lines.
    pub count: usize,
}

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead {
    pub method: Method,
    pub target: Uri,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    pub fields: HeaderMap,
    pub framing: Framing,
    /// Whether the connection may be used again (RFC 9112, section 9.3).
    pub keep_alive: bool,
}

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    pub status: StatusCode,
    pub version: Version,
    pub fields: HeaderMap,
    pub keep_alive: bool,
}

/// Finds the end of a head in bytes that come piece by piece. One for each head.
#[derive(Debug, Default)]
pub struct Reader {
    /// Where the line now being read begins.
    line: usize,
    /// As far as has been looked.
    seen: usize,
    /// Whole lines so far, empty ones before the first not counted.
    lines: usize,
    /// Where the field lines begin.
    fields: usize,
    /// An empty line was skipped.
    skipped: bool,
}

impl Reader {
    pub const NEW: Reader = Reader { line: 0, seen: 0, lines: 0, fields: 0, skipped: false };

    /// The head of a request, taken from the front of `buffer` when all of it is there. After a refusal
    /// the buffer still begins with the first line, for [`Glimpse::of`].
    pub fn request(
        &mut self,
        buffer: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<RequestHead>, Refusal> {
        while let Some(line) = self.next_line(buffer, limits)? {
            match line {
                Line::First(line) => RequestLine::of(&buffer[line.clone()]).map(drop)?,
                Line::Field => {}
                Line::End => {
                    let (line, fields) = self.taken(buffer);
                    let head = request(&line, fields, limits).map(Some);
                    if head.is_err() {
                        *buffer = BytesMut::from(&line[..]);
                    }
                    return head;
                }
            }
        }
        Ok(None)
    }

    /// The head of an answer, interim ones included.
    pub fn answer(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Option<AnswerHead>, Refusal> {
        while let Some(line) = self.next_line(buffer, limits)? {
            match line {
                Line::First(line) => status_line(&buffer[line.clone()]).map(drop)?,
                Line::Field => {}
                Line::End => {
                    let (line, fields) = self.taken(buffer);
                    return answer(&line, fields, limits).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Trailers up to and with the empty line after them (RFC 9112, section 7.1.2).
    pub(super) fn trailers(
        &mut self,
        buffer: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<HeaderMap>, Refusal> {
        // There is no first line.
        self.lines = self.lines.max(1);
        while let Some(line) = self.next_line(buffer, limits)? {
            if let Line::End = line {
                let (_, lines) = self.taken(buffer);
                return fields(lines, limits).map(Some);
            }
        }
        Ok(None)
    }

    /// Whether anything of a head has come.
    pub fn has_begun(&self) -> bool {
        self.seen > 0
    }

    /// The next whole line.
    fn next_line(&mut self, buffer: &BytesMut, limits: &Limits) -> Result<Option<Line>, Refusal> {
        loop {
            let new = &buffer[self.seen..];
            let Some(at) = memchr::memchr(b'\n', new) else {
                self.unfinished(buffer, limits)?;
                self.seen = buffer.len();
                return Ok(None);
            };
            let end = self.seen + at;
            let start = self.line;
            if end == start || buffer[end - 1] != b'\r' {
                return Err(Refusal::Malformed("a line ends without CR"));
            }
            let line = start..end - 1;
            if memchr::memchr(b'\r', &buffer[line.clone()]).is_some() {
                return Err(Refusal::Malformed("a CR in the middle of a line"));
            }
            self.line = end + 1;
            self.seen = end + 1;
            if self.lines > 0 {
                self.lines += 1;
                if end + 1 - self.fields > limits.fields.saturating_add(2) {
                    return Err(Refusal::LongFields);
                }
                if line.is_empty() {
                    return Ok(Some(Line::End));
                }
                if self.lines - 1 > limits.count {
                    return Err(Refusal::ManyFields);
                }
                return Ok(Some(Line::Field));
            }
            if line.is_empty() && !self.skipped {
                self.skipped = true;
                continue;
            }
            if line.len() > limits.line {
                return Err(Refusal::LongLine);
            }
            self.lines = 1;
            self.fields = end + 1;
            return Ok(Some(Line::First(line)));
        }
    }

    /// Whether a line that is not whole yet can still become one.
    fn unfinished(&self, buffer: &BytesMut, limits: &Limits) -> Result<(), Refusal> {
        let line = &buffer[self.line..];
        if self.lines == 0 {
            match line {
                [] | [b'\r'] => {}
                [first, ..] if !is_token_byte(*first) => {
                    return Err(Refusal::Malformed("it does not begin like HTTP"));
                }
                // Its CR may be here already.
                _ if line.len() > limits.line.saturating_add(1) => return Err(Refusal::LongLine),
                _ => {}
            }
        } else if buffer.len() - self.fields > limits.fields.saturating_add(1) {
            return Err(Refusal::LongFields);
        }
        // What was looked at before has no CR, unless it is its last byte.
        let new = &buffer[self.line.max(self.seen.saturating_sub(1))..];
        match memchr::memchr(b'\r', new) {
            Some(at) if at + 1 < new.len() => Err(Refusal::Malformed("a CR in the middle of a line")),
            _ => Ok(()),
        }
    }

    /// Takes the head off the buffer: its first line and its field lines with the empty one.
    fn taken(&mut self, buffer: &mut BytesMut) -> (Bytes, Bytes) {
        let head = buffer.split_to(self.line).freeze();
        let blank = if self.skipped { 2 } else { 0 };
        let parts = (head.slice(blank.min(self.fields)..self.fields), head.slice(self.fields..));
        *self = Reader::default();
        parts
    }
}

/// What can be told of a request whose head was refused or is not whole, for a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    pub method: Option<Method>,
    pub target: Option<Uri>,
    pub version: Option<Version>,
}

impl Glimpse {
    /// Of the bytes that came: what their first line has of a request line.
    pub fn of(head: &[u8]) -> Glimpse {
        /// No method that anybody knows is as long.
        const METHOD: usize = 32;
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let end = memchr::memchr(b'\n', head);
        let line = &head[..end.unwrap_or(head.len())];
        let mut parts = line.strip_suffix(b"\r").unwrap_or(line).split(|byte| *byte == b' ').peekable();
        // What nothing follows may not be all of it.
        let mut next = || parts.next().filter(|_| end.is_some() || parts.peek().is_some());
        let method = next().filter(|method| method.len() <= METHOD && is_token(method));
        let Some(method) = method.and_then(|method| Method::from_bytes(method).ok()) else {
            return Glimpse::default();
        };
        let target = next().filter(|target| is_target(target)).and_then(|target| Uri::try_from(target).ok());
        let version = next().and_then(|text| version(text).ok());
        Glimpse { method: Some(method), target, version }
    }
}

enum Line {
    /// The bytes between its start and its end.
    First(std::ops::Range<usize>),
    Field,
    /// The empty one.
    End,
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

impl RequestLine<'_> {
    /// RFC 9112, section 3: three parts, each two parted by one space.
    fn of(line: &[u8]) -> Result<RequestLine<'_>, Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed("the request line is not method, target and version"));
        };
        if !is_token(method) {
            return Err(Refusal::Malformed("the method is not a token"));
        }
        if !is_target(target) {
            return Err(Refusal::Malformed("the target has a byte that it must not have"));
        }
        Ok(RequestLine { method, target, version: self::version(version)? })
    }
}

/// RFC 9112, section 2.3. A minor version that is not known yet is spoken to as 1.1 (RFC 9110, section 6.2).
fn version(text: &[u8]) -> Result<Version, Refusal> {
    match text {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => Ok(Version::HTTP_11),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(if *major == b'0' { MALFORMED_VERSION } else { Refusal::UnsupportedVersion })
        }
        _ => Err(MALFORMED_VERSION),
    }
}

const MALFORMED_VERSION: Refusal = Refusal::Malformed("the version is not one of HTTP/1");

fn request(line: &Bytes, lines: Bytes, limits: &Limits) -> Result<RequestHead, Refusal> {
    let line = line.slice(..line.len() - 2);
    let RequestLine { method, target, version } = RequestLine::of(&line)?;
    let method = Method::from_bytes(method).map_err(|_| Refusal::Malformed("the method is not a token"))?;
    let target = self::target(&method, line.slice_ref(target))?;
    let fields = fields(lines, limits)?;
    let framing = request_framing(version, &fields)?;
    let keep_alive = keeps_alive(version, &fields);
    Ok(RequestHead { method, target, version, fields, framing, keep_alive })
}

/// The form that fits the method (RFC 9112, section 3.2).
fn target(method: &Method, text: Bytes) -> Result<Uri, Refusal> {
    let origin = text.starts_with(b"/");
    let uri = Uri::from_maybe_shared(text.clone())
        .map_err(|_| Refusal::Malformed("the target is not one of HTTP"))?;
    // `http` would take `//` for the beginning of an authority nowhere, but let it be seen here.
    debug_assert!(!origin || uri.authority().is_none());
    let fits = match uri.scheme_str() {
        // RFC 9110, section 9.3.6: the authority and nothing else.
        _ if *method == Method::CONNECT => uri.scheme().is_none() && uri.path_and_query().is_none(),
        Some(scheme) => matches!(scheme, "http" | "https") && uri.host().is_some_and(|host| !host.is_empty()),
        None if &text[..] == b"*" => *method == Method::OPTIONS,
        None => origin,
    };
    match fits {
        true if *method == Method::OPTIONS => Ok(asterisk(&text, uri)),
        true => Ok(uri),
        false => Err(Refusal::Malformed("the form of the target does not fit the method")),
    }
}

/// `OPTIONS http://host` asks the host itself (RFC 9112, section 3.2.4); `http` takes an empty path for `/`.
fn asterisk(text: &[u8], uri: Uri) -> Uri {
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return uri };
    if text.len() != scheme.as_str().len() + "://".len() + authority.as_str().len() {
        return uri;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("*"));
    Uri::from_parts(parts).unwrap_or(uri)
}

/// The code and the version (RFC 9112, section 4). The reason phrase has no meaning.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed("the status line is not version, code and reason");
    if line.len() < 12 || line[8] != b' ' {
        return Err(MALFORMED);
    }
    let version = version(&line[..8])?;
    let (code, reason) = line[9..].split_at(3);
    // Many leave out the space before a reason that is empty.
    if !(reason.is_empty() || reason[0] == b' ') || !is_text(reason) {
        return Err(MALFORMED);
    }
    let code = StatusCode::from_bytes(code).map_err(|_| MALFORMED)?;
    // RFC 9110, section 15: others are invalid.
    if code.as_u16() < 600 { Ok((version, code)) } else { Err(Refusal::Malformed("there is no such status")) }
}

fn answer(line: &Bytes, lines: Bytes, limits: &Limits) -> Result<AnswerHead, Refusal> {
    let (version, status) = status_line(&line[..line.len() - 2])?;
    let fields = fields(lines, limits)?;
    let keep_alive = keeps_alive(version, &fields);
    Ok(AnswerHead { status, version, fields, keep_alive })
}

/// Field lines up to the empty one (RFC 9112, section 5), in their order.
fn fields(lines: Bytes, limits: &Limits) -> Result<HeaderMap, Refusal> {
    let mut fields = HeaderMap::with_capacity(if lines.len() > 2 { limits.count.min(16) } else { 0 });
    let mut start = 0;
    while let Some(at) = memchr::memchr(b'\n', &lines[start..]) {
        let line = &lines[start..start + at - 1];
        start += at + 1;
        if line.is_empty() {
            break;
        }
        let (name, value) = field(&lines, line)?;
        fields.try_append(name, value).map_err(|_| Refusal::ManyFields)?;
    }
    Ok(fields)
}

fn field(lines: &Bytes, line: &[u8]) -> Result<(HeaderName, HeaderValue), Refusal> {
    if matches!(line[0], b' ' | b'\t') {
        return Err(Refusal::Malformed("a line begins with a space"));
    }
    let colon = memchr::memchr(b':', line).ok_or(Refusal::Malformed("a field line has no colon"))?;
    let name = name(&line[..colon]).ok_or(Refusal::Malformed("the name of a field is not a token"))?;
    let value = lines.slice_ref(trimmed(&line[colon + 1..]));
    let value = HeaderValue::from_maybe_shared(value)
        .map_err(|_| Refusal::Malformed("the value of a field has a control character"))?;
    Ok((name, value))
}

/// `HeaderName` alone takes a quote for a part of a token.
fn name(text: &[u8]) -> Option<HeaderName> {
    is_token(text).then(|| HeaderName::from_bytes(text).ok()).flatten()
}

/// RFC 9112, section 6.3, for a request.
pub fn request_framing(version: Version, fields: &HeaderMap) -> Result<Framing, Refusal> {
    match (is_chunked(version, fields)?, content_length(fields)?) {
        (true, Some(_)) => Err(BOTH),
        (true, None) => Ok(Framing::Chunked),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) => Ok(Framing::NONE),
    }
}

const BOTH: Refusal = Refusal::Malformed("Content-Length beside Transfer-Encoding");

impl AnswerHead {
    /// RFC 9112, section 6.3, for the answer to a request with `method`.
    pub fn framing(&self, method: &Method) -> Result<Framing, Refusal> {
        let (chunked, length) = (is_chunked(self.version, &self.fields)?, content_length(&self.fields)?);
        if chunked && length.is_some() {
            return Err(BOTH);
        }
        let bare = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if *method == Method::HEAD || bare || self.status.is_informational() {
            return Ok(Framing::NONE);
        }
        Ok(match length {
            Some(length) => Framing::Length(length),
            None if chunked => Framing::Chunked,
            None => Framing::UntilClose,
        })
    }
}

/// The one length that there may be (RFC 9112, section 6.3).
pub fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut lines = fields.get_all(CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => {
            let length = length(only.as_bytes());
            length.map(Some).ok_or(Refusal::Malformed("Content-Length is not a number"))
        }
        _ => Err(Refusal::Malformed("more than one Content-Length")),
    }
}

/// Whether these fields, which came in another version, are any that this reader would take, or why not (RFC 9110,
/// section 5.1; RFC 9113, section 8.2.1: h2 leaves both to us).
pub fn can_be_said(fields: &HeaderMap) -> Result<(), &'static str> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for (name, value) in fields {
        // `http` takes a quote for a part of a name.
        if !is_token(name.as_str().as_bytes()) {
            return Err("the name of a field is not a token");
        }
        if blank(value.as_bytes().first()) || blank(value.as_bytes().last()) {
            return Err("a field has spaces around its value");
        }
    }
    Ok(())
}

/// RFC 9112, section 6.1: `chunked` alone, or nothing.
fn is_chunked(version: Version, fields: &HeaderMap) -> Result<bool, Refusal> {
    let mut lines = fields.get_all(TRANSFER_ENCODING).iter();
    let (coding, another) = (lines.next(), lines.next());
    let Some(coding) = coding else { return Ok(false) };
    if version == Version::HTTP_10 {
        return Err(Refusal::Malformed("Transfer-Encoding in HTTP/1.0"));
    }
    if another.is_some() {
        return Err(Refusal::Malformed("more than one Transfer-Encoding"));
    }
    if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    // Known codings, then `chunked` as the last, is a message that somebody else could read.
    let mut codings = coding.as_bytes().split(|byte| *byte == b',').map(trimmed).rev();
    let last = codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let known = |coding: &[u8]| {
        [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"]
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
    };
    if last && codings.all(known) {
        return Err(Refusal::UnknownCoding);
    }
    Err(Refusal::Malformed("Transfer-Encoding is not chunked"))
}

/// RFC 9112, section 9.3.
fn keeps_alive(version: Version, fields: &HeaderMap) -> bool {
    let lines = fields.get_all(CONNECTION).iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',').map(trimmed));
    let mut keep_alive = version != Version::HTTP_10;
    for option in options {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keep_alive
}
