//! How the path of a request is read for routing; the rule stands in the module's documentation above.
//!
//! Promises: two paths that an application would take for the same are compared as the same, or
//! refused; what is forwarded is decoded by nobody here; a path without `%`, `//` and `;` is borrowed.
//! Must not know: which routes there are.

use std::borrow::Cow;

use http::Uri;
use http::method::Method;
use http::uri::PathAndQuery;

use super::Lookup;
use crate::response::Failure;

/// The path and query of a request target, for routing and for forwarding: an empty path is `/` (RFC
/// 9110, section 4.2.3). `None`: CONNECT has neither.
pub fn target_of(uri: &Uri) -> Option<PathAndQuery> {
    let target = uri.path_and_query()?;
    match target.as_str().as_bytes() {
        // The `http` crate shows the target of `http://host?query` as `?query`.
        [b'?', ..] => format!("/{}", target.as_str()).parse().ok(),
        _ => Some(target.clone()),
    }
}

/// What is compared with the patterns.
pub(super) enum Path<'a> {
    /// `OPTIONS *` and `CONNECT authority` name no path: only `/*` serves them.
    None,
    /// Every reader agrees.
    Plain(Cow<'a, [u8]>),
    /// Lenient applications read it as one of the others.
    Odd(Cow<'a, [u8]>, Vec<Vec<u8>>),
}

impl Path<'_> {
    pub(super) fn strict(&self) -> Option<&[u8]> {
        match self {
            Path::None => None,
            Path::Plain(strict) | Path::Odd(strict, _) => Some(strict),
        }
    }

    pub(super) fn lenient(&self) -> &[Vec<u8>] {
        match self {
            Path::Odd(_, lenient) => lenient,
            _ => &[],
        }
    }
}

/// The path of a request (RFC 9112, section 3.2), or why it cannot be routed.
pub(super) fn of<'a>(lookup: &Lookup<'a>) -> Result<Path<'a>, Failure> {
    match lookup.path {
        "*" if lookup.method == Method::OPTIONS => Ok(Path::None),
        "" if lookup.method == Method::CONNECT => Ok(Path::None),
        path if path.starts_with('/') => read(path),
        _ => Err(Failure::BadRequest("the request target is not a path")),
    }
}

fn read(raw: &str) -> Result<Path<'_>, Failure> {
    if !raw.bytes().all(is_allowed) {
        return Err(Failure::BadRequest("the path has an octet that must be percent-encoded"));
    }
    let mut marks = Marks::of(raw.as_bytes());
    let mut strict = Cow::Borrowed(raw.as_bytes());
    if marks.encoded {
        strict = Cow::Owned(decode(raw.as_bytes())?);
        refuse_overlong(&strict)?;
        marks = Marks::of(&strict);
    }
    if marks.odd {
        let lenient = leniently(&strict)?;
        lenient.iter().try_for_each(|path| refuse_dots(path))?;
        return Ok(Path::Odd(strict, lenient));
    }
    if marks.dots {
        refuse_dots(&strict)?;
    }
    Ok(Path::Plain(strict))
}

/// What stands in a path as it is: `pchar` and `/` (RFC 3986, section 3.3), and `[`, `]`, `|`, `^`, `{`
/// and `}`, which browsers do not or did not encode (the URL standard's path percent-encode set) and
/// nobody takes for anything else. HTTP/1 has been checked already, HTTP/2 only by the `http` crate.
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'?' | b'\\' | b'`')
}

/// What a path has that needs a closer look.
struct Marks {
    encoded: bool,
    /// A segment that begins with a dot.
    dots: bool,
    /// Something that applications read in different ways.
    odd: bool,
}

impl Marks {
    fn of(path: &[u8]) -> Marks {
        let mut marks = Marks { encoded: false, dots: false, odd: false };
        let mut before = 0;
        for &byte in path {
            match byte {
                b'%' => marks.encoded = true,
                b'.' => marks.dots |= before == b'/',
                b'/' => marks.odd |= before == b'/',
                b'\\' | b';' | b'?' | b'#' => marks.odd = true,
                _ => {}
            }
            before = byte;
        }
        marks.odd |= marks.encoded && (holds(path, ENCODED_SLASH) || is_encoded_twice(path));
        marks
    }
}

fn holds(path: &[u8], part: &[u8]) -> bool {
    path.windows(part.len()).any(|window| window == part)
}

/// Whether who decodes once more finds another octet.
fn is_encoded_twice(decoded: &[u8]) -> bool {
    decoded
        .windows(5)
        .any(|five| five.starts_with(ENCODED_PERCENT) && five[3..].iter().all(u8::is_ascii_hexdigit))
}

/// Whether a pattern spells a form that applications read in different ways.
pub(super) fn is_odd(decoded: &[u8]) -> bool {
    Marks::of(decoded).odd
}

const ENCODED_SLASH: &[u8] = b"%2F";
const ENCODED_PERCENT: &[u8] = b"%25";

/// Decodes every octet but `%2F`, which would look like a separator, and `%25`, which would make
/// `%252F` look like `%2F`; these two stay, in upper case.
pub(super) fn decode(raw: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let (octet, tail) = octet_of(rest).ok_or(INVALID_ENCODING)?;
        rest = tail;
        match octet {
            0 => return Err(ENCODED_NUL),
            b'/' => decoded.extend_from_slice(ENCODED_SLASH),
            b'%' => decoded.extend_from_slice(ENCODED_PERCENT),
            octet => decoded.push(octet),
        }
    }
    Ok(decoded)
}

const INVALID_ENCODING: Failure = Failure::BadRequest("the path has an invalid percent-encoding");
const ENCODED_NUL: Failure = Failure::BadRequest("the path has an encoded NUL");

/// The octet of two hexadecimal digits, and what follows them.
fn octet_of(digits: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, tail @ ..] = digits else { return None };
    Some((hex(*high)? << 4 | hex(*low)?, tail))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// As lenient applications read it: what is encoded twice is decoded twice, `\` and an encoded slash
/// separate, an encoded `?` or `#` ends the path, `;parameters` and empty segments are dropped (but a
/// trailing slash stays). The last reading is that of who resolves it as a reference: `//name/path` is
/// the `/path` of another authority (RFC 3986, section 4.2).
fn leniently(strict: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let open = decode_again(strict)?;
    refuse_dots(&without_parameters(&open))?;
    let path = open.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
    let mut readings = vec![without_parameters(path)];
    if path.starts_with(b"//") {
        let authority = path[2..].iter().position(|byte| *byte == b'/');
        readings.push(without_parameters(authority.map_or(b"/".as_slice(), |end| &path[2 + end..])));
    }
    Ok(readings)
}

/// What is left encoded is decoded, and what was encoded twice too, with `/` for every `\`. A `%` that
/// encodes nothing is one.
fn decode_again(strict: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut open = Vec::with_capacity(strict.len());
    let mut rest = strict;
    while let [first, tail @ ..] = rest {
        let encoded = rest.strip_prefix(ENCODED_PERCENT).or(rest.strip_prefix(b"%")).and_then(octet_of);
        let (octet, tail) = match encoded {
            Some((0, _)) => return Err(ENCODED_NUL),
            Some(encoded) => encoded,
            None => (*first, rest.strip_prefix(ENCODED_PERCENT).unwrap_or(tail)),
        };
        rest = tail;
        open.push(if octet == b'\\' { b'/' } else { octet });
    }
    refuse_overlong(&open).map(|()| open)
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(path.len());
    let mut ends_empty = true;
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        let segment = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        ends_empty = segment.is_empty();
        if !ends_empty {
            kept.push(b'/');
            kept.extend_from_slice(segment);
        }
    }
    if ends_empty {
        kept.push(b'/');
    }
    kept
}

fn refuse_dots(path: &[u8]) -> Result<(), Failure> {
    match path.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b"..")) {
        true => Err(Failure::BadRequest("the path has a dot segment")),
        false => Ok(()),
    }
}

/// RFC 3629, section 3: `C0 AE` is no UTF-8, but naive decoders read it as a dot. Other octets that are
/// no UTF-8 are legal: a path has no character encoding.
fn refuse_overlong(path: &[u8]) -> Result<(), Failure> {
    let overlong = path
        .windows(2)
        .any(|two| matches!(two, [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]));
    match overlong {
        true => Err(Failure::BadRequest("the path has an overlong UTF-8 sequence")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn a_plain_path_is_borrowed() {
        for path in ["/", "/a/b", "/a/", "/.well-known/x", "/a..b/...", "/a:b@c,d=e", "/~[a]|{b}^!$&'()*+"] {
            assert!(matches!(read(path), Ok(Path::Plain(Cow::Borrowed(_)))), "{path}");
        }
    }

    #[test]
    fn octets_are_compared_decoded_once() {
        let table = [
            ("/%61%70%69", "/api"),         // RFC 3986, section 6.2.2.2
            ("/%7euser/%2Ex", "/~user/.x"), // unreserved
            ("/%40me", "/@me"),             // beyond the RFC: applications decode it
            ("/caf%c3%a9", "/caf\u{e9}"),
            ("/%2561pi", "/%2561pi"), // decoded once
            ("/100%25", "/100%25"),
            ("/%E9t%E9", "/\u{fffd}t\u{fffd}"), // any octets, as in ISO 8859-1
        ];
        for (raw, compared) in table {
            match read(raw) {
                Ok(path) => assert_eq!(text(path.strict().unwrap()), compared, "{raw}"),
                Err(failure) => panic!("{raw}: {failure:?}"),
            }
        }
    }

    #[test]
    fn lenient_applications_are_foreseen() {
        let table: &[(&str, &[&str])] = &[
            // Merged slashes (nginx, most frameworks); who resolves a reference sees an authority in the
            // first segment (`new URL(target, base)`).
            ("//a", &["/a", "/"]),
            ("//a/b/c", &["/a/b/c", "/b/c"]),
            ("/a//", &["/a/"]),
            ("//", &["/", "/"]),
            ("///", &["/", "/"]),
            ("/http://x/y", &["/http:/x/y"]),
            // Separators in disguise (Tomcat, IIS).
            ("/a%2fb", &["/a/b"]),
            ("/a%5Cb", &["/a/b"]),
            ("/%5cx/a", &["/x/a", "/a"]),
            // Parameters (Java).
            ("/a;v=1/b;w", &["/a/b"]),
            ("/a/;jsessionid=1", &["/a/"]),
            ("/a%3bx", &["/a"]),
            // A query in disguise (CVE-2024-38474).
            ("/a%3fb/c", &["/a"]),
            ("/a%23b", &["/a"]),
            // Decoded twice.
            ("/a%252Fb", &["/a/b"]),
            ("/%2561pi", &["/api"]),
            ("/a%253fb", &["/a"]),
            ("/%252561", &["/%61"]),
        ];
        for (raw, lenient) in table {
            match read(raw) {
                Ok(path) => {
                    let read: Vec<_> = path.lenient().iter().map(|path| text(path)).collect();
                    assert_eq!(read, *lenient, "{raw}");
                }
                Err(failure) => panic!("{raw}: {failure:?}"),
            }
        }
        for plain in ["/a%25", "/100%25%20", "/a%25zz"] {
            assert!(read(plain).unwrap_or(Path::None).lenient().is_empty(), "{plain}");
        }
    }

    #[test]
    fn what_must_be_encoded_is_refused() {
        // RFC 3986, section 3.3.
        for byte in (0..=0x20).chain(0x7f..=0x7f).chain(*b"\"#<>?\\`") {
            let raw = format!("/a{}b", char::from(byte));
            assert!(matches!(read(&raw), Err(Failure::BadRequest(_))), "{raw:?}");
        }
        assert!(read("/caf\u{e9}").is_err());
    }

    #[test]
    fn what_is_forwarded_is_what_is_routed() {
        let table = [
            ("*", Some("*")),
            ("/a?b", Some("/a?b")),
            ("/a?", Some("/a?")),
            ("/a?b?c=%zz&d=\\^{}|[]`", Some("/a?b?c=%zz&d=\\^{}|[]`")),
            ("http://h", Some("/")), // RFC 9110, section 4.2.3
            ("http://h/", Some("/")),
            ("http://h?x", Some("/?x")),
            ("http://h/a?b", Some("/a?b")),
            ("h:80", None),
        ];
        for (uri, expected) in table {
            let target = target_of(&uri.parse().unwrap());
            assert_eq!(target.as_ref().map(PathAndQuery::as_str), expected, "{uri}");
        }
        assert!("*?x".parse::<PathAndQuery>().is_err(), "the crate holds RFC 9112, section 3.2.4");
    }

    #[test]
    fn a_path_that_could_fool_routing_is_refused() {
        for raw in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e%2e/b",
            "/.%2E/b",
            "/%2e/b",
            "/a/..%2fb",
            "/a%2F%2e%2e%2Fb",
            "/a%5c..%5cb",
            "/a/..;/b",
            "/a/.;x=y/b",
            "/%",
            "/%6",
            "/%zz",
            "/%+1",
            "/%u002e",
            "/a%00",
            "/a%2500",
            "/%252e%252e/b",
            "/a/..%252fb",
            "/a/%2e%252e/b",
            "/x%3f/../b",
            "/a/..%3fx",
            "/a/..%23",
            // Overlong UTF-8 (RFC 3629, section 10).
            "/%c0%ae%c0%ae/b",
            "/a%c0%afb",
            "/%C1%9C",
            "/%e0%80%ae",
            "/%f0%80%80%ae",
            "/%25c0%25ae",
        ] {
            assert!(matches!(read(raw), Err(Failure::BadRequest(_))), "{raw}");
        }
    }
}
