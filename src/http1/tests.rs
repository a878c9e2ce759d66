//! Tables of heads and contents, each whole and byte by byte.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::*;

const LIMITS: Limits = Limits { line: 64, fields: 256, count: 4 };

/// The verdict on `bytes` given at once, which must be the same when they come one by one, and what is left.
fn request(bytes: &[u8]) -> Result<Option<(RequestHead, BytesMut)>, Refusal> {
    let mut buffer = BytesMut::from(bytes);
    let whole = Reader::default().request(&mut buffer, &LIMITS);
    let mut reader = Reader::default();
    let mut slow = BytesMut::new();
    let mut verdict = Ok(None);
    for (at, byte) in bytes.iter().enumerate() {
        slow.extend_from_slice(&[*byte]);
        verdict = reader.request(&mut slow, &LIMITS);
        if !matches!(verdict, Ok(None)) {
            slow.extend_from_slice(&bytes[at + 1..]);
            break;
        }
    }
    let kind = |refusal: &Refusal| std::mem::discriminant(refusal);
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(verdict.as_ref().err().map(kind), whole.as_ref().err().map(kind), "{text}");
    assert_eq!(format!("{:?}", verdict.as_ref().ok()), format!("{:?}", whole.as_ref().ok()), "{text}");
    assert!(whole.is_err() || slow == buffer, "{text}");
    whole.map(|head| head.map(|head| (head, buffer)))
}

#[test]
fn a_head_is_taken_and_no_byte_more() {
    let (head, rest) =
        request(b"\r\nPOST /a?b HTTP/1.1\r\nHost:  x\t\r\na: 1\r\nA:\r\nContent-Length: 3\r\n\r\nxyzGET")
            .unwrap()
            .unwrap();
    assert_eq!((head.method, head.target.to_string()), (Method::POST, "/a?b".into()));
    assert_eq!((head.version, head.framing, head.keep_alive), (Version::HTTP_11, Framing::Length(3), true));
    assert_eq!(head.fields["host"], "x");
    assert_eq!(head.fields.get_all("a").iter().collect::<Vec<_>>(), ["1", ""]);
    assert_eq!(&rest[..], b"xyzGET");
}

#[test]
fn a_head_that_is_not_whole_is_waited_for() {
    for bytes in
        ["", "\r", "\r\n", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\nhost: x\r\n"]
    {
        assert!(request(bytes.as_bytes()).unwrap().is_none(), "{bytes:?}");
    }
}

#[test]
fn whatever_could_be_read_in_two_ways_is_refused() {
    let refused: &[&str] = &[
        // RFC 9112, section 2.2
        "GET / HTTP/1.1\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\n\n",
        "GET / HTTP/1.1\r\nhost: x\r\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\rb: c\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "\nGET / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        // Section 3
        "GET  / HTTP/1.1\r\n",
        "GET / HTTP/1.1 \r\n",
        "GET /\r\n",
        "GET\t/ HTTP/1.1\r\n",
        "GET / http/1.1\r\n",
        "GET / HTTP/1.10\r\n",
        "GET / HTTP/0.9\r\n",
        "GET / HTTP/1,1\r\n",
        "G(T / HTTP/1.1\r\n",
        "GET /\u{e9} HTTP/1.1\r\n",
        "GET /a#b HTTP/1.1\r\n",
        "GET /a\\b HTTP/1.1\r\n",
        "GET /<> HTTP/1.1\r\n",
        "\x16\x03\x01",
        // Section 3.2
        "GET * HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET ftp://x/ HTTP/1.1\r\nhost: x\r\n\r\n",
        "CONNECT /a HTTP/1.1\r\nhost: x\r\n\r\n",
        "CONNECT http://x/ HTTP/1.1\r\nhost: x\r\n\r\n",
        "OPTIONS x HTTP/1.1\r\nhost: x\r\n\r\n",
        // Section 5
        "GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost\r\n\r\n",
        "GET / HTTP/1.1\r\nho st: x\r\n\r\n",
        "GET / HTTP/1.1\r\nho\"st: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\x7fb\r\n\r\n",
        "GET / HTTP/1.1\r\n host: x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\n more\r\n\r\n",
        // Section 6.3
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 0x1\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length:\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 9223372036854775808\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked, gzip\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked;a=b\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: \"chunked\"\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding:\r\n\r\n",
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
    ];
    for bytes in refused {
        let verdict = request(bytes.as_bytes()).map(|head| head.map(|(head, _)| head));
        assert!(matches!(verdict, Err(Refusal::Malformed(_))), "{bytes:?}: {verdict:?}");
    }
}

#[test]
fn what_is_well_formed_but_too_much_has_a_name() {
    let line = |length: usize| format!("GET /{} HTTP/1.1", "a".repeat(length - 14));
    let head = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    let long = |length: usize| format!("a: {}\r\n", "b".repeat(length - 5));
    let table: &[(String, Option<Refusal>)] = &[
        (format!("{}\r\n\r\n", line(64)), None),
        (format!("{}\r\n\r\n", line(65)), Some(Refusal::LongLine)),
        (line(66), Some(Refusal::LongLine)),
        (head(&long(256)), None),
        (head(&long(257)), Some(Refusal::LongFields)),
        (head(&"a: b\r\n".repeat(4)), None),
        (head(&"a: b\r\n".repeat(5)), Some(Refusal::ManyFields)),
        ("GET / HTTP/2.0\r\n\r\n".into(), Some(Refusal::UnsupportedVersion)),
        (head("transfer-encoding: gzip, chunked\r\n"), Some(Refusal::UnknownCoding)),
    ];
    for (bytes, refusal) in table {
        assert_eq!(request(bytes.as_bytes()).err(), *refusal, "{bytes:?}");
    }
}

#[test]
fn the_form_of_the_target_fits_the_method() {
    let good: &[(&str, &str)] = &[
        ("GET", "/"),
        ("GET", "//double"),
        ("GET", "/a|b[c]?{d}^`\\"),
        ("GET", "http://x/y"),
        ("GET", "HTTPS://x"),
        ("OPTIONS", "*"),
        ("CONNECT", "x:443"),
        ("CONNECT", "[::1]:443"),
        ("BREW", "/a%2fb?c?d"),
    ];
    for (method, target) in good {
        let bytes = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n");
        assert!(request(bytes.as_bytes()).unwrap().is_some(), "{bytes:?}");
    }
}

#[test]
fn options_of_a_host_without_a_path_are_those_of_the_host() {
    // RFC 9112, section 3.2.4.
    let table = [
        ("OPTIONS", "http://x:80", "*"),
        ("OPTIONS", "HTTP://x", "*"),
        ("OPTIONS", "http://x/", "/"),
        ("OPTIONS", "http://x/x", "/x"),
        ("OPTIONS", "http://x?x", "?x"),
        ("OPTIONS", "*", "*"),
        ("OPTIONS", "/x", "/x"),
        ("GET", "http://x", "/"),
    ];
    for (method, target, path) in table {
        let bytes = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n");
        let uri = request(bytes.as_bytes()).unwrap().unwrap().0.target;
        assert_eq!(uri.path_and_query().unwrap().as_str(), path, "{bytes:?}");
        assert_eq!(uri.authority().is_some(), !target.starts_with(['*', '/']), "{bytes:?}");
    }
}

#[test]
fn a_connection_is_kept_as_both_sides_say() {
    for (version, option, kept) in [
        ("1.1", "", true),
        ("1.1", "connection: close\r\n", false),
        ("1.1", "connection: foo , CLOSE\r\n", false),
        ("1.7", "", true),
        ("1.0", "", false),
        ("1.0", "connection: Keep-Alive\r\n", true),
        ("1.0", "connection: keep-alive, close\r\n", false),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\n{option}\r\n");
        assert_eq!(request(bytes.as_bytes()).unwrap().unwrap().0.keep_alive, kept, "{bytes:?}");
    }
}

fn answer(bytes: &str) -> Result<Option<AnswerHead>, Refusal> {
    Reader::default().answer(&mut BytesMut::from(bytes), &LIMITS)
}

#[test]
fn an_answer_ends_as_its_head_says() {
    let framing = |method: Method, bytes: &str| answer(bytes).unwrap().unwrap().framing(&method);
    let table: &[(&str, Result<Framing, ()>)] = &[
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Ok(Framing::Length(5))),
        ("HTTP/1.1 200\r\n\r\n", Ok(Framing::UntilClose)),
        ("HTTP/1.0 200 \r\n\r\n", Ok(Framing::UntilClose)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n", Ok(Framing::Chunked)),
        ("HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\n", Ok(Framing::NONE)),
        ("HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n", Ok(Framing::NONE)),
        ("HTTP/1.1 100 Go\r\n\r\n", Ok(Framing::NONE)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", Err(())),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n", Err(())),
        ("HTTP/1.1 304 OK\r\ncontent-length: x\r\n\r\n", Err(())),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n", Err(())),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Err(())),
    ];
    for (bytes, expected) in table {
        assert_eq!(framing(Method::GET, bytes).map_err(drop), *expected, "{bytes:?}");
    }
    assert_eq!(framing(Method::HEAD, table[0].0), Ok(Framing::NONE));
}

#[test]
fn what_is_no_status_line_is_refused() {
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000",
        "HTTP/1.1  200",
        "HTTP/1.1 600 X",
        "HTTP/1.1 099 X",
        "ICY 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.1 200 O\0K",
    ] {
        assert!(answer(&format!("{line}\r\n\r\n")).is_err(), "{line}");
    }
}

/// Data, trailers, whether the end was seen, and what is left.
type Read = (Vec<u8>, Option<HeaderMap>, bool, Vec<u8>);

/// Everything that comes out, with the data put together, given in pieces of `piece` bytes.
fn decoded(framing: Framing, bytes: &[u8], piece: usize) -> Result<Read, Refusal> {
    let mut decoder = Decoder::new(framing);
    let (mut data, mut trailers, mut buffer) = (Vec::new(), None, BytesMut::new());
    let mut pieces = bytes.chunks(piece);
    loop {
        match decoder.decode(&mut buffer, &LIMITS)? {
            Decoded::More => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => return Ok((data, trailers, false, buffer.to_vec())),
            },
            Decoded::Data(piece) => {
                assert!(!piece.is_empty());
                data.extend_from_slice(&piece);
            }
            Decoded::Trailers(fields) => trailers = Some(fields),
            Decoded::End => {
                let rest = pieces.flatten().copied();
                return Ok((data, trailers, true, buffer.iter().copied().chain(rest).collect()));
            }
        }
    }
}

#[test]
fn content_is_taken_out_of_its_framing_however_it_arrives() {
    let chunked = b"3\r\nabc\r\n00B;a=b; c = \"d\\\"\"\r\nhello world\r\n0\r\nx-sum: 1\r\n\r\nGET";
    let long = [b"800\r\n".to_vec(), vec![b'x'; 2048], b"\r\n0\r\n\r\n".to_vec()].concat();
    for piece in [1, 2, 3, 7, 1000, 5000] {
        let (data, trailers, end, rest) = decoded(Framing::Chunked, chunked, piece).unwrap();
        assert_eq!((&data[..], end, &rest[..]), (&b"abchello world"[..], true, &b"GET"[..]));
        assert_eq!(trailers.unwrap()["x-sum"], "1");
        assert_eq!(decoded(Framing::Chunked, &long, piece).unwrap().0, vec![b'x'; 2048]);
        let (data, _, end, rest) = decoded(Framing::Length(4), b"abcdef", piece).unwrap();
        assert_eq!((&data[..], end, &rest[..]), (&b"abcd"[..], true, &b"ef"[..]));
        let (data, _, end, _) = decoded(Framing::UntilClose, b"abcdef", piece).unwrap();
        assert_eq!((&data[..], end), (&b"abcdef"[..], false));
        let (data, _, end, _) = decoded(Framing::Chunked, &chunked[..6], piece).unwrap();
        assert_eq!((&data[..], end), (&b"abc"[..], false));
    }
}

#[test]
fn a_chunk_that_two_readers_could_measure_differently_is_refused() {
    for bytes in [
        "\r\n",
        "x\r\n",
        "-1\r\na",
        "+1\r\na",
        "0x1\r\na",
        "1 \r\na",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1;\r\na",
        "1;a=\r\na",
        "1;a=\"b\r\na",
        "1;a\0\r\na",
        "1 1\r\na",
        "00000000000000001\r\na",
        "1\r\r\na",
        "1;a\rb\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\n y\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "1_0\r\n",
        " 1\r\na",
        "g",
        "1;a=b\n\n",
    ] {
        for piece in [1, 100] {
            let verdict = decoded(Framing::Chunked, bytes.as_bytes(), piece);
            assert!(matches!(verdict, Err(Refusal::Malformed(_))), "{bytes:?}: {verdict:?}");
        }
    }
    let long = format!("1;{}\r\na\r\n", "a".repeat(300));
    assert!(decoded(Framing::Chunked, long.as_bytes(), 1000).is_err());
    let trailers = "0\r\n".to_owned() + &"a: b\r\n".repeat(5) + "\r\n";
    assert_eq!(decoded(Framing::Chunked, trailers.as_bytes(), 9), Err(Refusal::ManyFields));
}

/// Beside a flood of them others waited, since only the bytes were counted: 87,000 chunks in half a MiB.
#[test]
fn the_work_of_small_chunks_is_told_and_they_leave_in_few_pieces() {
    const COUNT: usize = 64 * 1024 / 6;
    let mut buffer = BytesMut::from(&b"1\r\nx\r\n".repeat(COUNT)[..]);
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut pieces, mut bytes, mut chunks) = (0, 0, 0);
    while let Decoded::Data(data) = decoder.decode(&mut buffer, &LIMITS).unwrap() {
        (pieces, bytes) = (pieces + 1, bytes + data.len());
        let begun = decoder.take_chunks();
        assert!(begun <= 8 * 1024 + 1, "{begun} in one piece");
        chunks += begun;
    }
    assert_eq!((pieces, bytes, chunks), (2, COUNT, COUNT));
}

#[test]
fn many_small_chunks_are_fine_and_much_ado_about_nothing_is_not() {
    let small = b"1\r\na\r\n".repeat(100_000);
    assert_eq!(decoded(Framing::Chunked, &small, 16 * 1024).unwrap().0.len(), 100_000);
    let ado = format!("1;{}\r\na\r\n", "a".repeat(200)).repeat(1000);
    assert!(decoded(Framing::Chunked, ado.as_bytes(), 16 * 1024).is_err());
}

#[test]
fn only_a_target_of_the_form_that_fits_the_method_is_encoded() {
    let table = [
        ("GET", "/", true),
        ("GET", "//x?y", true),
        ("OPTIONS", "*", true),
        ("OPTIONS", "/x", true),
        ("CONNECT", "x:443", true),
        ("CONNECT", "[::1]:443", true),
        ("GET", "", false),
        ("GET", "?q", false),
        ("GET", "x", false),
        ("GET", "*", false),
        ("GET", "x:443", false),
        ("GET", "http://x/", false),
        ("OPTIONS", "**", false),
        ("CONNECT", "/", false),
        ("CONNECT", "x:443/", false),
        ("CONNECT", "x:443?q", false),
        ("GET", "/a b", false),
        ("GET", "/ HTTP/1.1\r\nx: y\r\n\r\nGET /", false),
    ];
    for (method, target, fits) in table {
        let (method, mut bytes) = (method.parse().unwrap(), BytesMut::new());
        let encoded = encode::request(&mut bytes, &method, target, &HeaderMap::new(), Framing::NONE);
        assert_eq!(encoded, if fits { Ok(()) } else { Err(encode::BadTarget) }, "{method} {target}");
        assert_eq!(bytes.is_empty(), !fits);
    }
}

#[test]
fn what_is_encoded_is_read_back() {
    let mut fields = HeaderMap::new();
    fields.append("b", HeaderValue::from_static("2"));
    fields.append("a", HeaderValue::from_static("1"));
    fields.append("b", HeaderValue::from_static(""));
    fields.append("content-length", HeaderValue::from_static("77"));
    fields.append("transfer-encoding", HeaderValue::from_static("chunked"));
    for framing in [Framing::NONE, Framing::Length(12), Framing::Chunked] {
        let mut bytes = BytesMut::new();
        encode::request(&mut bytes, &Method::POST, "/x?y", &fields, framing).unwrap();
        let head = Reader::default().request(&mut bytes, &LIMITS).unwrap().unwrap();
        assert_eq!((head.framing, head.target.to_string()), (framing, "/x?y".into()));
        assert_eq!(head.fields.get_all("b").iter().collect::<Vec<_>>(), ["2", ""]);
        encode::answer(&mut bytes, StatusCode::OK, &fields, Some(framing));
        let head = Reader::default().answer(&mut bytes, &LIMITS).unwrap().unwrap();
        assert_eq!(head.framing(&Method::GET), Ok(framing));
    }
    let quoted = http::HeaderName::from_lowercase(b"x\"").unwrap();
    let mut bytes = BytesMut::new();
    encode::last_chunk(&mut bytes, Some(&[(quoted, HeaderValue::from_static("1"))].into_iter().collect()));
    assert_eq!(bytes, "0\r\n\r\n");
    for length in [1, 15, 16, 255, 65_536, usize::MAX] {
        let mut bytes = BytesMut::new();
        encode::chunk(&mut bytes, length);
        assert_eq!(bytes, format!("{length:x}\r\n"));
    }
    let mut bytes = BytesMut::new();
    encode::last_chunk(&mut bytes, None);
    assert_eq!(decoded(Framing::Chunked, &bytes, 100).unwrap().0, Bytes::new());
}

#[test]
fn what_is_known_of_a_refused_head_can_be_told() {
    let told = |bytes: &str| {
        let mut buffer = BytesMut::from(bytes);
        let _ = Reader::default().request(&mut buffer, &LIMITS);
        let Glimpse { method, target, version } = Glimpse::of(&buffer);
        let word = |word: Option<String>| word.unwrap_or("-".into());
        let (method, target) = (method.map(|method| method.to_string()), target.map(|uri| uri.to_string()));
        format!("{} {} {}", word(method), word(target), word(version.map(|version| format!("{version:?}"))))
    };
    for (bytes, known) in [
        ("", "- - -"),
        ("GE", "- - -"),
        ("GET ", "GET - -"),
        ("GET /hal", "GET - -"),
        ("GET /half ", "GET /half -"),
        ("GET /a HTTP/1.1\r\nhost", "GET /a HTTP/1.1"),
        ("GET /a HTTP/1.1\nhost", "GET /a HTTP/1.1"),
        ("\r\nGET /a?b HTTP/1.0\r\nx : y\r\n\r\n", "GET /a?b HTTP/1.0"),
        ("POST /a HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na", "POST /a HTTP/1.1"),
        ("GET /a HTTP/2.0\r\n\r\n", "GET /a -"),
        ("GET \"a HTTP/1.1\r\n\r\n", "GET - HTTP/1.1"),
        ("\u{16}\u{3}\u{1} \r\n\r\n", "- - -"),
    ] {
        assert_eq!(told(bytes), known, "{bytes:?}");
    }
}
