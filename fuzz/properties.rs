//! What must hold for any bytes whatever. One function for each fuzz target; `tests/corpus.rs` runs
//! the committed corpus through the same functions without a fuzzer.
//!
//! The oracle is not our own code: heads are read again by `httparse`, which is laxer, and what it
//! says is then held to the rules of RFC 9112 by the plain checks below.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use bytes::{Bytes, BytesMut};
use hitless::config::settings::{self, Action, Protocol};
use hitless::config::{Source, Sources};
use hitless::connection::http2::head;
use hitless::handover::record::{Half, Seal};
use hitless::handover::secret::Secret;
use hitless::http1::{AnswerHead, Decoded, Decoder, Framing, Limits, Reader, Refusal, RequestHead, encode};
use hitless::http2::{self, Frame};
use hitless::policy::fields::{self, Client};
use hitless::policy::hops::{self, Hop};
use hitless::policy::{Via, expect, identity, upgrade};
use hitless::response::hygiene;
use hitless::route::{Lookup, Table, check_authority, host_of, target_of};
use hitless::tls::{self, Channel, Role};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Small enough for a fuzzer to reach.
const LIMITS: Limits = Limits { line: 512, fields: 1024, count: 16 };

/// A request head that is accepted is one by the oracle too, with the same parts; the verdict does not
/// depend on how the bytes arrive; nothing after the head is taken; what is encoded of it is read as
/// the same again.
pub fn request_head(input: &[u8]) {
    let (pieces, bytes) = cut(input);
    let read = |reader: &mut Reader, buffer: &mut BytesMut| reader.request(buffer, &LIMITS);
    let Some((head, rest)) = agreed(pieces, bytes, read) else { return };
    assert!(bytes.ends_with(&rest), "what is left is not the end of what was given");
    let taken = &bytes[..bytes.len() - rest.len()];
    is_what_the_oracle_reads(&head, taken);
    let target = target_in(&head);
    let mut again = BytesMut::new();
    encode::request(&mut again, &head.method, &target, &head.fields, head.framing)
        .expect("an accepted target");
    again.extend_from_slice(&rest);
    let mut reader = Reader::default();
    let copy = reader.request(&mut again, &Limits { line: 4096, fields: 4096, count: 32 });
    let copy = copy.expect("what is encoded is accepted").expect("what is encoded is whole");
    assert_eq!(again, rest);
    assert_eq!((&copy.method, target_in(&copy)), (&head.method, target));
    // `Content-Length: 0` is said or not as the method wants it, which is the same framing.
    assert_eq!(copy.framing, head.framing);
    assert_eq!(without_framing(&copy.fields), without_framing(&head.fields));
}

/// The same for the head of an answer, whose framing must be certain or refused.
pub fn answer_head(input: &[u8]) {
    let (pieces, bytes) = cut(input);
    let read = |reader: &mut Reader, buffer: &mut BytesMut| reader.answer(buffer, &LIMITS);
    let Some((head, rest)) = agreed(pieces, bytes, read) else { return };
    assert!(bytes.ends_with(&rest));
    let taken = &bytes[..bytes.len() - rest.len()];
    let taken = taken.strip_prefix(b"\r\n").unwrap_or(taken);
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut oracle = httparse::Response::new(&mut fields);
    // An empty reason after a space and no space at all are one to us and to httparse.
    let mut known = taken.to_vec();
    if known[7] != b'0' {
        // A minor version that httparse does not know.
        known[7] = b'1';
    }
    let whole = oracle.parse(&known).expect("httparse refuses what is accepted here");
    assert_eq!(whole, httparse::Status::Complete(known.len()));
    assert_eq!(oracle.code, Some(head.status.as_u16()));
    assert_eq!(lines_of(oracle.headers), lines(&head.fields));
    let Ok(framing) = head.framing(&Method::GET) else { return };
    assert_eq!(oracle_framing(&head.fields, head.version, Framing::UntilClose), Some(plain_framing(&head)));
    let mut again = BytesMut::new();
    encode::answer(&mut again, head.status, &head.fields, Some(framing));
    let mut reader = Reader::default();
    let copy = reader.answer(&mut again, &Limits { line: 4096, fields: 4096, count: 32 });
    let copy: AnswerHead = copy.expect("what is encoded is accepted").expect("what is encoded is whole");
    assert!(again.is_empty());
    assert_eq!(copy.status, head.status);
    assert_eq!(copy.framing(&Method::GET), Ok(framing));
    assert_eq!(without_framing(&copy.fields), without_framing(&head.fields));
}

/// Chunks come out the same however they arrive; a naive reader of RFC 9112 agrees; content that is
/// encoded again and decoded again is the same; what follows the message stays.
pub fn chunked_body(input: &[u8]) {
    let (pieces, bytes) = cut(input);
    let whole = content(in_pieces(bytes, &[]));
    // What is wrong may be seen earlier or later, and named by what was seen.
    let sum = whole.as_ref().ok();
    assert_eq!(content(in_pieces(bytes, pieces)).as_ref().ok(), sum);
    assert_eq!(content(bytes.chunks(1)).as_ref().ok(), sum);
    let Ok(read) = whole else { return };
    if !read.ended {
        return;
    }
    let (data, trailers, length) = naive_chunks(bytes).expect("a naive reader refuses what is accepted");
    assert_eq!((&data, bytes.len() - length), (&read.data, read.rest));
    assert_eq!(trailers, read.trailers.as_ref().map(lines).unwrap_or_default());
    let mut again = BytesMut::new();
    for piece in read.data.chunks(1 + usize::from(pieces.first().copied().unwrap_or(7))) {
        encode::chunk(&mut again, piece.len());
        again.extend_from_slice(piece);
        again.extend_from_slice(encode::CHUNK_END);
    }
    encode::last_chunk(&mut again, read.trailers.as_ref());
    let copy = content(in_pieces(&again, &[])).expect("what is encoded is accepted");
    assert_eq!((&copy.data, copy.ended, copy.rest), (&read.data, true, 0));
    let framing_aside =
        |fields: Option<&HeaderMap>| fields.map(without_framing).filter(|left| !left.is_empty());
    assert_eq!(framing_aside(copy.trailers.as_ref()), framing_aside(read.trailers.as_ref()));
}

/// Whatever comes in one stream of HTTP/2, what goes to an HTTP/1 endpoint is exactly one request, for
/// the target and the authority that were routed, framed as it was framed; an untrusted client says
/// nothing about others; its end-to-end fields and trailers arrive as they were.
///
/// The first byte holds flags, the rest are lines `name:value` parted by 0xFF, pseudo-fields included;
/// those after an empty line are trailers. h2 reads them from frames as it does for `connection::http2`,
/// and from there it is the way of `connection::exchange` and `upstream::http1`.
pub fn h2_to_h1(input: &[u8]) {
    static ROUTES: LazyLock<Table> = LazyLock::new(routes);
    let Some((flags, lines)) = input.split_first() else { return };
    let (bare, trusted) = (flags & 1 == 1, flags & 2 == 2);
    let mut sections = lines.splitn(2, |byte| *byte == b'\n').map(lines_in);
    let (sent, after) = (sections.next().unwrap_or_default(), sections.next().unwrap_or_default());
    let Some((request, trailers, bare)) = through_h2(&sent, &after, bare) else { return };
    let Ok(length) = head::check(&request, &settings::Limits::default()) else { return };
    let protocol = request.extensions().get::<h2::ext::Protocol>().cloned();
    let (mut parts, ()) = request.into_parts();
    if expect::awaits_continue(Version::HTTP_2, &mut parts.headers).is_err()
        || check_authority(&parts.method, &parts.uri, Version::HTTP_2, &parts.headers).is_err()
    {
        return;
    }
    let named = parts.uri.authority().map(|authority| authority.as_str().to_owned());
    let authority = named.unwrap_or_else(|| parts.headers["host"].to_str().unwrap().to_owned());
    let method = if protocol.is_some() { Method::GET } else { parts.method.clone() };
    let path = if method == Method::CONNECT { "" } else { parts.uri.path() };
    let host = host_of(&authority).expect("an authority that was checked has a host");
    let lookup = Lookup { listener: "http", host, method: &method, path, fields: &parts.headers };
    let Ok(route) = ROUTES.find(&lookup) else { return };
    if !matches!(route.settings.action, Action::Forward) {
        return;
    }
    let via = Via::new("fuzzed");
    let identity = identity::identify(&parts.headers, &mut || 7);
    if via.check(&parts.headers).is_err()
        || !matches!(hops::count(&parts.method, &mut parts.headers, !bare), Ok(Hop::On))
        || hygiene::is_coded(&parts.headers)
    {
        return;
    }
    let asked = match &protocol {
        None => upgrade::asked(&parts.method, Version::HTTP_2, &parts.headers),
        Some(protocol) => match upgrade::of_connect(protocol.as_str()) {
            None => return,
            asked => asked,
        },
    };
    let address = "192.0.2.1".parse().ok();
    let client = Client { address, unix: false, trusted, scheme: "http", version: Version::HTTP_2 };
    let endpoint = Protocol::Http1;
    fields::for_upstream(&mut parts.headers, &client, &authority, &via, &identity, asked.as_ref(), endpoint);
    let target = match method {
        Method::CONNECT => authority.clone(),
        _ => route.target(&target_of(&parts.uri).expect("only CONNECT has none")).to_string(),
    };
    // The content of a CONNECT is its tunnel.
    let framing = match bare || parts.method == Method::CONNECT {
        true => Framing::NONE,
        false => length.map_or(Framing::Chunked, Framing::Length),
    };
    let mut bytes = BytesMut::new();
    encode::request(&mut bytes, &method, &target, &parts.headers, framing)
        .expect("what is routed can be forwarded");
    let sent_path = of(&sent, ":path").first().map(|path| path.split(|byte| *byte == b'#').next().unwrap());
    let target = match method {
        Method::CONNECT => authority.as_bytes(),
        _ if route.settings.rewrite.is_some() => target.as_bytes(),
        _ => sent_path.expect("h2 refuses a request without a path"),
    };
    let received = one_request(&bytes, method.as_str().as_bytes(), target, authority.as_bytes(), framing);
    let upgrade = protocol.as_ref().map(|protocol| protocol.as_str().as_bytes());
    assert_eq!(of(&received, "upgrade"), Vec::from_iter(upgrade));
    let connection: &[&[u8]] = match (upgrade.is_some(), of(&received, "te")[..] == [b"trailers"]) {
        (true, true) => &[b"upgrade, te"],
        (true, false) => &[b"upgrade"],
        (false, true) => &[b"te"],
        (false, false) => &[],
    };
    assert_eq!(of(&received, "connection"), connection);
    if !trusted {
        assert_eq!(of(&received, "x-forwarded-for"), [b"192.0.2.1"]);
        assert_eq!(of(&received, "x-forwarded-host"), [authority.as_bytes()]);
        assert_eq!(of(&received, "x-forwarded-proto"), [b"http"]);
        assert!(of(&received, "forwarded").len() == 1 && of(&received, "x-real-ip").is_empty());
    }
    assert_eq!(plain(&received), plain(&sent));
    if let (Framing::Chunked, Some(mut trailers)) = (framing, trailers) {
        if head::check_fields(&trailers, &settings::Limits::default()).is_err() {
            return;
        }
        hygiene::trailers(&mut trailers);
        let mut bytes = BytesMut::new();
        encode::last_chunk(&mut bytes, Some(&trailers));
        let (data, received, length) = naive_chunks(&bytes).expect("a naive reader refuses the trailers");
        assert!(data.is_empty() && length == bytes.len());
        assert!(received.iter().all(|(name, _)| !name.starts_with("content-") || name == "content-digest"));
        assert!(of(&received, "host").is_empty() && of(&received, "transfer-encoding").is_empty());
        assert_eq!(plain(&received), plain(&after));
    }
}

/// A path that is routed and rewritten: what is forwarded begins with a slash, keeps the query,
/// contains no dot segment, and leads to the same route again wherever that was not rewritten.
pub fn router(input: &[u8]) {
    static ROUTES: LazyLock<Table> = LazyLock::new(routes);
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (Some(method), Some(host), Some(target)) = (parts.next(), parts.next(), parts.next()) else { return };
    let Ok(method) = Method::from_bytes(method) else { return };
    let (Ok(host), Ok(target)) = (std::str::from_utf8(host), PathAndQuery::try_from(target)) else { return };
    let Some(target) = target_of(&Uri::from(target)) else { return };
    let Some(host) = host_of(host) else { return };
    let fields = HeaderMap::new();
    let find = |path: &str| {
        let found = ROUTES.find(&Lookup { listener: "http", host, method: &method, path, fields: &fields });
        found.ok().map(Arc::clone)
    };
    let Some(route) = find(target.path()) else { return };
    let forwarded = route.target(&target);
    assert_eq!(forwarded.query(), target.query(), "the query is not the router's");
    // Not its path(), which is `/` for an empty one.
    assert!(forwarded.as_str().starts_with('/') || forwarded == "*", "{target} became {forwarded}");
    // Every reader takes it apart as the router did: the most eager one finds no way up.
    if forwarded != "*" {
        assert!(!climbs(target.path()), "{target} was routed");
        assert!(!climbs(forwarded.path()), "{target} became {forwarded}");
    }
    let location = route.location("http", host, &target);
    assert!(
        location.to_str().is_ok_and(|text| !text.starts_with("//") && !text.starts_with("/\\")),
        "{location:?}"
    );
    if route.settings.rewrite.is_none() {
        assert_eq!(forwarded, target);
    }
    // What is decoded once more, where that is harmless, leads to the same place.
    if let Some(decoded) = unreserved_decoded(target.path()) {
        let again = find(&decoded).map(|route| route.settings.id.clone());
        assert_eq!(again.as_ref(), Some(&route.settings.id), "{target} as {decoded}");
    }
    for (name, rewritten) in [("stripped", "/strip"), ("replaced", "/from")] {
        let Some(rest) = target.path().strip_prefix(rewritten) else { continue };
        if route.settings.id.starts_with(name) && (rest.is_empty() || rest.starts_with('/')) {
            let new = if name == "stripped" { "" } else { "/to/it" };
            let whole = format!("{new}{rest}");
            // What follows nothing keeps one of its slashes: `//name` would be an authority.
            let whole = if new.is_empty() && rest.starts_with("//") {
                format!("/{}", rest.trim_start_matches('/'))
            } else {
                whole
            };
            assert_eq!(forwarded.path(), if whole.is_empty() { "/" } else { &whole });
        }
    }
}

/// The first byte says how many of the following are the lengths of pieces.
fn cut(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((count, rest)) = input.split_first() else { return (&[], &[]) };
    rest.split_at(usize::from(*count % 8).min(rest.len()))
}

/// The pieces in turn, the last of which is the rest.
fn in_pieces<'a>(bytes: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let ends = lengths.iter().map(|length| Some(usize::from(*length))).chain([None]);
    ends.map(move |length| {
        let (piece, more) = rest.split_at(length.unwrap_or(rest.len()).min(rest.len()));
        rest = more;
        piece
    })
}

/// What comes of a head, at once and in pieces, which must be the same; `None` unless it is whole.
fn agreed<Head: std::fmt::Debug>(
    lengths: &[u8],
    bytes: &[u8],
    read: impl Fn(&mut Reader, &mut BytesMut) -> Result<Option<Head>, Refusal>,
) -> Option<(Head, Bytes)> {
    let mut buffer = BytesMut::from(bytes);
    let whole = read(&mut Reader::default(), &mut buffer);
    for split in [Vec::from_iter(in_pieces(bytes, lengths)), Vec::from_iter(bytes.chunks(1))] {
        let (mut slow, mut reader, mut read_so_far) = (BytesMut::new(), Reader::default(), Ok(None));
        let mut pieces = split.into_iter();
        while let Ok(None) = read_so_far {
            let Some(piece) = pieces.next() else { break };
            slow.extend_from_slice(piece);
            read_so_far = read(&mut reader, &mut slow);
        }
        pieces.for_each(|piece| slow.extend_from_slice(piece));
        match (&whole, read_so_far) {
            (Ok(whole), Ok(split)) => {
                assert_eq!(format!("{whole:?}"), format!("{split:?}"));
                assert_eq!(buffer, slow);
            }
            // What is wrong with it may be seen earlier or later, and named by what was seen.
            (Err(_), Err(_)) => {}
            (whole, split) => panic!("at once {whole:?}, in pieces {split:?}"),
        }
    }
    whole.ok().flatten().map(|head| (head, buffer.freeze()))
}

/// The head by httparse, and by the rules that httparse does not know.
fn is_what_the_oracle_reads(head: &RequestHead, taken: &[u8]) {
    let taken = taken.strip_prefix(b"\r\n").unwrap_or(taken);
    let text = String::from_utf8_lossy(taken);
    strict_lines(taken);
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut oracle = httparse::Request::new(&mut fields);
    // A minor version that httparse does not know is read as 1.1.
    let known = known_version(taken);
    let whole = oracle.parse(&known).unwrap_or_else(|error| panic!("httparse: {error}: {text}"));
    assert_eq!(whole, httparse::Status::Complete(known.len()), "{text}");
    assert_eq!(oracle.method, Some(head.method.as_str()));
    let minor = if head.version == Version::HTTP_10 { 0 } else { 1 };
    assert_eq!(oracle.version, Some(minor));
    assert_eq!(lines_of(oracle.headers), lines(&head.fields), "{text}");
    assert_eq!(oracle_framing(&head.fields, head.version, Framing::NONE), Some(head.framing), "{text}");
    let target = oracle.path.unwrap_or_default();
    let path = target.split(['?', '#']).next().unwrap_or_default();
    assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    if target.starts_with('/') {
        assert_eq!(head.target.path(), path);
        assert_eq!(head.target.authority(), None);
    }
}

/// `HTTP/1.7` as `HTTP/1.1`.
fn known_version(head: &[u8]) -> Vec<u8> {
    let mut copy = head.to_vec();
    let end = head.windows(2).position(|two| two == b"\r\n").unwrap_or(1);
    if copy[end - 1] != b'0' {
        copy[end - 1] = b'1';
    }
    copy
}

/// Every line ends in CR LF, no other CR or LF, no NUL, no line that is a continuation, no space
/// before a colon (RFC 9112, sections 2.2, 5.1, 5.2).
fn strict_lines(head: &[u8]) {
    let text = String::from_utf8_lossy(head);
    let body = head.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("no end: {text}"));
    for (number, line) in split_lines(body).into_iter().enumerate() {
        assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{text}");
        if number > 0 {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or_else(|| panic!("{text}"));
            let name = &line[..colon];
            let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
            assert!(!name.is_empty() && name.iter().all(tchar), "{text}");
        }
    }
}

fn split_lines(text: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start) = (vec![], 0);
    while let Some(at) = text[start..].windows(2).position(|two| two == b"\r\n") {
        lines.push(&text[start..start + at]);
        start += at + 2;
    }
    lines.push(&text[start..]);
    lines
}

/// The framing by RFC 9112, section 6.3, as strictly as can be; `None` where there is doubt.
fn oracle_framing(fields: &HeaderMap, version: Version, otherwise: Framing) -> Option<Framing> {
    let lengths: Vec<_> = fields.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes).collect();
    let codings: Vec<_> = fields.get_all(TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(otherwise),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && version == Version::HTTP_11 => {
            Some(Framing::Chunked)
        }
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let length: u64 = std::str::from_utf8(length).ok()?.parse().ok()?;
            (length <= i64::MAX as u64).then_some(Framing::Length(length))
        }
        _ => None,
    }
}

/// The framing of an answer whose status says nothing about content.
fn plain_framing(head: &AnswerHead) -> Framing {
    let plain = AnswerHead {
        status: http::StatusCode::OK,
        version: head.version,
        fields: head.fields.clone(),
        keep_alive: head.keep_alive,
    };
    plain.framing(&Method::GET).expect("the fields alone decide what is refused")
}

fn target_in(head: &RequestHead) -> String {
    let path = || head.target.path_and_query().map(PathAndQuery::as_str);
    match head.method {
        Method::CONNECT => head.target.to_string(),
        // The path of `http://x?q` is empty, which `/` stands for (RFC 9112, section 3.2.1).
        _ => match path().unwrap_or("/") {
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        },
    }
}

type Lines = Vec<(String, Vec<u8>)>;

/// Sorted by name, since a map keeps the order only of the lines of one name.
fn sorted(mut lines: Lines) -> Lines {
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines
}

fn lines(fields: &HeaderMap) -> Lines {
    sorted(fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect())
}

fn lines_of(fields: &[httparse::Header<'_>]) -> Lines {
    let value = |field: &httparse::Header<'_>| field.value.trim_ascii_end().to_vec();
    sorted(fields.iter().map(|field| (field.name.to_ascii_lowercase(), value(field))).collect())
}

fn without_framing(fields: &HeaderMap) -> Lines {
    let framing = |name: &str| name == "content-length" || name == "transfer-encoding";
    lines(fields).into_iter().filter(|(name, _)| !framing(name)).collect()
}

#[derive(Debug, PartialEq)]
struct Content {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// How many bytes are left.
    rest: usize,
}

fn content<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> Result<Content, Refusal> {
    let (mut decoder, mut buffer) = (Decoder::new(Framing::Chunked), BytesMut::new());
    let mut read = Content { data: vec![], trailers: None, ended: false, rest: 0 };
    while !read.ended {
        match decoder.decode(&mut buffer, &LIMITS)? {
            Decoded::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => break,
            },
            Decoded::Data(data) => {
                assert!(!data.is_empty(), "data of nothing would be taken for the end");
                read.data.extend_from_slice(&data);
            }
            Decoded::Trailers(trailers) => read.trailers = Some(trailers),
            Decoded::End => read.ended = true,
        }
    }
    assert_eq!(read.ended, decoder.is_done());
    read.rest = buffer.len() + pieces.map(<[u8]>::len).sum::<usize>();
    Ok(read)
}

/// RFC 9112, section 7.1, without a thought for anything: content, trailers, and the length of it all.
fn naive_chunks(bytes: &[u8]) -> Option<(Vec<u8>, Lines, usize)> {
    let (mut data, mut at) = (vec![], 0);
    let line =
        |at: usize| bytes[at..].windows(2).position(|two| two == b"\r\n").map(|end| &bytes[at..at + end]);
    loop {
        let (start, size) = (at, line(at)?);
        at += size.len() + 2;
        let digits = size.split(|byte| !byte.is_ascii_hexdigit()).next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        // Where httparse reads a size too: it is not told of a sixteenth digit.
        if let (..16, Ok(httparse::Status::Complete(read))) =
            (digits.len(), httparse::parse_chunk_size(&bytes[start..]))
        {
            assert_eq!(read, (at - start, size as u64));
        }
        if size == 0 {
            break;
        }
        data.extend_from_slice(bytes.get(at..at + size)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    let mut trailers = vec![];
    loop {
        let trailer = line(at)?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some((data, sorted(trailers), at));
        }
        let colon = trailer.iter().position(|byte| *byte == b':')?;
        let (name, value) = (std::str::from_utf8(&trailer[..colon]).ok()?, trailer[colon + 1..].trim_ascii());
        trailers.push((name.to_ascii_lowercase(), value.to_vec()));
    }
}

/// The lines of a section, name and value; a name that begins with a colon is a pseudo-field's.
fn lines_in(section: &[u8]) -> Lines {
    let line = |line: &[u8]| {
        let colon = line.iter().skip(1).position(|byte| *byte == b':').map_or(line.len(), |at| at + 1);
        let name = String::from_utf8_lossy(&line[..colon]).into_owned();
        (name, line.get(colon + 1..).unwrap_or_default().to_vec())
    };
    section.split(|byte| *byte == 0xff).filter(|line| !line.is_empty()).map(line).collect()
}

/// The values of one name.
fn of<'a>(lines: &'a Lines, wanted: &str) -> Vec<&'a [u8]> {
    lines.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &value[..]).collect()
}

/// The fields that mean nothing to a gateway. h2 takes a name that holds a quotation mark, and it is left
/// out.
fn plain(lines: &Lines) -> Lines {
    let means = |name: &str| {
        let read = name.replace('_', "-");
        read.starts_with("x-forwarded-") || matches!(&*read, "x-real-ip" | "x-request-id")
    };
    let plain = |name: &str| name.starts_with("x-") && !means(name) && !name.contains('"');
    sorted(lines.iter().filter(|(name, _)| plain(name)).cloned().collect())
}

/// What h2 makes of a head with these fields, of trailers if there are any, and whether it ended with its
/// head; `None` if h2 refuses it.
fn through_h2(
    fields: &Lines,
    trailers: &Lines,
    bare: bool,
) -> Option<(Request<()>, Option<HeaderMap>, bool)> {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let mut frames = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS].concat();
    push_headers(&mut frames, fields, bare);
    if !bare && !trailers.is_empty() {
        push_headers(&mut frames, trailers, true);
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut builder = h2::server::Builder::new();
    let mut handshake = pin!(builder.enable_connect_protocol().handshake::<_, Bytes>(Sent(frames, 0)));
    let Poll::Ready(Ok(mut connection)) = handshake.as_mut().poll(&mut cx) else { panic!("no handshake") };
    // Kept until the trailers are read: who lets go of it resets the stream.
    let Poll::Ready(Some(Ok((request, _respond)))) = connection.poll_accept(&mut cx) else { return None };
    let (parts, mut stream) = request.into_parts();
    let ended = stream.is_end_stream();
    let trailers = match (stream.poll_data(&mut cx), stream.poll_trailers(&mut cx)) {
        (Poll::Ready(None), Poll::Ready(Ok(trailers))) => trailers,
        _ => None,
    };
    Some((Request::from_parts(parts, ()), trailers, ended))
}

/// A HEADERS frame of stream 1 with END_HEADERS (RFC 9113, section 6.2), and literal fields that are not
/// indexed (RFC 7541, section 6.2.2).
fn push_headers(frames: &mut Vec<u8>, fields: &Lines, last: bool) {
    let mut block = vec![];
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            // Section 5.1, without Huffman codes.
            match text.len() {
                short @ ..127 => block.push(short as u8),
                long => {
                    block.push(127);
                    let mut rest = long - 127;
                    while rest >= 128 {
                        block.push(rest as u8 | 128);
                        rest >>= 7;
                    }
                    block.push(rest as u8);
                }
            }
            block.extend_from_slice(text);
        }
    }
    frames.extend_from_slice(&(block.len() as u32).to_be_bytes()[1..]);
    frames.extend_from_slice(&[1, 4 | u8::from(last), 0, 0, 0, 1]);
    frames.extend_from_slice(&block);
}

/// A client that has sent these bytes, of which so many are read, and takes everything.
struct Sent(Vec<u8>, usize);

impl AsyncRead for Sent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.0[self.1..];
        if rest.is_empty() {
            return Poll::Pending;
        }
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.1 += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// By httparse and the strict rules: one head, with these parts, and nothing after it; its fields.
fn one_request(bytes: &[u8], method: &[u8], target: &[u8], authority: &[u8], framing: Framing) -> Lines {
    let text = String::from_utf8_lossy(bytes);
    strict_lines(bytes);
    let mut space = [httparse::EMPTY_HEADER; 128];
    let mut oracle = httparse::Request::new(&mut space);
    let whole = oracle.parse(bytes).unwrap_or_else(|error| panic!("httparse: {error}: {text}"));
    assert_eq!(whole, httparse::Status::Complete(bytes.len()), "{text}");
    let line = (oracle.method.map(str::as_bytes), oracle.path.map(str::as_bytes));
    assert_eq!(line, (Some(method), Some(target)), "{text}");
    let fields = lines_of(oracle.headers);
    assert_eq!(of(&fields, "host"), [authority], "{text}");
    for never in ["http2-settings", "keep-alive", "proxy-connection", "proxy"] {
        assert!(of(&fields, never).is_empty(), "{text}");
    }
    assert!(of(&fields, "cookie").len() <= 1, "{text}");
    assert!(of(&fields, "te").iter().all(|value| *value == b"trailers"), "{text}");
    let (length, coding) = (of(&fields, "content-length"), of(&fields, "transfer-encoding"));
    let said = match framing {
        Framing::Chunked => coding == [b"chunked"] && length.is_empty(),
        Framing::Length(0) | Framing::UntilClose => {
            coding.is_empty() && length.iter().all(|value| *value == b"0")
        }
        Framing::Length(bytes) => coding.is_empty() && length == [bytes.to_string().as_bytes()],
    };
    assert!(said && length.len() <= 1, "{text}");
    fields
}

/// Whether an application that decodes again and again, and takes every separator for one, finds a
/// dot segment at the first two readings. (The third is its own fault.)
fn climbs(path: &str) -> bool {
    let once = decode(path.as_bytes());
    [path.as_bytes(), &once].iter().any(|reading| {
        let segments = reading.split(|byte| matches!(byte, b'/' | b'\\'));
        segments.into_iter().any(|segment| {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        })
    })
}

fn decode(text: &[u8]) -> Vec<u8> {
    let (mut decoded, mut at) = (vec![], 0);
    while at < text.len() {
        let octet = text
            .get(at + 1..at + 3)
            .and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match octet {
            Some(octet) if text[at] == b'%' => {
                decoded.push(octet);
                at += 3;
            }
            _ => {
                decoded.push(text[at]);
                at += 1;
            }
        }
    }
    decoded
}

/// With every encoded letter and digit decoded: the same path by RFC 3986, section 6.2.2.2. `None`
/// when there is none.
fn unreserved_decoded(path: &str) -> Option<String> {
    let mut text = path.to_owned();
    for octet in (b'0'..=b'9').chain(b'a'..=b'z').chain(b'A'..=b'Z') {
        for spelled in [format!("%{octet:02x}"), format!("%{octet:02X}")] {
            // Not within `%25xx`, which means something else.
            if !text.contains("%25") {
                text = text.replace(&spelled, &char::from(octet).to_string());
            }
        }
    }
    (text != path && !text.contains("%25")).then_some(text)
}

fn routes() -> Table {
    let text = r#"
        [service.a]
        hosts = ["a.test", "*.a.test"]
        endpoints = ["127.0.0.1:1"]
        [[service.a.route]]
        path = "/*"
        [[service.a.route]]
        path = "/admin/*"
        methods = ["GET", "POST"]
        [[service.a.route]]
        path = "/user/{id}"
        [[service.a.route]]
        path = "/user/me"
        [[service.a.route]]
        path = "/odd%2Fone/*"
        [service.stripped]
        hosts = ["*"]
        endpoints = ["127.0.0.1:1"]
        [[service.stripped.route]]
        path = "/strip/*"
        strip-prefix = "/strip"
        [service.replaced]
        hosts = ["*"]
        endpoints = ["127.0.0.1:1"]
        [[service.replaced.route]]
        path = "/from/*"
        replace-prefix = { from = "/from", to = "/to/it" }
        [service.any]
        hosts = ["*"]
        endpoints = ["127.0.0.1:1"]
        [[service.any.route]]
        path = "/*"
        connect = true
        [service.moved]
        hosts = ["moved.test"]
        [[service.moved.route]]
        path = "/*"
        redirect = "https://{host}{path}{query}"
    "#;
    let sources = Sources(vec![Source { name: "services.d/routes.toml".into(), text: text.into() }]);
    let loaded = hitless::config::parse(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    Table::new(&loaded.settings)
}

/// Whatever comes from a peer over TLS, nothing is read but what it has sealed, in its order, and all of that up to the first
/// byte that somebody else has changed; the same at once and in pieces with a move to another process after each;
/// what is held meanwhile is bounded.
pub fn tls_records(input: &[u8]) {
    let [choice, piece, script @ ..] = input else { return };
    let suite = TLS_SUITES[usize::from(choice >> 2) % TLS_SUITES.len()];
    let (client, server) = tls_seals(suite);
    let role = if choice & 2 == 0 { Role::Server } else { Role::Client };
    let (coming, exact, most) = match (choice & 1, script) {
        // Anything.
        (0, script) if suite != 0xcca8 => (script.to_vec(), true, vec![]),
        // Anything, but sealed.
        (0, script) => {
            let (coming, data) = tls_sealed(&server, script);
            (coming, false, data)
        }
        // Data, and then somebody in between.
        (_, script) => {
            let (coming, data) = tls_tampered(client, script);
            (coming, true, data)
        }
    };
    let whole = TlsRead::of(&server, role, &coming, usize::MAX);
    assert!(if exact { whole.plain == most } else { most.starts_with(&whole.plain) });
    assert_eq!(whole, TlsRead::of(&server, role, &coming, 1 + usize::from(*piece)));
}

const TLS_SUITES: [u16; 6] = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc030, 0xcca8];

/// Both ends of a connection.
fn tls_seals(suite: u16) -> (Seal, Seal) {
    let (length, iv) = match suite {
        0x1301 | 0x1303 => (32, 0),
        0x1302 => (48, 0),
        0xc02b => (16, 12),
        _ => (32, 12),
    };
    let half = |byte: u8| Half {
        secret: Secret::from(&vec![byte; length][..]),
        iv: Secret::from(&vec![byte; iv][..]),
        number: 0,
    };
    let client = Seal { suite, read: half(2), write: half(1), ..Seal::default() };
    let server = Seal { suite, read: half(1), write: half(2), ..Seal::default() };
    (client, server)
}

/// What a channel made of what came.
#[derive(Debug, PartialEq)]
struct TlsRead {
    plain: BytesMut,
    is_right: bool,
    was_cut: bool,
    written: Vec<u8>,
}

impl TlsRead {
    fn of(seal: &Seal, role: Role, coming: &[u8], piece: usize) -> TlsRead {
        let mut channel = Channel::adopt(role, seal).expect("a suite that is known");
        let mut wire = TlsWire { coming, piece, written: vec![] };
        let (mut plain, mut space) = (BytesMut::new(), vec![0; tls::SPACE]);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let before = plain.len();
            let read = channel.poll_fill(&mut wire, &mut plain, &mut space, &mut cx);
            let Poll::Ready(read) = read else { unreachable!("the end is always there") };
            assert_eq!(plain.len() - before, *read.as_ref().unwrap_or(&0));
            if !matches!(read, Ok(1..)) {
                let (is_right, was_cut) = (read.is_ok(), channel.was_cut());
                return TlsRead { plain, is_right, was_cut, written: wire.written };
            }
            if piece < usize::MAX {
                // None where a fault is behind what has been read.
                let Some(seal) = channel.give_up() else {
                    return TlsRead::of(seal, role, coming, usize::MAX);
                };
                assert!(
                    seal.partial.len() < tls::SPACE && seal.message.len() < 2 << 15 && seal.unsent.len() < 64
                );
                channel = Channel::adopt(role, &seal).expect("it was given up here");
            }
        }
    }
}

/// Gives what comes in pieces, and then its end.
struct TlsWire<'a> {
    coming: &'a [u8],
    piece: usize,
    written: Vec<u8>,
}

impl AsyncRead for TlsWire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.coming.split_at(self.coming.len().min(self.piece).min(buffer.remaining()));
        buffer.put_slice(now);
        self.coming = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsWire<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Five records of a client and its close_notify, and what the script has done to them; the data of those that
/// are still in front of the first change.
fn tls_tampered(client: Seal, script: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut channel = Channel::adopt(Role::Client, &client).expect("a suite that is known");
    let (mut space, mut cx) = (vec![0; tls::SPACE], Context::from_waker(Waker::noop()));
    let texts: [&[u8]; 6] = [b"one", b"second", b"3", &[b'4'; 300], b"and five", b""];
    let mut records = Vec::new();
    for text in texts {
        let mut wire = TlsWire { coming: &[], piece: 1, written: vec![] };
        let done = if text.is_empty() {
            channel.poll_shutdown(&mut wire, &mut cx).map_ok(|()| 0)
        } else {
            channel.poll_write(&mut wire, &[IoSlice::new(text)], &mut space, &mut cx)
        };
        assert!(matches!(done, Poll::Ready(Ok(written)) if written == text.len()));
        records.push(wire.written);
    }
    let sealed = records.concat();
    let mut ends = Vec::new();
    for (record, text) in records.iter().zip(texts) {
        let (end, data) = ends.last().cloned().unwrap_or((0, vec![]));
        ends.push((end + record.len(), [&data, text].concat()));
    }
    for change in script.chunks_exact(3).take(16) {
        let &[what, which, place] = change else { unreachable!("of three bytes") };
        let which = usize::from(which) % records.len();
        let place = usize::from(place) % records[which].len().max(1);
        match what % 6 {
            0 if !records[which].is_empty() => records[which][place] ^= 1 << (what >> 5),
            1 => records[which] = vec![],
            2 => records.push(records[which].clone()),
            3 => records.swap(which, 0),
            4 => records[which].insert(place, what),
            _ => records[which].truncate(place),
        }
    }
    let coming = records.concat();
    let same = coming.iter().zip(&sealed).take_while(|(now, then)| now == then).count();
    let data = ends.into_iter().rev().find(|(end, _)| *end <= same).map(|(_, data)| data);
    (coming, data.unwrap_or_default())
}

/// What the script says sealed for this side, in TLS 1.2 with ChaCha20-Poly1305 (RFC 7905): pieces of a kind, a
/// length and as many bytes. And the data among it.
fn tls_sealed(server: &Seal, mut script: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = UnboundKey::new(&CHACHA20_POLY1305, &server.read.secret).expect("as long as it must be");
    let key = LessSafeKey::new(key);
    let (mut coming, mut data) = (vec![], vec![]);
    let mut number = 0_u64;
    let length_of = |length: usize| u16::try_from(length).expect("it is short").to_be_bytes();
    while let [kind, length, rest @ ..] = script {
        let (content, behind) = rest.split_at(rest.len().min(usize::from(*length)));
        script = behind;
        let kind = [20, 21, 22, 23, 23, *kind][usize::from(*kind) % 6];
        if kind == 23 {
            data.extend_from_slice(content);
        }
        let mut nonce: [u8; 12] = server.read.iv[..].try_into().expect("as long as it must be");
        nonce[4..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
        let aad = [&number.to_be_bytes()[..], &[kind, 3, 3], &length_of(content.len())].concat();
        let mut sealed = content.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
            .expect("it is short");
        coming.extend([kind, 3, 3]);
        coming.extend(length_of(sealed.len()));
        coming.extend(sealed);
        number += 1;
    }
    (coming, data)
}

/// What is bounded for a fuzzer.
const HTTP2_BOUND: usize = 4096;

/// The blocks of one connection, each behind its length: what h2 takes for a request is taken here, and the
/// other way round, and it is the same request; the bound changes nothing but what is given; what is taken can
/// be encoded and is the same again.
pub fn http2_head(input: &[u8]) {
    let mut oracle = Some(Oracle::new());
    let (mut decoder, mut bounded) = (http2::Decoder::new(4096), http2::Decoder::new(4096));
    for (at, block) in http2_blocks(input).enumerate() {
        let stream = 2 * at as u32 + 1;
        let mut frames = BytesMut::new();
        http2::write::headers(&mut frames, stream, false, 16, |out| out.extend_from_slice(block));
        assert_eq!(http2_block_of(&frames), block);
        let theirs = oracle.as_mut().map(|oracle| oracle.ask(stream, block));
        let ours = http2::head::request(&mut decoder, block, usize::MAX);
        let short = http2::head::request(&mut bounded, block, HTTP2_BOUND);
        let Ok(ours) = ours else {
            assert_eq!(short.err(), ours.err());
            assert!(theirs.is_none_or(|theirs| theirs.is_err()), "h2 reads {block:x?}");
            return;
        };
        let short = short.expect("the bound breaks a block");
        assert_eq!(short.decoded.size, ours.decoded.size);
        assert_eq!(short.decoded.long, ours.decoded.size > HTTP2_BOUND);
        if !short.decoded.long {
            assert_eq!(short.message.is_ok(), ours.message.is_ok());
        }
        match (ours.message, theirs) {
            (_, None) => {}
            // Malformed is what ends the connection there and only the stream here.
            (Err(_), Some(Err(()))) => oracle = None,
            (Err(_), Some(Ok(None))) => {}
            (Err(why), Some(Ok(Some(theirs)))) => {
                // It drops a fragment, and takes a request without a path if it has no authority either.
                let excused =
                    ["the path is none", "the scheme is none", "a request without a scheme or a path"];
                assert!(excused.contains(&why.0), "{why:?}, but h2 takes {theirs:?}");
            }
            // It measures contents too.
            (Ok(request), Some(Ok(None))) => {
                assert!(request.headers().contains_key(CONTENT_LENGTH), "h2 refuses {request:?}");
            }
            (Ok(request), Some(Err(()))) => panic!("h2 ends the connection with {request:?}"),
            (Ok(request), Some(Ok(Some(theirs)))) => {
                assert_eq!(request.method(), theirs.method());
                assert_eq!(request.uri(), theirs.uri());
                assert_eq!(request.headers(), theirs.headers());
                let ours = request.extensions().get::<http2::Protocol>().map(http2::Protocol::as_str);
                let theirs = theirs.extensions().get::<h2::ext::Protocol>();
                assert_eq!(ours, theirs.map(h2::ext::Protocol::as_str));
                let mut again = BytesMut::new();
                http2::Encoder::new().trailers(request.headers(), &mut again);
                let again = http2::head::trailers(&mut http2::Decoder::new(0), &again, usize::MAX);
                assert_eq!(&again.unwrap().message.unwrap(), request.headers());
            }
        }
    }
}

/// Frames one after the other: what is read has its parts within its payload, and what can be written
/// again is read as the same.
pub fn http2_frames(mut input: &[u8]) {
    while let Some(head) = http2::frame::Head::parse(input) {
        assert_eq!(http2::frame::Head::parse(&head.bytes()), Some(head));
        let rest = &input[http2::frame::Head::SIZE..];
        let (payload, rest) = rest.split_at((head.length as usize).min(rest.len()));
        input = rest;
        let head = http2::frame::Head { length: payload.len() as u32, ..head };
        let Ok(frame) = head.check(256).and_then(|()| http2::frame::parse(head, payload)) else { continue };
        let mut out = BytesMut::new();
        match frame {
            Frame::Data { content, .. } | Frame::Headers { block: content, .. } => {
                assert!(payload.as_ptr_range().contains(&content.as_ptr()) || content.is_empty());
                assert!(content.len() <= payload.len() && head.stream != 0);
                continue;
            }
            Frame::Reset(reason) => http2::write::reset(&mut out, head.stream, reason),
            Frame::Settings(settings) => http2::write::settings(&mut out, &settings),
            Frame::SettingsAck => http2::write::settings_ack(&mut out),
            Frame::Ping(opaque) => http2::write::ping(&mut out, opaque, false),
            Frame::PingAck(opaque) => http2::write::ping(&mut out, opaque, true),
            Frame::GoAway { last, reason, debug } => http2::write::goaway(&mut out, last, reason, debug),
            Frame::WindowUpdate(more) => http2::write::window_update(&mut out, head.stream, more),
            _ => continue,
        }
        let written = http2::frame::Head::parse(&out).expect("a whole frame is written");
        assert_eq!(written.stream, head.stream);
        let payload = &out[http2::frame::Head::SIZE..];
        assert_eq!(written.length as usize, payload.len());
        assert_eq!(http2::frame::parse(written, payload), Ok(frame));
    }
}

fn http2_blocks(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)) % 1024;
        let (block, rest) = rest.split_at(length.min(rest.len()));
        input = rest;
        Some(block)
    })
    .take(16)
}

/// What these frames carry in all.
fn http2_block_of(mut frames: &[u8]) -> Vec<u8> {
    let mut all = vec![];
    while let Some(head) = http2::frame::Head::parse(frames) {
        let (payload, rest) = frames[http2::frame::Head::SIZE..].split_at(head.length as usize);
        head.check(16).expect("it was written so");
        match http2::frame::parse(head, payload) {
            Ok(Frame::Headers { block, end_headers, .. } | Frame::Continuation { block, end_headers }) => {
                all.extend_from_slice(block);
                assert_eq!(end_headers, rest.is_empty());
            }
            frame => panic!("{frame:?}"),
        }
        frames = rest;
    }
    all
}

/// h2, which is given one block after the other.
struct Oracle {
    connection: h2::server::Connection<Fed, Bytes>,
    fed: Rc<RefCell<BytesMut>>,
    /// Who lets go of one resets the stream.
    taken: Vec<h2::server::SendResponse<Bytes>>,
}

impl Oracle {
    fn new() -> Oracle {
        let begin = [&http2::PREFACE[..], b"\0\0\0\x04\0\0\0\0\0"].concat();
        let fed = Rc::new(RefCell::new(BytesMut::from(&begin[..])));
        let mut builder = h2::server::Builder::new();
        let mut handshake = pin!(builder.enable_connect_protocol().handshake::<_, Bytes>(Fed(fed.clone())));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(connection)) = handshake.as_mut().poll(&mut cx) else { panic!("no handshake") };
        Oracle { connection, fed, taken: vec![] }
    }

    /// The request, if it is one, or the end of the connection.
    fn ask(&mut self, stream: u32, block: &[u8]) -> Result<Option<Request<()>>, ()> {
        http2::write::headers(&mut self.fed.borrow_mut(), stream, false, 16_384, |out| {
            out.extend_from_slice(block)
        });
        let mut cx = Context::from_waker(Waker::noop());
        match self.connection.poll_accept(&mut cx) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                self.taken.push(respond);
                Ok(Some(request.map(drop)))
            }
            Poll::Ready(_) => Err(()),
            Poll::Pending => Ok(None),
        }
    }
}

/// A client that has sent what is in here, and takes everything.
struct Fed(Rc<RefCell<BytesMut>>);

impl AsyncRead for Fed {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut fed = self.0.borrow_mut();
        if fed.is_empty() {
            return Poll::Pending;
        }
        let count = fed.len().min(buffer.remaining());
        buffer.put_slice(&fed.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
