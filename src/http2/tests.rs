//! What frames and heads promise.

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;

use super::frame::{ACK, END_HEADERS, END_STREAM, Head, LARGEST_SIZE, PADDED, PRIORITY, parse};
use super::hpack::{Broken, TABLE};
use super::*;

const ALL: usize = 1 << 30;

fn read(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Frame<'_>, Error> {
    let head = Head { length: payload.len() as u32, kind: kind.into(), flags, stream };
    head.check(frame::DEFAULT_SIZE)?;
    parse(head, payload)
}

/// Frames one after the other, as a peer would read them.
fn frames(mut bytes: &[u8]) -> Vec<(Head, &[u8])> {
    let mut frames = Vec::new();
    while let Some(head) = Head::parse(bytes) {
        let (payload, rest) = bytes[Head::SIZE..].split_at(head.length as usize);
        frames.push((head, payload));
        bytes = rest;
    }
    assert!(bytes.is_empty());
    frames
}

#[test]
fn a_head_is_read_as_it_is_written() {
    for kind in 0..=255 {
        let head =
            Head { length: 0x0123_4567 & LARGEST_SIZE, kind: Kind::from(kind), flags: 0xa5, stream: MOST };
        assert_eq!(Head::parse(&head.bytes()), Some(head));
        assert_eq!(u8::from(head.kind), kind);
    }
    assert_eq!(Head::parse(&[0; 8]), None);
    // The reserved bit.
    assert_eq!(Head::parse(&[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).unwrap().stream, MOST);
}

#[test]
fn what_is_wrong_with_a_frame_ends_what_its_section_says() {
    let connection = |reason: Reason| Some((None, reason));
    let stream = |reason: Reason| Some((Some(1), reason));
    let (protocol, size) = (Reason::PROTOCOL_ERROR, Reason::FRAME_SIZE_ERROR);
    type Case<'a> = (u8, u8, u32, &'a [u8], Option<(Option<u32>, Reason)>);
    let table: &[Case<'_>] = &[
        (0, 0, 0, b"", connection(protocol)),
        (0, PADDED, 1, b"", connection(size)),
        (0, PADDED, 1, b"\x00", None),
        (0, PADDED, 1, b"\x01", connection(protocol)),
        (0, PADDED, 1, b"\x02x", connection(protocol)),
        (0, PADDED, 1, b"\x01x", None),
        (1, 0, 0, b"", connection(protocol)),
        (1, PADDED, 1, b"", connection(size)),
        (1, PADDED, 1, b"\x03ab", connection(protocol)),
        (1, PRIORITY, 1, b"\x00\x00\x00\x00", connection(size)),
        (1, PADDED | PRIORITY, 1, b"\x01\x00\x00\x00\x00\x00", connection(size)),
        (1, PADDED | PRIORITY, 1, b"\x01\x00\x00\x00\x00\x00p", None),
        (2, 0, 0, b"\x00\x00\x00\x00\x00", connection(protocol)),
        (2, 0, 1, b"\x00\x00\x00\x00", stream(size)),
        (2, 0, 1, b"\x80\x00\x00\x01\x00", stream(protocol)),
        (2, 0, 1, b"\x00\x00\x00\x03\x00", None),
        (3, 0, 0, b"\x00\x00\x00\x00", connection(protocol)),
        (3, 0, 1, b"\x00\x00\x00", connection(size)),
        (4, 0, 1, b"", connection(protocol)),
        (4, 0, 0, b"\x00", connection(size)),
        (4, ACK, 0, b"\x00\x01\x00\x00\x00\x00", connection(size)),
        (4, ACK, 0, b"", None),
        (4, 0, 0, b"\x00\x02\x00\x00\x00\x02", connection(protocol)),
        (4, 0, 0, b"\x00\x04\x7f\xff\xff\xff", None),
        (4, 0, 0, b"\x00\x04\x80\x00\x00\x00", connection(Reason::FLOW_CONTROL_ERROR)),
        (4, 0, 0, b"\x00\x05\x00\x00\x3f\xff", connection(protocol)),
        (4, 0, 0, b"\x00\x05\x01\x00\x00\x00", connection(protocol)),
        (4, 0, 0, b"\x00\x08\x00\x00\x00\x02", connection(protocol)),
        (4, 0, 0, b"\x00\x07\xff\xff\xff\xff\xf0\x0f\xff\xff\xff\xff", None),
        (5, 0, 1, b"\x00\x00\x00\x02", connection(protocol)),
        (6, 0, 1, b"12345678", connection(protocol)),
        (6, 0, 0, b"1234567", connection(size)),
        (7, 0, 1, b"12345678", connection(protocol)),
        (7, 0, 0, b"1234567", connection(size)),
        (8, 0, 0, b"\x00\x00\x00\x00", connection(protocol)),
        (8, 0, 0, b"\x80\x00\x00\x00", connection(protocol)),
        (8, 0, 1, b"\x00\x00\x00\x00", stream(protocol)),
        (8, 0, 1, b"\x00\x00\x01", connection(size)),
        (9, 0, 0, b"", connection(protocol)),
        (16, 0, 1, b"\x00\x00\x00\x01u=1", connection(protocol)),
        (16, 0, 0, b"\x00\x00\x00\x00u=1", connection(protocol)),
        (16, 0, 0, b"\x00\x00\x00", connection(size)),
        (16, 0, 0, b"\x00\x00\x00\x01u=1", None),
        (11, 0xff, 7, b"anything", None),
        (0, 0, 1, &[0; 16_385], connection(size)),
    ];
    for (kind, flags, id, payload, wanted) in table {
        let error = read(*kind, *flags, *id, payload).err().map(|error| match error {
            Error::Connection(reason, _) => (None, reason),
            Error::Stream(stream, reason, _) => (Some(stream), reason),
        });
        assert_eq!(error, *wanted, "{kind} {flags:#x} {id} {payload:?}");
    }
}

#[test]
fn a_frame_is_read_without_its_padding_and_priority() {
    let flags = PADDED | END_STREAM;
    let data = Frame::Data { content: b"ab", end_stream: true };
    assert_eq!(read(0, flags, 1, b"\x03abxyz"), Ok(data));
    let flags = PADDED | PRIORITY | END_HEADERS;
    let headers = |circular| Frame::Headers { block: b"ab", end_stream: false, end_headers: true, circular };
    assert_eq!(read(1, flags, 1, b"\x01\x00\x00\x00\x03\x10abx"), Ok(headers(false)));
    assert_eq!(read(1, flags, 1, b"\x01\x80\x00\x00\x01\x10abx"), Ok(headers(true)));
    assert_eq!(read(1, END_HEADERS, 1, b"ab"), Ok(headers(false)));
    assert_eq!(read(3, 0, 1, b"\x00\x00\x00\x08"), Ok(Frame::Reset(Reason::CANCEL)));
    let goaway = Frame::GoAway { last: 5, reason: Reason::from(0x99), debug: b"why" };
    assert_eq!(read(7, 0, 0, b"\x80\x00\x00\x05\x00\x00\x00\x99why"), Ok(goaway));
    assert_eq!(read(9, 0, 1, b"ab"), Ok(Frame::Continuation { block: b"ab", end_headers: false }));
    assert_eq!(Reason::from(0x99).to_string(), "0x99");
    assert_eq!(Reason::CANCEL.to_string(), "CANCEL");
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let settings = Settings {
        header_table_size: Some(0),
        enable_push: Some(false),
        max_concurrent_streams: Some(128),
        initial_window_size: Some(MOST),
        max_frame_size: Some(LARGEST_SIZE),
        max_header_list_size: Some(u32::MAX),
        enable_connect_protocol: Some(true),
    };
    let mut out = BytesMut::new();
    write::settings(&mut out, &settings);
    write::settings(&mut out, &Settings { header_table_size: Some(1), ..Settings::default() });
    write::settings_ack(&mut out);
    write::ping(&mut out, *b"12345678", false);
    write::ping(&mut out, *b"12345678", true);
    write::window_update(&mut out, 0, MOST);
    write::reset(&mut out, 3, Reason::REFUSED_STREAM);
    write::goaway(&mut out, 7, Reason::NO_ERROR, b"bye");
    write::data_head(&mut out, 9, 5, true);
    out.extend_from_slice(b"hello");
    let wanted = [
        (0, Frame::Settings(settings)),
        (0, Frame::Settings(Settings { header_table_size: Some(1), ..Settings::default() })),
        (0, Frame::SettingsAck),
        (0, Frame::Ping(*b"12345678")),
        (0, Frame::PingAck(*b"12345678")),
        (0, Frame::WindowUpdate(MOST)),
        (3, Frame::Reset(Reason::REFUSED_STREAM)),
        (0, Frame::GoAway { last: 7, reason: Reason::NO_ERROR, debug: b"bye" }),
        (9, Frame::Data { content: b"hello", end_stream: true }),
    ];
    let read = frames(&out);
    assert_eq!(read.len(), wanted.len());
    for ((head, payload), (stream, frame)) in read.into_iter().zip(wanted) {
        head.check(frame::DEFAULT_SIZE).unwrap();
        assert_eq!((head.stream, parse(head, payload)), (stream, Ok(frame)));
    }
}

#[test]
fn a_long_block_is_cut_at_the_limit_and_nowhere_else() {
    for (length, wanted) in [(0, vec![0]), (10, vec![10]), (11, vec![10, 1]), (30, vec![10, 10, 10])] {
        let block: Vec<u8> = (0..length).collect();
        let mut out = BytesMut::from(&b"before"[..]);
        write::headers(&mut out, 5, true, 10, |out| out.extend_from_slice(&block));
        let frames = frames(&out[6..]);
        let lengths: Vec<usize> = frames.iter().map(|(_, payload)| payload.len()).collect();
        assert_eq!(lengths, wanted);
        let joined: Vec<u8> = frames.iter().flat_map(|(_, payload)| payload.to_vec()).collect();
        assert_eq!(joined, block);
        for (at, (head, _)) in frames.iter().enumerate() {
            let kind = if at == 0 { Kind::Headers } else { Kind::Continuation };
            assert_eq!((head.kind, head.stream), (kind, 5));
            assert_eq!(head.has(END_STREAM), at == 0);
            assert_eq!(head.has(END_HEADERS), at == frames.len() - 1);
        }
    }
}

/// Literals that no table keeps.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend_from_slice(&[0, name.len() as u8]);
        block.extend_from_slice(name.as_bytes());
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

fn request(fields: &[(&str, &str)]) -> Result<Request<()>, Malformed> {
    head::request(&mut Decoder::new(TABLE), &block(fields), ALL).unwrap().message
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x?y=1")];

fn with<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&GET[..], fields].concat()
}

#[test]
fn a_request_is_made_of_its_pseudo_fields() {
    let head =
        request(&with(&[("cookie", "a=1"), ("te", "trailers"), ("cookie", "b=2"), ("x", "")])).unwrap();
    assert_eq!(*head.method(), Method::GET);
    assert_eq!(head.uri().to_string(), "https://a.example/x?y=1");
    assert_eq!(head.version(), http::Version::HTTP_2);
    let crumbs: Vec<&HeaderValue> = head.headers().get_all("cookie").iter().collect();
    assert_eq!(crumbs, ["a=1", "b=2"]);
    assert_eq!(head.headers().len(), 4);

    let head =
        request(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), ("host", "a")]).unwrap();
    assert_eq!((head.uri().scheme(), head.uri().authority(), head.uri().path()), (None, None, "*"));

    let head = request(&[(":method", "CONNECT"), (":authority", "a:443")]).unwrap();
    assert_eq!(head.uri().to_string(), "a:443");
    assert!(head.extensions().get::<Protocol>().is_none());

    let extended = [(":protocol", "websocket"), (":scheme", "https"), (":path", "/"), (":authority", "a")];
    let head = request(&[&[(":method", "CONNECT")], &extended[..]].concat()).unwrap();
    assert_eq!(head.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
    assert_eq!(head.uri().to_string(), "https://a/");
}

#[test]
fn what_is_malformed_is_refused_alone() {
    let without = |name: &str| GET.iter().copied().filter(|field| field.0 != name).collect::<Vec<_>>();
    let connect = [(":method", "CONNECT"), (":authority", "a:443")];
    let table: &[Vec<(&str, &str)>] = &[
        vec![],
        without(":method"),
        without(":scheme"),
        without(":path"),
        with(&[(":path", "/again")]),
        with(&[(":method", "GET")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "1")]),
        with(&[("", "1")]),
        with(&[(":", "1")]),
        with(&[("X", "1")]),
        with(&[("a b", "1")]),
        with(&[("a:b", "1")]),
        with(&[("caf\u{e9}", "1")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\rb")]),
        with(&[("x", "a\0b")]),
        with(&[("x", "\x7f")]),
        with(&[("connection", "close")]),
        with(&[("connection", "")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "close")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("te", "")]),
        with(&[("te", "trailers, gzip")]),
        with(&[(":protocol", "websocket")]),
        [&[("x", "1")], &GET[..]].concat(),
        [&GET[..3], &[("x", "1")], &GET[3..]].concat(),
        [&without(":path")[..], &[(":path", "")]].concat(),
        [&without(":path")[..], &[(":path", "/a#b")]].concat(),
        [&without(":path")[..], &[(":path", "/a b")]].concat(),
        [&without(":method")[..], &[(":method", "")]].concat(),
        [&without(":method")[..], &[(":method", "G T")]].concat(),
        [&without(":scheme")[..], &[(":scheme", "")]].concat(),
        [&without(":scheme")[..], &[(":scheme", "ht tp")]].concat(),
        [&without(":authority")[..], &[(":authority", "")]].concat(),
        [&without(":authority")[..], &[(":authority", "a/b")]].concat(),
        connect[..1].to_vec(),
        [&connect[..], &[(":path", "/")]].concat(),
        [&connect[..], &[(":scheme", "https")]].concat(),
        [&connect[..], &[(":protocol", "websocket"), (":scheme", "https")]].concat(),
        [&connect[..], &[(":protocol", ""), (":scheme", "https"), (":path", "/")]].concat(),
        [&connect[..], &[(":protocol", "\u{e9}"), (":scheme", "https"), (":path", "/")]].concat(),
    ];
    for fields in table {
        assert!(request(fields).is_err(), "{fields:?}");
    }
}

/// A client's other streams must not notice.
#[test]
fn a_malformed_block_keeps_the_table_in_step() {
    let mut decoder = Decoder::new(TABLE);
    // With indexing: an upper-case name, a field of the connection, a bad value, `:path` with `#`, then a good field.
    let kept = b"\x40\x01X\x011\x40\x07upgrade\x03h2c\x40\x01y\x01\n\x44\x04/a#b\x40\x04good\x03yes";
    let all = [b"\x82\x86\x84\x41\x01a".as_slice(), kept].concat();
    let read = head::request(&mut decoder, &all, ALL).unwrap();
    assert_eq!(read.message.unwrap_err(), Malformed("the name of a field has a byte that it must not have"));
    // 62 good, 63 :path, 64 y, 65 upgrade, 66 X, 67 :authority.
    let read = head::request(&mut decoder, b"\x82\x86\x84\xc3\xbe\x0f\x31\x02ok", ALL).unwrap();
    let head = read.message.unwrap();
    assert_eq!(head.uri().authority().unwrap(), "a");
    assert_eq!(head.headers()["good"], "yes");
    assert_eq!(head.headers()["y"], "ok");
    for malformed in [0xbf, 0xc0, 0xc1, 0xc2] {
        let read = head::request(&mut decoder, &[0x82, 0x86, 0x84, malformed], ALL).unwrap();
        assert!(read.message.is_err(), "{malformed:#x}");
    }
    // The name of a malformed path is good for another path.
    let read = head::request(&mut decoder, b"\x82\x86\x0f\x30\x02/b", ALL).unwrap();
    assert_eq!(read.message.unwrap().uri().path(), "/b");
}

#[test]
fn what_is_beyond_the_bound_is_dropped_and_told() {
    let mut decoder = Decoder::new(TABLE);
    let fields = block(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let all = [b"\x82\x86\x84".as_slice(), &fields, b"\x40\x01d\x014"].concat();
    let size = 42 + 43 + 38 + 4 * 34;
    let read = head::request(&mut decoder, &all, size).unwrap();
    assert_eq!((read.decoded.size, read.decoded.long), (size, false));
    let read = head::request(&mut decoder, &all, size - 1).unwrap();
    assert_eq!((read.decoded.size, read.decoded.long), (size, true));
    assert_eq!(read.message.unwrap().headers().len(), 3);
    // Both times the last field has come into the table.
    let read = head::request(&mut decoder, b"\x82\x86\x84\xbe\xbf", ALL).unwrap();
    assert_eq!(read.message.unwrap().headers().len(), 2);
    let read = head::request(&mut decoder, b"\x82\x86\x84\xbe", 0).unwrap();
    assert!(read.decoded.long && read.message.is_err());
}

#[test]
fn trailers_are_fields_and_nothing_else() {
    let read = |block: &[u8]| head::trailers(&mut Decoder::new(TABLE), block, ALL);
    let trailers = read(&block(&[("x-sum", "1"), ("x-sum", "2")])).unwrap().message.unwrap();
    assert_eq!(trailers.get_all("x-sum").iter().count(), 2);
    assert!(read(b"").unwrap().message.unwrap().is_empty());
    for fields in [[(":path", "/")], [(":status", "200")], [(":x", "")], [("connection", "x")]] {
        assert!(read(&block(&fields)).unwrap().message.is_err(), "{fields:?}");
    }
    assert_eq!(read(b"\x00\x05x-sum").unwrap_err(), Broken::Truncated);
}

#[test]
fn a_smaller_table_is_acknowledged_once() {
    let mut encoder = Encoder::new();
    let said = |encoder: &mut Encoder| {
        let mut out = BytesMut::new();
        encoder.head(StatusCode::OK, &HeaderMap::new(), &mut out);
        out.to_vec()
    };
    encoder.resize(65_536);
    encoder.resize(4096);
    assert_eq!(said(&mut encoder), b"\x88");
    encoder.resize(100);
    assert_eq!(said(&mut encoder), b"\x20\x88");
    encoder.resize(0);
    assert_eq!(said(&mut encoder), b"\x88");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_frames_or_errors(kind in 0u8..18, flags: u8, stream in 0u32..3, payload in vec(any::<u8>(), 0..40)) {
        if let Ok(Frame::Data { content, .. }) = read(kind, flags, stream, &payload) {
            prop_assert!(content.len() <= payload.len());
        }
    }

    #[test]
    fn any_bytes_are_a_block_or_broken(blocks in vec(vec(any::<u8>(), 0..60), 1..5), bound in 0usize..300) {
        let mut decoder = Decoder::new(TABLE);
        for block in blocks {
            match head::request(&mut decoder, &block, bound) {
                Ok(read) => prop_assert_eq!(read.decoded.long, read.decoded.size > bound),
                Err(_) => break,
            }
        }
    }

    #[test]
    fn an_answer_survives_its_way(
        status in 100u16..1000,
        fields in vec(("[a-z][a-z0-9-]{0,20}", "[ -~]{0,300}"), 0..20),
        most in 1u32..600,
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut map = HeaderMap::new();
        let mut known = vec!["date", "server", "vary", "set-cookie", "content-type"].into_iter();
        for (name, value) in &fields {
            let name = if value.len() % 3 == 0 { known.next().unwrap_or(name) } else { name };
            let name: http::HeaderName = name.parse().unwrap();
            let refused = ["connection", "te", "upgrade", "transfer-encoding", "keep-alive", "proxy-connection"];
            if !refused.contains(&name.as_str()) {
                map.append(name, HeaderValue::from_str(value).unwrap());
            }
        }
        let mut out = BytesMut::new();
        write::headers(&mut out, 1, false, most, |out| Encoder::new().head(status, &map, out));
        let block: Vec<u8> = frames(&out).iter().flat_map(|(_, payload)| payload.to_vec()).collect();
        // Without its status it is trailers.
        let behind = if block[0] & 0x80 != 0 { 1 } else { 5 };
        let read = head::trailers(&mut Decoder::new(TABLE), &block[behind..], ALL).unwrap();
        prop_assert_eq!(read.message.unwrap(), map);
    }
}
