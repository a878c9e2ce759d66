//! How the path of a request is read for routing; the rule stands in the module's documentation above.
//!
//! Promises: two paths that an application would take for the same are compared as the same, or
//! refused; decoding happens once; a path without `%`, `//`, `\` and `;` is borrowed.
//! Must not know: which routes there are.

use std::borrow::Cow;

use http::method::Method;

use super::Lookup;
use crate::response::Failure;

/// What is compared with the patterns.
pub(super) enum Path<'a> {
    /// `OPTIONS *` and `CONNECT authority` name no path: only `/*` serves them.
    None,
    /// Every reader agrees.
    Plain(Cow<'a, [u8]>),
    /// A lenient application reads it as the second.
    Odd(Cow<'a, [u8]>, Vec<u8>),
}

impl Path<'_> {
    pub(super) fn strict(&self) -> Option<&[u8]> {
        match self {
            Path::None => None,
            Path::Plain(strict) | Path::Odd(strict, _) => Some(strict),
        }
    }

    pub(super) fn lenient(&self) -> Option<&[u8]> {
        match self {
            Path::Odd(_, lenient) => Some(lenient),
            _ => None,
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
    let mut marks = Marks::of(raw.as_bytes());
    let mut strict = Cow::Borrowed(raw.as_bytes());
    if marks.encoded {
        strict = Cow::Owned(decode(raw.as_bytes())?);
        marks = Marks::of(&strict);
    }
    if marks.odd {
        let lenient = leniently(&strict);
        return refuse_dots(&lenient).map(|()| Path::Odd(strict, lenient));
    }
    if marks.dots {
        refuse_dots(&strict)?;
    }
    Ok(Path::Plain(strict))
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
                b'\\' | b';' => marks.odd = true,
                _ => {}
            }
            before = byte;
        }
        marks.odd |= marks.encoded && path.windows(3).any(|three| three == ENCODED_SLASH);
        marks
    }
}

/// Whether a pattern spells a form that applications read in different ways.
pub(super) fn is_odd(decoded: &[u8]) -> bool {
    Marks::of(decoded).odd
}

const ENCODED_SLASH: &[u8] = b"%2F";

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
        let [high, low, tail @ ..] = rest else { return Err(INVALID_ENCODING) };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(INVALID_ENCODING) };
        rest = tail;
        match high << 4 | low {
            0 => return Err(Failure::BadRequest("the path has an encoded NUL")),
            b'/' => decoded.extend_from_slice(ENCODED_SLASH),
            b'%' => decoded.extend_from_slice(b"%25"),
            octet => decoded.push(octet),
        }
    }
    Ok(decoded)
}

const INVALID_ENCODING: Failure = Failure::BadRequest("the path has an invalid percent-encoding");

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// As the most lenient application reads it: `%2F` and `\` separate, `;parameters` and empty segments
/// are dropped (but a trailing slash stays).
fn leniently(strict: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(strict.len());
    let mut ends_empty = true;
    for segment in separate(strict).split(|byte| *byte == b'/').skip(1) {
        let segment = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        ends_empty = segment.is_empty();
        if !ends_empty {
            path.push(b'/');
            path.extend_from_slice(segment);
        }
    }
    if ends_empty {
        path.push(b'/');
    }
    path
}

fn separate(strict: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(strict.len());
    let mut rest = strict;
    while let [first, tail @ ..] = rest {
        match rest.strip_prefix(ENCODED_SLASH) {
            Some(after) => {
                path.push(b'/');
                rest = after;
            }
            None => {
                path.push(if *first == b'\\' { b'/' } else { *first });
                rest = tail;
            }
        }
    }
    path
}

fn refuse_dots(path: &[u8]) -> Result<(), Failure> {
    match path.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b"..")) {
        true => Err(Failure::BadRequest("the path has a dot segment")),
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
        for path in ["/", "/a/b", "/a/", "/.well-known/x", "/a..b/...", "/a:b@c,d=e"] {
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
        ];
        for (raw, compared) in table {
            match read(raw) {
                Ok(path) => assert_eq!(text(path.strict().unwrap()), compared, "{raw}"),
                Err(failure) => panic!("{raw}: {failure:?}"),
            }
        }
    }

    #[test]
    fn a_lenient_application_is_foreseen() {
        let table = [
            ("//a", "/a"),
            ("/a//", "/a/"),
            ("//", "/"),
            ("/a%2fb", "/a/b"),
            ("/a\\b", "/a/b"),
            ("/a%5Cb", "/a/b"),
            ("/a;v=1/b;w", "/a/b"),
            ("/a/;jsessionid=1", "/a/"),
            ("/http://x/y", "/http:/x/y"),
        ];
        for (raw, lenient) in table {
            match read(raw) {
                Ok(path) => assert_eq!(text(path.lenient().unwrap()), lenient, "{raw}"),
                Err(failure) => panic!("{raw}: {failure:?}"),
            }
        }
        assert!(read("/a%252Fb").unwrap_or(Path::None).lenient().is_none(), "a doubly encoded slash is none");
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
            "/a/..\\b",
            "/a%5c..%5cb",
            "/a/..;/b",
            "/a/.;x=y/b",
            "/%",
            "/%6",
            "/%zz",
            "/%+1",
            "/a%00",
        ] {
            assert!(matches!(read(raw), Err(Failure::BadRequest(_))), "{raw}");
        }
    }
}
