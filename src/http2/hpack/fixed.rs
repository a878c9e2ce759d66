//! The static table (RFC 7541, appendix A).
//!
//! Promises: found by index and by name without a search.
//! Must not know: the dynamic table.

use std::sync::LazyLock;

use http::header::{self, ACCEPT_ENCODING, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, StatusCode};

use super::OVERHEAD;
use super::field::{Field, Name, Pseudo, Sink, Value};

/// How many there are; the first one has index 1.
pub(super) const COUNT: usize = 61;

/// The index of the first one that is no pseudo-field.
const FIRST: usize = 15;
const ACCEPT_ENCODING_INDEX: usize = 16;
const TRANSFER_ENCODING_INDEX: usize = 57;

/// The index of a name that encoders want.
pub(super) const STATUS_INDEX: u8 = 8;

/// From [`FIRST`] on.
static NAMES: [HeaderName; COUNT - FIRST + 1] = [
    header::ACCEPT_CHARSET,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::ACCEPT_RANGES,
    header::ACCEPT,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::AGE,
    header::ALLOW,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DATE,
    header::ETAG,
    header::EXPECT,
    header::EXPIRES,
    header::FROM,
    header::HOST,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::REFRESH,
    header::RETRY_AFTER,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
    header::VARY,
    header::VIA,
    header::WWW_AUTHENTICATE,
];

/// The same as text, which a constant can look into.
const TEXTS: [&str; NAMES_COUNT] = [
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow-origin",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];
const NAMES_COUNT: usize = COUNT - FIRST + 1;

/// `http` reads a path anew for each one that is made of a text.
static ROOT: LazyLock<PathAndQuery> = LazyLock::new(|| PathAndQuery::from_static("/"));
static INDEX: LazyLock<PathAndQuery> = LazyLock::new(|| PathAndQuery::from_static("/index.html"));

/// The names and values of the pseudo-fields, in bytes.
const PSEUDO: [usize; FIRST - 1] = [10, 10, 11, 6, 16, 11, 12, 10, 10, 10, 10, 10, 10, 10];
const GZIP: &str = "gzip, deflate";

/// What each field counts for, by index.
static SIZES: [u8; COUNT + 1] = sizes();

const fn sizes() -> [u8; COUNT + 1] {
    let mut table = [0; COUNT + 1];
    let mut index = 1;
    while index <= COUNT {
        let size = if index < FIRST { PSEUDO[index - 1] } else { TEXTS[index - FIRST].len() };
        let value = if index == ACCEPT_ENCODING_INDEX { GZIP.len() } else { 0 };
        table[index] = (size + value + OVERHEAD) as u8;
        index += 1;
    }
    table
}

/// The size of a field.
pub(super) fn size(index: usize) -> Option<usize> {
    SIZES.get(index).filter(|size| **size > 0).map(|size| usize::from(*size))
}

/// A whole field.
#[inline]
pub(super) fn give(index: usize, sink: &mut impl Sink) {
    let pseudo = match index {
        2 => Pseudo::Method(Method::GET),
        3 => Pseudo::Method(Method::POST),
        4 => Pseudo::Path(ROOT.clone()),
        5 => Pseudo::Path(INDEX.clone()),
        6 => Pseudo::Scheme(Scheme::HTTP),
        7 => Pseudo::Scheme(Scheme::HTTPS),
        8 => Pseudo::Status(StatusCode::OK),
        9 => Pseudo::Status(StatusCode::NO_CONTENT),
        10 => Pseudo::Status(StatusCode::PARTIAL_CONTENT),
        11 => Pseudo::Status(StatusCode::NOT_MODIFIED),
        12 => Pseudo::Status(StatusCode::BAD_REQUEST),
        13 => Pseudo::Status(StatusCode::NOT_FOUND),
        14 => Pseudo::Status(StatusCode::INTERNAL_SERVER_ERROR),
        ACCEPT_ENCODING_INDEX => return sink.regular(ACCEPT_ENCODING, HeaderValue::from_static(GZIP)),
        _ => return give_empty(index, sink),
    };
    sink.pseudo(pseudo);
}

fn give_empty(index: usize, sink: &mut impl Sink) {
    match name(index) {
        Some(name) => Field::new(name, Value::Own(b"")).give(sink),
        None => {}
    }
}

pub(super) fn name(index: usize) -> Option<Name> {
    let name = match index {
        1 => Name::Authority,
        2 | 3 => Name::Method,
        4 | 5 => Name::Path,
        6 | 7 => Name::Scheme,
        8..=14 => Name::Status,
        TRANSFER_ENCODING_INDEX => {
            Name::Malformed("a field of the connection", TRANSFER_ENCODING.as_str().len())
        }
        _ => Name::Regular(NAMES.get(index.checked_sub(FIRST)?)?.clone()),
    };
    Some(name)
}

/// The index of this status, if it has one of its own.
pub(super) fn status(status: StatusCode) -> Option<u8> {
    match status.as_u16() {
        200 => Some(8),
        204 => Some(9),
        206 => Some(10),
        304 => Some(11),
        400 => Some(12),
        404 => Some(13),
        500 => Some(14),
        _ => None,
    }
}

/// The index of this name.
pub(super) fn index(name: &str) -> Option<u8> {
    let place = PLACES[hash(name.as_bytes())?];
    let found = TEXTS.get(usize::from(place).checked_sub(FIRST)?)?;
    (*found == name).then_some(place)
}

/// Where [`hash`] puts each name; 0 is nowhere.
static PLACES: [u8; 128] = places();

const fn places() -> [u8; 128] {
    let mut table = [0; 128];
    let mut at = 0;
    while at < NAMES_COUNT {
        let Some(place) = hash(TEXTS[at].as_bytes()) else { panic!("no name is empty") };
        assert!(table[place] == 0, "no two names share a place");
        table[place] = (at + FIRST) as u8;
        at += 1;
    }
    table
}

/// Perfect: the factor was searched for.
const fn hash(name: &[u8]) -> Option<usize> {
    let length = name.len();
    if length == 0 {
        return None;
    }
    let key = u32::from_le_bytes([length as u8, name[0], name[length - 1], name[length / 2]]);
    Some((key.wrapping_mul(0x784a_6e15) >> 25) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_where_it_stands() {
        for (at, text) in TEXTS.iter().enumerate() {
            let place = at + FIRST;
            assert_eq!(index(text), Some(place as u8), "{text}");
            assert_eq!(NAMES[at].as_str(), *text);
            assert_eq!(name(place).unwrap().len(), text.len(), "{text}");
        }
        for unknown in ["", "x", "accepu", "accept-charseu", "x-request-id"] {
            assert_eq!(index(unknown), None, "{unknown}");
        }
        assert!(size(0).is_none() && size(COUNT + 1).is_none() && name(0).is_none());
    }
}
